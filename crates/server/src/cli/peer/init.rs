//! `flatpass peer init`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use flatpass_gate::Clock;
use flatpass_peer::{LISTEN, OFFLINE_DAYS, Settings, parse_size};
use serde_json::json;
use url::Url;

use super::super::failure::Failure;
use super::super::output::Answer;
use super::super::shell::quoted;

pub(super) const EXAMPLES: &str = "Example:\n  \
    At the store, by its operator:\n    \
    flatpass robot add office\n    \
    flatpass grant robot/office apps '*' --verbs download,upgrade,export\n    \
    flatpass robot secret office --out office.toml\n  \
    At the peer:\n    \
    flatpass peer init --dir /srv/peer --store https://shop.example/ --repo apps --credentials office.toml --max-size 50G\n    \
    flatpass peer serve --dir /srv/peer\n\n\
    The verb export lets the peer carry an app on. Without credentials it fetches only what is free.\n\
    Compare the keys that it shows with those of `flatpass key list` at the store.";

/// How to make a peer.
#[derive(Args)]
pub(in crate::cli) struct Init {
    /// The folder to make it in
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The store's URL, https (or http on this machine)
    #[arg(long, value_name = "URL")]
    store: Url,
    /// The repo's name in the store
    #[arg(long, value_name = "NAME")]
    repo: String,
    /// A file of `flatpass robot secret --out`: the account by which the peer fetches what is not free
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Keep at most so many bytes of files; what is least used goes first
    #[arg(long, value_name = "SIZE", default_value = "50G", value_parser = parse_size)]
    max_size: u64,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = LISTEN)]
    listen: SocketAddr,
    /// Take no tokens any more after so many days without the store
    #[arg(long, value_name = "DAYS", default_value = "90d", value_parser = parse_days)]
    offline_for: u32,
    /// Do not tell the local network that the peer is there (DNS-SD)
    #[arg(long)]
    no_announce: bool,
}

fn parse_days(text: &str) -> Result<u32, String> {
    let number = text.trim().trim_end_matches('d').parse::<u32>().ok().filter(|days| *days > 0);
    number.ok_or_else(|| format!("{text:?} is no number of days: write {OFFLINE_DAYS}d"))
}

pub(super) async fn run(init: Init) -> Result<Answer, Failure> {
    let mut store = init.store;
    if !store.path().ends_with('/') {
        store.set_path(&format!("{}/", store.path()));
    }
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let settings = Settings {
        store,
        repo: init.repo,
        credentials: init.credentials.map(absolute),
        listen: init.listen,
        max_size: init.max_size,
        offline_for_days: init.offline_for,
        announce: !init.no_announce,
    };
    let trust = flatpass_peer::init(&init.dir, &settings, Clock::system().now().unix()).await?;
    let keys = trust.keys()?;
    let kids: Vec<&str> = keys.iter().map(flatpass_token::PublicKey::kid).collect();
    let info = &trust.info;
    let guarded = match info.policy {
        flatpass_gate::Policy::Open => "everything in it is free",
        flatpass_gate::Policy::Refs => "commits that are not free need a token",
        flatpass_gate::Policy::Objects => "every object that is not free needs a token",
        flatpass_gate::Policy::Private => "everything in it needs a token",
    };
    let dir = quoted(&init.dir.display().to_string());
    let mut text = format!(
        "Made a peer of {} in {dir}. Policy {}: {guarded}.\nThe store's keys, pinned (compare them with `flatpass key list` there):\n",
        info.repo_url, info.policy
    );
    for kid in &kids {
        text.push_str(&format!("  {kid}\n"));
    }
    if settings.credentials.is_some() && info.export.is_empty() {
        text.push_str(
            "Note: its robot may export nothing, so only what is free comes in. At the store: flatpass grant robot/NAME REPO APP --verbs \
             download,upgrade,export\n",
        );
    }
    text.push_str(&format!("Next: flatpass peer serve --dir {dir}"));
    let json = json!({
        "dir": init.dir, "repo_url": info.repo_url, "policy": info.policy, "keys": kids, "listen": settings.listen,
    });
    Ok(Answer::new(text, json))
}
