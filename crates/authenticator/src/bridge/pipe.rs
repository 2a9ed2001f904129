//! One request: who may ask, with which token the repo is asked, and what the client hears.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, header};

use super::answer::{AnswerBody, nothing, pass_back, sentence, whole};
use super::book::{Book, BookError, Page};
use super::lies::Lies;
use super::neighbours::Neighbours;
use super::server::{Bridge, Limits};
use super::sieve::{Unwanted, Wanted, sieve};
use super::tokens::{NoToken, TokenSource, Tokens};
use super::upstream::{Upstream, UpstreamError};
use crate::authority::error::AuthorityError;
use crate::secret::SecretText;

/// What is at both ends of the bridge.
#[derive(Debug)]
pub(super) struct Pipe {
    book: Book,
    read: Mutex<Option<(Stamp, Arc<Page>)>>,
    host: String,
    tokens: Tokens,
    neighbours: Neighbours,
    upstream: Upstream,
    limits: Limits,
}

/// What changes when the book does: it is always replaced by a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Pipe {
    pub(super) fn new(
        bridge: Bridge,
        local: SocketAddr,
        source: impl TokenSource,
    ) -> Result<Self, AuthorityError> {
        let source: Arc<dyn TokenSource> = Arc::new(source);
        Ok(Self {
            neighbours: Neighbours::new(Arc::clone(&source), Lies::beside(&bridge.book))?,
            upstream: Upstream::new(&bridge.http, bridge.limits.upstream_head, local.port())?,
            book: bridge.book,
            read: Mutex::new(None),
            host: local.to_string(),
            tokens: Tokens::new(source),
            limits: bridge.limits,
        })
    }

    /// Answers a request of a client that is this user's own.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<AnswerBody> {
        let (head, body) = request.into_parts();
        let page = match self.page() {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "nothing can be served");
                return nothing(StatusCode::FORBIDDEN);
            }
        };
        let wanted = match sieve(&head, &self.host, &page) {
            Ok(wanted) if body.is_end_stream() => wanted,
            Ok(_) | Err(Unwanted::Malformed) => return nothing(StatusCode::BAD_REQUEST),
            Err(Unwanted::NotForYou) => return nothing(StatusCode::FORBIDDEN),
            Err(Unwanted::Method) => return nothing(StatusCode::METHOD_NOT_ALLOWED),
            Err(Unwanted::NotFound) => {
                return sentence(StatusCode::NOT_FOUND, "A repository has no such file.");
            }
        };
        if let Some(answer) = self.by_neighbours(&wanted, &head).await {
            return answer;
        }
        let answer = match &wanted.bearer {
            Some(bearer) => match self.fetch(&wanted, &head, Some(bearer)).await {
                Ok(from) => pass_back(from, self.limits.upstream_silence),
                Err(error) => broken(&wanted, &error),
            },
            None => self.answer_with_token(&wanted, &head).await,
        };
        if answer.status().is_server_error()
            && head.method == Method::GET
            && let Some(from) = self.neighbours.unchecked(&wanted, flatpak_ref(&head)).await
        {
            return pass_back(from, self.limits.upstream_silence);
        }
        answer
    }

    /// What peers say, for a remote that uses them.
    async fn by_neighbours(&self, wanted: &Wanted<'_>, head: &Parts) -> Option<Response<AnswerBody>> {
        if wanted.remote.peers.is_none()
            || head.method != Method::GET
            || head.headers.contains_key(header::RANGE)
        {
            return None;
        }
        let flatpak_ref = flatpak_ref(head);
        if let Some(object) = self.neighbours.object(wanted, flatpak_ref).await {
            return Some(whole(object));
        }
        if self.neighbours.spares_deltas(wanted, flatpak_ref).await {
            return Some(sentence(StatusCode::NOT_FOUND, "A peer has all files of this version."));
        }
        None
    }

    /// Asks the repo with a summary token, and once more with another one if the first is refused.
    async fn answer_with_token(&self, wanted: &Wanted<'_>, head: &Parts) -> Response<AnswerBody> {
        let mut usable = match self.tokens.get(wanted.remote).await {
            Ok(usable) => usable,
            Err(error) => return no_token(&error),
        };
        let mut is_last = false;
        loop {
            let from = match self.fetch(wanted, head, usable.token.as_ref()).await {
                Ok(from) => from,
                Err(error) => return broken(wanted, &error),
            };
            let refused = match from.status() {
                StatusCode::UNAUTHORIZED => true,
                StatusCode::FORBIDDEN => !wanted.path.may_be_absent(),
                _ => false,
            };
            if !refused {
                return pass_back(from, self.limits.upstream_silence);
            }
            // With 403 the repo says that the token is good and does not open this. Without one it would have said
            // 401, on which Flatpak asks for a ref token; and of an index Flatpak says on 403 that there is none.
            let needs_ref_token = from.status() == StatusCode::FORBIDDEN && wanted.path.is_asked_for_again();
            if is_last || needs_ref_token {
                return not_enough();
            }
            is_last = true;
            match self.tokens.exchange(wanted.remote, &usable).await {
                Ok(Some(other)) if other.token != usable.token => usable = other,
                Ok(_) => return not_enough(),
                Err(error) => return no_token(&error),
            }
        }
    }

    async fn fetch(
        &self,
        wanted: &Wanted<'_>,
        head: &Parts,
        bearer: Option<&SecretText>,
    ) -> Result<reqwest::Response, UpstreamError> {
        let repo = &wanted.remote.repo;
        self.upstream.fetch(repo, wanted.path, &head.method, &head.headers, bearer).await
    }

    /// The book as it is now. Looking whether it changed is one system call on a file in the cache, so it is not put
    /// on another thread.
    fn page(&self) -> Result<Arc<Page>, BookError> {
        let stamp = std::fs::metadata(self.book.path()).ok().map(|file| Stamp {
            inode: file.ino(),
            seconds: file.mtime(),
            nanoseconds: file.mtime_nsec(),
        });
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some((known, page)), Some(stamp)) = (read.as_ref(), stamp)
            && *known == stamp
        {
            return Ok(Arc::clone(page));
        }
        let page = Arc::new(self.book.read()?);
        self.tokens.keep_only(&page.remotes);
        *read = stamp.map(|stamp| (stamp, Arc::clone(&page)));
        Ok(page)
    }
}

/// The ref that Flatpak is pulling, by the header that it sends with each request of a pull.
fn flatpak_ref(head: &Parts) -> Option<&str> {
    let name = head.headers.get("flatpak-ref")?.to_str().ok()?;
    flatpass_token::RefName::parse(name).is_ok().then_some(name)
}

/// The repo wants another token than one for its index.
fn not_enough() -> Response<AnswerBody> {
    sentence(StatusCode::UNAUTHORIZED, "The store asks for a token for this app, or has ended your access.")
}

fn no_token(error: &NoToken) -> Response<AnswerBody> {
    let status = match error {
        NoToken::Refused(_) => StatusCode::UNAUTHORIZED,
        NoToken::Failed(_) | NoToken::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    sentence(status, &error.to_string())
}

fn broken(wanted: &Wanted<'_>, error: &UpstreamError) -> Response<AnswerBody> {
    tracing::warn!(repo = %wanted.remote.repo, %error, "the repository could not be asked");
    let status = match error {
        UpstreamError::Transport(AuthorityError::Timeout { .. }) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    sentence(status, &error.to_string())
}
