//! `flatpass repo certificates`: the store's signing keys in the form in which registries trust them.

use flatpass_store::{KeyPhase, Repo, StoredKey};
use flatpass_token::UnixTime;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SerialNumber};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::json;
use time::{Duration, OffsetDateTime};

use crate::cli::Shop;
use crate::cli::failure::Failure;
use crate::cli::output::Answer;

/// How long a certificate says that it is good. What counts is how long the bundle has it.
const YEARS: i64 = 10;

/// Prints one self-signed certificate for each key that is published, the coming one included.
pub(in crate::cli) async fn run(shop: &Shop, repo: &Repo) -> Result<Answer, Failure> {
    if repo.source.registry().is_none() {
        return Err(Failure::told(
            format!("{} is not in a container registry, so nobody needs certificates", repo.name),
            "name a repo that was added as oci://HOST",
        ));
    }
    let mut keys = shop.store.signing_keys(shop.now).await?;
    // Whoever installs the bundle before the first start of the server needs the key that it will sign with.
    if keys.is_empty() {
        shop.store.ensure_signing_key(shop.now, &mut crate::cli::system_rng()).await?;
        keys = shop.store.signing_keys(shop.now).await?;
    }
    keys.sort_by_key(|key| key.phase(shop.now) != KeyPhase::Signing);
    let bundle = keys.iter().map(certificate).collect::<Result<Vec<_>, _>>()?;
    let json = keys.iter().zip(&bundle).map(|(key, pem)| json!({ "kid": key.kid, "certificate": pem }));
    let json = json.collect();
    Ok(Answer::new(bundle.concat().trim_end(), json))
}

/// Registries take the public key out of it, and know it by the name that libtrust makes of a key: the one that our tokens have.
fn certificate(key: &StoredKey) -> Result<String, Failure> {
    let failed = |error: rcgen::Error| {
        Failure::told(
            format!("no certificate can be made for the key {}: {error}", key.kid),
            "rotate the key",
        )
    };
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(
        &PrivatePkcs8KeyDer::from(key.pkcs8.as_slice()),
        &PKCS_ECDSA_P256_SHA256,
    )
    .map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, key.kid.as_str());
    params.not_before = moment(key.created_at) - Duration::days(1);
    params.not_after = moment(key.created_at) + Duration::days(YEARS * 365);
    params.serial_number = Some(SerialNumber::from(key.created_at.0.unsigned_abs()));
    Ok(params.self_signed(&pair).map_err(failed)?.pem())
}

fn moment(time: UnixTime) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.0).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
