//! Why a gate does not hand out a file, and the one mapping from that to an answer (RFC 9457 bodies, RFC 6750 challenges).

use bytes::Bytes;
use flatpass_oci::index::QueryError;
use serde::Serialize;

use crate::answer::{Answer, Body, HeadWriter};
use crate::credentials::Unknown;
use crate::origin::NotBrought;

/// Why a request does not get a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing can be said without waiting for the disk: ask again where that is allowed.
    WouldWait,
    /// No such file, or not the path of one.
    NotFound,
    /// A static delta that is not what its name says. Clients go without it when it is not found.
    DamagedDelta,
    /// Another method than `GET` and `HEAD`.
    Method,
    /// A query that cannot be read.
    Query(QueryError),
    /// It needs a token, and there is no good one.
    Unknown(Unknown),
    /// The token is good, but not for this.
    OutOfScope(Scope),
    /// The token is good, but whose it is may see nothing in this private repo, perhaps not any more. It is answered with 401: at 403
    /// flatpak takes the list to be empty and says that all is up to date.
    NothingToSee,
    /// A commit that cannot be read, so nobody knows who may have it.
    DamagedCommit,
    /// The disk does not give the file.
    Unreadable,
    /// Nobody knows yet which commits contain the object.
    NotIndexed,
    /// The registry was not seen yet.
    Unseen,
    /// The subject had too many different indexes made lately.
    TooManyIndexes,
    /// Too many wait for indexes of their own.
    Crowded,
    /// This is a peer that does not have the file.
    NotBrought(NotBrought),
}

/// What the token would have to allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// `download` of a ref of the commit.
    Download,
    /// `list` of a ref.
    List,
}

/// What refusals of one gate have in common; the two that are sent most are made once. Of a private repo only the one that strangers
/// never see is: what they see takes as long to make as where there is no repo at all.
#[derive(Debug)]
pub(crate) struct Refusals {
    words: Words,
    /// Everything below the mount needs a token, and challenges offer Basic too.
    private: bool,
    no_credentials: Option<Answer>,
    not_found: Answer,
}

/// What a gate says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    /// The realm of challenges: the repo's public URL.
    pub(crate) realm: String,
    /// Where a person signs in.
    pub(crate) sign_in_url: String,
    /// What `type`s of problems begin with.
    pub(crate) problem_url: String,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

/// A refusal in words.
struct Saying {
    status: u16,
    slug: &'static str,
    title: &'static str,
    detail: String,
    /// `error` and `error_description` of the challenge; inside `None` for a challenge without them (RFC 6750, 3.1).
    challenge: Option<Option<(&'static str, String)>>,
}

impl Refusals {
    pub(crate) fn new(words: Words, private: bool) -> Self {
        let no_credentials =
            (!private).then(|| answer(&words, private, Refusal::Unknown(Unknown::NoCredentials)));
        let not_found = answer(&words, private, Refusal::NotFound);
        Self { words, private, no_credentials, not_found }
    }

    /// The answer to a refused request.
    pub(crate) fn answer(&self, refusal: Refusal) -> Answer {
        match (refusal, &self.no_credentials) {
            (Refusal::Unknown(Unknown::NoCredentials), Some(made)) => made.clone(),
            (Refusal::NotFound, _) => self.not_found.clone(),
            (other, _) => answer(&self.words, self.private, other),
        }
    }
}

/// The answer, made for the occasion.
pub(crate) fn answer(words: &Words, private: bool, refusal: Refusal) -> Answer {
    let saying = say(words, refusal);
    let problem = Problem {
        r#type: format!("{}{}", words.problem_url, saying.slug),
        title: saying.title,
        status: saying.status,
        detail: &saying.detail,
    };
    // A struct of texts and a number cannot fail to become JSON; if it did, the status alone would say enough.
    let body = Bytes::from(serde_json::to_vec(&problem).unwrap_or_default());
    let secret = private || saying.challenge.is_some() || matches!(refusal, Refusal::Unknown(_));
    let mut head = HeadWriter::new(saying.status)
        .field("Cache-Control", if secret { "private, no-store" } else { "no-cache" })
        .optional("Vary", secret.then_some("Authorization"))
        .optional("Allow", (refusal == Refusal::Method).then_some("GET, HEAD"))
        .optional("Retry-After", retry_after(refusal));
    if let Some(error) = &saying.challenge {
        let realm = quotable(&words.realm);
        let mut challenge = format!("Bearer realm=\"{realm}\"");
        if let Some((error, description)) = error {
            challenge
                .push_str(&format!(", error=\"{error}\", error_description=\"{}\"", quotable(description)));
        }
        head = head.field("WWW-Authenticate", &challenge);
        if private && saying.status == 401 {
            let basic = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
            head = head.field("WWW-Authenticate", &basic);
        }
    }
    let head = head
        .field("Content-Length", &body.len().to_string())
        .field("Content-Type", "application/problem+json")
        .finish();
    Answer::new(saying.status, head, Body::Bytes(body))
}

/// Seconds after which it is worth asking again.
fn retry_after(refusal: Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::NotIndexed
        | Refusal::Unseen
        | Refusal::Crowded
        | Refusal::NotBrought(NotBrought::Pending) => Some("1"),
        Refusal::TooManyIndexes => Some("3"),
        Refusal::Unknown(Unknown::Refused(error)) if error.is_passing() => Some("5"),
        _ => None,
    }
}

fn say(words: &Words, refusal: Refusal) -> Saying {
    let sign_in = &words.sign_in_url;
    let plain = |status, slug, title, detail: &str| Saying {
        status,
        slug,
        title,
        detail: detail.to_owned(),
        challenge: None,
    };
    let invalid = |description: &str| Saying {
        status: 401,
        slug: "invalid-token",
        title: "The token is not valid",
        detail: format!("{description} Ask for a new token: install with flatpak, or sign in at {sign_in}."),
        challenge: Some(Some(("invalid_token", description.to_owned()))),
    };
    match refusal {
        Refusal::Unknown(Unknown::NoCredentials) => Saying {
            status: 401,
            slug: "token-required",
            title: "A token is needed",
            detail: format!(
                "This needs a token. Install it with flatpak, which asks for one, or sign in at {sign_in}."
            ),
            challenge: Some(None),
        },
        Refusal::Unknown(Unknown::Malformed) => invalid("The Authorization field cannot be read."),
        Refusal::Unknown(Unknown::Refused(error)) if error.is_passing() => plain(
            503,
            "token-unchecked",
            "The token cannot be checked now",
            &format!("{error} Try again in a moment; if it goes on, tell whoever runs the repository."),
        ),
        Refusal::Unknown(Unknown::Refused(error)) => invalid(&error.description()),
        Refusal::OutOfScope(scope) => {
            let (lacks, next) = match scope {
                Scope::Download => ("The token does not allow this download.", "Get the app"),
                Scope::List => ("The token does not allow seeing what is in this repository.", "Get access"),
            };
            Saying {
                status: 403,
                slug: "insufficient-scope",
                title: "The token does not allow this",
                detail: format!("{lacks} {next} with this account, or sign in with another, at {sign_in}."),
                challenge: Some(Some(("insufficient_scope", lacks.to_owned()))),
            }
        }
        Refusal::NothingToSee => Saying {
            status: 401,
            slug: "nothing-to-see",
            title: "This account may not see the repository",
            detail: format!(
                "This account may see nothing in this repository, perhaps not any more. Ask whoever runs it to let you in, or sign in \
                 with another account at {sign_in}."
            ),
            challenge: Some(Some(("invalid_token", "The account may see nothing here.".to_owned()))),
        },
        Refusal::NotFound => {
            plain(404, "not-found", "There is no such file", "This repository has no such file.")
        }
        Refusal::NotBrought(why) => not_brought(why),
        Refusal::DamagedDelta => plain(
            404,
            "damaged-delta",
            "The static delta is damaged",
            "This static delta is not what its name says, so it is not served. Clients can do without it; whoever runs the \
             repository should make it anew.",
        ),
        Refusal::Method => plain(
            405,
            "method-not-allowed",
            "Only GET and HEAD are allowed",
            "Files of a repository can only be read.",
        ),
        Refusal::Query(error) => plain(
            400,
            "bad-query",
            "The query cannot be read",
            &format!("The query cannot be read: {error}."),
        ),
        Refusal::DamagedCommit => plain(
            500,
            "damaged-commit",
            "The commit is damaged",
            "This commit cannot be read, so nobody can say who may have it. Whoever runs the repository should check it with \
             `ostree fsck`.",
        ),
        Refusal::NotIndexed => plain(
            503,
            "not-indexed",
            "The repository is being read",
            "Which app this file belongs to is not known yet, because the repository is being read. Try again in a moment.",
        ),
        Refusal::Unseen => plain(
            503,
            "unseen",
            "The registry was not seen yet",
            "What this registry has is not known yet, because it was not seen so far. Try again in a moment; if it goes on, tell whoever \
             runs it that the registry cannot be reached.",
        ),
        Refusal::TooManyIndexes => plain(
            429,
            "too-many-indexes",
            "Too many different indexes",
            "This account asked for too many different parts of the repository in a short time. Try again in some seconds.",
        ),
        Refusal::Crowded => plain(
            503,
            "crowded",
            "Too many are asking",
            "Too many accounts wait for their part of the repository's index at this moment. Try again in a moment.",
        ),
        // The first is answered elsewhere, once the disk was waited for.
        Refusal::WouldWait | Refusal::Unreadable => plain(
            503,
            "unreadable",
            "The file cannot be read now",
            "The file cannot be read at the moment. Try again later.",
        ),
    }
}

/// Why a peer does not have a file. Clients that know other servers go on to those after 404.
fn not_brought(why: NotBrought) -> Saying {
    let (status, slug, title, detail) = match why {
        NotBrought::Absent | NotBrought::TokenNeeded => {
            (404, "not-found", "There is no such file", "This repository has no such file.")
        }
        NotBrought::Unreachable => (
            404,
            "not-at-this-peer",
            "This peer does not have the file",
            "This peer does not have the file, and cannot reach the store to fetch it. Install it from the store itself, or try again when \
             the peer is online.",
        ),
        NotBrought::NotExported => (
            404,
            "not-exported",
            "This peer may not have the app",
            "The store does not let this peer carry the app on. Install it from the store itself, or ask whoever runs the store to give \
             the peer's robot the right to export it.",
        ),
        NotBrought::Damaged => (
            502,
            "damaged-origin",
            "The store sent something else",
            "What the store sent for this file is not what its name says, so it is not passed on. Whoever runs the store should check the \
             repository with `ostree fsck`.",
        ),
        NotBrought::Full => (
            404,
            "peer-full",
            "This peer's disk is full",
            "This peer does not have the file and has no room for it. Install it from the store itself; whoever runs the peer should make \
             room or give it a smaller --max-size.",
        ),
        NotBrought::Pending => (
            503,
            "peer-fetches",
            "This peer is fetching the file",
            "This peer is fetching the file from the store. Try again in a moment.",
        ),
    };
    Saying { status, slug, title, detail: detail.to_owned(), challenge: None }
}

/// What may stand in a quoted string of a challenge (RFC 6750, 3): printable ASCII without quotes and backslashes.
fn quotable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '\'' }).collect()
}

/// Answers of a connection that is about to end, before any gate is found: what was sent cannot be read as a request.
pub(crate) fn connection_error(status: u16, title: &str, detail: &str) -> Answer {
    let problem = Problem { r#type: "about:blank".to_owned(), title, status, detail };
    let body = Bytes::from(serde_json::to_vec(&problem).unwrap_or_default());
    let head = HeadWriter::new(status)
        .field("Cache-Control", "no-store")
        .field("Content-Length", &body.len().to_string())
        .field("Content-Type", "application/problem+json")
        .finish();
    Answer::new(status, head, Body::Bytes(body))
}
