//! `POST /api/v1/ref-tokens`: tokens for many refs of one repo at once; for each denied ref, why and where to get it.
//!
//! One read of the account's entitlements, one signature, no write.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use flatpass_store::{AccessInfo, Entitlement, RepoPolicy};
use flatpass_token::{Claims, Grant, RefName, Secret, Verb};
use serde::{Deserialize, Serialize};

use super::{bearer, require_access};
use crate::app::{App, Rng};
use crate::oauth::token::answer;
use crate::problem::ApiError;
use crate::snapshot::{RepoView, Snapshot};

/// So many refs at once: more than any client has.
const MOST_REFS: usize = 1000;

/// So many refs in one token, so that it fits into a header field: longer ids than 60 letters are rare.
const REFS_IN_A_TOKEN: usize = 50;

#[derive(Deserialize)]
struct Request {
    repo_url: String,
    refs: Vec<Wanted>,
}

#[derive(Deserialize)]
struct Wanted {
    r#ref: String,
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
    app: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
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
    let entitlements = match &access {
        Some(access) => app.store.entitlements(&access.account_id, Some(&view.repo.name), app.now()).await?,
        None => Vec::new(),
    };
    let sorted = sort(&app, view, access.as_ref(), &entitlements, &request.refs);
    let tokens = match &access {
        Some(access) => sorted
            .granted
            .chunks(REFS_IN_A_TOKEN)
            .map(|granted| issue(&app, &snapshot, view, access, granted))
            .collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let body = Answer { repo: &view.repo.name, tokens, open: sorted.open, denied: sorted.denied };
    let body = serde_json::to_value(body).map_err(|_| ApiError::Internal)?;
    Ok(answer(StatusCode::OK, &body))
}

/// What somebody sent, shortened for a message.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

#[derive(Default)]
struct Sorted<'a> {
    granted: Vec<(&'a str, RefName)>,
    open: Vec<&'a str>,
    denied: Vec<Denied<'a>>,
}

fn sort<'a>(
    app: &App,
    view: &'a RepoView,
    access: Option<&AccessInfo>,
    entitlements: &[Entitlement],
    wanted: &'a [Wanted],
) -> Sorted<'a> {
    let private = view.repo.policy == RepoPolicy::Private;
    let mut sorted = Sorted::default();
    for one in wanted {
        let Ok(name) = RefName::parse(&one.r#ref) else {
            let message = format!("{} is not a ref of an app or runtime.", shown(&one.r#ref));
            sorted.denied.push(Denied {
                r#ref: &one.r#ref,
                reason: Reason::NotFound,
                app: "",
                message,
                url: None,
            });
            continue;
        };
        if view.is_open(&one.r#ref, name.id(), one.token_type) {
            sorted.open.push(&one.r#ref);
            continue;
        }
        // In a request the id lives as long as the request itself; the owner is one of the repo's ids or this one.
        let owner = view.owner_in_repo(name.id()).unwrap_or_else(|| id_of(&one.r#ref));
        let entitled = entitlements.iter().any(|entitlement| entitlement.allows(owner, Verb::Download));
        // Open apps of a private repo are for everybody who may be in it at all.
        let free_for_members = private && !entitlements.is_empty() && view.is_free(&one.r#ref, owner);
        if entitled || free_for_members {
            sorted.granted.push((&one.r#ref, name));
            continue;
        }
        sorted.denied.push(refuse(app, view, access.is_some(), owner, &one.r#ref));
    }
    sorted
}

fn id_of(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or_default()
}

fn refuse<'a>(
    app: &App,
    view: &RepoView,
    signed_in: bool,
    owner: &'a str,
    name: &'a str,
) -> Denied<'a> {
    let store = app.config.issuer();
    if !signed_in {
        let message = format!("{owner} needs an account at {store}.");
        return Denied {
            r#ref: name,
            reason: Reason::SignInRequired,
            app: owner,
            message,
            url: Some(app.config.at("sign-in")),
        };
    }
    match view.offers.get(owner) {
        Some(offer) => {
            let url = app.config.at(&format!("apps/{}/{owner}", view.repo.name));
            // The client adds where to buy it.
            let what = if offer.title == owner { owner.to_owned() } else { format!("{} ({owner})", offer.title) };
            let message = format!("Your account has not bought {what} yet; it costs {}.", offer.price);
            Denied { r#ref: name, reason: Reason::PurchaseRequired, app: owner, message, url: Some(url) }
        }
        None => {
            let message = format!(
                "Your account may not have {owner}, and it is not for sale at {store}. Ask whoever runs the store."
            );
            Denied { r#ref: name, reason: Reason::NotFound, app: owner, message, url: None }
        }
    }
}

/// One token for all: a grant for each pair of branch and arch, so that no combination is covered that was not asked for.
fn issue<'a>(
    app: &App,
    snapshot: &Snapshot,
    view: &RepoView,
    access: &AccessInfo,
    granted: &[(&'a str, RefName)],
) -> Result<Issued<'a>, ApiError> {
    let mut groups: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for (_, name) in granted {
        let ids = groups.entry((name.branch(), name.arch())).or_default();
        if !ids.iter().any(|id| id == name.id()) {
            ids.push(name.id().to_owned());
        }
    }
    let authorization_details = groups
        .into_iter()
        .map(|((branch, arch), ids)| Grant {
            branches: vec![branch.to_owned()],
            arches: vec![arch.to_owned()],
            ..Grant::for_ids(&[Verb::Download, Verb::Upgrade], ids)
        })
        .collect();
    let (now, life) = (app.now(), app.config.tokens.ref_token_seconds);
    let claims = Claims {
        iss: app.config.issuer(),
        aud: view.url.clone(),
        sub: access.account_id.0.clone(),
        client_id: access.client_id.clone(),
        iat: now,
        exp: now.plus_seconds(life),
        nbf: None,
        jti: Secret::generate("", Rng::system().as_random()).expose().to_owned(),
        authorization_details,
    };
    let token = snapshot.signing_key.sign(&claims).map_err(|error| {
        tracing::error!(%error, "a token could not be signed");
        ApiError::Internal
    })?;
    Ok(Issued { token, expires_in: life, refs: granted.iter().map(|(name, _)| *name).collect() })
}

/// A token for one app with its extensions, on all branches and arches: for the sample API, whose ids name no branch.
pub(super) fn issue_app(
    app: &App,
    snapshot: &Snapshot,
    view: &RepoView,
    access: &AccessInfo,
    app_id: &str,
) -> Result<String, ApiError> {
    let names: Vec<_> = view
        .refs
        .names()
        .filter_map(|name| Some((name, RefName::parse(name).ok()?)))
        .filter(|(_, name)| view.owner(name.id()) == app_id)
        .collect();
    Ok(issue(app, snapshot, view, access, &names)?.token)
}
