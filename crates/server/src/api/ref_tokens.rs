//! `POST /api/v1/ref-tokens`: tokens for many refs of one repo at once; for each denied ref, why and where to get it.
//!
//! One read of the account's entitlements, one signature for as many refs as fit into a header field, no write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use flatpass_ostree::Checksum;
use flatpass_store::{AccessInfo, Entitlement};
use flatpass_token::{Claims, Grant, RefName, Secret, UnixTime, Verb};
use serde::{Deserialize, Serialize};

use super::{bearer, require_access};
use crate::app::{App, Rng};
use crate::oauth::token::answer;
use crate::pages::offer::has_access_token;
use crate::problem::ApiError;
use crate::snapshot::{RepoView, Snapshot};

/// So many refs at once: more than any client has.
const MOST_REFS: usize = 1000;

/// The grants of one token may take so many bytes of JSON: with the rest of the claims, in base64, that stays below
/// [`flatpass_token::MAX_TOKEN_BYTES`].
const GRANT_BYTES: usize = 5000;
/// What a grant takes beside its ids.
const GROUP_BYTES: usize = 120;

/// The commits that one request may have looked up on the disk. Usually it is none: the summary says it all.
const MOST_COMMITS: usize = 64;

/// The token type that flatpak says after a 401 for a commit of which it knows nothing: "ask anyway".
const ASK_ANYWAY: i32 = i32::MAX;
/// The token type of refs that every account may have.
const SIGN_IN: i32 = 3;

#[derive(Deserialize)]
struct Request {
    repo_url: String,
    refs: Vec<Wanted>,
}

#[derive(Deserialize)]
struct Wanted {
    r#ref: String,
    #[serde(default)]
    commit: Option<String>,
    /// A hint, as is all that a client says.
    #[serde(default)]
    token_type: Option<i32>,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    repo: &'a str,
    tokens: Vec<Issued<'a>>,
    open: Vec<&'a str>,
    denied: Vec<Denied<'a>>,
}

#[derive(Debug, Serialize)]
struct Issued<'a> {
    token: String,
    expires_in: i64,
    refs: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
struct Denied<'a> {
    r#ref: &'a str,
    reason: Reason,
    app: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    SignInRequired,
    PurchaseRequired,
    NotFound,
}

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request: Request = serde_json::from_slice(&body).map_err(|error| {
        ApiError::BadRequest(format!("The body must be JSON with repo_url and refs: {error}."))
    })?;
    if request.refs.len() > MOST_REFS {
        return Err(ApiError::BadRequest(format!("Ask for at most {MOST_REFS} refs at once.")));
    }
    let access = match bearer(&headers)? {
        Some(token) => Some(require_access(&app, Some(token)).await?),
        None => None,
    };
    let snapshot = app.snapshot.load_full();
    let view = snapshot
        .repo_by_url(&request.repo_url)
        .ok_or_else(|| ApiError::UnknownRepo(shown(&request.repo_url)))?;
    let visitor = Visitor::of(&app, view, access.as_ref()).await?;
    let commits = look_up(view, &request.refs).await;
    let sorted = sort(&app, view, &visitor, &commits, &request.refs);
    let mut tokens = Vec::new();
    if let Some(access) = &access {
        for part in parts(&sorted.granted) {
            let token = sign(&app, &snapshot, view, access, grants(part))?;
            let refs = part.iter().map(|granted| granted.asked).collect();
            tokens.push(Issued { token, expires_in: app.config.tokens.ref_token_seconds, refs });
        }
    }
    let body = Answer { repo: &view.repo.name, tokens, open: sorted.open, denied: sorted.denied };
    let body = serde_json::to_value(body).map_err(|_| ApiError::Internal)?;
    Ok(answer(StatusCode::OK, &body))
}

/// What somebody sent, shortened for a message.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

/// Who asks, in one repo.
struct Visitor {
    signed_in: bool,
    /// May know what is in the repo.
    sees: bool,
    entitlements: Vec<Entitlement>,
}

impl Visitor {
    async fn of(app: &App, view: &RepoView, access: Option<&AccessInfo>) -> Result<Self, ApiError> {
        let Some(access) = access else {
            let sees = view.may_be_seen(&[]);
            return Ok(Self { signed_in: false, sees, entitlements: Vec::new() });
        };
        let (account, name) = (&access.account_id, &view.repo.name);
        let entitlements = app.store.entitlements(account, Some(name), app.now()).await?;
        let sees = view.may_be_seen(&entitlements) || has_access_token(app, account, name).await?;
        Ok(Self { signed_in: true, sees, entitlements })
    }
}

/// Token types of commits that the summary does not list, such as older ones (`flatpak update --commit=…`) and those that were
/// published a moment ago. Only commits that were made for the very ref count.
async fn look_up(view: &RepoView, wanted: &[Wanted]) -> HashMap<(Checksum, String), i32> {
    let unlisted = wanted.iter().filter_map(|one| {
        let commit: Checksum = one.commit.as_deref()?.parse().ok()?;
        let listed = view.refs.find(&one.r#ref).is_some_and(|listed| listed.commit == commit);
        (!listed).then(|| (commit, one.r#ref.clone()))
    });
    let unlisted: Vec<_> = unlisted.take(MOST_COMMITS).collect();
    if unlisted.is_empty() {
        return HashMap::new();
    }
    let (root, default) = (view.repo.path.clone(), view.refs.default_token_type());
    let read = move || {
        let Ok(repo) = flatpass_ostree::repo::Repo::open(root) else { return HashMap::new() };
        let token_type = |(commit, name): (Checksum, String)| {
            let found = repo.commit(&commit).ok()??;
            found.refs.contains(&name).then(|| ((commit, name), found.token_type.unwrap_or(default)))
        };
        unlisted.into_iter().filter_map(token_type).collect()
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

/// A ref that a token is given for.
struct Granted<'a> {
    asked: &'a str,
    name: RefName,
    verbs: Vec<Verb>,
}

#[derive(Default)]
struct Sorted<'a> {
    granted: Vec<Granted<'a>>,
    open: Vec<&'a str>,
    denied: Vec<Denied<'a>>,
}

fn sort<'a>(
    app: &App,
    view: &RepoView,
    visitor: &Visitor,
    commits: &HashMap<(Checksum, String), i32>,
    wanted: &'a [Wanted],
) -> Sorted<'a> {
    let mut sorted = Sorted::default();
    for one in wanted {
        let asked = one.r#ref.as_str();
        let Ok(name) = RefName::parse(asked) else {
            sorted.denied.push(Denied {
                r#ref: asked,
                reason: Reason::NotFound,
                app: String::new(),
                message: format!("{} is not a ref of an app or runtime.", shown(asked)),
                url: None,
            });
            continue;
        };
        // Who may not know what is in a repo gets the same answer for every ref, there or not.
        if !visitor.sees {
            sorted.denied.push(refuse(app, view, visitor, name.id(), asked));
            continue;
        }
        let listed = view.refs.find(asked);
        let commit = one.commit.as_deref().and_then(|text| text.parse::<Checksum>().ok());
        let named = commit.and_then(|commit| commits.get(&(commit, asked.to_owned())).copied());
        let Some(token_type) = named.or(listed.map(|listed| listed.token_type)) else {
            sorted.denied.push(absent(view, &name, asked));
            continue;
        };
        // Flatpak was refused a commit that it cannot or will not name: what the ref has now says nothing about that one, so only
        // what the account owns counts.
        let refused = one.token_type == Some(ASK_ANYWAY)
            && named.is_none()
            && commit.is_none_or(|commit| listed.is_none_or(|listed| listed.commit != commit));
        let owner = view.owner(&name);
        // A token opens whatever the ref has, not the named commit alone: what is free of one must be free of both.
        let free = !refused
            && [named, listed.map(|listed| listed.token_type)]
                .into_iter()
                .flatten()
                .all(|token_type| is_for_everybody(view, &name, owner, token_type));
        let verbs = verbs(visitor, owner, name.branch(), free);
        if !refused && view.is_open(&name, token_type) {
            sorted.open.push(asked);
        } else if verbs.contains(&Verb::Download) {
            sorted.granted.push(Granted { asked, name, verbs });
        } else {
            sorted.denied.push(refuse(app, view, visitor, owner, asked));
        }
    }
    sorted
}

/// Whether every account that may see the repo may have a ref of that token type.
fn is_for_everybody(view: &RepoView, name: &RefName, owner: &str, token_type: i32) -> bool {
    view.is_free(name, token_type) || (token_type == SIGN_IN && !view.offers.contains_key(owner))
}

/// What the visitor may do with a ref.
fn verbs(visitor: &Visitor, owner: &str, branch: &str, free: bool) -> Vec<Verb> {
    const BOTH: [Verb; 2] = [Verb::Download, Verb::Upgrade];
    if !visitor.signed_in {
        return Vec::new();
    }
    if free {
        return BOTH.to_vec();
    }
    let allowed = |verb: &Verb| visitor.entitlements.iter().any(|one| one.allows(owner, branch, *verb));
    BOTH.into_iter().filter(allowed).collect()
}

/// The repo does not have the ref, perhaps only for this branch or architecture.
fn absent<'a>(view: &RepoView, name: &RefName, asked: &'a str) -> Denied<'a> {
    Denied {
        r#ref: asked,
        reason: Reason::NotFound,
        app: view.owner(name).to_owned(),
        message: format!("{asked} is not in {}. Check its name, branch and architecture.", view.url),
        url: None,
    }
}

fn refuse<'a>(app: &App, view: &RepoView, visitor: &Visitor, owner: &str, asked: &'a str) -> Denied<'a> {
    let store = app.config.issuer();
    let denied = |reason, message, url| Denied { r#ref: asked, reason, app: owner.to_owned(), message, url };
    if !visitor.signed_in {
        let message = format!("{owner} needs an account at {store}. Sign in to get it.");
        return denied(Reason::SignInRequired, message, Some(app.config.at("sign-in")));
    }
    match view.offers.get(owner).filter(|_| visitor.sees) {
        Some(offer) => {
            let url = app.config.at(&format!("apps/{}/{owner}", view.repo.name));
            let message = format!(
                "Your account has not bought {} ({owner}) yet: {}. Buy it at {url}, then try again.",
                offer.title, offer.price
            );
            denied(Reason::PurchaseRequired, message, Some(url))
        }
        None => {
            let message = format!(
                "Your account may not have {owner}, and it is not for sale at {store}. Ask whoever runs the store."
            );
            denied(Reason::NotFound, message, None)
        }
    }
}

/// Splits the refs so that each part fits into one token.
fn parts<'a, 'b>(mut granted: &'b [Granted<'a>]) -> impl Iterator<Item = &'b [Granted<'a>]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let mut groups = HashSet::new();
        let fits = |one: &&Granted<'_>| {
            let (branch, arch) = (one.name.branch(), one.name.arch());
            bytes += one.name.id().len() + 3;
            if groups.insert((branch.to_owned(), arch.to_owned(), one.verbs.clone())) {
                bytes += GROUP_BYTES + branch.len() + arch.len();
            }
            bytes <= GRANT_BYTES
        };
        let count = granted.iter().take_while(fits).count().max(1);
        let (part, rest) = granted.split_at_checked(count)?;
        granted = rest;
        Some(part)
    })
}

/// A grant for each pair of branch and arch, so that no combination is covered that was not asked for.
fn grants(granted: &[Granted<'_>]) -> Vec<Grant> {
    let mut groups: BTreeMap<(&str, &str, &[Verb]), Vec<String>> = BTreeMap::new();
    for one in granted {
        let ids = groups.entry((one.name.branch(), one.name.arch(), &one.verbs)).or_default();
        if !ids.iter().any(|id| id == one.name.id()) {
            ids.push(one.name.id().to_owned());
        }
    }
    let grant = |((branch, arch, verbs), ids): ((&str, &str, &[Verb]), Vec<String>)| Grant {
        branches: vec![branch.to_owned()],
        arches: vec![arch.to_owned()],
        ..Grant::for_ids(verbs, ids)
    };
    groups.into_iter().map(grant).collect()
}

/// A token of this repo with these grants, for the usual time.
pub(super) fn sign(
    app: &App,
    snapshot: &Snapshot,
    view: &RepoView,
    access: &AccessInfo,
    authorization_details: Vec<Grant>,
) -> Result<String, ApiError> {
    let until = app.now().plus_seconds(app.config.tokens.ref_token_seconds);
    sign_until(app, snapshot, view, access, authorization_details, until)
}

/// A token of this repo with these grants that ends then.
pub(super) fn sign_until(
    app: &App,
    snapshot: &Snapshot,
    view: &RepoView,
    access: &AccessInfo,
    authorization_details: Vec<Grant>,
    exp: UnixTime,
) -> Result<String, ApiError> {
    let now = app.now();
    let claims = Claims {
        iss: app.config.issuer(),
        aud: view.url.clone(),
        sub: access.account_id.0.clone(),
        client_id: access.client_id.clone(),
        sid: Some(access.grant_id.0.clone()),
        iat: now,
        exp,
        nbf: None,
        jti: Secret::generate("", Rng::system().as_random()).expose().to_owned(),
        authorization_details,
    };
    snapshot.signing_key.sign(&claims).map_err(|error| {
        tracing::error!(%error, "a token could not be signed");
        ApiError::Internal
    })
}
