//! HTML answers: templates, security headers, and errors that a person reads.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flatpass_store::StoreError;

use super::query_value;
use crate::pages::style;

/// What each page's frame shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    pub(crate) store: String,
    pub(crate) email: Option<String>,
    pub(crate) csrf: String,
    pub(crate) style: &'static str,
}

impl Frame {
    pub(crate) fn new(app: &crate::app::App, browser: &super::browser::Browser, csrf: String) -> Self {
        Self {
            store: app.config.name.clone(),
            email: browser.signed_in.as_ref().map(|signed_in| signed_in.account.email.clone()),
            csrf,
            style: style::path(),
        }
    }
}

/// Renders a page. `form_target` is one more origin that the page's forms may lead to by redirects: browsers apply
/// `form-action` to those too.
pub(crate) fn render(
    status: StatusCode,
    template: &impl Template,
    cookie: Option<HeaderValue>,
    form_target: Option<&str>,
) -> Response {
    let Ok(html) = template.render() else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "The page could not be made. Try again.").into_response();
    };
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = format!(
        "default-src 'none'; style-src 'self'; form-action 'self'{}{}; frame-ancestors 'none'; base-uri 'none'",
        if form_target.is_some() { " " } else { "" },
        form_target.unwrap_or_default(),
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    secure(headers);
    if let Some(cookie) = cookie {
        headers.append(header::SET_COOKIE, cookie);
    }
    response
}

/// `same-origin`, and not `no-referrer`: with that browsers send `Origin: null` with our own forms.
pub(crate) fn secure(headers: &mut header::HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
}

/// 303 See Other, so that reloading repeats nothing.
pub(crate) fn see_other(target: &str, cookie: Option<HeaderValue>) -> Response {
    let Ok(location) = HeaderValue::from_str(target) else {
        return PageError::NotFound.into_response();
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    secure(headers);
    if let Some(cookie) = cookie {
        headers.append(header::SET_COOKIE, cookie);
    }
    response
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// Nobody is signed in; where to go afterwards.
    #[error("Sign in first.")]
    SignInFirst(String),
    /// The form was not sent from our page in this browser, or long ago.
    #[error("This form is no longer valid. Go back, reload the page and send it again.")]
    StaleForm,
    /// There is no such page, or it is somebody else's.
    #[error("There is no such page. Check the address, or begin at the start page.")]
    NotFound,
    /// The link that led here is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// What was sent is no form, or one that could be read in two ways.
    #[error("What your browser sent cannot be read: {0}. Go back, reload the page and send it again.")]
    Form(#[from] super::fields::FormError),
    /// The page is there, but not for this method.
    #[error("This page cannot be used that way. Begin at the start page.")]
    Method,
    /// The person may not do this, though the page is theirs.
    #[error("{0}")]
    Refused(String),
    /// Too many tries.
    #[error("Too many tries. Wait {0} seconds and try again.")]
    TooMany(u64),
    /// A failure of ours; the cause goes to the log.
    #[error("Something went wrong here. Try again; nothing was charged twice.")]
    Internal,
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Busy) {
            return Self::TooMany(5);
        }
        if let StoreError::TooManyAccessTokens(_) = error {
            return Self::BadRequest(format!("Nothing was made: {error}. Your account page lists them."));
        }
        tracing::error!(%error, "the store failed");
        Self::Internal
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    title: &'static str,
    message: String,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, title) = match &self {
            Self::SignInFirst(next) => {
                return see_other(&format!("/sign-in?next={}", query_value(next)), None);
            }
            Self::StaleForm => (StatusCode::FORBIDDEN, "Send the form again"),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not found"),
            Self::Form(error) => (error.status(), "Send the form again"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "Not here"),
            Self::Refused(_) => (StatusCode::FORBIDDEN, "Not allowed"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "This link does not work"),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "Too many tries"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong"),
        };
        let frame = Frame { style: style::path(), ..Frame::default() };
        let mut response = render(status, &ErrorPage { frame, title, message: self.to_string() }, None, None);
        if let Self::TooMany(seconds) = self {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
