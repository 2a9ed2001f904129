//! `flatpass licence`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use clap::Subcommand;
use flatpass_store::{KeyPhase, RepoTokens, StoreError};
use flatpass_token::{Grant, PEERS, RefKind, Secret, SiteLicence, UnixTime};
use serde_json::json;

use super::failure::Failure;
use super::moment::{must_be_ahead, parse_until};
use super::output::Answer;
use super::{Shop, system_rng};

/// What flatpak puts beside an app, under ids of their own.
const EXTENSIONS: [&str; 3] = ["Locale", "Debug", "Sources"];

/// What can be done with site licences.
#[derive(Subcommand)]
pub(super) enum LicenceCommand {
    /// Make a licence file for a site: these apps, for so many devices, until then
    #[command(after_help = "Example:\n  \
        flatpass licence create --repo apps --app org.example.App --site 'North mine' --devices 40 --until 2028-12-31 --out north.licence\n  \
        At the site's peer:  flatpass peer licence add --dir /srv/peer north.licence\n\n\
        The peer checks it without the store. A licence cannot be taken back before its end: give it an end that you can live with, and a new\n\
        one in time. The devices of a site need no accounts.")]
    Create {
        /// The repo
        #[arg(long, value_name = "REPO")]
        repo: String,
        /// An app that the site may have, with its translations; may be given more than once. '*' is all
        #[arg(long = "app", value_name = "APP", required = true)]
        apps: Vec<String>,
        /// What the site is called
        #[arg(long, value_name = "NAME")]
        site: String,
        /// How many devices may use it
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        devices: u32,
        /// The last day (UTC), or a moment
        #[arg(long, value_name = "DATE", value_parser = parse_until)]
        until: UnixTime,
        /// Write it to this file and do not print it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// Does it.
pub(super) async fn run(shop: &Shop, command: LicenceCommand) -> Result<Answer, Failure> {
    let LicenceCommand::Create { repo, apps, site, devices, until, out } = command;
    must_be_ahead(Some(until), shop.now)?;
    let repos = shop.store.repos().await?;
    let found =
        repos.into_iter().find(|one| one.name == repo).ok_or_else(|| StoreError::NoRepo(repo.clone()))?;
    if found.source.ostree().is_none() || found.tokens != RepoTokens::Jwt {
        return Err(Failure::told(
            format!("{repo} cannot have peers, for which licences are"),
            "use an OSTree repo whose tokens are signed: flatpass repo set NAME --tokens jwt",
        ));
    }
    let keys = shop.store.signing_keys(shop.now).await?;
    let key = keys.iter().find(|key| key.phase(shop.now) == KeyPhase::Signing).ok_or_else(|| {
        Failure::told("there is no signing key yet", "start the server once: flatpass serve makes it")
    })?;
    let licence = SiteLicence {
        iss: shop.config.issuer(),
        aud: format!("{}{PEERS}", shop.config.repo_url(&repo)),
        sub: site,
        iat: shop.now,
        exp: until,
        jti: Secret::generate("lic_", &mut system_rng()).expose().to_owned(),
        devices,
        authorization_details: grants(&apps),
    };
    let text = licence.sign(&key.signing_key()?).map_err(|error| {
        Failure::told(
            format!("the licence cannot be made: {error}"),
            "name fewer apps, and make a second licence for the others",
        )
    })?;
    let json = json!({ "site": licence.sub, "id": licence.jti, "devices": devices, "until": until, "licence": text });
    let Some(out) = out else { return Ok(Answer::new(text, json)) };
    let cannot = |error: std::io::Error| {
        Failure::told(format!("cannot write {}: {error}", out.display()), "name another file with --out")
    };
    // Whoever reads it can let devices of theirs in at a peer of theirs.
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&out);
    file.and_then(|mut file| file.write_all(format!("{text}\n").as_bytes())).map_err(cannot)?;
    let said = format!(
        "Wrote {}: {} for {devices} devices of {}, until {until}. Next, at the site's peer:\n  flatpass peer licence add {}",
        out.display(),
        apps.join(", "),
        licence.sub,
        out.display()
    );
    Ok(Answer::new(said, json))
}

/// The apps, and what flatpak puts beside them.
fn grants(apps: &[String]) -> Vec<Grant> {
    let verbs = flatpass_peer::SITE_VERBS;
    if apps.iter().any(|app| app == "*") {
        return vec![Grant::for_everything(&verbs)];
    }
    let beside = apps.iter().flat_map(|app| {
        let front = app.replace('-', "_");
        EXTENSIONS.map(|extension| format!("{front}.{extension}"))
    });
    vec![
        Grant::for_ids(&verbs, apps.iter().cloned()),
        Grant { kinds: Some(vec![RefKind::Runtime]), ..Grant::for_ids(&verbs, beside) },
    ]
}
