//! Why a registry does not hand out something, and the one mapping from that to an answer: the distribution-spec's error format, and
//! challenges that lead clients to the token server (Docker registry token specification).

use flatpass_oci::{ErrorCode, RepositoryName, error_body};

use super::path::{ImagePath, PathError};
use super::registry::RegistryConfig;
use crate::answer::{Answer, HeadWriter};
use crate::credentials::Unknown;
use crate::request::Method;

/// Why a request does not get what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing can be said without waiting for the disk: ask again where that is allowed.
    WouldWait,
    /// Another method than `GET` and `HEAD`.
    Method,
    /// None of a registry's paths.
    Path(PathError),
    /// No such repository, manifest or blob.
    Absent(Absent),
    /// There is such a manifest, of a kind that the client does not take.
    NotAcceptable,
    /// `n` of a list is no number.
    Number,
    /// It needs a token, and there is no good one.
    Unknown(Unknown),
    /// The token is good, but not for this, or not known to be for something that is not there.
    OutOfScope,
    /// The blob's content is another one than its name says.
    Damaged,
    /// Whether the blob's content is what its name says is being found out.
    Busy,
    /// The disk does not give the file.
    Unreadable,
}

/// What is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    Repository,
    Manifest,
    Blob,
}

/// Who asks for what, as challenges say it.
pub(super) struct Asked<'a> {
    pub(super) path: &'a Result<ImagePath, PathError>,
    pub(super) method: Method,
    /// Strangers learn nothing of the repo, so nobody may keep what is said of it.
    pub(super) private: bool,
}

/// The answer to a refused request.
pub(super) fn answer(config: &RegistryConfig, asked: &Asked<'_>, refusal: Refusal) -> Answer {
    let sign_in = &config.sign_in_url;
    let plain = |status, code, message: &str| (status, code, message.to_owned(), None);
    let invalid = |why: &str| {
        let message = format!("{why} Ask for a new token: install with flatpak, or sign in at {sign_in}.");
        (401, ErrorCode::Unauthorized, message, Some(Some("invalid_token")))
    };
    let (status, code, message, challenge) = match refusal {
        Refusal::Unknown(Unknown::NoCredentials) => {
            let message = format!(
                "This needs a token. Install it with flatpak, which asks for one, or sign in at {sign_in}."
            );
            (401, ErrorCode::Unauthorized, message, Some(None))
        }
        Refusal::Unknown(Unknown::Malformed) => invalid("The Authorization field cannot be read."),
        Refusal::Unknown(Unknown::Refused(error)) => invalid(&error.description()),
        // Not 403: clients that have a token for something else ask for another one at 401 alone.
        Refusal::OutOfScope => {
            let message = format!(
                "The token does not allow this. Get the app with this account, or sign in with another, at {sign_in}."
            );
            (401, ErrorCode::Denied, message, Some(Some("insufficient_scope")))
        }
        Refusal::Method => {
            plain(405, ErrorCode::Unsupported, "This registry can only be read: use GET or HEAD.")
        }
        Refusal::Path(error) => {
            let code = match error {
                PathError::Endpoint => ErrorCode::Unsupported,
                PathError::Name(_) => ErrorCode::NameInvalid,
                PathError::Reference(flatpass_oci::ReferenceError::Tag(_)) => ErrorCode::TagInvalid,
                PathError::Reference(flatpass_oci::ReferenceError::Digest(_))
                | PathError::Digest(_)
                | PathError::Referrers(_) => ErrorCode::DigestInvalid,
            };
            // There "invalid" has a status of its own in the spec (end-12a).
            let is_list = matches!(asked.path, Err(PathError::Referrers(_)));
            plain(if is_list { 400 } else { 404 }, code, &sentence(&error.to_string()))
        }
        Refusal::Absent(Absent::Repository) => {
            plain(404, ErrorCode::NameUnknown, "This registry has no such repository.")
        }
        Refusal::Absent(Absent::Manifest) => {
            plain(404, ErrorCode::ManifestUnknown, "This repository has no such manifest.")
        }
        Refusal::Absent(Absent::Blob) => {
            plain(404, ErrorCode::BlobUnknown, "This repository has no such blob.")
        }
        Refusal::NotAcceptable => plain(
            404,
            ErrorCode::ManifestUnknown,
            "The manifest is of a media type that the Accept field of the request does not name.",
        ),
        Refusal::Number => plain(400, ErrorCode::Unsupported, "The parameter n is a number of tags."),
        Refusal::Damaged => plain(
            500,
            ErrorCode::Unknown,
            "The blob is damaged: its content is another one than its digest says, so it is not served. Whoever runs the \
             registry should put it there anew.",
        ),
        Refusal::Busy => plain(503, ErrorCode::Unknown, "The blob is being checked. Try again in a moment."),
        // The first is answered elsewhere, once the disk was waited for.
        Refusal::WouldWait | Refusal::Unreadable => {
            plain(503, ErrorCode::Unknown, "The file cannot be read at the moment. Try again later.")
        }
    };
    let secret = asked.private || challenge.is_some();
    let challenge = challenge
        .map(|error| self::challenge(config, asked.path.as_ref().ok().map(|path| &path.repository), error));
    HeadWriter::new(status)
        .field("Cache-Control", if secret { "private, no-store" } else { "no-cache" })
        .field("Docker-Distribution-API-Version", "registry/2.0")
        .optional("Vary", secret.then_some("Authorization"))
        .optional("Allow", (refusal == Refusal::Method).then_some("GET, HEAD"))
        .optional("Retry-After", (refusal == Refusal::Busy).then_some("2"))
        .optional("WWW-Authenticate", challenge.as_deref())
        .answer(asked.method, "application/json", error_body(code, &message).to_string())
}

/// The challenge for a token that opens the repository.
pub(super) fn challenge(
    config: &RegistryConfig,
    repository: Option<&RepositoryName>,
    error: Option<&str>,
) -> String {
    let mut challenge = format!("Bearer realm=\"{}\",service=\"{}\"", config.token_url, config.service);
    if let Some(repository) = repository {
        challenge.push_str(&format!(",scope=\"repository:{repository}:pull\""));
    }
    if let Some(error) = error {
        challenge.push_str(&format!(",error=\"{error}\""));
    }
    challenge
}

/// An error's text as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}
