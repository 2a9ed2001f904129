//! `POST /api/v1/summary-tokens`: a token for the list of one repo, with what the account may see in it and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use flatpass_store::{AppPattern, Entitlement, RepoPolicy, RepoTokens};
use flatpass_token::{Grant, RefName, Verb};
use serde::Deserialize;
use serde_json::json;

use super::ref_tokens::{Wording, issue};
use super::{bearer, require_access};
use crate::app::App;
use crate::membership::{Membership, membership};
use crate::oauth::token::answer;
use crate::problem::ApiError;
use crate::snapshot::RepoView;
use crate::web::ClientAddress;

/// The grants of one token may take so many bytes of JSON: with the rest of the claims, in base64, that stays below
/// [`flatpass_token::MAX_TOKEN_BYTES`].
const GRANT_BYTES: usize = 5000;

#[derive(Deserialize)]
struct Request {
    repo_url: String,
}

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let access = require_access(&app, bearer(&headers)?).await?;
    let request: Request = serde_json::from_slice(&body)
        .map_err(|error| ApiError::BadRequest(format!("The body must be JSON with repo_url: {error}.")))?;
    let Membership { view, lists } = membership(&app, &request.repo_url, &access.account_id).await?;
    let now = app.now();
    let longest = now.plus_seconds(app.config.tokens.ref_token_seconds);
    // No longer than the first of what it says: what is left then is in the next token.
    let until = lists.iter().filter_map(|one| one.ends_at).min().map_or(longest, |end| end.min(longest));
    let expires_in = now.seconds_until(until);
    let token = if view.repo.policy == RepoPolicy::Private {
        let grants = grants(&view, &lists, Verb::List);
        if serde_json::to_vec(&grants).map_err(|_| ApiError::Internal)?.len() > GRANT_BYTES {
            return Err(ApiError::TooMuchToList(app.config.issuer()));
        }
        if view.repo.tokens == RepoTokens::Opaque {
            // Each is written down.
            app.tries.reference(address).map_err(ApiError::TooMany)?;
        }
        let wording = vec![Wording { grants, seconds: expires_in }];
        let issued = issue(&app, &app.snapshot.load_full(), &view, &access, wording).await?;
        issued.into_iter().next().ok_or(ApiError::Internal)?
    } else {
        String::new()
    };
    let body = json!({
        "repo": view.repo.name, "token_kind": view.repo.tokens.kind(), "token": token, "expires_in": expires_in,
    });
    Ok(answer(StatusCode::OK, &body))
}

/// What is listed on one branch, or on every one.
#[derive(Default)]
struct Listed {
    ids: BTreeSet<String>,
    prefixes: BTreeSet<String>,
}

impl Listed {
    /// Whether a prefix of these, other than `id` itself, covers what `id` stands for.
    fn covers(&self, id: &str) -> bool {
        let below = |prefix: &str| id.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
        self.prefixes.iter().any(|prefix| prefix != id && (prefix == "*" || below(prefix)))
    }

    fn covers_id(&self, id: &str) -> bool {
        self.prefixes.contains(id) || self.covers(id)
    }
}

/// As few grants of `verb` as say the same: one for each branch, without what another of them covers. An app is listed with the extensions
/// of it that the repo has.
pub(super) fn grants(view: &RepoView, lists: &[Entitlement], verb: Verb) -> Vec<Grant> {
    let mut by_branch: BTreeMap<Option<&str>, Listed> = BTreeMap::new();
    for one in lists {
        let listed = by_branch.entry(one.branch.as_deref()).or_default();
        match &one.app {
            AppPattern::All => listed.prefixes.insert("*".to_owned()),
            AppPattern::Below(prefix) => listed.prefixes.insert(prefix.clone()),
            AppPattern::App(app) => listed.ids.insert(app.clone()),
        };
    }
    for name in view.refs.iter().filter_map(|(name, _)| RefName::parse(name).ok()) {
        let owner = view.owner(&name);
        for listed in by_branch.values_mut().filter(|listed| listed.ids.contains(owner)) {
            listed.ids.insert(name.id().to_owned());
        }
    }
    let everywhere = by_branch.remove(&None).unwrap_or_default();
    let on_every_branch = Grant {
        prefixes: everywhere.prefixes.iter().filter(|one| !everywhere.covers(one)).cloned().collect(),
        ..Grant::for_ids(&[verb], everywhere.ids.iter().filter(|id| !everywhere.covers_id(id)).cloned())
    };
    let on_one = |(branch, listed): (Option<&str>, Listed)| {
        let news = |id: &&String| !everywhere.covers_id(id) && !everywhere.ids.contains(*id);
        let ids = listed.ids.iter().filter(|id| !listed.covers_id(id)).filter(news).cloned();
        let prefixes = listed.prefixes.iter().filter(|one| !listed.covers(one) && !everywhere.covers_id(one));
        Grant {
            prefixes: prefixes.cloned().collect(),
            branches: branch.map(str::to_owned).into_iter().collect(),
            ..Grant::for_ids(&[verb], ids)
        }
    };
    std::iter::once(on_every_branch)
        .chain(by_branch.into_iter().map(on_one))
        .filter(|grant| !grant.ids.is_empty() || !grant.prefixes.is_empty())
        .collect()
}
