//! A registry whose own tokens the store passes on: whether it gives one that can be.

use flatpass_oci::client::{
    Asked, Door, HttpLimits, PullTokenRequest, PullTokens, RegistryAddress, RegistryClient, RegistryError,
};
use flatpass_oci::{Digest, RepositoryName};
use flatpass_store::RegistryRobot;
use flatpass_token::Secret;

/// Fetches a token to pull from the first of these repositories that has an image, as for a customer, and throws it away. It must not open
/// the next one.
///
/// # Errors
/// What customers would not get a token for.
pub(super) async fn try_one(
    client: &RegistryClient,
    limits: &HttpLimits,
    robot: &RegistryRobot,
    names: &[RepositoryName],
) -> Result<(), RegistryError> {
    let mut found = Vec::new();
    for name in names {
        let tags = client.tags(name).await?;
        let Some(tag) = tags.first() else { continue };
        found.push((name, client.resolve(name, tag).await?));
        if found.len() == 2 {
            break;
        }
    }
    let Some((name, digest)) = found.first() else { return Ok(()) };
    let other = found.get(1).map(|(name, digest)| (*name, digest));
    fetch(client.address().clone(), limits, robot, (name, digest), other).await
}

async fn fetch(
    address: RegistryAddress,
    limits: &HttpLimits,
    robot: &RegistryRobot,
    (repository, digest): (&RepositoryName, &Digest),
    other: Option<(&RepositoryName, &Digest)>,
) -> Result<(), RegistryError> {
    let host = address.host();
    let tokens = PullTokens::new(address, limits)?;
    let (realm, service) = match tokens.door(repository, digest).await? {
        Door::Open => return Ok(()),
        Door::Asks(Asked::Basic) => return Err(RegistryError::PasswordsOnly { host }),
        Door::Asks(Asked::Token { realm, service }) => (realm, service),
    };
    let first = realm.host();
    let request = PullTokenRequest {
        realm: &realm,
        realm_host: robot.realm.as_deref().unwrap_or(&first),
        service: service.as_deref(),
        repository,
        digest,
        other,
        user: &robot.user,
        password: &Secret::from(robot.password.as_str().to_owned()),
    };
    tokens.fetch(&request).await.map(drop)
}
