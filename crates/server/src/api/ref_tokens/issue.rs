//! From refs that are granted to tokens that say so.

use std::collections::{BTreeMap, HashSet};

use flatpass_store::{AccessInfo, NewRefToken, RepoTokens};
use flatpass_token::{Claims, Grant, RefKind, RefName, Secret, UnixTime, Verb};

use super::flat_manager;
use crate::app::{App, Rng};
use crate::problem::ApiError;
use crate::snapshot::{RepoView, Snapshot};

/// The grants of one token may take so many bytes of JSON: with the rest of the claims, in base64, that stays below
/// [`flatpass_token::MAX_TOKEN_BYTES`].
const GRANT_BYTES: usize = 4800;
/// What a grant takes beside its ids.
const GROUP_BYTES: usize = 160;
/// What a commit takes in a grant.
const COMMIT_BYTES: usize = 67;

/// A ref that a token is given for.
pub(crate) struct Granted<'a> {
    pub(crate) asked: &'a str,
    pub(crate) name: RefName,
    pub(crate) verbs: Vec<Verb>,
    pub(crate) commits: OfCommits,
    /// When the right that it relies on ends.
    pub(crate) good_until: Option<UnixTime>,
}

/// Of which of its commits.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OfCommits {
    pub(crate) made_until: Option<UnixTime>,
    pub(crate) only: Option<String>,
}

impl OfCommits {
    /// Whether a commit of today may be one that this is not for.
    pub(super) fn are_past(&self, now: UnixTime) -> bool {
        self.only.is_some() || self.made_until.is_some_and(|until| until <= now)
    }
}

/// Refs that go into one token.
pub(in crate::api) struct Part<'a> {
    pub(in crate::api) granted: Vec<Granted<'a>>,
    /// How long it is good for.
    pub(in crate::api) seconds: i64,
    /// It is for older commits only.
    pub(in crate::api) is_limited: bool,
}

impl<'a> Part<'a> {
    /// Those that were asked for: some may stand there besides.
    pub(in crate::api) fn asked(&self) -> impl Iterator<Item = &'a str> {
        self.granted.iter().map(|granted| granted.asked).filter(|asked| !asked.is_empty())
    }
}

/// Splits the refs so that each part fits into one token, and none of them ends before it must or is remembered longer than it
/// helps. None is good for longer than `longest` seconds.
pub(in crate::api) fn parts<'a>(app: &App, granted: Vec<Granted<'a>>, longest: i64) -> Vec<Part<'a>> {
    let now = app.now();
    let mut alike: BTreeMap<(i64, bool), Vec<Granted<'a>>> = BTreeMap::new();
    for one in granted {
        let left = one.good_until.map_or(i64::MAX, |until| now.seconds_until(until));
        // What ends at this moment is not granted any more.
        let seconds = left.clamp(1, longest);
        alike.entry((seconds, one.commits.are_past(now))).or_default().push(one);
    }
    let mut parts = Vec::new();
    for ((seconds, is_limited), all) in alike.into_iter().rev() {
        let mut size = Size::default();
        for one in all {
            let last = parts.last_mut().filter(|last: &&mut Part<'_>| {
                last.seconds == seconds && last.is_limited == is_limited && size.has_room_for(&one)
            });
            match last {
                Some(last) => last.granted.push(one),
                None => {
                    size = Size::default();
                    size.has_room_for(&one);
                    parts.push(Part { granted: vec![one], seconds, is_limited });
                }
            }
        }
    }
    parts
}

/// What the grants of a token take.
#[derive(Default)]
struct Size {
    bytes: usize,
    groups: HashSet<(String, String, RefKind, Vec<Verb>, OfCommits)>,
}

impl Size {
    /// Counts it in, and says whether it still fits.
    fn has_room_for(&mut self, one: &Granted<'_>) -> bool {
        let (branch, arch) = (one.name.branch(), one.name.arch());
        let (verbs, commits) = (one.verbs.clone(), one.commits.clone());
        self.bytes += one.name.id().len() + 3;
        if self.groups.insert((branch.to_owned(), arch.to_owned(), one.name.kind(), verbs, commits)) {
            self.bytes += GROUP_BYTES + branch.len() + arch.len();
            self.bytes += if one.commits.only.is_some() { COMMIT_BYTES } else { 0 };
        }
        self.bytes <= GRANT_BYTES
    }
}

/// A grant for each kind, branch and arch, so that no combination is covered that was not asked for.
pub(crate) fn grants(granted: &[Granted<'_>]) -> Vec<Grant> {
    type Group<'a> = (&'a str, &'a str, RefKind, &'a [Verb], &'a OfCommits);
    let mut groups: BTreeMap<Group<'_>, Vec<String>> = BTreeMap::new();
    for one in granted {
        let group = (one.name.branch(), one.name.arch(), one.name.kind(), one.verbs.as_slice(), &one.commits);
        let ids = groups.entry(group).or_default();
        if !ids.iter().any(|id| id == one.name.id()) {
            ids.push(one.name.id().to_owned());
        }
    }
    let grant = |((branch, arch, kind, verbs, commits), ids): (Group<'_>, Vec<String>)| Grant {
        branches: vec![branch.to_owned()],
        arches: vec![arch.to_owned()],
        kinds: Some(vec![kind]),
        commits: commits.only.clone().map(|commit| vec![commit]),
        made_until: commits.made_until,
        ..Grant::for_ids(verbs, ids)
    };
    groups.into_iter().map(grant).collect()
}

/// What a token is to say, and for how many seconds.
pub(in crate::api) struct Wording {
    pub(in crate::api) grants: Vec<Grant>,
    pub(in crate::api) seconds: i64,
}

/// Tokens of this repo that say that, in that order, of the kind that opens it.
///
/// # Errors
/// [`ApiError::Elsewhere`] where somebody else issues them.
pub(in crate::api) async fn issue(
    app: &App,
    snapshot: &Snapshot,
    view: &RepoView,
    access: &AccessInfo,
    wordings: Vec<Wording>,
) -> Result<Vec<String>, ApiError> {
    match &view.repo.tokens {
        RepoTokens::Jwt => {
            let sign = |one: Wording| sign(app, snapshot, view.url.clone(), access, one.grants, one.seconds);
            wordings.into_iter().map(sign).collect()
        }
        RepoTokens::Opaque => {
            let now = app.now();
            let new = wordings.into_iter().map(|one| NewRefToken {
                repo: view.repo.name.clone(),
                account_id: access.account_id.clone(),
                device_id: access.grant_id.clone(),
                client_id: access.client_id.clone(),
                grants: one.grants,
                expires_at: now.plus_seconds(one.seconds),
            });
            let new: Vec<_> = new.collect();
            let secrets = app.store.create_ref_tokens(&new, now, Rng::system().as_random()).await?;
            Ok(secrets.iter().map(|secret| secret.expose().to_owned()).collect())
        }
        RepoTokens::FlatManager => {
            let sign = |one: Wording| match one.grants.iter().any(flat_manager::knows) {
                true => flat_manager::sign(app, view, access, one.grants, one.seconds),
                false => sign(app, snapshot, view.url.clone(), access, one.grants, one.seconds),
            };
            wordings.into_iter().map(sign).collect()
        }
        RepoTokens::Issuer(_) => Err(ApiError::Elsewhere(app.config.issuer())),
    }
}

/// A signed token for this audience with these grants, for so many seconds.
pub(super) fn sign(
    app: &App,
    snapshot: &Snapshot,
    audience: String,
    access: &AccessInfo,
    authorization_details: Vec<Grant>,
    seconds: i64,
) -> Result<String, ApiError> {
    let now = app.now();
    let claims = Claims {
        iss: app.config.issuer(),
        aud: audience,
        sub: access.account_id.0.clone(),
        client_id: access.client_id.clone(),
        sid: Some(access.grant_id.0.clone()),
        iat: now,
        exp: now.plus_seconds(seconds),
        nbf: None,
        jti: Secret::generate("", Rng::system().as_random()).expose().to_owned(),
        authorization_details,
    };
    snapshot.signing_key.sign(&claims).map_err(|error| {
        tracing::error!(%error, "a token could not be signed");
        ApiError::Internal
    })
}
