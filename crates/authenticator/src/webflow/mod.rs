//! One web flow: the person's browser goes to the authority's pages and comes back to a loopback listener with an
//! authorization code (RFC 6749 section 4.1, RFC 8252 section 7.3, PKCE of RFC 7636, `iss` of RFC 9207).

pub mod listener;
pub mod page;
pub mod pkce;

use std::io;

use rand::CryptoRng;
use serde_json::json;
use thiserror::Error;
use url::Url;

use self::listener::{Callback, LoopbackListener};
use self::pkce::{Pkce, random_text};
use crate::authority::address::RepoUrl;
use crate::authority::error::shown;
use crate::authority::metadata::Metadata;
use crate::authority::oauth::{CLIENT_ID, CodeProof};
use crate::secret::SecretText;

/// The longest authorization code that is taken, in bytes.
const MAX_CODE_BYTES: usize = 4096;

/// Why a web flow could not begin or did not give a code.
#[derive(Debug, Error)]
pub enum WebFlowError {
    /// No loopback socket.
    #[error(
        "Cannot listen on 127.0.0.1 for the browser's answer: {0}. Check this computer's network set-up, then try again."
    )]
    Listen(#[from] io::Error),
    /// The person said no (`access_denied`).
    #[error("The sign-in was cancelled.")]
    Denied,
    /// The authority answered with another error (RFC 6749 section 4.1.2.1).
    #[error("The store ended the sign-in: {0}. Try again.")]
    Authority(String),
    /// The answer came from another issuer (RFC 9207 section 2.4) or has no code.
    #[error(
        "The browser came back with an answer that is not the store's, so the sign-in was dropped. Try again."
    )]
    NotFromTheAuthority,
}

/// What the person is to do beside signing in: buy these refs of this repo (RFC 9396).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The repo.
    pub repo: RepoUrl,
    /// Refs of it, one for each app.
    pub refs: Vec<String>,
}

/// A web flow that has begun: its address can be opened, its listener listens.
#[derive(Debug)]
pub struct WebFlow {
    url: Url,
    issuer: String,
    answers_have_iss: bool,
    pkce: Pkce,
    redirect_uri: Url,
    listener: LoopbackListener,
}

/// What came back: a code to exchange, or why not; and the browser, which waits for its last page.
#[derive(Debug)]
pub struct Returned {
    /// The code with its proof, or why there is none.
    pub proof: Result<CodeProof, WebFlowError>,
    /// The waiting browser.
    pub browser: listener::WaitingBrowser,
}

impl WebFlow {
    /// Binds the listener and makes the address for the browser.
    ///
    /// # Errors
    /// [`WebFlowError::Listen`].
    pub async fn begin<R: CryptoRng + ?Sized>(
        metadata: &Metadata,
        device_name: &str,
        wanted: Option<&Wanted>,
        rng: &mut R,
    ) -> Result<Self, WebFlowError> {
        let pkce = Pkce::generate(rng);
        let state = SecretText::new(random_text(rng));
        let path = format!("/{}", random_text(rng));
        let listener = LoopbackListener::bind(path, state.clone()).await?;
        let redirect_uri = listener.redirect_uri().clone();
        let mut url = metadata.authorization_endpoint.clone();
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", CLIENT_ID)
                .append_pair("redirect_uri", redirect_uri.as_str())
                .append_pair("code_challenge", pkce.challenge())
                .append_pair("code_challenge_method", "S256")
                .append_pair("state", state.expose())
                .append_pair("device_name", device_name);
            if let Some(wanted) = wanted {
                let details =
                    json!([{"type": "flatpak_refs", "repo_url": wanted.repo.as_str(), "refs": wanted.refs}]);
                query.append_pair("authorization_details", &details.to_string());
            }
        }
        Ok(Self {
            url,
            issuer: metadata.issuer.clone(),
            answers_have_iss: metadata.answers_have_iss,
            pkce,
            redirect_uri,
            listener,
        })
    }

    /// The address for the browser.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Waits until the browser comes back. The listener answers nothing else but refusals before and after, and is
    /// closed when `self` is dropped.
    pub async fn returned(&mut self) -> Returned {
        let (callback, browser) = self.listener.callback().await;
        Returned { proof: self.judge(callback), browser }
    }

    /// Closes the listener and lets a last page reach the browser.
    pub async fn finish(self) {
        self.listener.finish().await;
    }

    fn judge(&self, callback: Callback) -> Result<CodeProof, WebFlowError> {
        match &callback.iss {
            Some(iss) if *iss != self.issuer => return Err(WebFlowError::NotFromTheAuthority),
            None if self.answers_have_iss => return Err(WebFlowError::NotFromTheAuthority),
            _ => {}
        }
        match (callback.error, callback.code) {
            (Some(error), _) if error == "access_denied" => Err(WebFlowError::Denied),
            (Some(error), _) => {
                let text = callback.error_description.unwrap_or(error);
                Err(WebFlowError::Authority(shown(&text)))
            }
            (None, Some(code)) if !code.is_empty() && code.len() <= MAX_CODE_BYTES => Ok(CodeProof {
                code: SecretText::new(code),
                redirect_uri: self.redirect_uri.clone(),
                verifier: self.pkce.verifier().clone(),
            }),
            _ => Err(WebFlowError::NotFromTheAuthority),
        }
    }
}
