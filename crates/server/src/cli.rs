//! The commands besides `serve`.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use flatpass::config::Config;
use flatpass_store::{
    AppPattern, NewAccount, NewEntitlement, NewRepo, Offer, Money, RepoPolicy, Sealer, Source, SourceKind, Store,
};
use flatpass_token::{Secret, UnixTime, Verb};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use serde_json::{Value, json};

#[derive(Subcommand)]
pub enum RepoCommand {
    /// Adds an OSTree repository.
    Add { name: String, path: PathBuf, #[arg(long, default_value = "refs")] policy: RepoPolicy },
    /// Lists the repositories.
    List,
    /// Says what is wrong with one.
    Check { name: String },
}

#[derive(Subcommand)]
pub enum AppCommand {
    /// Sets what an app costs.
    Price { repo: String, app: String, amount: String, currency: String, #[arg(long, default_value = "")] title: String },
    List { repo: String },
}

#[derive(Subcommand)]
pub enum AccountCommand {
    Add { email: String },
    List,
}

#[derive(Subcommand)]
pub enum AccessTokenCommand {
    Add { email: String, repo: String, #[arg(long)] name: String },
}

fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

pub async fn init(folder: &Path, url: &str, listen: &str, name: &str) -> anyhow::Result<Value> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join("flatpass.toml");
    let text = format!("url = {}\nlisten = {}\nname = {}\n", json!(url), json!(listen), json!(name));
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).with_context(|| format!("{} cannot be made", file.display()))?;
    std::io::Write::write_all(&mut out, text.as_bytes())?;
    let config = Config::load(&file, &flatpass::config::Overrides::default())?;
    Sealer::create_key_file(&config.secret_key, &mut rng())?;
    flatpass::open_store(&config).await?.close().await;
    Ok(json!({ "config": file }))
}

pub async fn repo(store: &Store, command: RepoCommand, now: UnixTime) -> anyhow::Result<Value> {
    Ok(match command {
        RepoCommand::Add { name, path, policy } => {
            let path = std::fs::canonicalize(&path).with_context(|| path.display().to_string())?;
            serde_json::to_value(store.add_repo(NewRepo { name, path, policy, urls: vec![], open_token_types: vec![0, 1] }, now).await?)?
        }
        RepoCommand::List => serde_json::to_value(store.repos().await?)?,
        RepoCommand::Check { name } => serde_json::to_value(store.repo(&name).await?)?,
    })
}

pub async fn app(store: &Store, command: AppCommand, now: UnixTime) -> anyhow::Result<Value> {
    Ok(match command {
        AppCommand::Price { repo, app, amount, currency, title } => {
            serde_json::to_value(store.set_offer(&repo, &app, Offer { price: Money::parse(&amount, &currency)?, title }, now).await?)?
        }
        AppCommand::List { repo } => serde_json::to_value(store.offers(&repo).await?)?,
    })
}

pub async fn account(store: &Store, command: AccountCommand, now: UnixTime) -> anyhow::Result<Value> {
    Ok(match command {
        AccountCommand::Add { email } => {
            let mut password = String::new();
            std::io::stdin().read_to_string(&mut password)?;
            let mut shown = None;
            if password.trim().is_empty() {
                password = Secret::generate("", &mut rng()).expose().to_owned();
                shown = Some(password.clone());
            }
            let new = NewAccount { email, password: password.trim_end_matches('\n').to_owned().into(), name: None };
            let account = store.create_account(new, now, &mut rng()).await?;
            json!({ "account": account, "password": shown })
        }
        AccountCommand::List => serde_json::to_value(store.list_accounts().await?)?,
    })
}

pub async fn access_token(store: &Store, command: AccessTokenCommand, now: UnixTime) -> anyhow::Result<Value> {
    let AccessTokenCommand::Add { email, repo, name } = command;
    let Some(account) = store.account_by_email(&email).await? else { bail!("no account {email}") };
    let (secret, token) = store.create_access_token(&account.id, &repo, &name, None, now, &mut rng()).await?;
    Ok(json!({ "secret": secret.expose(), "token": token }))
}

pub async fn grant(store: &Store, email: &str, repo: &str, app: &str, now: UnixTime) -> anyhow::Result<Value> {
    let Some(account) = store.account_by_email(email).await? else { bail!("no account {email}") };
    let new = NewEntitlement {
        account_id: account.id, repo: repo.into(), app: app.parse::<AppPattern>()?, verbs: vec![Verb::Download, Verb::Upgrade],
        starts_at: now, ends_at: None, source: Source { kind: SourceKind::Grant, id: Secret::generate("", &mut rng()).expose().into() },
    };
    Ok(serde_json::to_value(store.grant(new, now, &mut rng()).await?)?)
}

pub async fn revoke(store: &Store, email: &str, repo: &str, app: &str, now: UnixTime) -> anyhow::Result<Value> {
    let Some(account) = store.account_by_email(email).await? else { bail!("no account {email}") };
    let pattern: AppPattern = app.parse()?;
    let mut ended = 0;
    for one in store.entitlements(&account.id, Some(repo), now).await? {
        if one.app == pattern && store.revoke_entitlement(&one.id, now).await? { ended += 1; }
    }
    Ok(json!({ "ended": ended }))
}
