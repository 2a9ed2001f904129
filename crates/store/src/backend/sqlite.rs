//! SQLite: one connection that writes, several that read, write-ahead log, every commit on the disk before it is answered.

use std::borrow::Cow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqlSafeStr};

use crate::StoreError;

/// The pool that reads.
pub(crate) type Pool = SqlitePool;
/// A pool or a connection.
pub(crate) use sqlx::SqliteExecutor as Executor;
/// A connection of the backend.
pub(crate) type Connection = sqlx::SqliteConnection;
/// A row of the backend.
pub(crate) type Row = sqlx::sqlite::SqliteRow;
/// A transaction of the backend; dropped without commit, it is rolled back.
pub(crate) type Transaction = sqlx::Transaction<'static, sqlx::Sqlite>;

/// Takes the write lock at once. A transaction that begins as a reader and then writes can find that another one wrote in
/// between, and SQLite then fails it without waiting.
const BEGIN: &str = "BEGIN IMMEDIATE";
const READERS: u32 = 4;
/// How long to wait for another process (an admin command, the server) that holds the write lock.
const BUSY: Duration = Duration::from_secs(15);

const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "accounts and rights", include_str!("../../migrations/0001_accounts_and_rights.sql")),
    (2, "orders", include_str!("../../migrations/0002_orders.sql")),
    (3, "groups and plans", include_str!("../../migrations/0003_groups_and_plans.sql")),
    (4, "devices and robots", include_str!("../../migrations/0004_devices_and_robots.sql")),
    (5, "listings", include_str!("../../migrations/0005_listings.sql")),
    (6, "registries", include_str!("../../migrations/0006_registries.sql")),
    (7, "sign-ups", include_str!("../../migrations/0007_sign_ups.sql")),
    (8, "robot realms", include_str!("../../migrations/0008_robot_realms.sql")),
    (9, "push tokens", include_str!("../../migrations/0009_push_tokens.sql")),
    (10, "token kinds", include_str!("../../migrations/0010_token_kinds.sql")),
    (11, "flat-manager", include_str!("../../migrations/0011_flat_manager.sql")),
];

/// The pools of one open database.
#[derive(Debug)]
pub(crate) struct Backend {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Backend {
    /// Opens the database at `url` (`sqlite:PATH` or `sqlite://PATH`), creating it with mode 0600 when it is not there, and
    /// applies the migrations that it lacks, all in one transaction.
    pub(crate) async fn open(url: &str) -> Result<Self, StoreError> {
        let path = file_of(url).ok_or_else(|| StoreError::Url(url.to_owned()))?;
        create_private(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY)
            .foreign_keys(true)
            .disable_statement_logging();
        let writing = options
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("secure_delete", "ON");
        let lasting = || SqlitePoolOptions::new().idle_timeout(None).max_lifetime(None);
        let writer = lasting().max_connections(1).connect_with(writing).await?;
        migrate(&writer).await?;
        // Readers connect when they are first needed: a start should not wait for them.
        let readers =
            lasting().max_connections(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self { writer, readers })
    }

    /// Begins a transaction that may write. Only one runs at a time.
    pub(crate) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        self.writer.begin_with(BEGIN).await
    }

    /// The pool for single statements that only read.
    pub(crate) fn read(&self) -> &Pool {
        &self.readers
    }

    /// Ends all connections; the last one folds the write-ahead log into the file.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// The file that a database URL names. It is taken as it stands, since paths are not percent-encoded in a configuration.
fn file_of(url: &str) -> Option<&Path> {
    let path = url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    (!path.is_empty() && !path.starts_with(':') && !path.contains('?')).then(|| Path::new(path))
}

/// Creates the file if it is absent, readable by its owner only. SQLite gives its log the mode of the database.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let result = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    match result {
        Ok(_) => Ok(()),
        Err(cause) => Err(StoreError::File { path: path.display().to_string(), cause }),
    }
}

/// Applies what is missing inside one write transaction, so that two programs that open an empty database at the same time
/// do not both build it.
async fn migrate(writer: &SqlitePool) -> Result<(), StoreError> {
    let migrations = MIGRATIONS
        .iter()
        .map(|&(version, name, sql)| {
            Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    let migrator = Migrator::with_migrations(migrations);
    let mut transaction = writer.begin_with(BEGIN).await?;
    migrator.run_direct(None, &mut *transaction, false).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => StoreError::TooNew(version),
        other => StoreError::Migration(other),
    })?;
    transaction.commit().await?;
    Ok(())
}
