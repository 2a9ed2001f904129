//! `flatpass grant` and `flatpass revoke`.

use clap::Args;
use flatpass_store::{AppPattern, Held, Holder, NewEntitlement, Source, SourceKind, StoreError, What};
use flatpass_token::UnixTime;
use serde_json::json;

use super::failure::Failure;
use super::moment::{must_be_ahead, parse_until, shown};
use super::output::Answer;
use super::shell::quoted;
use super::{Shop, repo, system_rng};

/// A right to be given.
#[derive(Args)]
#[command(after_help = "Examples:\n  flatpass grant ann@example.org apps org.example.App\n  \
    flatpass grant ann@example.org apps 'org.example.*' --until 2027-06-30\n  \
    flatpass grant robot@example.org internal '*'")]
pub(super) struct Grant {
    /// The account's e-mail address
    email: String,
    /// The repo's name
    repo: String,
    /// The app's id, PREFIX.* or *
    app_id: AppPattern,
    /// The last day (UTC), or a moment; for ever without it
    #[arg(long, value_name = "DATE", value_parser = parse_until)]
    until: Option<UnixTime>,
}

/// A right to be taken away.
#[derive(Args)]
#[command(
    after_help = "Tokens that were given out before work until they expire (an hour, unless tokens.ref_token_seconds\n\
    says otherwise). If the app was bought, its order becomes refund_due: the money is owed back."
)]
pub(super) struct Revoke {
    /// The account's e-mail address
    email: String,
    /// The repo's name
    repo: String,
    /// The app's id, PREFIX.* or *, exactly as it was given
    app_id: AppPattern,
}

/// Gives the right; one that is there already is not given twice.
pub(super) async fn grant(shop: &Shop, grant: Grant) -> Result<Answer, Failure> {
    must_be_ahead(grant.until, shop.now)?;
    let account = shop.account(&grant.email).await?;
    let stored = shop.store.repo(&grant.repo).await?.ok_or_else(|| StoreError::NoRepo(grant.repo.clone()))?;
    let holder = Holder::Account(account.id);
    let what = What::Apps { repo: grant.repo.clone(), app: grant.app_id.clone(), branch: None };
    let has = shop.store.held_by(&holder, shop.now).await?;
    let same =
        |one: &&Held| one.source.kind == SourceKind::Grant && one.what == what && one.ends_at == grant.until;
    let given = match has.iter().find(same) {
        Some(same) => same.clone(),
        None => {
            let new = NewEntitlement {
                holder,
                what,
                verbs: NewEntitlement::USUAL.to_vec(),
                starts_at: shop.now,
                ends_at: grant.until,
                upgrades_until: None,
                source: Source { kind: SourceKind::Grant, id: "flatpass grant".to_owned() },
            };
            shop.store.grant(new, shop.now, &mut system_rng()).await?
        }
    };
    let mut text = format!(
        "{} may download and upgrade {} from {}, until {}.",
        account.email,
        grant.app_id,
        grant.repo,
        shown(given.ends_at, "it is revoked")
    );
    if repo::has_app(&stored, &grant.app_id) == Some(false) {
        text.push_str(&format!("\nNote: {} has no ref of this id now. Is it spelled right?", grant.repo));
    }
    Ok(Answer::new(text, json!(given)))
}

/// Takes the right away.
pub(super) async fn revoke(shop: &Shop, revoke: Revoke) -> Result<Answer, Failure> {
    let account = shop.account(&revoke.email).await?;
    let has = shop.store.held_by(&Holder::Account(account.id.clone()), shop.now).await?;
    let in_repo = |one: &Held| match &one.what {
        What::Apps { repo, app, .. } if *repo == revoke.repo => Some(app.clone()),
        _ => None,
    };
    let mut ended = Vec::new();
    for one in has.iter().filter(|one| in_repo(one).as_ref() == Some(&revoke.app_id)) {
        if shop.store.revoke_entitlement(&one.id, shop.now).await? {
            ended.push(one);
        }
    }
    if ended.is_empty() {
        let others: Vec<_> = has.iter().filter_map(in_repo).map(|app| quoted(&app.to_string())).collect();
        let next = if others.is_empty() {
            format!("it has no rights in {}", revoke.repo)
        } else {
            format!("revoke what it has: {}", others.join(", "))
        };
        return Err(Failure::told(
            format!("{} has no right to {} in {}", account.email, revoke.app_id, revoke.repo),
            next,
        ));
    }
    let orders: Vec<_> = ended
        .iter()
        .filter(|one| one.source.kind == SourceKind::Order)
        .map(|one| one.source.id.as_str())
        .collect();
    let still = shop.store.entitlements(&account.id, Some(&revoke.repo), shop.now).await?;
    let mut text = format!("{} has no right to {} any more.", account.email, revoke.app_id);
    if let Some(other) = still.iter().find(|one| one.app.covers(&revoke.app_id.to_string())) {
        text.push_str(&format!("\nNote: {} covers it still.", other.app));
    }
    for order in &orders {
        text.push_str(&format!("\nIt was bought: order {order} is now refund_due."));
    }
    Ok(Answer::new(text, json!({ "revoked": ended, "refund_due": orders })))
}
