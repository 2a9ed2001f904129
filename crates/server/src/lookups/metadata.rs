//! What an issuer says of itself (RFC 8414, OpenID Connect Discovery 1.0).

use serde::Deserialize;
use url::Url;

use super::desk::Trouble;
use super::http::{Http, is_here, is_safe};

const MAX_BYTES: usize = 128 * 1024;

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: Option<String>,
}

/// Where the keys of the issuer are, as its metadata says. That must call itself what it was asked for (RFC 8414 section 3.3).
pub(super) async fn keys_of(http: &Http, issuer: &str) -> Result<Url, Trouble> {
    let mut last = Trouble::Outage("it has no address that metadata could be at".to_owned());
    for url in addresses(issuer) {
        match http.get(&url, MAX_BYTES).await {
            Ok(json) => return read(&json, &url, issuer),
            Err(trouble) => last = trouble,
        }
    }
    Err(last)
}

/// Where it may be: as OpenID Connect has it, below the issuer; and as RFC 8414 has it, before the issuer's path.
fn addresses(issuer: &str) -> Vec<Url> {
    let below = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let before = Url::parse(issuer).map(|mut url| {
        let path = format!("/.well-known/oauth-authorization-server{}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    });
    [Url::parse(&below), before].into_iter().flatten().collect()
}

fn read(json: &[u8], from: &Url, issuer: &str) -> Result<Url, Trouble> {
    let told = |what: String| Trouble::Outage(format!("{from}: {what}"));
    let document: Document =
        serde_json::from_slice(json).map_err(|_| told("this is not the metadata of an issuer".to_owned()))?;
    if document.issuer != issuer {
        let shown = flatpass_store::shortened(&document.issuer, 200);
        return Err(told(format!("it calls itself {shown}, not {issuer}")));
    }
    let keys = document.jwks_uri.ok_or_else(|| told("it names no keys (jwks_uri)".to_owned()))?;
    // An issuer elsewhere must not lead this server to what only this machine reaches.
    Url::parse(&keys)
        .ok()
        .filter(|url| is_safe(url) && (is_here(from) || !is_here(url)))
        .ok_or_else(|| told("the address of its keys is not one that can be asked".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_must_be_of_the_very_issuer_and_lead_to_keys_that_may_be_asked_for() {
        let at: Url = "https://idp.example/realms/x/.well-known/openid-configuration".parse().unwrap();
        let issuer = "https://idp.example/realms/x";
        let says = |issuer_said: &str, keys: &str| {
            read(format!(r#"{{"issuer":"{issuer_said}","jwks_uri":"{keys}"}}"#).as_bytes(), &at, issuer)
        };
        assert_eq!(says(issuer, "https://keys.example/k").unwrap().as_str(), "https://keys.example/k");
        assert!(says("https://idp.example/realms/y", "https://keys.example/k").is_err());
        assert!(says("https://idp.example/realms/x/", "https://keys.example/k").is_err());
        for keys in
            ["http://keys.example/k", "https://127.0.0.1/k", "http://localhost:9/k", "file:///etc/x", "k"]
        {
            assert!(says(issuer, keys).is_err(), "{keys}");
        }
        let asked = addresses(issuer).iter().map(Url::to_string).collect::<Vec<_>>();
        assert_eq!(
            asked,
            [
                "https://idp.example/realms/x/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server/realms/x"
            ]
        );
    }
}
