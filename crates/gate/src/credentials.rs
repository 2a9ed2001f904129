//! Who asks: the `Authorization` field (RFC 9110, 11.6.2), as Bearer (RFC 6750) or Basic (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flatpass_token::{UnixTime, VerifiedToken, Verifier, VerifyError};

use crate::disk::Disk;
use crate::request::{Field, Headers};

/// A user name and a password in base64 are not longer than this.
const MAX_BASIC_BYTES: usize = 1024;

/// Why a request does not show who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// It does not say, or says it by a scheme that is not ours.
    NoCredentials,
    /// It says something that cannot be read.
    Malformed,
    /// What it says is not good.
    Refused(VerifyError),
}

/// As [`verify`], where the token may be of a kind that somebody must be asked about: [`VerifyError::Unasked`] on threads that must not
/// wait.
pub(crate) fn verify_asking(
    headers: &Headers<'_>,
    verifier: &Verifier,
    now: UnixTime,
    disk: Disk,
    used: impl FnOnce(&VerifiedToken),
) -> Result<VerifiedToken, Unknown> {
    let bearer = match disk {
        Disk::Cached => Verifier::verify,
        Disk::Wait => Verifier::verify_waiting,
    };
    verify_by(headers, verifier, now, bearer, used)
}

/// Verifies what the request says: a ref token as Bearer, or an access token as the password of Basic, whose user name does
/// not matter, or as the certificate of the client. `used` is told of a good access token.
pub(crate) fn verify(
    headers: &Headers<'_>,
    verifier: &Verifier,
    now: UnixTime,
    used: impl FnOnce(&VerifiedToken),
) -> Result<VerifiedToken, Unknown> {
    // Where nobody is asked, what would have to be is unknown.
    let bearer = |verifier: &Verifier, token: &str, now| match verifier.verify(token, now) {
        Err(VerifyError::Unasked) => Err(VerifyError::Malformed),
        known => known,
    };
    verify_by(headers, verifier, now, bearer, used)
}

fn verify_by(
    headers: &Headers<'_>,
    verifier: &Verifier,
    now: UnixTime,
    bearer: fn(&Verifier, &str, UnixTime) -> Result<VerifiedToken, VerifyError>,
    used: impl FnOnce(&VerifiedToken),
) -> Result<VerifiedToken, Unknown> {
    let value = match headers.authorization {
        Field::Absent => {
            // An unknown certificate is as good as none: programs show what they have to whoever asks.
            let certificate = headers.certificate.ok_or(Unknown::NoCredentials)?;
            let token = verifier.verify_certificate(&certificate, now).map_err(|error| match error {
                VerifyError::UnknownSecret => Unknown::NoCredentials,
                known => Unknown::Refused(known),
            })?;
            used(&token);
            return Ok(token);
        }
        Field::Repeated => return Err(Unknown::Malformed),
        Field::Once(_) => headers.authorization.text().ok_or(Unknown::Malformed)?,
    };
    let (scheme, credentials) = value.trim().split_once(' ').ok_or(Unknown::Malformed)?;
    let credentials = credentials.trim_start();
    if scheme.eq_ignore_ascii_case("bearer") {
        bearer(verifier, credentials, now).map_err(Unknown::Refused)
    } else if scheme.eq_ignore_ascii_case("basic") {
        let password = basic_password(credentials).ok_or(Unknown::Malformed)?;
        verify_secret(&password, verifier, now, used)
    } else {
        Err(Unknown::NoCredentials)
    }
}

/// Verifies the secret of an access token. `used` is told of a good one.
pub(crate) fn verify_secret(
    secret: &str,
    verifier: &Verifier,
    now: UnixTime,
    used: impl FnOnce(&VerifiedToken),
) -> Result<VerifiedToken, Unknown> {
    let token = verifier.verify_access_secret(secret, now).map_err(Unknown::Refused)?;
    used(&token);
    Ok(token)
}

fn basic_password(encoded: &str) -> Option<String> {
    if encoded.len() > MAX_BASIC_BYTES {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}
