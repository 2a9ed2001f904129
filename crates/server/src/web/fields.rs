//! Reads `application/x-www-form-urlencoded` texts: forms and queries. Strictly, because a field that two readers understand
//! differently is a hole: a field twice, broken percent-encoding and bytes that are not UTF-8 are refused.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};

use crate::app::App;

/// The most fields that a form may have.
const MOST_FIELDS: usize = 64;

/// Why a form was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    /// A field stands there twice (RFC 6749 section 3.1 forbids it).
    #[error("the field \"{0}\" is there twice")]
    Duplicate(String),
    /// A value is not UTF-8.
    #[error("a field is not UTF-8 text")]
    NotText,
    /// A percent sign without two hexadecimal digits.
    #[error("a field has a broken percent-encoding")]
    Encoding,
    /// More than 64 fields.
    #[error("there are too many fields")]
    TooMany,
    /// The body says that it is something else than a form, or does not say what it is.
    #[error("the body must be a form (Content-Type: application/x-www-form-urlencoded)")]
    MediaType,
    /// The body is longer than any form.
    #[error("the form is too long")]
    TooLong,
    /// The body did not arrive whole.
    #[error("the form did not arrive whole")]
    Broken,
}

impl FormError {
    /// The status that says it.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Handlers take `Result<Fields, FormError>` and say in their own way what is wrong.
impl axum::response::IntoResponse for FormError {
    fn into_response(self) -> axum::response::Response {
        (self.status(), self.to_string()).into_response()
    }
}

/// The fields of a form or query, each once.
#[derive(Clone, Default)]
pub(crate) struct Fields(HashMap<String, String>);

impl Fields {
    /// Reads a form's body or a URL's query (without the question mark).
    ///
    /// # Errors
    /// See [`FormError`].
    pub(crate) fn parse(text: &[u8]) -> Result<Self, FormError> {
        let mut fields = HashMap::new();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decoded(halves.next().unwrap_or_default())?;
            let value = decoded(halves.next().unwrap_or_default())?;
            if fields.len() == MOST_FIELDS {
                return Err(FormError::TooMany);
            }
            if fields.insert(name.clone(), value).is_some() {
                return Err(FormError::Duplicate(
                    name.chars().filter(|c| !c.is_control()).take(40).collect(),
                ));
            }
        }
        Ok(Self(fields))
    }

    /// As [`Fields::parse`], with one field that may be there again and again: its values.
    ///
    /// # Errors
    /// See [`FormError`].
    pub(crate) fn parse_repeating(text: &[u8], repeating: &str) -> Result<(Self, Vec<String>), FormError> {
        let mut values = Vec::new();
        let mut others: Vec<&[u8]> = Vec::new();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let (name, value) =
                pair.split_at(pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len()));
            if decoded(name)? != repeating {
                others.push(pair);
            } else if values.len() == MOST_FIELDS {
                return Err(FormError::TooMany);
            } else {
                values.push(decoded(value.get(1..).unwrap_or_default())?);
            }
        }
        Ok((Self::parse(&others.join(&b'&'))?, values))
    }

    /// The field, if it is there and not empty (RFC 6749 section 3.1: an empty parameter counts as omitted).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The field, or the empty text.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }
}

/// The fields of a form that was sent.
impl FromRequest<Arc<App>> for Fields {
    type Rejection = FormError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, FormError> {
        let Body(body) = Body::from_request(request, app).await?;
        Self::parse(&body)
    }
}

/// The form that was sent, to be read.
pub(crate) struct Body(pub(crate) Bytes);

impl FromRequest<Arc<App>> for Body {
    type Rejection = FormError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, FormError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(FormError::MediaType);
        }
        let body = Bytes::from_request(request, app).await.map_err(|error| match error {
            BytesRejection::FailedToBufferBody(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                FormError::TooLong
            }
            _ => FormError::Broken,
        })?;
        Ok(Self(body))
    }
}

/// The fields of the URL's query.
#[derive(Clone, Debug)]
pub(crate) struct Query(pub(crate) Fields);

impl FromRequestParts<Arc<App>> for Query {
    type Rejection = FormError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, FormError> {
        Fields::parse(parts.uri.query().unwrap_or_default().as_bytes()).map(Self)
    }
}

/// Values may be passwords: only the names are shown.
impl std::fmt::Debug for Fields {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

fn decoded(text: &[u8]) -> Result<String, FormError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => match (rest.next().and_then(hex), rest.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(FormError::Encoding),
            },
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| FormError::NotText)
}

fn hex(digit: &u8) -> Option<u8> {
    char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let form = Fields::parse(b"email=ada%40example.org&name=Ada+L%2B&empty=&flag&&x=a=b").unwrap();
        assert_eq!(form.get("email"), Some("ada@example.org"));
        assert_eq!(form.text("name"), "Ada L+");
        assert_eq!(form.get("empty"), None);
        assert_eq!(form.get("flag"), None);
        assert_eq!(form.text("x"), "a=b");
        assert!(!format!("{form:?}").contains("ada@"), "values stay out of logs");
    }

    #[test]
    fn one_field_may_stand_there_again_and_no_other() {
        let repeating = |text: &str| Fields::parse_repeating(text.as_bytes(), "scope");
        let (form, scopes) = repeating("a=1&scope=x%20y&b=2&s%63ope=z&scope").unwrap();
        assert_eq!((form.get("a"), form.get("b"), form.get("scope")), (Some("1"), Some("2"), None));
        assert_eq!(scopes, ["x y", "z", ""]);
        assert_eq!(repeating("a=1&scope=x&a=1").unwrap_err(), FormError::Duplicate("a".into()));
        assert_eq!(repeating("scope=%f").unwrap_err(), FormError::Encoding);
        assert_eq!(repeating(&"scope=x&".repeat(65)).unwrap_err(), FormError::TooMany);
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let refused = |text: &[u8]| Fields::parse(text).map(|_| ()).unwrap_err();
        assert_eq!(refused(b"a=1&b=2&a=1"), FormError::Duplicate("a".into()));
        assert_eq!(refused(b"a=1&%61=2"), FormError::Duplicate("a".into()));
        assert_eq!(refused(b"a=%ff"), FormError::NotText);
        assert_eq!(refused(b"a=\xff"), FormError::NotText);
        assert_eq!(refused(b"a=%c3%28"), FormError::NotText);
        for broken in ["a=%", "a=%4", "a=%zz", "%=1", "a=%+4"] {
            assert_eq!(refused(broken.as_bytes()), FormError::Encoding, "{broken}");
        }
        let many = (0..65).map(|number| format!("f{number}=x")).collect::<Vec<_>>().join("&");
        assert_eq!(refused(many.as_bytes()), FormError::TooMany);
    }
}
