//! Tokens for this store's own endpoint `/v2/`, which serves image layouts. Container tools do not look into tokens, so these are ref tokens
//! as any gate here takes them.

use flatpass_oci::{Action, RepositoryName};
use flatpass_token::{Claims, Secret};

use super::callers::Callers;
use super::refusal::Refusal;
use super::request::Asked;
use super::{Given, Party};
use crate::api::ref_tokens::{Granted, grants};
use crate::app::Rng;
use crate::pulls::{Opened, opened};

/// What stands for nobody in a token.
const NOBODY: &str = "anonymous";

/// A token for what the caller may have of the repo that the first scope is about; without a scope one that opens nothing.
pub(super) async fn token(party: &Party<'_>, asked: &Asked) -> Result<Given, Refusal> {
    let (app, snapshot) = (party.app, party.snapshot);
    let mut callers = Callers::new(app, party.login);
    let pulled = asked.scopes.iter().filter(|scope| scope.actions.contains(Action::Pull));
    let names: Vec<_> = pulled.filter_map(|scope| scope.repository().and_then(split)).collect();
    let layout =
        |repo: &&str| snapshot.repos.get(*repo).filter(|view| view.repo.source.oci_layout().is_some());
    let Some(view) = names.iter().find_map(|(repo, _)| layout(repo)) else {
        callers.nowhere().await?;
        if asked.scopes.len() == 1 {
            return Err(party.refused(None));
        }
        return sign(party, asked, app.config.at("v2/"), &[], &[]);
    };
    let visitor = &callers.in_repo(view).await?.visitor;
    let (mut granted, mut scopes, mut refused) = (Vec::new(), Vec::new(), None);
    for (_, name) in names.iter().filter(|(repo, _)| *repo == view.repo.name) {
        let images = view.images.as_ref().map(|images| images.of_repository(name)).unwrap_or_default();
        let mut any = false;
        for image in images {
            match opened(app, view, visitor, image) {
                Some(Opened::ByAll) => any = true,
                Some(Opened::By(right)) => {
                    granted.push(right);
                    any = true;
                }
                None => refused = refused.or(Some(image)),
            }
        }
        if any {
            scopes.push(format!("repository:{name}:pull"));
        }
    }
    if scopes.is_empty() && asked.scopes.len() == 1 {
        let why = callers.why_not(view, refused).await?;
        return Err(party.refused(why));
    }
    sign(party, asked, view.url.clone(), &granted, &scopes)
}

/// The repo that begins the name of a repository in its layout, and that.
fn split(name: &RepositoryName) -> Option<(&str, &RepositoryName)> {
    let (repo, _) = name.as_str().split_once('/')?;
    Some((repo, name))
}

fn sign(
    party: &Party<'_>,
    asked: &Asked,
    audience: String,
    granted: &[Granted<'_>],
    scopes: &[String],
) -> Result<Given, Refusal> {
    let (app, login) = (party.app, party.login);
    let ends = granted.iter().filter_map(|one| one.good_until);
    let ends = ends.chain(login.and_then(|login| login.expires_at)).min();
    let (seconds, now) = (party.seconds(ends), app.now());
    let client_id = if asked.client.is_empty() { "registry" } else { &asked.client };
    let claims = Claims {
        iss: app.config.issuer(),
        aud: audience,
        sub: login.map_or(NOBODY, |login| login.account_id.as_str()).to_owned(),
        client_id: client_id.to_owned(),
        sid: login.and_then(|login| login.device.as_ref()).map(|device| device.0.clone()),
        iat: now,
        exp: now.plus_seconds(seconds),
        nbf: None,
        jti: Secret::generate("", Rng::system().as_random()).expose().to_owned(),
        authorization_details: grants(granted),
    };
    let token = party.snapshot.signing_key.sign(&claims).map_err(|_| Refusal::TooMuch)?;
    Ok(Given { token, seconds, scope: scopes.join(" ") })
}
