//! `status`: where this user is signed in.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use super::{Failure, surroundings};
use crate::credentials::record::{Place, Record};

/// Show where you are signed in.
///
/// Since when, and where the sign-in is kept, is shown too. Nothing is sent anywhere.
#[derive(Debug, Args)]
pub struct Status {
    /// Print JSON: {"sign_ins":[{"authority","signed_in_at","refreshed_at","kept_in"}]}, times in seconds since 1970 UTC
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Prints the list.
    ///
    /// # Errors
    /// If the state folder cannot be read.
    pub async fn run(self) -> Result<(), Failure> {
        let records = surroundings::credentials()?.list().await?;
        if self.json {
            let items: Vec<_> = records.iter().map(as_json).collect();
            println!("{}", json!({ "sign_ins": items }));
        } else {
            print!("{}", as_text(&records));
        }
        Ok(())
    }
}

fn kept_in(record: &Record) -> &'static str {
    match record.place {
        Place::SecretService => "keyring",
        Place::File { .. } => "file",
    }
}

fn as_json(record: &Record) -> serde_json::Value {
    json!({
        "authority": record.authority,
        "signed_in_at": record.signed_in_at.0,
        "refreshed_at": record.refreshed_at.0,
        "kept_in": kept_in(record),
    })
}

fn as_text(records: &[Record]) -> String {
    if records.is_empty() {
        return "You are not signed in anywhere. Sign in with `flatpass-authenticator login URL`.\n"
            .to_owned();
    }
    records.iter().fold(String::new(), |mut text, record| {
        let _infallible = writeln!(
            text,
            "{}\n  signed in {}, last used {}, kept in the {}",
            record.authority,
            record.signed_in_at,
            record.refreshed_at,
            kept_in(record)
        );
        text
    })
}
