//! `POST /api/v1/ref-tokens`: tokens for many refs of one repo at once; for each denied ref, why and where to get it.
//!
//! One read of the account's entitlements, one signature for as many refs as fit into a header field, no write.

mod commits;
mod denied;
mod flat_manager;
mod issue;
mod purpose;
mod registry;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use flatpass_ostree::Checksum;
use flatpass_store::{RepoPolicy, RepoSource, RepoTokens, shortened};
use flatpass_token::{RefKind, RefName, UnixTime, Verb};
use serde::{Deserialize, Serialize};

use self::commits::{Commits, Question};
use self::denied::{Denied, absent, no_ref, refuse, too_new};
pub(super) use self::flat_manager::{add_extensions, is_exact, signed as signed_for_flat_manager};
pub(crate) use self::issue::{Granted, OfCommits, grants};
use self::issue::{Part, sign};
pub(super) use self::issue::{Wording, issue, parts};
use self::purpose::{Named, Purpose};
use super::{bearer, require_access};
use crate::app::App;
use crate::oauth::token::answer;
use crate::problem::ApiError;
use crate::snapshot::{RepoView, SIGN_IN};
use crate::visitor::{Has, Right, Visitor};
use crate::web::ClientAddress;

/// So many refs at once: more than any client has.
const MOST_REFS: usize = 1000;

/// The token type that flatpak says after a 401 for a commit of which it knows nothing: "ask anyway".
const ASK_ANYWAY: i32 = i32::MAX;

const NO_PEERS: &str = "Only OSTree repositories have peers: what is in a container registry or image layout is served by that alone. Ask without for.";

const ONLY_ONLINE: &str = "This repo's tokens can only be checked online, by the store itself, so it has no peers. Ask without for.";

#[derive(Deserialize)]
struct Request {
    repo_url: String,
    refs: Vec<Wanted>,
    #[serde(default)]
    r#for: Purpose,
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

impl Wanted {
    fn commit(&self) -> Option<Checksum> {
        self.commit.as_deref()?.parse().ok()
    }
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    repo: &'a str,
    /// Where the images are, and so the only place that the tokens may be sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry: Option<&'a str>,
    /// `jwt`, `opaque`, `flat-manager` or `issuer`: only the first can be checked away from this store.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_kind: Option<&'static str>,
    tokens: Vec<Issued<'a>>,
    open: Vec<&'a str>,
    denied: Vec<Denied<'a>>,
}

#[derive(Debug, Serialize)]
struct Issued<'a> {
    token: String,
    expires_in: i64,
    refs: Vec<&'a str>,
    /// It is for older commits only, so it helps with nothing but what it was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    limited: bool,
}

pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let bearer = bearer(&headers)?;
    if bearer.is_none() {
        // Each call may read many commits from the disk.
        app.tries.anonymous(address).map_err(ApiError::TooMany)?;
    }
    let request: Request = serde_json::from_slice(&body).map_err(|error| {
        ApiError::BadRequest(format!("The body must be JSON with repo_url and refs: {error}."))
    })?;
    if request.refs.len() > MOST_REFS {
        return Err(ApiError::BadRequest(format!("Ask for at most {MOST_REFS} refs at once.")));
    }
    let access = match bearer {
        Some(token) => Some(require_access(&app, Some(token)).await?),
        None => None,
    };
    let snapshot = app.snapshot.load_full();
    let view = snapshot.repo_or_empty(&app.config, &request.repo_url);
    let view = &*view.ok_or_else(|| ApiError::unknown_repo(&request.repo_url))?;
    let purpose = request.r#for;
    if purpose != Purpose::Origin {
        can_have_peers(view).map_err(|why| ApiError::BadRequest(why.to_owned()))?;
    }
    let mut visitor = Visitor::of(&app, view, access.as_ref()).await?;
    let wishes: Vec<_> = request.refs.iter().map(|one| Wish::new(view, one)).collect();
    if let Some(access) = access.as_ref().filter(|_| wishes.iter().any(|wish| wish.wants_a_reason(&visitor)))
    {
        visitor.read_ended(&app, view, &access.account_id).await?;
    }
    let questions = wishes.iter().filter_map(|wish| wish.question(view, &visitor, app.now())).collect();
    let commits = commits::look_up(view, questions).await;
    let mut sorted = sort(&app, view, &visitor, &commits, wishes);
    flat_manager::keep_exact(&app, view, &visitor, &mut sorted);
    if let RepoTokens::Issuer(issuer) = &view.repo.tokens {
        let issuer = app.store.issuer(issuer).await?.map(|issuer| issuer.url);
        sorted = denied::elsewhere(&app, view, &visitor, issuer.as_deref(), sorted);
    }
    let asker = registry::Asker {
        app: &app,
        snapshot: &snapshot,
        view,
        visitor: &visitor,
        account: access.as_ref().map(|access| &access.account_id),
        commits: request.refs.iter().filter_map(|one| Some((one.r#ref.as_str(), one.commit()?))).collect(),
    };
    let (mut tokens, mut sorted) = match view.repo.source.registry() {
        Some(registry) => asker.answer(registry, sorted).await?,
        None => (Vec::new(), sorted),
    };
    let named = Named(request.refs.iter().filter_map(|one| Some((&*one.r#ref, one.commit()?))).collect());
    purpose.limit(view, &visitor, &named, &mut sorted);
    if let Some(access) = &access {
        add_extensions(&app, view, &visitor, &mut sorted.granted);
        let mut parts = flat_manager::fitting(view, parts(&app, sorted.granted, purpose.seconds(&app)));
        parts.retain(|part| part.asked().next().is_some());
        if !parts.is_empty() {
            if view.repo.tokens == RepoTokens::Opaque {
                // Each is written down.
                app.tries.reference(address).map_err(ApiError::TooMany)?;
            }
            let wording = |part: &Part<'_>| Wording { grants: grants(&part.granted), seconds: part.seconds };
            let wordings = parts.iter().map(wording);
            let issued = if purpose == Purpose::Origin {
                issue(&app, &snapshot, view, access, wordings.collect()).await?
            } else {
                let audience = purpose.audience(view);
                let signed = wordings
                    .map(|one| sign(&app, &snapshot, audience.clone(), access, one.grants, one.seconds));
                signed.collect::<Result<_, _>>()?
            };
            for (token, part) in issued.into_iter().zip(parts) {
                let refs = part.asked().collect();
                tokens.push(Issued { token, expires_in: part.seconds, refs, limited: part.is_limited });
            }
        }
    }
    let registry = match &view.repo.source {
        RepoSource::Ostree(_) => None,
        RepoSource::OciLayout(_) => Some(app.config.url.as_str()),
        RepoSource::Registry(registry) => Some(registry.url.as_str()),
    };
    // Where there is no repo there is no registry either.
    let registry = registry.filter(|_| visitor.sees);
    let token_kind = visitor.sees.then(|| view.repo.tokens.kind());
    let Sorted { open, denied, .. } = sorted;
    let body = Answer { repo: &view.repo.name, registry, token_kind, tokens, open, denied };
    let body = serde_json::to_value(body).map_err(|_| ApiError::Internal)?;
    Ok(answer(StatusCode::OK, &body))
}

/// Whether a peer could check tokens of this repo, which it has copies of; or the reason why not.
pub(super) fn can_have_peers(view: &RepoView) -> Result<(), &'static str> {
    if view.repo.source.ostree().is_none() {
        return Err(NO_PEERS);
    }
    if view.repo.tokens == RepoTokens::Jwt { Ok(()) } else { Err(ONLY_ONLINE) }
}

/// What somebody sent, shortened for a message.
fn shown(text: &str) -> String {
    shortened(text, 200)
}

/// One wanted ref, and what the summary says of it.
struct Wish<'a> {
    asked: &'a str,
    wanted: &'a Wanted,
    /// `None`: what was asked for is no ref.
    name: Option<RefName>,
    /// The app whose rights open it.
    owner: String,
}

impl<'a> Wish<'a> {
    fn new(view: &RepoView, wanted: &'a Wanted) -> Self {
        let name = RefName::parse(&wanted.r#ref).ok();
        let owner = name.as_ref().map(|name| view.owner(name).to_owned()).unwrap_or_default();
        Self { asked: &wanted.r#ref, wanted, name, owner }
    }

    fn right<'v>(&self, visitor: &'v Visitor) -> Right<'v> {
        match &self.name {
            Some(name) => visitor.right(&self.owner, name.branch()),
            None => Right::None,
        }
    }

    fn wants_a_reason(&self, visitor: &Visitor) -> bool {
        !matches!(self.right(visitor), Right::Has(_))
    }

    /// Flatpak was refused a commit, and does not say which.
    fn is_for_an_unknown_commit(&self) -> bool {
        self.wanted.token_type == Some(ASK_ANYWAY) && self.wanted.commit().is_none()
    }

    /// The commit that it is about: the named one, else the one that the ref has.
    fn commit(&self, view: &RepoView) -> Option<Checksum> {
        self.wanted.commit().or_else(|| view.refs.find(self.asked).map(|listed| listed.commit))
    }

    /// What must be asked the disk: the token type of a commit that the summary does not list, and the age of one when the visitor
    /// has a right to older ones only.
    fn question(&self, view: &RepoView, visitor: &Visitor, now: UnixTime) -> Option<Question> {
        let commit = self.commit(view)?;
        // How long an answer takes must not say what is there.
        if !visitor.may_know(view, &self.owner, self.name.as_ref()?) {
            return None;
        }
        let has = match self.right(visitor) {
            Right::Has(has) if has.commits_until().is_some_and(|until| until <= now) => Some(has),
            _ => None,
        };
        let is_listed = view.refs.find(self.asked).is_some_and(|listed| listed.commit == commit);
        let first_after = has.filter(|has| !has.entitlement.verbs.contains(&Verb::Upgrade));
        (has.is_some() || !is_listed).then(|| Question {
            commit,
            name: self.asked.to_owned(),
            first_after: first_after.and_then(|has| has.commits_until()),
        })
    }
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
    commits: &Commits,
    wishes: Vec<Wish<'a>>,
) -> Sorted<'a> {
    let mut sorted = Sorted::default();
    for wish in wishes {
        let asked = wish.asked;
        let Some(name) = wish.name.clone() else {
            sorted.denied.push(no_ref(asked));
            continue;
        };
        // Who may not know what is in a repo gets the same answer for every ref, there or not; a right that has ended is
        // no news to who had it.
        let owner = wish.owner.as_str();
        if !visitor.may_know(view, owner, &name) {
            let had = !matches!(wish.right(visitor), Right::None);
            let owner = if had { owner } else { name.id() };
            sorted.denied.push(refuse(app, view, visitor, owner, name.branch(), asked));
            continue;
        }
        let listed = view.refs.find(asked);
        let commit = wish.wanted.commit();
        let named = commit.and_then(|commit| commits.get(&(commit, asked.to_owned())));
        let token_types = [named.map(|named| named.token_type), listed.map(|listed| listed.token_type)];
        let Some(token_type) = token_types.into_iter().flatten().next() else {
            sorted.denied.push(absent(view, &name, asked));
            continue;
        };
        // Flatpak was refused a commit that it cannot or will not name: what the ref has now says nothing about that one, so only
        // what the account owns counts.
        let refused = wish.wanted.token_type == Some(ASK_ANYWAY)
            && named.is_none()
            && commit.is_none_or(|commit| listed.is_none_or(|listed| listed.commit != commit));
        // A token opens whatever the ref has, not the named commit alone: what is free of one must be free of both.
        let free = !refused
            && token_types.into_iter().flatten().all(|kind| is_for_everybody(view, &name, owner, kind));
        if !refused && view.is_open(&name, token_type) {
            sorted.open.push(asked);
        } else if let Some(granted) =
            free.then(|| for_everybody(view, visitor, owner, &name, asked)).flatten()
        {
            sorted.granted.push(granted);
        } else if let Right::Has(has) = wish.right(visitor) {
            match of_commits(view, &wish, has, commits) {
                Some(of_commits) => sorted.granted.push(owned(app, has, name, asked, of_commits)),
                // `flatpak update --commit=…` of an app asks for its extensions too, in a call of its own and for the newest of
                // them. A token that does not open that one leaves the extension as it is; without one the app would not come.
                None if name.kind() == RefKind::Runtime && name.id() != owner => {
                    let commits = OfCommits { made_until: has.commits_until(), only: None };
                    sorted.granted.push(owned(app, has, name, asked, commits));
                }
                None => sorted.denied.push(too_new(app, view, visitor, owner, has.entitlement, asked)),
            }
        } else {
            sorted.denied.push(refuse(app, view, visitor, owner, name.branch(), asked));
        }
    }
    sorted
}

/// Why a visitor gets no token for a ref of the app `owner`, and what to do about it, in a sentence.
pub(crate) fn why_not(app: &App, view: &RepoView, visitor: &Visitor, owner: &str, name: &RefName) -> String {
    denial(app, view, visitor, owner, name.branch(), "").message
}

/// The denial of `asked` because of what the visitor lacks of the app `owner`.
fn denial<'a>(
    app: &App,
    view: &RepoView,
    visitor: &Visitor,
    owner: &str,
    branch: &str,
    asked: &'a str,
) -> Denied<'a> {
    match visitor.right(owner, branch) {
        Right::Has(has) => too_new(app, view, visitor, owner, has.entitlement, asked),
        _ => refuse(app, view, visitor, owner, branch, asked),
    }
}

/// Whether every account that may see a ref of that token type may have it.
pub(crate) fn is_for_everybody(view: &RepoView, name: &RefName, owner: &str, token_type: i32) -> bool {
    view.is_free(name, token_type) || (token_type == SIGN_IN && !view.offers.contains_key(owner))
}

/// What a visitor gets of a ref that is for everybody. In a private repo that is who may list it, and then `list` is all that the
/// token says: the gate opens by it what is free, and no longer when it is sold.
pub(crate) fn for_everybody<'a>(
    view: &RepoView,
    visitor: &Visitor,
    owner: &str,
    name: &RefName,
    asked: &'a str,
) -> Option<Granted<'a>> {
    let (verbs, good_until) = match view.repo.policy {
        RepoPolicy::Private => (vec![Verb::List], visitor.sees_in_list(owner, name.branch())?.ends_at),
        _ if visitor.signed_in => (vec![Verb::Download, Verb::Upgrade], None),
        _ => return None,
    };
    Some(Granted { asked, name: name.clone(), verbs, commits: OfCommits::default(), good_until })
}

/// What a visitor gets of a ref by a right of their own.
pub(crate) fn owned<'a>(
    app: &App,
    has: Has<'_>,
    name: RefName,
    asked: &'a str,
    commits: OfCommits,
) -> Granted<'a> {
    Granted { asked, name, verbs: has.verbs(), commits, good_until: has.good_until(app.now()) }
}

/// Of which commits a right gives a token, when this one is wanted; `None` when it is later than the right goes.
fn of_commits(view: &RepoView, wish: &Wish<'_>, has: Has<'_>, commits: &Commits) -> Option<OfCommits> {
    let made_until = has.commits_until();
    let by_age = OfCommits { made_until, only: None };
    let Some(until) = made_until else { return Some(by_age) };
    let wanted = wish.commit(view);
    // Nothing was looked up: the right goes beyond today. Or the commit is not known here, and then the gate decides.
    let Some((wanted, found)) =
        wanted.and_then(|commit| Some((commit, commits.get(&(commit, wish.asked.to_owned()))?)))
    else {
        return Some(by_age);
    };
    match found.first {
        Some(first) if wish.is_for_an_unknown_commit() || first == wanted => {
            Some(OfCommits { made_until: None, only: Some(first.to_hex()) })
        }
        _ if wish.is_for_an_unknown_commit() || found.made_at <= until => Some(by_age),
        _ => None,
    }
}
