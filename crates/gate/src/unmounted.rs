//! Where a repo could be and none is: just the answers that a private one has for strangers, so that nobody can tell them apart.

use std::sync::Arc;

use flatpass_token::{VerifiedToken, Verifier, VerifyError};

use crate::answer::Answer;
use crate::credentials::{self, Unknown};
use crate::disk::Disk;
use crate::gate::WouldWait;
use crate::moment::Moment;
use crate::mounts::Mounted;
use crate::refusal::{Refusal, Words, answer, connection_error};
use crate::request::{Method, Request};

/// Answers for the repos that do not exist.
#[derive(Clone, Debug)]
pub struct Unmounted {
    /// What the mounts of repos begin with, without a slash at its end: `/repo`.
    pub prefix: String,
    /// The public URL of that: `https://shop.example/repo`.
    pub public_url: String,
    /// Whether a repo could have that name.
    pub is_name: fn(&str) -> bool,
    /// As of the gates; see [`GateConfig`](crate::GateConfig).
    pub sign_in_url: String,
    /// As of the gates.
    pub problem_url: String,
    /// Knows the keys that the gates' verifiers know, and an audience that no repo has, so it finds no token good.
    pub verifier: Arc<Verifier>,
}

impl Unmounted {
    /// The name that a path below no mount has where a mounted repo would have its own, and the rest of the path.
    pub(crate) fn name<'a>(&self, path: &'a str) -> Option<(&'a str, &'a str)> {
        let (name, rest) = path.strip_prefix(&*self.prefix)?.strip_prefix('/')?.split_once('/')?;
        (self.is_name)(name).then_some((name, rest))
    }

    /// What a private repo of that name would say, and it takes as long to say it.
    fn answer_with(&self, request: &Request<'_>, now: Moment, disk: Disk) -> Result<Answer, WouldWait> {
        let Some((name, _)) = self.name(request.path) else {
            return Ok(connection_error(404, "There is no such file", "There is nothing here."));
        };
        let (headers, now) = (&request.headers, now.unix());
        let found = credentials::verify_asking(headers, &self.verifier, now, disk, |_| ());
        match found {
            Err(Unknown::Refused(VerifyError::Unasked)) => Err(WouldWait),
            found => Ok(self.answer_to(name, found, request.method)),
        }
    }

    /// What a private repo of that name would say to somebody whose credentials showed this.
    pub(crate) fn answer_to(
        &self,
        name: &str,
        found: Result<VerifiedToken, Unknown>,
        method: Method,
    ) -> Answer {
        let refusal = found.err().map_or(Refusal::NotFound, Refusal::Unknown);
        let words = Words {
            realm: format!("{}/{name}", self.public_url),
            sign_in_url: self.sign_in_url.clone(),
            problem_url: self.problem_url.clone(),
        };
        let answer = answer(&words, true, refusal);
        if method == Method::Head { answer.without_body() } else { answer }
    }
}

impl Mounted for Unmounted {
    fn answer_cached(&self, request: &Request<'_>, now: Moment) -> Result<Answer, WouldWait> {
        self.answer_with(request, now, Disk::Cached)
    }

    fn answer(&self, request: &Request<'_>, now: Moment) -> Answer {
        self.answer_with(request, now, Disk::Wait).unwrap_or_else(|WouldWait| {
            connection_error(503, "This cannot be answered now", "Try again later.")
        })
    }
}
