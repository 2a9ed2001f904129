//! The body of a registry's refusal (OCI distribution-spec 1.1, "Error Codes").

use serde_json::{Value, json};

/// What went wrong, in the registry's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The blob is not known in this repository.
    BlobUnknown,
    /// Not a digest, or one of an algorithm that is not served.
    DigestInvalid,
    /// The manifest is not known in this repository.
    ManifestUnknown,
    /// The manifest cannot be read.
    ManifestInvalid,
    /// Not the name of a repository.
    NameInvalid,
    /// The repository is not known.
    NameUnknown,
    /// Not a tag.
    TagInvalid,
    /// Nobody said who they are, or not well.
    Unauthorized,
    /// Who they are may not do that.
    Denied,
    /// This registry cannot do that at all.
    Unsupported,
    /// Too many calls.
    TooManyRequests,
    /// Something is wrong on this side.
    Unknown,
}

impl ErrorCode {
    /// As it stands in the body.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::TagInvalid => "TAG_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The JSON body: one error with a sentence for a person.
#[must_use]
pub fn error_body(code: ErrorCode, message: &str) -> Value {
    json!({ "errors": [{ "code": code.as_str(), "message": message }] })
}
