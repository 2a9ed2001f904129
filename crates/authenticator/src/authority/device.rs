//! The device grant (RFC 8628): a person signs in on another device, with a short code.

use reqwest::StatusCode;
use serde::Deserialize;
use url::Url;

use super::address::{AuthorityUrl, is_loopback};
use super::error::AuthorityError;
use super::http::Http;
use super::metadata::Metadata;
use super::oauth::{CLIENT_ID, TokenPair, error_code, read_tokens};
use crate::secret::{MAX_TOKEN_BYTES, SecretText};

/// The grant type of RFC 8628 section 3.4.
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// The longest code that a person is asked to type.
const MAX_USER_CODE_CHARS: usize = 20;
/// The longest address that a person is asked to type, in bytes.
const MAX_SHOWN_URL_BYTES: usize = 300;
/// The interval if the authority names none, in seconds (RFC 8628 section 3.2).
const DEFAULT_INTERVAL: i64 = 5;
/// The intervals that are followed, in seconds: none that floods the authority, none that seems to hang.
const INTERVALS: (i64, i64) = (1, 60);
/// The longest life of a code that is believed, in seconds.
const MAX_LIFE: i64 = 3600;

/// A device grant that has begun.
#[derive(Debug, Clone)]
pub struct DeviceAuthorization {
    /// For asking whether the person has answered.
    pub device_code: SecretText,
    /// What the person types: letters, digits and dashes.
    pub user_code: String,
    /// Where the person goes; of the authority's own origin.
    pub verification_uri: Url,
    /// The same with the code in it, for a QR code.
    pub verification_uri_complete: Option<Url>,
    /// How long the codes are good for, in seconds.
    pub expires_in: i64,
    /// How many seconds there must be between two questions.
    pub interval: i64,
}

/// What the authority says when asked whether the person has answered (RFC 8628 section 3.5).
#[derive(Debug)]
pub enum Poll {
    /// The person said yes.
    Done(TokenPair),
    /// Not yet.
    Pending,
    /// Not yet, and not so often: five seconds more between two questions.
    SlowDown,
    /// The person said no.
    Denied,
    /// The code's time is over.
    Expired,
}

#[derive(Deserialize)]
struct Document {
    device_code: SecretText,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: i64,
    interval: Option<i64>,
}

/// Begins a device grant. `device_name` is what the account's page will call this device.
///
/// # Errors
/// [`AuthorityError::NotOffered`], [`AuthorityError::Malformed`] if the answer has something in it that must not be
/// shown to a person (an address that is not the authority's own, a code that cannot be typed), transport errors.
pub async fn authorize(
    http: &Http,
    url: &AuthorityUrl,
    metadata: &Metadata,
    device_name: &str,
) -> Result<DeviceAuthorization, AuthorityError> {
    let endpoint = metadata.device_authorization_endpoint.clone().ok_or_else(|| {
        AuthorityError::NotOffered { host: url.host(), what: "sign in a device that has no browser" }
    })?;
    let form = [("client_id", CLIENT_ID), ("device_name", device_name)];
    let answer = http.send(http.client().post(endpoint).form(&form)).await?;
    if answer.status != StatusCode::OK {
        return Err(http.refusal(&answer));
    }
    read(url, &answer.body)
}

fn read(url: &AuthorityUrl, body: &[u8]) -> Result<DeviceAuthorization, AuthorityError> {
    let malformed = |what: &str| AuthorityError::Malformed { host: url.host(), what: what.to_owned() };
    // serde's message is not shown: it could quote the code.
    let document: Document =
        serde_json::from_slice(body).map_err(|_| malformed("its device code answer is not right"))?;
    let code = document.device_code.expose();
    if code.is_empty() || code.len() > MAX_TOKEN_BYTES || !code.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed("its device code has characters that no code has"));
    }
    let user_code = document.user_code;
    let typeable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if user_code.is_empty() || user_code.len() > MAX_USER_CODE_CHARS || !user_code.bytes().all(typeable) {
        return Err(malformed("its code is not one that a person can type"));
    }
    if document.expires_in <= 0 {
        return Err(malformed("its code has expired before it was sent"));
    }
    Ok(DeviceAuthorization {
        verification_uri: page(url, &document.verification_uri)?,
        verification_uri_complete: document
            .verification_uri_complete
            .map(|text| page(url, &text))
            .transpose()?,
        device_code: document.device_code,
        user_code,
        expires_in: document.expires_in.min(MAX_LIFE),
        interval: document.interval.unwrap_or(DEFAULT_INTERVAL).clamp(INTERVALS.0, INTERVALS.1),
    })
}

/// An address that a person may be sent to: a page of the authority, over https or on this machine.
fn page(url: &AuthorityUrl, text: &str) -> Result<Url, AuthorityError> {
    let malformed = || AuthorityError::Malformed {
        host: url.host(),
        what: "the address of its sign-in page is not right".to_owned(),
    };
    if text.len() > MAX_SHOWN_URL_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed());
    }
    let page = Url::parse(text).map_err(|_| malformed())?;
    let plain = page.username().is_empty() && page.password().is_none();
    let safe = page.scheme() == "https" || (page.scheme() == "http" && is_loopback(&page));
    if !plain || !safe || !url.is_same_origin(&page) {
        return Err(AuthorityError::ForeignEndpoint { host: url.host(), endpoint: "verification_uri" });
    }
    Ok(page)
}

/// Asks whether the person has answered.
///
/// # Errors
/// [`AuthorityError::InvalidGrant`] if the authority does not know the code, and all transport errors.
pub async fn poll(
    http: &Http,
    url: &AuthorityUrl,
    metadata: &Metadata,
    code: &SecretText,
) -> Result<Poll, AuthorityError> {
    let form = [("grant_type", GRANT_TYPE), ("client_id", CLIENT_ID), ("device_code", code.expose())];
    let answer = http.send(http.client().post(metadata.token_endpoint.clone()).form(&form)).await?;
    if answer.status == StatusCode::OK {
        return read_tokens(url, &answer.body).map(Poll::Done);
    }
    match error_code(&answer.body).as_deref() {
        Some("authorization_pending") => Ok(Poll::Pending),
        Some("slow_down") => Ok(Poll::SlowDown),
        Some("access_denied") => Ok(Poll::Denied),
        Some("expired_token") => Ok(Poll::Expired),
        Some("invalid_grant") => Err(AuthorityError::InvalidGrant { host: url.host(), url: url.to_string() }),
        _ => Err(http.refusal(&answer)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(change: impl FnOnce(&mut Value)) -> Result<DeviceAuthorization, AuthorityError> {
        let mut document = json!({
            "device_code": "dc", "user_code": "BCDF-GHJK", "verification_uri": "https://shop.example/device",
            "verification_uri_complete": "https://shop.example/device?user_code=BCDF-GHJK",
            "expires_in": 600, "interval": 5,
        });
        change(&mut document);
        let url = AuthorityUrl::parse("https://shop.example/").expect("valid");
        read(&url, document.to_string().as_bytes())
    }

    /// Threats 5 and 15.
    #[test]
    fn what_a_hostile_authority_wants_shown_to_a_person_is_refused() {
        assert_eq!(answer(|_| {}).expect("valid").user_code, "BCDF-GHJK");
        for (name, bad) in [
            ("user_code", json!("B".repeat(2000))),
            ("user_code", json!("")),
            ("user_code", json!("BC\u{1b}[2J")),
            ("user_code", json!("BC\nDF")),
            ("user_code", json!("\u{202e}BCDF")),
            ("device_code", json!("")),
            ("device_code", json!("a b\r\n")),
            ("device_code", json!("a".repeat(MAX_TOKEN_BYTES + 1))),
            ("verification_uri", json!("http://shop.example/device")),
            ("verification_uri", json!("https://evil.example/device")),
            ("verification_uri", json!("https://shop.example@evil.example/device")),
            ("verification_uri", json!("https://user:pw@shop.example/device")),
            ("verification_uri", json!("https://shop.example/\u{1b}[2J")),
            ("verification_uri", json!("https://shop.example/\nhttps://evil.example/")),
            ("verification_uri", json!(format!("https://shop.example/{}", "x".repeat(400)))),
            ("verification_uri", json!("javascript:alert(1)")),
            ("verification_uri_complete", json!("https://evil.example/device?user_code=BCDF-GHJK")),
            ("expires_in", json!(0)),
            ("expires_in", json!("soon")),
        ] {
            assert!(answer(|document| document[name] = bad.clone()).is_err(), "{name} {bad}");
        }
    }

    #[test]
    fn an_authority_can_neither_be_flooded_nor_make_the_wait_endless() {
        for (given, followed) in [(json!(-1), 1), (json!(0), 1), (json!(1_000_000), 60), (Value::Null, 5)] {
            assert_eq!(answer(|document| document["interval"] = given).expect("valid").interval, followed);
        }
        assert_eq!(
            answer(|document| document["expires_in"] = json!(i64::MAX)).expect("valid").expires_in,
            3600
        );
    }
}
