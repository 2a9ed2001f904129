//! Whether the issuer whose tokens open the repo can be used, and opens anything.

use flatpass_store::Repo;

use super::{Finding, Weight};
use crate::cli::Shop;
use crate::cli::failure::Failure;

/// Asks the issuer as the server does.
pub(super) async fn findings(shop: &Shop, repo: &Repo) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    let Some(name) = repo.tokens.issuer() else { return Ok(findings) };
    let Some(issuer) = shop.store.issuer(name).await? else { return Ok(findings) };
    let mut problem = |code, what: String, mend: String| {
        findings.push(Finding { weight: Weight::Problem, code, what, mend: vec![mend], advice: None });
    };
    let secret = shop.store.issuer_secret(name).await?;
    if let Err(why) = flatpass::ask_issuer(&shop.config, &issuer, secret.as_ref()).await {
        let what = format!("Tokens of {name} cannot be checked: {why}.");
        problem("issuer-away", what, format!("flatpass issuer check {name}"));
    }
    let rules = shop.store.issuer_rules(name).await?;
    if !rules.iter().any(|rule| rule.repo.as_ref().is_none_or(|only| *only == repo.name)) {
        let what = format!("No rule says what tokens of {name} open here, so they open nothing.");
        let mend = format!("flatpass issuer map {name} --claim groups --value GROUP --prefix PREFIX");
        problem("issuer-without-rules", what, mend);
    }
    Ok(findings)
}
