//! `flatpass config check`, and what every command on a store makes sure of first.

use std::path::Path;

use clap::Subcommand;
use flatpass::config::{Config, Overrides};
use serde_json::json;

use super::failure::Failure;
use super::output::{Answer, FOUND_PROBLEMS};

/// What can be done with the configuration file.
#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Say what is wrong with the configuration and with the files that it names
    #[command(after_help = "Exit code 3 when something is wrong.")]
    Check,
}

/// Refuses a database that is not there: opening it would make an empty one, and a misspelled path would look like a store
/// that lost everything.
pub(super) fn must_have_database(config: &Config) -> Result<(), Failure> {
    let path = config.database.strip_prefix("sqlite:").unwrap_or(&config.database);
    if Path::new(path).is_file() {
        return Ok(());
    }
    Err(Failure::told(
        format!("there is no database at {path}"),
        "make a new store with `flatpass init DIR`, or correct database in the configuration",
    ))
}

/// Checks all that can be checked without serving.
pub(super) async fn check(named: Option<&Path>, overrides: &Overrides) -> Result<Answer, Failure> {
    let (file, problems) = match load(named, overrides) {
        Err(failure) => (named.map(Path::to_owned), vec![failure]),
        Ok((file, config)) => (Some(file), problems_of(&config).await),
    };
    let shown =
        file.as_deref().map_or_else(|| "the configuration".to_owned(), |file| file.display().to_string());
    let told: Vec<_> = problems
        .iter()
        .map(|problem| json!({ "what": problem.to_string(), "next": problem.next() }))
        .collect();
    let json = json!({ "config": file, "ok": problems.is_empty(), "problems": told });
    if problems.is_empty() {
        return Ok(Answer::new(format!("{shown} is good."), json));
    }
    let lines = problems.iter().map(|problem| match problem.next() {
        Some(next) => format!("problem  {problem}\n         next: {next}"),
        None => format!("problem  {problem}"),
    });
    Ok(Answer::new(lines.collect::<Vec<_>>().join("\n"), json).with_code(FOUND_PROBLEMS))
}

fn load(named: Option<&Path>, overrides: &Overrides) -> Result<(std::path::PathBuf, Config), Failure> {
    let file = Config::find(named)?;
    let config = Config::load(&file, overrides)?;
    Ok((file, config))
}

async fn problems_of(config: &Config) -> Vec<Failure> {
    let mut problems = Vec::new();
    match must_have_database(config) {
        Err(missing) => {
            problems.push(missing);
            if let Err(error) = flatpass_store::Sealer::from_key_file(&config.secret_key) {
                problems.push(flatpass_store::StoreError::from(error).into());
            }
        }
        Ok(()) => match flatpass::open_store(config).await {
            Err(error) => problems.push(error.into()),
            Ok(store) => store.close().await,
        },
    }
    if let Some(tls) = &config.tls {
        for (key, path) in [("tls.certificate", &tls.certificate), ("tls.key", &tls.key)] {
            if let Err(error) = std::fs::File::open(path) {
                problems.push(Failure::told(
                    format!("{key}: cannot read {}: {error}", path.display()),
                    "correct the path, or let this user read the file",
                ));
            }
        }
    }
    if let Some(mail) = &config.mail {
        for (key, path) in [
            ("mail.password_file", &mail.password_file),
            ("mail.certificate_authority", &mail.certificate_authority),
        ] {
            if let Some((path, error)) =
                path.as_ref().and_then(|path| Some((path, std::fs::File::open(path).err()?)))
            {
                problems.push(Failure::told(
                    format!("{key}: cannot read {}: {error}", path.display()),
                    "correct the path, or let this user read the file",
                ));
            }
        }
    }
    problems
}
