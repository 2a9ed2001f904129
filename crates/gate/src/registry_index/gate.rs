//! One index behind its policy.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use flatpass_oci::Image;
use flatpass_oci::index::{Index, IndexQuery};
use flatpass_token::{Verb, VerifiedToken, Verifier};

use super::answers::{Answers, Question};
use super::path::IndexPath;
use crate::answer::Answer;
use crate::credentials;
use crate::disk::Disk;
use crate::gate::WouldWait;
use crate::moment::Moment;
use crate::mounts::Mounted;
use crate::prepared::Prepared;
use crate::refusal::{Refusal, Refusals, Words};
use crate::request::{Method, Request};
use crate::uses::Uses;

/// What an index guards and how it speaks of it.
#[derive(Clone, Debug)]
pub struct IndexGateConfig {
    /// The repo's name.
    pub name: String,
    /// Whether strangers learn nothing of it, and everybody else sees what they may list.
    pub private: bool,
    /// The repo's public URL without a slash at its end, the realm of its challenges.
    pub public_url: String,
    /// Where a person can sign in and buy; refusals name it.
    pub sign_in_url: String,
    /// What the `type` of problem documents (RFC 9457) begins with.
    pub problem_url: String,
}

/// Answers for the index of one repo. Shared by all connections; everything works on `&self`.
#[derive(Debug)]
pub struct IndexGate {
    name: String,
    private: bool,
    verifier: Arc<Verifier>,
    uses: Option<Arc<Uses>>,
    refusals: Refusals,
    state: ArcSwap<State>,
}

/// One state of the index.
#[derive(Debug)]
struct State {
    /// `None` before the registry was seen for the first time.
    index: Option<Arc<Index>>,
    answers: Answers,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Credentials<'a> {
    /// Whoever the request itself says.
    OfRequest,
    /// Whoever has this secret of an access token.
    Secret(&'a str),
}

impl IndexGate {
    /// Guards an index that is not there yet.
    pub fn new(config: IndexGateConfig, verifier: Arc<Verifier>) -> Self {
        let words = Words {
            realm: config.public_url,
            sign_in_url: config.sign_in_url,
            problem_url: config.problem_url,
        };
        Self {
            name: config.name,
            private: config.private,
            verifier,
            uses: None,
            refusals: Refusals::new(words, config.private),
            state: ArcSwap::from_pointee(State::new(None, config.private)),
        }
    }

    /// Notes there when and from where access tokens are used.
    #[must_use]
    pub fn with_uses(self, uses: Arc<Uses>) -> Self {
        Self { uses: Some(uses), ..self }
    }

    /// The repo's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What checks the tokens of this repo.
    pub const fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// From now on this is answered from. Requests under way finish with what they began with.
    pub fn set(&self, index: Arc<Index>) {
        self.state.store(Arc::new(State::new(Some(index), self.private)));
    }

    pub(super) fn answer_for(
        &self,
        credentials: Credentials<'_>,
        request: &Request<'_>,
        now: Moment,
        disk: Disk,
    ) -> Result<Answer, WouldWait> {
        let answer = match self.permit(credentials, request, now, disk) {
            Ok(answer) => answer,
            Err(Refusal::WouldWait) if disk == Disk::Cached => return Err(WouldWait),
            Err(refusal) => self.refusals.answer(refusal),
        };
        Ok(if request.method == Method::Head { answer.without_body() } else { answer })
    }

    /// Who has no good token learns nothing of a private index: the path is not even looked at before.
    fn permit(
        &self,
        credentials: Credentials<'_>,
        request: &Request<'_>,
        now: Moment,
        disk: Disk,
    ) -> Result<Answer, Refusal> {
        let visitor = match (self.private, credentials) {
            (false, Credentials::OfRequest) => None,
            (true, _) | (false, Credentials::Secret(_)) => Some(self.verify(credentials, request, now)?),
        };
        let visitor = visitor.filter(|_| self.private);
        if request.method == Method::Other {
            return Err(Refusal::Method);
        }
        let path = IndexPath::parse(request.path).ok_or(Refusal::NotFound)?;
        if visitor.as_ref().is_some_and(|token| !token.allows_any(Verb::List)) {
            return Err(Refusal::NothingToSee);
        }
        let state = self.state.load();
        let index = state.index.as_ref().ok_or(Refusal::Unseen)?;
        let may_list = |_: usize, image: &Image| {
            visitor.as_ref().is_none_or(|token| token.allows(Verb::List, image.name()))
        };
        match path {
            IndexPath::Index => {
                let text = request.query.unwrap_or_default();
                let query = IndexQuery::parse(text).map_err(Refusal::Query)?;
                let may_list = visitor.as_ref().and_then(|token| listable(index, token));
                let question = Question { query, may_list };
                let reply = match (state.answers.known(&question), disk) {
                    (Some(known), _) => known,
                    (None, Disk::Cached) => return Err(Refusal::WouldWait),
                    (None, Disk::Wait) => {
                        let make = |asked: &Question| {
                            let bits = asked.may_list.as_ref();
                            index.answer(&asked.query, |number, _| {
                                bits.is_none_or(|bits| has_bit(bits, number))
                            })
                        };
                        state.answers.get(question, make).ok_or(Refusal::Crowded)?
                    }
                };
                Ok(reply.encoded(request.headers.takes_gzip).answer(request))
            }
            IndexPath::Icon(digest) => {
                let icon = index.icon(&digest, may_list).ok_or(Refusal::NotFound)?;
                let whose = if self.private { "private" } else { "public" };
                let fields = [
                    ("Cache-Control", format!("{whose}, max-age=31536000, immutable")),
                    ("X-Content-Type-Options", "nosniff".to_owned()),
                ];
                let vary = self.private.then(|| ("Vary", "Authorization".to_owned()));
                let content = Bytes::from_owner(Arc::clone(icon));
                let icon = Prepared::new(content, "image/png", &digest.hex(), fields.into_iter().chain(vary));
                Ok(icon.answer(request))
            }
        }
    }

    fn verify(
        &self,
        credentials: Credentials<'_>,
        request: &Request<'_>,
        now: Moment,
    ) -> Result<VerifiedToken, Refusal> {
        let now = now.unix();
        let used = |token: &VerifiedToken| {
            if let Some(uses) = &self.uses {
                uses.note(token.id(), now, request);
            }
        };
        let verified = match credentials {
            Credentials::OfRequest => credentials::verify(&request.headers, &self.verifier, now, used),
            Credentials::Secret(secret) => credentials::verify_secret(secret, &self.verifier, now, used),
        };
        verified.map_err(Refusal::Unknown)
    }
}

impl State {
    fn new(index: Option<Arc<Index>>, private: bool) -> Self {
        let answers = if private {
            // Flatpak keeps it in any case. With `no-cache` it asks each time whether it changed, and not every half hour.
            Answers::new("private, no-cache, no-store", "Authorization, Accept-Encoding")
        } else {
            Answers::new("no-cache", "Accept-Encoding")
        };
        Self { index, answers }
    }
}

/// A bit for each image that the token may list; `None` when it may list everything.
fn listable(index: &Index, token: &VerifiedToken) -> Option<Box<[u64]>> {
    if token.allows_everything(Verb::List) {
        return None;
    }
    let images = index.catalogue().images();
    let bits = images.chunks(64).map(|images| {
        let may = images.iter().enumerate().filter(|(_, image)| token.allows(Verb::List, image.name()));
        may.fold(0_u64, |bits, (number, _)| bits | 1 << number)
    });
    Some(bits.collect())
}

fn has_bit(bits: &[u64], number: usize) -> bool {
    bits.get(number / 64).is_some_and(|bits| bits >> (number % 64) & 1 == 1)
}

impl Mounted for IndexGate {
    fn answer_cached(&self, request: &Request<'_>, now: Moment) -> Result<Answer, WouldWait> {
        self.answer_for(Credentials::OfRequest, request, now, Disk::Cached)
    }

    fn answer(&self, request: &Request<'_>, now: Moment) -> Answer {
        let answered = self.answer_for(Credentials::OfRequest, request, now, Disk::Wait);
        answered.unwrap_or_else(|WouldWait| self.refusals.answer(Refusal::Unreadable))
    }
}
