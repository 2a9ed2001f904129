//! Tokens as flat-manager takes them. It knows ids only: neither branches nor versions. So where clients may fetch from flat-manager
//! itself, a token is for who may have all of an app; where only a gate of ours gives it out, the token's details say the rest.

use std::collections::{BTreeSet, HashSet};

use flatpass_store::{AccessInfo, RepoTokens, SecretFor};
use flatpass_token::{FlatManagerClaims, Grant, RefKind, RefName, SignError, Verb};

use super::denied::{inexact, too_new};
use super::issue::{Granted, OfCommits, Part, grants};
use super::{Sorted, is_for_everybody, owned};
use crate::app::App;
use crate::problem::ApiError;
use crate::snapshot::RepoView;
use crate::visitor::{Right, Visitor};

/// So many extensions are added at most; more of them are opened only when they are asked for.
const MOST_EXTENSIONS: usize = 64;
/// Ids and details of one token may take so many bytes of JSON: with the rest of the claims, in base64, that stays below
/// [`flatpass_token::MAX_TOKEN_BYTES`].
const MOST_BYTES: usize = 5400;

/// Adds the extensions that the repo has of the apps that the visitor bought: a token says all that goes with an app, whether or not it is
/// asked for now. They have no `asked`.
pub(in crate::api) fn add_extensions(
    app: &App,
    view: &RepoView,
    visitor: &Visitor,
    granted: &mut Vec<Granted<'_>>,
) {
    if view.repo.tokens != RepoTokens::FlatManager {
        return;
    }
    let mut seen: HashSet<RefName> = granted.iter().map(|one| one.name.clone()).collect();
    let apps = granted.iter().filter(|one| one.name.kind() == RefKind::App);
    let apps: HashSet<(String, String, String)> = apps.map(|one| build(&one.name, one.name.id())).collect();
    let mut found = Vec::new();
    for (name, _) in view.refs.iter().filter(|(name, _)| name.starts_with("runtime/")) {
        let Ok(name) = RefName::parse(name) else { continue };
        let owner = view.owner(&name);
        if owner == name.id() || !apps.contains(&build(&name, owner)) || !seen.insert(name.clone()) {
            continue;
        }
        if let Right::Has(has) = visitor.right(owner, name.branch()) {
            let commits = OfCommits { made_until: has.commits_until(), only: None };
            found.push(owned(app, has, name, "", commits));
        }
    }
    if found.len() <= MOST_EXTENSIONS {
        granted.extend(found.into_iter().filter(|one| is_exact(app, view, visitor, one)));
    }
}

fn build(name: &RefName, id: &str) -> (String, String, String) {
    (id.to_owned(), name.arch().to_owned(), name.branch().to_owned())
}

/// Splits parts that would not fit into a token of flat-manager's, which names each id twice.
pub(super) fn fitting<'a>(view: &RepoView, parts: Vec<Part<'a>>) -> Vec<Part<'a>> {
    if view.repo.tokens != RepoTokens::FlatManager {
        return parts;
    }
    let (mut fitting, mut left) = (Vec::new(), parts);
    while let Some(mut part) = left.pop() {
        let ids: BTreeSet<&str> = part.granted.iter().map(|one| one.name.id()).collect();
        let ids: usize = ids.iter().map(|id| id.len() + 3).sum();
        let details = serde_json::to_vec(&grants(&part.granted)).map_or(usize::MAX, |json| json.len());
        if part.granted.len() > 1 && details.saturating_add(ids) > MOST_BYTES {
            let rest = part.granted.split_off(part.granted.len() / 2);
            left.push(Part { granted: rest, ..part });
            left.push(part);
        } else {
            fitting.push(part);
        }
    }
    fitting
}

/// Whether flat-manager's tokens can say it: they have no word for lists.
pub(super) fn knows(grant: &Grant) -> bool {
    grant.actions.contains(&Verb::Download)
}

/// As [`signed`], for who can do nothing about a failure.
pub(super) fn sign(
    app: &App,
    view: &RepoView,
    access: &AccessInfo,
    details: Vec<Grant>,
    seconds: i64,
) -> Result<String, ApiError> {
    signed(app, view, access, details, seconds).map_err(|error| {
        if let Some(error) = error {
            tracing::error!(%error, "a token for flat-manager could not be signed");
        }
        ApiError::Internal
    })
}

/// Signs a token that says these grants, and to flat-manager the ids in them. `None` when there is no secret to sign with.
pub(in crate::api) fn signed(
    app: &App,
    view: &RepoView,
    access: &AccessInfo,
    details: Vec<Grant>,
    seconds: i64,
) -> Result<String, Option<SignError>> {
    let now = app.now();
    let known = view.flat_manager.as_ref();
    let Some((known, secret)) =
        known.and_then(|known| Some((known, known.signing(SecretFor::Download, now)?)))
    else {
        tracing::error!(
            repo = view.repo.name,
            "there is no secret to sign flat-manager's tokens with; set it with flatpass repo set"
        );
        return Err(None);
    };
    let apps: BTreeSet<&String> = details.iter().flat_map(|grant| &grant.ids).collect();
    let claims = FlatManagerClaims {
        sub: access.account_id.0.clone(),
        sid: Some(access.grant_id.0.clone()),
        iat: now,
        exp: now.plus_seconds(seconds),
        repo: known.name.clone(),
        apps: apps.into_iter().cloned().collect(),
        details,
    };
    Ok(claims.sign(secret)?)
}

/// Denies what flat-manager would open too far, if clients may fetch from it: the repo has a URL beside the one of our gate.
pub(super) fn keep_exact(app: &App, view: &RepoView, visitor: &Visitor, sorted: &mut Sorted<'_>) {
    for one in std::mem::take(&mut sorted.granted) {
        if is_exact(app, view, visitor, &one) {
            sorted.granted.push(one);
            continue;
        }
        let owner = view.owner(&one.name);
        match visitor.right(owner, one.name.branch()) {
            Right::Has(has) if one.commits.are_past(app.now()) => {
                let denied = too_new(app, view, visitor, owner, has.entitlement, one.asked);
                sorted.denied.push(denied);
            }
            _ => sorted.denied.push(inexact(app, view, visitor, owner, one.asked)),
        }
    }
}

/// Whether a token for it opens nothing that the visitor may not have. A gate of ours reads the token's details; flat-manager itself, if
/// clients may fetch from it, does not.
pub(in crate::api) fn is_exact(app: &App, view: &RepoView, visitor: &Visitor, one: &Granted<'_>) -> bool {
    if view.repo.tokens != RepoTokens::FlatManager || view.repo.urls.is_empty() {
        return true;
    }
    !one.commits.are_past(app.now()) && may_have_all(app, view, visitor, one.name.id())
}

/// Whether the visitor may have every ref with that id, in every version.
fn may_have_all(app: &App, view: &RepoView, visitor: &Visitor, id: &str) -> bool {
    let same = view.refs.iter().filter_map(|(name, listed)| Some((RefName::parse(name).ok()?, listed)));
    same.filter(|(name, _)| name.id() == id).all(|(name, listed)| {
        let owner = view.owner(&name);
        if is_for_everybody(view, &name, owner, listed.token_type) {
            return true;
        }
        match visitor.right(owner, name.branch()) {
            Right::Has(has) => has.commits_until().is_none_or(|until| until > app.now()),
            _ => false,
        }
    })
}
