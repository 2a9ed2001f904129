//! `flatpass token inspect`: takes a token apart without trusting it, and says what this store makes of it.

use std::io::Read as _;

use clap::Subcommand;
use flatpass::Refused;
use flatpass_store::{Repo, RepoPolicy};
use flatpass_token::{
    AccessTable, Grant, KeySet, REFERENCE_PREFIX, UnixTime, UnverifiedToken, VerifiedToken, Verifier,
    VerifierConfig, VerifyError,
};
use serde_json::{Value, json};

use super::Shop;
use super::failure::Failure;
use super::flat_manager;
use super::output::{Answer, FOUND_PROBLEMS};

/// What can be done with tokens.
#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Show what a token says, whether this store's keys verify it, for which repo, until when, and what it opens
    #[command(after_help = "Example:\n  flatpass token inspect - < token\n\n\
        Takes ref tokens, flat-manager's tokens, reference tokens (fpx_…), access tokens of devices (fpt_…) and of the API (fpa_…). Other users of this machine can read\n\
        arguments while the command runs: give the token on standard input. Exit code 3 when it would be refused.")]
    Inspect {
        /// The token, or - for standard input
        #[arg(default_value = "-")]
        token: String,
    },
}

/// More than any token may have.
const LONGEST: u64 = 64 * 1024;

/// Inspects it.
pub(super) async fn inspect(shop: &Shop, token: &str) -> Result<Answer, Failure> {
    let mut input = String::new();
    let token = if token == "-" {
        std::io::stdin().lock().take(LONGEST).read_to_string(&mut input).map_err(|error| {
            Failure::told(format!("cannot read standard input: {error}"), "give the token as text")
        })?;
        input.trim()
    } else {
        token.trim()
    };
    if token.starts_with("fpa_") {
        api_token(shop, token).await
    } else if token.starts_with("fpt_") {
        access_token(shop, token).await
    } else if token.starts_with(REFERENCE_PREFIX) {
        reference_token(shop, token).await
    } else {
        ref_token(shop, token).await
    }
}

fn verdict(accepted: bool, lines: &[String], json: Value) -> Answer {
    let code = if accepted { 0 } else { FOUND_PROBLEMS };
    Answer::new(lines.join("\n"), json).with_code(code)
}

async fn ref_token(shop: &Shop, token: &str) -> Result<Answer, Failure> {
    let refused = |error: &VerifyError| {
        let json = json!({ "accepted": false, "reason": error.to_string() });
        verdict(false, &[format!("refused: {error}")], json)
    };
    let unverified = match UnverifiedToken::parse(token) {
        Ok(unverified) => unverified,
        Err(error) => return Ok(refused(&error)),
    };
    if unverified.algorithm() == Some("HS256") {
        return match flat_manager::verified(shop, token).await? {
            Ok((repo, token)) => flat_managers(shop, &repo, &token).await,
            Err(error) => Ok(refused(&error)),
        };
    }
    let claims = match unverified.claims() {
        Ok(claims) => claims,
        Err(error) => return Ok(refused(&error)),
    };
    let repo =
        shop.store.repos().await?.into_iter().find(|repo| shop.config.repo_url(&repo.name) == claims.aud);
    let verified = verifier(shop, &claims.aud, repo.as_ref()).await?.verify(token, shop.now);
    let result = match (&verified, &repo) {
        (Ok(_), None) => Err("The token is for a repo that this store does not have (any more).".to_owned()),
        (Ok(_), Some(repo)) => Ok(repo.name.clone()),
        (Err(error), _) => Err(error.to_string()),
    };
    let account = shop.store.account(&claims.sub.as_str().into()).await?.map(|account| account.email);
    let header =
        json!({ "typ": unverified.token_type(), "alg": unverified.algorithm(), "kid": unverified.kid() });
    let mut lines = vec![match &result {
        Ok(name) => format!("accepted by this store's keys, for the repo {name}"),
        Err(reason) => format!("refused: {reason}\nWhat it says of itself, which nobody has checked:"),
    }];
    lines.push(format!("  issuer    {}", clean(&claims.iss)));
    lines.push(format!("  audience  {}", clean(&claims.aud)));
    lines.push(format!(
        "  account   {}{}",
        clean(&claims.sub),
        account.map(|email| format!(" ({email})")).unwrap_or_default()
    ));
    lines.push(format!("  client    {}", clean(&claims.client_id)));
    lines.push(format!(
        "  key       {} {}",
        clean(unverified.kid().unwrap_or("-")),
        clean(unverified.algorithm().unwrap_or("-"))
    ));
    lines.push(format!("  made at   {}", claims.iat));
    lines.push(format!("  until     {} ({})", claims.exp, remaining(shop.now, claims.exp)));
    lines.extend(
        claims.authorization_details.iter().map(|grant| format!("  opens     {}", clean(&opens(grant)))),
    );
    if claims.authorization_details.is_empty() {
        lines.push("  opens     nothing".to_owned());
    }
    let json = json!({
        "accepted": result.is_ok(),
        "reason": result.as_ref().err(),
        "repo": result.as_ref().ok(),
        "header": header,
        "claims": claims,
        "expires_in": shop.now.seconds_until(claims.exp),
    });
    Ok(verdict(result.is_ok(), &lines, json))
}

/// A token with flat-manager's secret, which says nothing of its repo's URL.
async fn flat_managers(shop: &Shop, repo: &Repo, token: &VerifiedToken) -> Result<Answer, Failure> {
    let account = shop.store.account(&token.subject().into()).await?.map(|account| account.email);
    let mut lines = vec![
        format!("accepted as flat-manager's, for the repo {}", repo.name),
        format!(
            "  account   {}{}",
            clean(token.subject()),
            account.map(|email| format!(" ({email})")).unwrap_or_default()
        ),
        format!("  until     {}", super::moment::shown(token.expires_at(), "for ever")),
    ];
    lines.extend(token.grants().iter().map(|grant| format!("  opens     {}", clean(&opens(grant)))));
    let json = json!({
        "accepted": true, "reason": null, "repo": repo.name, "subject": token.subject(),
        "expires_at": token.expires_at(), "opens": token.grants(),
    });
    Ok(verdict(true, &lines, json))
}

/// A verifier as the gate of the repo with this URL has it.
pub(super) async fn verifier(shop: &Shop, audience: &str, repo: Option<&Repo>) -> Result<Verifier, Failure> {
    let mut keys = KeySet::new();
    for stored in shop.store.signing_keys(shop.now).await? {
        keys = keys.with(&stored.signing_key()?);
    }
    let tokens = &shop.config.tokens;
    let mut settings = VerifierConfig::new(shop.config.issuer(), audience);
    settings.leeway_seconds = u32::try_from(tokens.leeway_seconds).unwrap_or(0);
    let verifier = Verifier::new(settings, keys);
    let refused = Refused::read(&shop.store, shop.now).await?;
    let name = repo.map(|repo| repo.name.as_str()).unwrap_or_default();
    verifier.set_revocations(refused.in_repo(&shop.store, name, shop.now).await?);
    Ok(verifier)
}

async fn reference_token(shop: &Shop, secret: &str) -> Result<Answer, Failure> {
    let Some(found) = shop.store.ref_token(secret, shop.now).await? else {
        let reason = "This token is not known here, was revoked or has expired.";
        let json = json!({ "accepted": false, "reason": reason });
        return Ok(verdict(false, &[format!("refused: {reason}")], json));
    };
    let account = shop.store.account(&found.account_id).await?.map(|account| account.email);
    let mut lines = vec![
        format!("in force: reference token {} for the repo {}", found.id, found.repo),
        format!("  account   {} ({})", found.account_id, account.unwrap_or_default()),
        format!("  client    {}", clean(&found.client_id)),
        format!("  made at   {}", found.created_at),
        format!("  until     {} ({})", found.expires_at, remaining(shop.now, found.expires_at)),
    ];
    lines.extend(found.grants.iter().map(|grant| format!("  opens     {}", clean(&opens(grant)))));
    lines.push("What its account lost since then it does not open any more.".to_owned());
    let json = json!({
        "accepted": true, "id": found.id, "repo": found.repo, "account": found.account_id,
        "grants": found.grants, "expires_at": found.expires_at,
    });
    Ok(verdict(true, &lines, json))
}

/// The secret of an access token belongs to one repo, but does not say to which.
async fn access_token(shop: &Shop, secret: &str) -> Result<Answer, Failure> {
    for repo in shop.store.repos().await? {
        let verifier = verifier(shop, &shop.config.repo_url(&repo.name), Some(&repo)).await?;
        let table: AccessTable = shop.store.access_grants(&repo.name, shop.now).await?.into_iter().collect();
        verifier.set_access_tokens(table);
        if let Ok(token) = verifier.verify_access_secret(secret, shop.now) {
            return known_access_token(shop, &repo.name, repo.policy, &token).await;
        }
    }
    let reason = "This access token is not known here, was revoked or has expired.";
    Ok(verdict(false, &[format!("refused: {reason}")], json!({ "accepted": false, "reason": reason })))
}

async fn known_access_token(
    shop: &Shop,
    repo: &str,
    policy: RepoPolicy,
    token: &VerifiedToken,
) -> Result<Answer, Failure> {
    let account = shop.store.account(&token.subject().into()).await?.map(|account| account.email);
    let mut lines = vec![
        format!("accepted: access token {} for the repo {repo} (policy {policy})", token.id()),
        format!("  account   {} ({})", token.subject(), account.unwrap_or_default()),
        format!("  until     {}", super::moment::shown(token.expires_at(), "it is revoked")),
    ];
    lines.extend(token.grants().iter().map(|grant| format!("  opens     {}", opens(grant))));
    let json = json!({
        "accepted": true,
        "reason": null,
        "repo": repo,
        "access_token": token.id(),
        "account_id": token.subject(),
        "expires_at": token.expires_at(),
        "opens": token.grants(),
    });
    Ok(verdict(true, &lines, json))
}

async fn api_token(shop: &Shop, secret: &str) -> Result<Answer, Failure> {
    let Some(info) = shop.store.access_token(secret, shop.now).await? else {
        let reason = "This access token is not known here, was revoked or has expired.";
        return Ok(verdict(
            false,
            &[format!("refused: {reason}")],
            json!({ "accepted": false, "reason": reason }),
        ));
    };
    let account =
        shop.store.account(&info.account_id).await?.map(|account| account.email).unwrap_or_default();
    let lines = [
        format!("accepted: a device's access token for this store's API, with the scope \"{}\"", info.scope),
        format!("  account   {} ({account})", info.account_id),
        format!("  client    {}, device {}", info.client_id, info.grant_id),
        format!("  until     {} ({})", info.expires_at, remaining(shop.now, info.expires_at)),
        "  opens     no ref by itself; it asks for ref tokens".to_owned(),
    ];
    let json = json!({
        "accepted": true,
        "reason": null,
        "account_id": info.account_id,
        "client_id": info.client_id,
        "device": info.grant_id,
        "scope": info.scope,
        "expires_at": info.expires_at,
    });
    Ok(verdict(true, &lines, json))
}

/// What a grant opens, in one line.
fn opens(grant: &Grant) -> String {
    let list = |words: &[String]| words.join(", ");
    let mut what = grant.ids.clone();
    what.extend(
        grant
            .prefixes
            .iter()
            .map(|prefix| if prefix == "*" { "everything".to_owned() } else { format!("{prefix}.*") }),
    );
    let verbs: Vec<_> = grant.actions.iter().map(|verb| verb.as_str()).collect();
    if verbs.is_empty() || what.is_empty() || grant.branches.is_empty() || grant.arches.is_empty() {
        return "nothing (a list of it is empty)".to_owned();
    }
    let narrowed = |name: &str, words: &[String]| match words {
        [any] if any == "*" => String::new(),
        _ => format!(", {name} {}", list(words)),
    };
    let kinds = grant.kinds.as_ref().map(|kinds| {
        let words: Vec<_> = kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
        format!(", only {}", if words.is_empty() { "refs of no kind".to_owned() } else { list(&words) })
    });
    let commits = grant.commits.as_ref().map(|commits| match commits.as_slice() {
        [] => ", no commit at all".to_owned(),
        commits => format!(", only the commits {}", list(commits)),
    });
    let until = grant.made_until.map(|until| format!(", only commits made until {until}"));
    let limits: String = [kinds, commits, until].into_iter().flatten().collect();
    format!(
        "{}: {}{}{}{}",
        verbs.join(", "),
        list(&what),
        narrowed("branch", &grant.branches),
        narrowed("arch", &grant.arches),
        clean(&limits),
    )
}

/// A token may say anything: control characters must not reach the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

fn remaining(now: UnixTime, until: UnixTime) -> String {
    match now.seconds_until(until) {
        left @ 1.. => format!("{left} seconds from now"),
        over => format!("{} seconds ago", over.unsigned_abs()),
    }
}
