//! What Flatpass remembers: accounts, sessions, devices, repos, offers, orders, entitlements and signing keys.
//!
//! [`Store`] is the door to it; it is cheap to clone. Each method that changes money or rights is one transaction that is on
//! the disk before the method returns, so a crash at any moment loses nothing that was answered and does nothing twice.
//! Only hashes of secrets are stored; signing keys are sealed with a key file ([`Sealer`]). The clock and the random numbers
//! are parameters of every method that needs them.
//!
//! ```no_run
//! # async fn example(rng: flatpass_store::Random<'_>, now: flatpass_token::UnixTime) -> Result<(), flatpass_store::StoreError> {
//! use flatpass_store::{NewAccount, Sealer, Store};
//! let sealer = Sealer::from_key_file("secret.key".as_ref())?;
//! let store = Store::open("sqlite:/var/lib/flatpass/flatpass.db", sealer).await?;
//! let new = NewAccount { email: "ada@example.org".into(), password: "a long sentence".to_owned().into(), name: None };
//! let account = store.create_account(new, now, rng).await?;
//! assert_eq!(store.account(&account.id).await?.map(|found| found.email), Some("ada@example.org".into()));
//! # Ok(()) }
//! ```
//!
//! What it does not promise: it does not limit how often a password is tried (the server does), and it does not talk to
//! payment providers.

mod access_grants;
mod access_tokens;
mod accounts;
mod apps;
mod backend;
mod entitlements;
mod error;
mod flat_manager;
mod groups;
mod id;
mod introspectors;
mod issuers;
mod keys;
mod listings;
mod money;
mod oauth;
mod offers;
mod orders;
mod password;
mod plans;
mod prune;
mod ref_tokens;
mod registries;
mod registry_logins;
mod repo_roles;
mod repo_tokens;
mod repos;
mod robots;
mod sandbox;
mod seal;
mod secret;
mod sessions;
mod sign_ups;
mod verification;

use std::sync::Arc;

use flatpass_token::UnixTime;
use sqlx::Row as _;

pub use crate::access_tokens::{AccessToken, AccessTokenUse};
pub use crate::accounts::{Account, EmailError, NewAccount, PasswordError};
pub use crate::apps::{AppPattern, AppPatternError, is_app_id, is_branch, owner_of};
pub use crate::entitlements::{Entitlement, Held, Holder, Lost, NewEntitlement, Source, SourceKind, What};
pub use crate::error::StoreError;
pub use crate::flat_manager::{FlatManager, SecretFor, StoredSecret};
pub use crate::groups::invitations::{Invitation, InvitationError, NewInvitation};
pub use crate::groups::members::{How, Member, MemberError, Membership};
pub use crate::groups::{Group, Role, RoleError};
pub use crate::id::{
    AccessTokenId, AccountId, EntitlementId, GrantId, GroupId, InvitationId, MembershipId, OrderId, PlanId,
    PlanItemId, SessionId,
};
pub use crate::issuers::{ClaimIs, IntrospectionAt, Issuer, IssuerAudience, IssuerRule};
pub use crate::keys::{KeyPhase, StoredKey};
pub use crate::listings::RepoListing;
pub use crate::money::{Money, MoneyError};
pub use crate::oauth::codes::{CodeError, NewCode};
pub use crate::oauth::device_codes::{DeviceCodes, DeviceGrantError, DeviceRequest, NewDeviceCodes};
pub use crate::oauth::devices::Device;
pub use crate::oauth::tokens::{AccessInfo, RefreshError, TokenPair};
pub use crate::offers::{Offer, StoredOffer};
pub use crate::orders::{Order, OrderError, OrderState, PaymentOutcome};
pub use crate::password::PasswordCost;
pub use crate::plans::{NewPlanItem, Plan, PlanItem};
pub use crate::prune::Pruned;
pub use crate::ref_tokens::{NewRefToken, RefToken};
pub use crate::registries::{Registry, RegistryAccess, RegistryAccessError, RegistryRobot};
pub use crate::registry_logins::RegistryLogin;
pub use crate::repo_roles::{HeldRole, RepoRole, RepoRoleError};
pub use crate::repo_tokens::{FormerTokens, RepoTokens, RepoTokensError};
pub use crate::repos::{NewRepo, Repo, RepoPolicy, RepoSource, is_repo_name};
pub use crate::robots::{RobotAccess, RobotSecret};
pub use crate::sandbox::{SandboxPayment, SandboxState};
pub use crate::seal::{SealError, Sealer};
pub use crate::sessions::Session;
pub use crate::sign_ups::{NewSignUp, SignUp};

/// A generator of random numbers for secrets, handed in by the caller. `Send`, so that a request may move between threads.
pub type Random<'a> = &'a mut (dyn rand::CryptoRng + Send);

/// Lifetimes and costs. Times are seconds.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// What a password hash costs.
    pub password_cost: PasswordCost,
    /// How many passwords are hashed at the same time; each takes 19 MiB while it runs.
    pub password_parallel: usize,
    /// How many more may wait before [`StoreError::Busy`].
    pub password_waiting: usize,
    /// Life of a browser session.
    pub session_seconds: i64,
    /// Life of an authorization code.
    pub code_seconds: i64,
    /// Life of an access token for the authority's own API.
    pub access_token_seconds: i64,
    /// Life of the codes of a device without a browser.
    pub device_code_seconds: i64,
    /// How long such a device waits between two questions whether it was let in.
    pub device_poll_seconds: i64,
    /// A refresh token that is not used for this long ends.
    pub refresh_idle_seconds: i64,
    /// A device must sign in again after this long, used or not.
    pub refresh_absolute_seconds: i64,
    /// A client that lost the answer to a rotation may repeat it for this long; see [`Store::refresh`].
    pub refresh_retry_seconds: i64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        const DAY: i64 = 24 * 60 * 60;
        Self {
            password_cost: PasswordCost::Owasp,
            password_parallel: 2,
            password_waiting: 64,
            session_seconds: 30 * DAY,
            code_seconds: 60,
            access_token_seconds: 60 * 60,
            device_code_seconds: 10 * 60,
            device_poll_seconds: 5,
            refresh_idle_seconds: 90 * DAY,
            refresh_absolute_seconds: 730 * DAY,
            refresh_retry_seconds: 30,
        }
    }
}

/// An open store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    backend: backend::Backend,
    sealer: Sealer,
    passwords: password::Passwords,
    options: StoreOptions,
}

impl Store {
    /// Opens the database at `url` (`sqlite:/path/flatpass.db`) with the default options, creating it (mode 0600) and bringing
    /// its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Url`], [`StoreError::File`], [`StoreError::TooNew`] and [`StoreError::Migration`] about the database;
    /// [`StoreError::Seal`] with [`SealError::WrongKey`] when it was made with another key file.
    pub async fn open(url: &str, sealer: Sealer) -> Result<Self, StoreError> {
        Self::open_with(url, sealer, StoreOptions::default()).await
    }

    /// Like [`Store::open`], with `options`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(url: &str, sealer: Sealer, options: StoreOptions) -> Result<Self, StoreError> {
        let backend = backend::Backend::open(url).await?;
        let passwords = password::Passwords::new(&options);
        let store = Self { inner: Arc::new(Inner { backend, sealer, passwords, options }) };
        store.check_sealer().await?;
        Ok(store)
    }

    /// Ends the connections, so that the database is one file with no log beside it. Open clones fail afterwards.
    pub async fn close(&self) {
        self.inner.backend.close().await;
    }

    /// A number that rises with each change of what gates or token issuers must know: repos, their registries and roles, offers, entitlements, groups
    /// and their members, plans, access tokens, signing keys, disabled accounts. It costs one indexed read, sees the changes of other processes, and does not
    /// move with sign-ins or refreshes. Entitlements and keys also begin and end with time alone: reload now and then anyway.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn change_counter(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT counter FROM changes WHERE id = 1").fetch_one(self.read()).await?;
        u64::try_from(row.try_get::<i64, _>("counter")?).map_err(|_| StoreError::Corrupt("changes.counter"))
    }

    fn read(&self) -> &backend::Pool {
        self.inner.backend.read()
    }

    async fn begin(&self) -> Result<backend::Transaction, sqlx::Error> {
        self.inner.backend.begin().await
    }

    fn options(&self) -> &StoreOptions {
        &self.inner.options
    }

    /// Compares the key file with the one that the database was made with; the first open records it.
    async fn check_sealer(&self) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("INSERT INTO seal_check (id, fingerprint) VALUES (1, $1) ON CONFLICT (id) DO NOTHING")
            .bind(self.inner.sealer.fingerprint())
            .execute(&mut *transaction)
            .await?;
        let row = sqlx::query("SELECT fingerprint FROM seal_check WHERE id = 1")
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        if row.try_get::<String, _>("fingerprint")? == self.inner.sealer.fingerprint() {
            Ok(())
        } else {
            Err(SealError::WrongKey.into())
        }
    }
}

/// Raises the change counter inside the transaction that changes what gates must know.
async fn mark_changed(connection: &mut backend::Connection) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE changes SET counter = counter + 1 WHERE id = 1").execute(connection).await?;
    Ok(())
}

/// A time column.
fn time(row: &backend::Row, column: &str) -> Result<UnixTime, sqlx::Error> {
    row.try_get(column).map(UnixTime)
}

/// A time column that may be NULL.
fn optional_time(row: &backend::Row, column: &str) -> Result<Option<UnixTime>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(UnixTime))
}

/// `text` cut to `most` characters, as all that clients and people say about themselves is kept and shown: on one line, and without
/// the invisible characters that turn the order of what stands beside it (Unicode's bidirectional formatting) or hide in it.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    text.chars().filter(|letter| !letter.is_control() && !is_invisible(*letter)).take(most).collect()
}

/// Formatting characters without a form of their own. The joiners U+200C and U+200D belong to the spelling of names.
const fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
