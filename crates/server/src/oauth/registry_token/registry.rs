//! Tokens for registries that trust this store.

use flatpass_oci::{Access, Action, Actions, Scope, Target};
use flatpass_store::{RegistryAccess, RepoRole};
use flatpass_token::{SignError, UnixTime};

use super::callers::Callers;
use super::refusal::Refusal;
use super::request::Asked;
use super::{Given, Party};
use crate::app::Rng;
use crate::pulls::{Pull, may_know, pull};
use crate::registry_token::RegistryTokenFor;
use crate::snapshot::{RepoView, Snapshot};

/// The repos whose registry has that service and takes this store's tokens.
fn trusting<'a>(snapshot: &'a Snapshot, service: &'a str) -> impl Iterator<Item = &'a RepoView> {
    snapshot.repos.values().map(AsRef::as_ref).filter(move |view| {
        let registry = view.repo.source.registry();
        registry
            .is_some_and(|registry| registry.access == RegistryAccess::Realm && registry.service == service)
    })
}

/// What is left of a scope.
struct Reduced {
    actions: Actions,
    ends: Option<UnixTime>,
    /// Why it is less than was asked for.
    why_not: Option<String>,
}

/// A token for what the caller may do of what was asked for.
pub(super) async fn token(party: &Party<'_>, asked: &Asked) -> Result<Given, Refusal> {
    let (app, snapshot) = (party.app, party.snapshot);
    let mut callers = Callers::new(app, party.login);
    let mut access = Vec::new();
    let mut granted = Vec::new();
    let mut ends = party.login.and_then(|login| login.expires_at);
    let mut why = None;
    for scope in &asked.scopes {
        match &scope.target {
            Target::Repository(name) => {
                let reduced = repository(party, &mut callers, asked, scope).await?;
                if why.is_none() {
                    why = reduced.why_not;
                }
                if !reduced.actions.is_empty() {
                    let reduced_scope = Scope { target: scope.target.clone(), actions: reduced.actions };
                    access.push(Access::repository(name, &reduced_scope));
                    granted.push(reduced_scope.to_string());
                    ends = [ends, reduced.ends].into_iter().flatten().min();
                }
            }
            Target::Catalog if may_list_all(&mut callers, snapshot, &asked.service).await? => {
                access.push(Access { r#type: "registry", name: "catalog".to_owned(), actions: vec!["*"] });
                granted.push(scope.to_string());
            }
            Target::Catalog | Target::Other => {}
        }
    }
    if access.is_empty() && asked.scopes.len() == 1 {
        return Err(party.refused(why));
    }
    let seconds = party.seconds(ends);
    let subject = party.login.map_or("", |login| login.account_id.as_str());
    let issuer = app.config.issuer();
    let made = RegistryTokenFor { issuer: &issuer, service: &asked.service, subject, seconds };
    let token = made.sign(&snapshot.signing_key, access, app.now(), Rng::system().as_random());
    let token = token.map_err(|error| match error {
        SignError::TooLong { .. } => Refusal::TooMuch,
        SignError::Signature => Refusal::Internal,
    })?;
    Ok(Given { token, seconds, scope: granted.join(" ") })
}

/// Pulls need a right to all that is in the repository; pushes and deletions a role in the repo, which lets one pull as well.
async fn repository(
    party: &Party<'_>,
    callers: &mut Callers<'_>,
    asked: &Asked,
    scope: &Scope,
) -> Result<Reduced, Refusal> {
    let nothing = |why_not| Reduced { actions: Actions::default(), ends: None, why_not };
    let Some(name) = scope.repository() else { return Ok(nothing(None)) };
    // No repository belongs to two repos.
    let view = trusting(party.snapshot, &asked.service)
        .find(|view| view.repo.source.registry().is_some_and(|registry| registry.covers(name.as_str())));
    let Some(view) = view else {
        callers.nowhere().await?;
        return Ok(nothing(None));
    };
    let caller = callers.in_repo(view).await?;
    let (role, is_held_back) = (caller.role, caller.is_held_back);
    let pulled = pull(party.app, view, &caller.visitor, name);
    let (ends, image) = match &pulled {
        Pull::May(ends) => (*ends, None),
        Pull::MayNot(image) => (None, Some(*image)),
        Pull::NotSeen(_) | Pull::Unknown => (None, None),
    };
    let may = |action: Action| match action {
        Action::Pull => role.is_some() || matches!(pulled, Pull::May(_)),
        Action::Push => role.is_some(),
        Action::Delete => role == Some(RepoRole::Operator),
    };
    let actions = Actions::new(scope.actions.iter().filter(|action| may(*action)));
    if !actions.is_empty() {
        // A role has no end of its own.
        return Ok(Reduced { actions, ends: ends.filter(|_| role.is_none()), why_not: None });
    }
    if is_held_back {
        return Ok(nothing(Some(format!(
            "Your account has a role in {repo}, and this secret is none to use it with. Log in with a password for container tools from {page}.",
            repo = view.repo.name,
            page = party.app.config.at(&format!("account/repos/{}", view.repo.name)),
        ))));
    }
    if matches!(pulled, Pull::NotSeen(image) if may_know(view, &caller.visitor, image)) {
        return Ok(nothing(Some(format!("Not all of {name} can be seen at this moment. Try again later."))));
    }
    if !scope.actions.contains(Action::Pull) && matches!(pulled, Pull::May(_)) {
        return Ok(nothing(Some(format!(
            "You may pull {name}, and not change it. Ask whoever runs the store."
        ))));
    }
    Ok(nothing(callers.why_not(view, image).await?))
}

/// Whether the caller may list what the whole registry has: who runs all of it.
async fn may_list_all(
    callers: &mut Callers<'_>,
    snapshot: &Snapshot,
    service: &str,
) -> Result<bool, Refusal> {
    for view in trusting(snapshot, service) {
        let is_whole = |registry: &flatpass_store::Registry| {
            registry.namespace.is_none() && registry.repositories.is_none()
        };
        if view.repo.source.registry().is_some_and(is_whole) {
            return Ok(callers.in_repo(view).await?.role == Some(RepoRole::Operator));
        }
    }
    callers.nowhere().await?;
    Ok(false)
}
