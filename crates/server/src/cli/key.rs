//! `flatpass key`.

use clap::Subcommand;
use flatpass_store::{KeyPhase, RegistryAccess, StoredKey};
use flatpass_token::UnixTime;
use serde_json::{Value, json};

use super::failure::Failure;
use super::moment::shown;
use super::output::{Answer, table};
use super::{Shop, system_rng};

/// What can be done with signing keys.
#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// List the keys that are published
    List,
    /// Replace the signing key: the new one is published first, then signs, and the old one counts until its tokens have expired
    #[command(after_help = "No request is refused in between. Only for a key that was stolen:\n  \
        flatpass key rotate --at-once     the old keys count no more from now on, nor does any token they signed")]
    Rotate {
        /// Put all older keys out of force now
        #[arg(long)]
        at_once: bool,
    },
}

/// Gates and registries keep a key set they fetched for a while.
const LEAST_OVERLAP_SECONDS: i64 = 3600;

/// Does it.
pub(super) async fn run(shop: &Shop, command: KeyCommand) -> Result<Answer, Failure> {
    match command {
        KeyCommand::List => {
            let keys = shop.store.signing_keys(shop.now).await?;
            let rows: Vec<_> = keys
                .iter()
                .map(|key| {
                    let phase = phase(key, shop.now);
                    [
                        key.kid.clone(),
                        phase.to_owned(),
                        key.active_from.to_string(),
                        shown(key.retired_at, "rotated"),
                        shown(key.expires_at, ""),
                    ]
                })
                .collect();
            let json = keys.iter().map(|key| described(key, shop.now)).collect();
            let none = "No key. `flatpass serve` makes the first one.";
            let head = ["key", "it is", "signs from", "signs until", "counts until"];
            Ok(Answer::new(table(head, &rows, none), Value::Array(json)))
        }
        KeyCommand::Rotate { at_once } => {
            let tokens = &shop.config.tokens;
            let needed = tokens.ref_token_seconds.saturating_add(tokens.leeway_seconds).saturating_add(60);
            let overlap = if at_once { 0 } else { needed.max(LEAST_OVERLAP_SECONDS) };
            let overlap = u32::try_from(overlap).unwrap_or(u32::MAX);
            let key = shop.store.rotate_key(shop.now, overlap, &mut system_rng()).await?;
            let text = if at_once {
                format!("{} signs now. Older keys, and all tokens they signed, are refused.", key.kid)
            } else {
                let end = key.active_from.plus_seconds(overlap.into());
                format!(
                    "{} is published now and signs from {} on. The old key counts until {end}.",
                    key.kid, key.active_from
                )
            };
            let text = text + &registries(shop, (!at_once).then_some(key.active_from)).await?;
            Ok(Answer::new(text, described(&key, shop.now)))
        }
    }
}

/// What is left to do for the registries that take this store's tokens: they read their certificates when they start.
async fn registries(shop: &Shop, before: Option<UnixTime>) -> Result<String, Failure> {
    let repos = shop.store.repos().await?;
    let trusting = repos
        .iter()
        .filter(|repo| repo.source.registry().is_some_and(|one| one.access == RegistryAccess::Realm));
    let when = before
        .map_or_else(|| "now: until then they refuse all tokens".to_owned(), |at| format!("before {at}"));
    let mut text = String::new();
    for repo in trusting {
        if text.is_empty() {
            text = format!("\nThese registries need the new certificate, and a restart, {when}:");
        }
        text.push_str(&format!("\n  {}:  flatpass repo certificates {} > FILE", repo.source, repo.name));
    }
    Ok(text)
}

fn phase(key: &StoredKey, now: UnixTime) -> &'static str {
    match key.phase(now) {
        KeyPhase::Published => "published",
        KeyPhase::Signing => "signing",
        KeyPhase::Retired => "retired",
    }
}

fn described(key: &StoredKey, now: UnixTime) -> Value {
    json!({
        "kid": key.kid,
        "phase": phase(key, now),
        "created_at": key.created_at,
        "active_from": key.active_from,
        "retired_at": key.retired_at,
        "expires_at": key.expires_at,
    })
}
