//! By what right the store reads a registry: tokens that it signs itself, its account there, or none.

use std::sync::{Arc, Weak};
use std::time::Duration;

use flatpass_oci::client::{
    Access, HttpLimits, RegistryAddress, RegistryClient, RegistryError, RegistryToken,
};
use flatpass_oci::{Access as AccessClaim, Scope, Target};
use flatpass_store::{Registry, RegistryAccess, StoreError};
use flatpass_token::Secret;
use zeroize::Zeroizing;

use crate::app::{App, Rng};
use crate::registry_token::RegistryTokenFor;

/// Life of a token for the store's own looks, in seconds.
const OWN_TOKEN_SECONDS: u64 = 300;

/// A client, and what it was made of.
pub(super) struct Opened {
    pub(super) client: RegistryClient,
    password: Option<Zeroizing<String>>,
    realm: Option<String>,
}

impl Opened {
    /// Binds the password of the store's account to the token server that has had it, if it is not bound yet.
    pub(super) async fn bind(&mut self, app: &App, repo: &str) -> Result<(), StoreError> {
        if self.password.is_some()
            && self.realm.is_none()
            && let Some(realm) = self.client.first_realm()
        {
            self.realm = Some(app.store.bind_registry_robot(repo, &realm.host()).await?);
        }
        Ok(())
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// A client of the repo's registry; the one `before` if nothing changed that it depends on.
///
/// # Errors
/// [`OpenError`]
pub(super) async fn open(
    app: &Arc<App>,
    repo: &str,
    registry: &Registry,
    before: Option<Opened>,
) -> Result<Opened, OpenError> {
    let robot = match registry.access {
        RegistryAccess::Broker => app.store.registry_robot(repo).await?,
        RegistryAccess::Realm | RegistryAccess::None => None,
    };
    let password = robot.as_ref().map(|robot| robot.password.clone());
    let realm = robot.as_ref().and_then(|robot| robot.realm.clone());
    if let Some(before) = before.filter(|before| before.password == password && before.realm == realm) {
        return Ok(before);
    }
    let access = match (registry.access, robot) {
        (RegistryAccess::Realm, _) => {
            let (app, service) = (Arc::downgrade(app), registry.service.clone());
            Access::Signed(Arc::new(move |scope| sign(&app, &service, scope)))
        }
        (_, Some(robot)) => Access::Login {
            user: robot.user,
            password: Secret::from(robot.password.to_string()),
            realms: robot.realm.map(|realm| vec![realm]),
        },
        (_, None) => Access::Anonymous,
    };
    let address = RegistryAddress::parse(&registry.url)?;
    let client = RegistryClient::new(address, access, &limits(app))?;
    Ok(Opened { client, password, realm })
}

/// What calls to registries may cost, and whom to trust.
fn limits(app: &App) -> HttpLimits {
    HttpLimits { extra_roots: app.config.registries.roots.clone(), ..HttpLimits::default() }
}

/// A token for what the store itself is about to read.
fn sign(app: &Weak<App>, service: &str, scope: &Scope) -> Option<RegistryToken> {
    let app = app.upgrade()?;
    let access = match &scope.target {
        Target::Repository(name) => AccessClaim::repository(name, scope),
        Target::Catalog => AccessClaim { r#type: "registry", name: "catalog".to_owned(), actions: vec!["*"] },
        Target::Other => return None,
    };
    let issuer = app.config.issuer();
    let seconds = i64::try_from(OWN_TOKEN_SECONDS).unwrap_or(i64::MAX);
    let token = RegistryTokenFor { issuer: &issuer, service, subject: "", seconds };
    let key = Arc::clone(&app.snapshot.load().signing_key);
    let signed = token.sign(&key, vec![access], app.now(), Rng::system().as_random());
    let signed = signed.inspect_err(|error| tracing::error!(%error, "no token can be signed for a registry"));
    Some(RegistryToken {
        secret: Secret::from(signed.ok()?),
        expires_in: Duration::from_secs(OWN_TOKEN_SECONDS),
        refresh: None,
    })
}
