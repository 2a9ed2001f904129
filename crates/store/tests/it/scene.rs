//! A scratch store and the people in it.

use std::path::{Path, PathBuf};

use flatpass_store::{
    Account, AccountId, Money, NewAccount, NewCode, NewRepo, Offer, PasswordCost, RepoPolicy, RepoSource,
    Sealer, Store, StoreOptions, TokenPair,
};
use flatpass_token::UnixTime;
use rand::SeedableRng;
use rand::rngs::StdRng;

pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const CLIENT: &str = "flatpass-authenticator";
pub(crate) const REDIRECT: &str = "http://127.0.0.1:4711/done";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// The challenge of [`VERIFIER`]: both are the example of RFC 7636 appendix B.
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(crate) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

pub(crate) fn cheap() -> StoreOptions {
    StoreOptions { password_cost: PasswordCost::Test, ..StoreOptions::default() }
}

/// A folder with a key file and a database, gone at the end.
pub(crate) struct Scene {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(cheap()).await
    }

    pub(crate) async fn with(options: StoreOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Sealer::create_key_file(&folder.path().join("secret.key"), &mut rng(0)).unwrap();
        let store = open_with(folder.path(), options).await;
        Self { folder, store }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("flatpass.db")
    }

    /// The same database once more, as another process would open it.
    pub(crate) async fn opened_again(&self) -> Store {
        open_with(self.folder.path(), cheap()).await
    }

    /// Runs one statement of SQL behind the store's back.
    pub(crate) async fn sql(&self, statement: &'static str) {
        use sqlx::Connection;
        let url = format!("sqlite:{}", self.database().display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }

    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        use sqlx::{Connection, Row};
        let url = format!("sqlite:{}", self.database().display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query(query).fetch_one(&mut connection).await.unwrap().get(0)
    }
}

pub(crate) async fn open_with(folder: &Path, options: StoreOptions) -> Store {
    let sealer = Sealer::from_key_file(&folder.join("secret.key")).unwrap();
    Store::open_with(&url(folder), sealer, options).await.unwrap()
}

pub(crate) fn url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("flatpass.db").display())
}

pub(crate) async fn account(store: &Store, email: &str) -> Account {
    let new = NewAccount { email: email.to_owned(), password: PASSWORD.to_owned().into(), name: None };
    let mut rng =
        rng(email.bytes().map(u64::from).fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)));
    store.create_account(new, NOW, &mut rng).await.unwrap()
}

pub(crate) async fn repo(store: &Store, name: &str, apps: &[&str]) {
    let new = NewRepo {
        name: name.to_owned(),
        source: RepoSource::Ostree(PathBuf::from("/srv/repo")),
        policy: RepoPolicy::Refs,
        urls: vec![],
        open_token_types: vec![0, 1],
    };
    store.add_repo(new, NOW).await.unwrap();
    for app in apps {
        price(store, name, app, 500).await;
    }
}

pub(crate) async fn price(store: &Store, repo: &str, app: &str, minor: i64) {
    let offer = Offer { price: Money { minor, currency: "EUR".to_owned() }, title: String::new() };
    store.set_offer(repo, app, offer, NOW).await.unwrap();
}

pub(crate) fn code(account_id: &AccountId) -> NewCode {
    NewCode {
        client_id: CLIENT.to_owned(),
        account_id: account_id.clone(),
        redirect_uri: REDIRECT.to_owned(),
        code_challenge: CHALLENGE.to_owned(),
        scope: "refs".to_owned(),
        device_name: "Ada's laptop".to_owned(),
    }
}

/// Signs a device in.
pub(crate) async fn device(
    store: &Store,
    account_id: &AccountId,
    now: UnixTime,
    rng: &mut StdRng,
) -> TokenPair {
    let code = store.create_code(code(account_id), now, rng).await.unwrap();
    store.exchange_code(code.expose(), CLIENT, REDIRECT, VERIFIER, "192.0.2.7", now, rng).await.unwrap()
}
