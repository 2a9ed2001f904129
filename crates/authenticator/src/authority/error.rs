//! What can go wrong between the authenticator and an authority, each as a sentence with the next step in it.

use thiserror::Error;

/// The longest text from an authority that is shown to a person, in characters.
const MAX_SHOWN_CHARS: usize = 300;

/// A failure of one call to the authority. `Display` is the sentence that a person sees.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthorityError {
    /// No connection: the name is unknown, nobody listens, or the network is down.
    #[error("Cannot reach {host} ({cause}). Check your network connection, then try again.")]
    Unreachable {
        /// The authority's host.
        host: String,
        /// The system's own words.
        cause: String,
    },
    /// No complete answer in time.
    #[error("{host} did not answer in time. Check your network connection, or try again later.")]
    Timeout {
        /// The authority's host.
        host: String,
    },
    /// The TLS certificate is not valid for this host, now, under the roots that are trusted.
    #[error(
        "The certificate of {host} is not valid ({cause}), so nothing was sent. Check this computer's date and time and the address; if the store uses a private certificate authority, name its PEM file in FLATPASS_CA_FILE."
    )]
    Certificate {
        /// The authority's host.
        host: String,
        /// What is wrong with the certificate.
        cause: String,
    },
    /// An answer that leads to another origin.
    #[error(
        "{host} sends this request on to another address, which is not followed. Set the remote's authenticator option `url` to the store's real address."
    )]
    RedirectedElsewhere {
        /// The authority's host.
        host: String,
    },
    /// More bytes than any right answer has.
    #[error("{host} sent an answer that is far too large. Tell the store's operator.")]
    TooLarge {
        /// The authority's host.
        host: String,
    },
    /// There is no Flatpass authority at this address.
    #[error(
        "There is no Flatpass store at {url} (HTTP status {status}). Check the remote's authenticator option `url`, for example with `flatpak remotes --columns=name,url`, and set it with `flatpak remote-modify --authenticator-option=url=ADDRESS REMOTE`."
    )]
    NotAnAuthority {
        /// The address that was asked.
        url: String,
        /// The HTTP status it answered.
        status: u16,
    },
    /// The metadata says that it belongs to another issuer (RFC 8414 section 3.3).
    #[error(
        "The store at {url} says that it is {issuer}, so nothing was sent. Set the remote's authenticator option `url` to the store's real address."
    )]
    WrongIssuer {
        /// The address that was asked.
        url: String,
        /// The issuer it names.
        issuer: String,
    },
    /// The metadata names an endpoint on another host.
    #[error(
        "The store at {host} wants its `{endpoint}` requests sent to another host, which is refused. Tell the store's operator."
    )]
    ForeignEndpoint {
        /// The authority's host.
        host: String,
        /// The member of the metadata.
        endpoint: &'static str,
    },
    /// An HTTP 5xx.
    #[error("{host} has a problem of its own (HTTP status {status}). Try again in a few minutes.")]
    Fault {
        /// The authority's host.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// HTTP 429.
    #[error("{host} has had too many requests from here. Try again in a few minutes.")]
    TooManyRequests {
        /// The authority's host.
        host: String,
    },
    /// An answer that is not what the protocol says.
    #[error(
        "{host} sent an answer that is not understood ({what}). Update flatpass-authenticator, or tell the store's operator."
    )]
    Malformed {
        /// The authority's host.
        host: String,
        /// What is wrong with it.
        what: String,
    },
    /// The authority does not list this repo as its own: no token may be sent there.
    #[error(
        "{host} does not know the repository {repo}, so it gets no token. If you trust neither, remove the remote; else ask the store for its repository's address."
    )]
    UnknownRepo {
        /// The authority's host.
        host: String,
        /// The repo's URL.
        repo: String,
    },
    /// The access token is not accepted (any more): refresh it or sign in.
    #[error(
        "{host} does not accept this sign-in any more. Run `flatpass-authenticator login {url}`, then try again."
    )]
    InvalidAccessToken {
        /// The authority's host.
        host: String,
        /// The authority's address.
        url: String,
    },
    /// The authorization code or refresh token is not accepted (RFC 6749 section 5.2, `invalid_grant`).
    #[error(
        "{host} does not accept this sign-in any more. Run `flatpass-authenticator login {url}`, then try again."
    )]
    InvalidGrant {
        /// The authority's host.
        host: String,
        /// The authority's address.
        url: String,
    },
    /// The account may not see this repo's index, or there is no such repo: the authority does not tell which.
    #[error("{detail}")]
    NotAMember {
        /// The authority's sentence, fit to be shown.
        detail: String,
    },
    /// The secret of a device or of a robot is not accepted (RFC 6749 section 5.2, `invalid_client`).
    #[error("{host} does not accept this machine's secret (any more). Get a new one from the store.")]
    InvalidSecret {
        /// The authority's host.
        host: String,
    },
    /// The authority is older than what is asked of it.
    #[error("{host} cannot {what}. Ask the store's operator to update Flatpass.")]
    NotOffered {
        /// The authority's host.
        host: String,
        /// What it cannot do.
        what: &'static str,
    },
    /// Any other refusal, with the authority's own words.
    #[error("{host} refused the request (HTTP status {status}): {detail}")]
    Refused {
        /// The authority's host.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The `detail` of its problem document, or its OAuth error.
        detail: String,
    },
    /// This machine's own TLS set-up is broken.
    #[error(
        "This computer cannot make secure connections ({cause}). Install the package with its certificates (ca-certificates), or check FLATPASS_CA_FILE."
    )]
    Tls {
        /// What is wrong.
        cause: String,
    },
}

/// Text from outside as it may be shown on a terminal: one line, no control characters, not too long.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !is_reordering(*c))
        .take(MAX_SHOWN_CHARS + 1)
        .collect();
    if line.chars().count() > MAX_SHOWN_CHARS {
        line.pop();
        line.push('\u{2026}');
    }
    line.trim().to_owned()
}

/// Characters that change the order in which a terminal shows others.
fn is_reordering(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_an_authority_cannot_steer_the_terminal() {
        assert_eq!(shown("buy\n\u{1b}[2Jit\u{202e} now\u{7}"), "buy [2Jit now");
        let long = shown(&"x".repeat(5000));
        assert_eq!(long.chars().count(), MAX_SHOWN_CHARS + 1);
        assert!(long.ends_with('\u{2026}'));
    }
}
