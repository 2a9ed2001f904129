//! `flatpass robot`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use flatpass_store::{Account, GrantId};
use flatpass_token::{Secret, UnixTime};
use serde_json::json;

use super::failure::Failure;
use super::moment::{must_be_ahead, parse_until, shown};
use super::output::{Answer, table};
use super::shell::quoted;
use super::{Shop, system_rng};

/// What a robot's access tokens may do: what a person's devices may.
const SCOPE: &str = "ref-tokens";

/// What can be done with robots.
#[derive(Subcommand)]
pub(super) enum RobotCommand {
    /// Make a robot: an account of a machine, which has no password
    #[command(after_help = "Example:\n  flatpass robot add kiosks\n  \
        flatpass grant robot/kiosks internal '*'\n  \
        flatpass robot secret kiosks --out robot.toml\n\n\
        On the machine, put the file to /etc/flatpass/robot.toml, owned by who runs the updates and with mode 0600, and\n\
        run: flatpass-authenticator run -- flatpak update --system -y")]
    Add {
        /// Its name: a-z, 0-9, '.', '_', '-'
        name: String,
    },
    /// List the robots and their secrets in force, with when and from where each was last used
    List,
    /// Make one more secret and print it, once; those before stay in force until they are revoked
    Secret {
        /// The robot's name
        name: String,
        /// What the secret is for, such as the machine
        #[arg(long = "name", value_name = "NAME", default_value = "")]
        label: String,
        /// The last day (UTC), or a moment; until it is revoked without it
        #[arg(long, value_name = "DATE", value_parser = parse_until)]
        until: Option<UnixTime>,
        /// Write it to this new file with mode 0600, as `flatpass-authenticator run` reads it, and do not print it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// End one secret: the tokens that were fetched with it end now
    Revoke {
        /// The robot's name
        name: String,
        /// The secret's id, as `flatpass robot list` shows it
        id: String,
    },
    /// Let a robot check tokens of a repo, for a gate elsewhere (RFC 7662); without a repo, list those whose tokens it may check
    #[command(after_help = "Example:\n  flatpass robot introspect gate apps\n  \
        curl -u ID:SECRET -d token=TOKEN https://shop.example/oauth/introspect")]
    Introspect {
        /// The robot's name
        name: String,
        /// The repo's name
        repo: Option<String>,
        /// Not any more
        #[arg(long, requires = "repo")]
        end: bool,
    },
    /// Remove a robot: its secrets, access tokens and tokens end now
    Remove {
        /// The robot's name
        name: String,
    },
}

/// Does it.
pub(super) async fn run(shop: &Shop, command: RobotCommand) -> Result<Answer, Failure> {
    match command {
        RobotCommand::Add { name } => {
            let robot = shop.store.create_robot(&name, shop.now, &mut system_rng()).await?;
            let text = format!(
                "Made {}. Next: give it rights and a secret:\n  flatpass grant {} REPO '*'\n  flatpass robot secret {name}",
                robot.email, robot.email
            );
            Ok(Answer::new(text, json!(robot)))
        }
        RobotCommand::List => list(shop).await,
        RobotCommand::Secret { name, label, until, out } => {
            secret(shop, &name, &label, until, out.as_deref()).await
        }
        RobotCommand::Revoke { name, id } => {
            let (robot, id) = (robot(shop, &name).await?, GrantId(id));
            if !shop.store.revoke_device(&robot.id, &id, shop.now).await? {
                return Err(Failure::told(
                    format!("{} has no secret in force with this id", robot.email),
                    "see the ids with: flatpass robot list",
                ));
            }
            Ok(Answer::new(format!("{id} is revoked."), json!({ "revoked": id })))
        }
        RobotCommand::Introspect { name, repo: None, .. } => {
            let robot = robot(shop, &name).await?;
            let repos = shop.store.introspected_repos(&robot.id).await?;
            let rows: Vec<_> = repos.iter().map(|repo| [repo.clone()]).collect();
            let none = "It may check no tokens. Let it with: flatpass robot introspect NAME REPO";
            Ok(Answer::new(table(["repo"], &rows, none), json!(repos)))
        }
        RobotCommand::Introspect { name, repo: Some(repo), end } => {
            let robot = robot(shop, &name).await?;
            shop.store.set_introspector(&repo, &robot.id, !end, shop.now).await?;
            let may = if end { "may not check tokens of" } else { "may check tokens of" };
            let more = if end { " any more." } else { "." };
            let text = format!("{} {may} {repo}{more}", robot.email);
            Ok(Answer::new(text, json!({ "robot": robot.id, "repo": repo, "may_introspect": !end })))
        }
        RobotCommand::Remove { name } => {
            let robot = robot(shop, &name).await?;
            shop.store.remove_robot(&robot.id, shop.now).await?;
            Ok(Answer::new(format!("Removed {}.", robot.email), json!({ "removed": robot.id })))
        }
    }
}

async fn robot(shop: &Shop, name: &str) -> Result<Account, Failure> {
    let name = name.strip_prefix("robot/").unwrap_or(name);
    shop.store.robot(name).await?.ok_or_else(|| {
        let next =
            format!("see the robots with `flatpass robot list`, or make one: flatpass robot add {name}");
        Failure::told(format!("there is no robot named {name}"), next)
    })
}

async fn list(shop: &Shop) -> Result<Answer, Failure> {
    let mut rows = Vec::new();
    let mut json = Vec::new();
    for robot in shop.store.robots().await? {
        let secrets = shop.store.robot_secrets(&robot.id, shop.now).await?;
        let state = if robot.disabled_at.is_some() { "disabled" } else { "no secret" };
        if secrets.is_empty() {
            rows.push([&robot.email, state, "", "", "", ""].map(|text: &str| text.to_owned()));
        }
        for one in &secrets {
            rows.push([
                robot.email.clone(),
                one.id.to_string(),
                one.name.clone(),
                shown(one.expires_at, "revoked"),
                shown(one.last_used_at, "never"),
                one.last_address.clone(),
            ]);
        }
        let mut value = json!(robot);
        value["secrets"] = json!(secrets);
        json.push(value);
    }
    let none = "No robot yet. Make one with: flatpass robot add NAME";
    let head = ["robot", "secret", "name", "until", "last used", "from"];
    Ok(Answer::new(table(head, &rows, none), json!(json)))
}

async fn secret(
    shop: &Shop,
    name: &str,
    label: &str,
    until: Option<UnixTime>,
    out: Option<&Path>,
) -> Result<Answer, Failure> {
    must_be_ahead(until, shop.now)?;
    let robot = robot(shop, name).await?;
    let new = async || {
        let mut rng = system_rng();
        shop.store.create_robot_secret(&robot.id, label, SCOPE, until, shop.now, &mut rng).await
    };
    let Some(path) = out else {
        let (secret, made) = new().await?;
        let file = file(shop, &robot, &secret);
        let text = format!(
            "Made {} for {}, until {}. Its secret, shown only now:\n{}\n\nFor /etc/flatpass/robot.toml on the machine, mode 0600:\n{}",
            made.id,
            robot.email,
            shown(made.expires_at, "it is revoked"),
            secret.expose(),
            file.trim_end()
        );
        return Ok(Answer::new(
            text,
            json!({ "secret": secret.expose(), "client_id": robot.id, "made": made }),
        ));
    };
    let told = |error: std::io::Error| {
        let next = "name a file that does not exist yet, in a directory that you may write to";
        Failure::told(format!("cannot write {}: {error}", path.display()), next)
    };
    // First the file: a secret that nobody has is no use, and stays in force.
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(told)?;
    let (secret, made) = match new().await {
        Ok(made) => made,
        Err(error) => {
            let _ = std::fs::remove_file(path);
            return Err(error.into());
        }
    };
    let written = opened.write_all(file(shop, &robot, &secret).as_bytes()).and_then(|()| opened.sync_all());
    if let Err(error) = written {
        let _ = std::fs::remove_file(path);
        shop.store.revoke_device(&robot.id, &made.id, shop.now).await?;
        return Err(told(error));
    }
    let shown_path = quoted(&path.display().to_string());
    let text = format!(
        "Made {} for {}, until {}. Its secret is in {shown_path} and nowhere else.",
        made.id,
        robot.email,
        shown(made.expires_at, "it is revoked")
    );
    Ok(Answer::new(text, json!({ "file": path, "client_id": robot.id, "made": made })))
}

/// What `flatpass-authenticator run` reads.
fn file(shop: &Shop, robot: &Account, secret: &Secret) -> String {
    format!(
        "store = \"{}/\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n",
        shop.config.issuer().trim_end_matches('/'),
        robot.id,
        secret.expose()
    )
}
