//! `flatpass init`.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use flatpass::config::{Config, Overrides};
use flatpass_store::{Sealer, Store, StoreOptions};
use flatpass_token::UnixTime;
use serde_json::json;

use super::failure::Failure;
use super::output::Answer;
use super::shell::quoted;
use super::system_rng;

/// What a new store shall be.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    flatpass init                                    here, for trying it out on this machine\n  \
    flatpass init /srv/shop --url https://shop.example/ --name 'My shop'\n\n\
    Nothing that exists is overwritten. Keep a backup of secret.key apart from the database: without it the\n\
    signing keys in the database are lost, and with both anybody can sign tokens.")]
pub(super) struct Init {
    /// The folder; it is made if it is not there
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
    /// The public address that clients and browsers use
    #[arg(long, default_value = "http://127.0.0.1:8080/")]
    url: String,
    /// Where the server listens
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: String,
    /// What the shop calls itself on its pages
    #[arg(long, default_value = "Flatpass")]
    name: String,
    /// Allow an http:// url that is not on this machine: passwords then travel in clear
    #[arg(long)]
    allow_http: bool,
}

impl Init {
    fn toml(&self) -> String {
        let text = |value: &str| toml::Value::String(value.to_owned()).to_string();
        let allow = if self.allow_http { "allow_http = true\n" } else { "" };
        format!(
            "# Flatpass. `flatpass config check` says what is wrong with this file.\n\
             # Relative paths are relative to this file.\n\n\
             # The public address, as clients and browsers use it.\n\
             url = {url}\n{allow}\
             # Where the server listens; a proxy in front of it may be what the public address leads to.\n\
             listen = {listen}\n\
             name = {name}\n\
             database = \"sqlite:flatpass.db\"\n\
             secret_key = \"secret.key\"\n",
            url = text(&self.url),
            listen = text(&self.listen),
            name = text(&self.name),
        )
    }
}

/// Makes the store, or nothing at all.
pub(super) async fn run(init: &Init, now: UnixTime) -> Result<Answer, Failure> {
    let folder = std::path::absolute(&init.folder).map_err(|error| cannot(&init.folder, &error))?;
    let file = folder.join("flatpass.toml");
    let text = init.toml();
    // What cannot be served is refused before anything is written. The environment has no say in a new file.
    let config = Config::parse(&text, &file, &folder, &Overrides::default())?;
    let database = folder.join("flatpass.db");
    for path in [&file, &config.secret_key, &database] {
        if path.symlink_metadata().is_ok() {
            let next = "give another folder, or move it away if this store shall be forgotten";
            return Err(Failure::told(
                format!("{} exists already; nothing was changed", path.display()),
                next,
            ));
        }
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| cannot(&folder, &error))?;
    match fill(&config, &file, &text, now).await {
        Ok(kid) => Ok(told(init, &file, &kid)),
        Err(failure) => {
            for name in ["flatpass.toml", "secret.key", "flatpass.db", "flatpass.db-wal", "flatpass.db-shm"] {
                // What this run made is taken away again; none of it was there before.
                let _ = fs::remove_file(folder.join(name));
            }
            Err(failure)
        }
    }
}

async fn fill(config: &Config, file: &Path, text: &str, now: UnixTime) -> Result<String, Failure> {
    let mut rng = system_rng();
    // The configuration comes last: a store that has one is complete.
    let sealer =
        Sealer::create_key_file(&config.secret_key, &mut rng).map_err(flatpass_store::StoreError::from)?;
    let store = Store::open_with(&config.database, sealer, StoreOptions::default()).await?;
    store.ensure_signing_key(now, &mut rng).await?;
    let kid = store.signing_keys(now).await?.into_iter().next().map(|key| key.kid).unwrap_or_default();
    store.close().await;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(file)
        .and_then(|mut out| out.write_all(text.as_bytes()).and_then(|()| out.sync_all()))
        .map_err(|error| cannot(file, &error))?;
    Ok(kid)
}

fn told(init: &Init, file: &Path, kid: &str) -> Answer {
    let shown = quoted(&init.folder.display().to_string());
    let text = format!(
        "Made a store in {folder}: flatpass.toml, secret.key, flatpass.db.\n\
         Keep a backup of secret.key apart from the database.\n\n\
         Next, in {shown}:\n  \
         flatpass repo add NAME PATH --policy refs\n  \
         flatpass app price NAME org.example.App 5.00 EUR\n  \
         flatpass serve",
        folder = init.folder.display(),
    );
    Answer::new(text, json!({ "config": file, "kid": kid }))
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::told(
        format!("cannot write {}: {error}", path.display()),
        "give a folder that this user may write to",
    )
}
