//! Who sits in front of the browser, and whether a form was sent by them.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use flatpass_store::{Account, Session};
use flatpass_token::Secret;

use super::page::PageError;
use crate::app::{App, Rng};

/// A signed-in person.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    pub(crate) session: Session,
    pub(crate) account: Account,
}

/// A browser, signed in or not, with the token that its forms carry.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    pub(crate) signed_in: Option<SignedIn>,
    /// For the form cookie of a browser without a session.
    form_secret: Option<String>,
    user_agent: String,
    same_origin: bool,
}

const MONTH: i64 = 30 * 24 * 60 * 60;

impl FromRequestParts<Arc<App>> for Browser {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, PageError> {
        let headers = &parts.headers;
        let signed_in = match cookie(headers, &cookie_name(app, "session")) {
            Some(secret) => match app.store.session(secret, app.now()).await? {
                Some(session) => {
                    let account = app.store.account(&session.account_id).await?;
                    account.map(|account| SignedIn { session, account })
                }
                None => None,
            },
            None => None,
        };
        let user_agent =
            headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self {
            signed_in,
            form_secret: cookie(headers, &cookie_name(app, "form")).map(str::to_owned),
            user_agent: user_agent.to_owned(),
            same_origin: is_same_origin(headers, app),
        })
    }
}

/// Browsers send `Origin` with every POST; where one is there, it decides. `Sec-Fetch-Site` is the second witness.
fn is_same_origin(headers: &HeaderMap, app: &App) -> bool {
    if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
        && site != "none"
    {
        return false;
    }
    headers.get(header::ORIGIN).is_none_or(|origin| {
        origin.to_str().is_ok_and(|origin| origin == app.config.url.origin().ascii_serialization())
    })
}

/// On https the `__Host-` prefix keeps other hosts and paths from setting the cookie (RFC 6265bis, 4.1.3.2).
fn cookie_name(app: &App, name: &str) -> String {
    if app.config.is_https() { format!("__Host-flatpass_{name}") } else { format!("flatpass_{name}") }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

fn set_cookie(app: &App, name: &str, value: &str, seconds: i64) -> HeaderValue {
    let secure = if app.config.is_https() { "; Secure" } else { "" };
    let text = format!(
        "{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}",
        cookie_name(app, name)
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

impl Browser {
    /// The token for the forms of a page, and the cookie that must go with it when the browser has no session.
    pub(crate) fn form_token(&self, app: &App) -> (String, Option<HeaderValue>) {
        if let Some(signed_in) = &self.signed_in {
            return (signed_in.session.csrf.clone(), None);
        }
        match &self.form_secret {
            Some(secret) => (form_token(secret), None),
            None => {
                let secret = Secret::generate("", Rng::system().as_random());
                (form_token(secret.expose()), Some(set_cookie(app, "form", secret.expose(), MONTH)))
            }
        }
    }

    /// What tells this browser from others on the pages that need no sign-in; empty when nothing does.
    pub(crate) fn mark(&self) -> String {
        let mark = |secret: &String| flatpass_token::SecretHash::of(&format!("browser:{secret}")).to_text();
        self.form_secret.as_ref().map(mark).unwrap_or_default()
    }

    /// Whether the form with this token was sent from a page of ours in this browser.
    pub(crate) fn check_form(&self, token: &str) -> Result<(), PageError> {
        let expected = match (&self.signed_in, &self.form_secret) {
            (Some(signed_in), _) => signed_in.session.csrf.clone(),
            (None, Some(secret)) => form_token(secret),
            (None, None) => return Err(PageError::StaleForm),
        };
        let equal = verify_slices_are_equal(expected.as_bytes(), token.as_bytes()).is_ok();
        if equal && self.same_origin { Ok(()) } else { Err(PageError::StaleForm) }
    }

    /// Whether a page of this site sent the request, as far as the browser says.
    pub(crate) const fn is_same_origin(&self) -> bool {
        self.same_origin
    }

    /// The signed-in person, or the way to the sign-in page and back to `next`.
    pub(crate) fn require(&self, next: &str) -> Result<&SignedIn, PageError> {
        self.signed_in.as_ref().ok_or_else(|| PageError::SignInFirst(next.to_owned()))
    }

    /// Begins a new session, ending the one before it: nobody can plant one and wait for the sign-in.
    pub(crate) async fn sign_in(
        &self,
        app: &App,
        account: &Account,
        address: &str,
    ) -> Result<HeaderValue, PageError> {
        if let Some(before) = &self.signed_in {
            app.store.end_session(&before.session.id).await?;
        }
        let (secret, _) = app
            .store
            .create_session(&account.id, &self.user_agent, address, app.now(), Rng::system().as_random())
            .await?;
        Ok(set_cookie(app, "session", secret.expose(), MONTH))
    }
}

/// The cookie that ends a session in the browser.
pub(crate) fn forget_session(app: &App) -> HeaderValue {
    set_cookie(app, "session", "", 0)
}

fn form_token(secret: &str) -> String {
    flatpass_token::SecretHash::of(&format!("form:{secret}")).to_text()
}
