//! `flatpass account`.

use clap::Subcommand;
use flatpass_store::NewAccount;
use serde_json::json;

use super::failure::Failure;
use super::moment::shown;
use super::output::{Answer, table};
use super::{Shop, password, system_rng};

/// What can be done with accounts.
#[derive(Subcommand)]
pub(super) enum AccountCommand {
    /// Make an account; people can also sign up themselves on the web pages
    #[command(
        after_help = "The password is never an argument, where other users of this machine could read it:\n  \
        flatpass account add ann@example.org                asks for it; an empty one lets it be made\n  \
        flatpass account add ann@example.org < password     reads one line\n  \
        flatpass account add ann@example.org < /dev/null    makes one and prints it, once"
    )]
    Add {
        /// The e-mail address
        email: String,
        /// What the person wants to be called
        #[arg(long)]
        name: Option<String>,
    },
    /// List the accounts
    List,
    /// Vouch that an address is its account's, as a link in a mail would show: it then counts for groups with its domain
    Verify {
        /// The e-mail address
        email: String,
    },
    /// Let an account do nothing any more: its sessions, devices and tokens end now, and nobody can sign in to it
    Disable {
        /// The e-mail address
        email: String,
    },
}

/// Does it.
pub(super) async fn run(shop: &Shop, command: AccountCommand) -> Result<Answer, Failure> {
    match command {
        AccountCommand::Add { email, name } => add(shop, email, name).await,
        AccountCommand::List => {
            let accounts = shop.store.list_accounts().await?;
            let rows: Vec<_> = accounts
                .iter()
                .map(|account| {
                    let state = match (account.disabled_at, account.email_verified_at) {
                        (Some(_), _) => "disabled",
                        (None, Some(_)) => "address proved",
                        (None, None) => "",
                    };
                    [
                        account.email.clone(),
                        account.id.to_string(),
                        account.created_at.to_string(),
                        state.to_owned(),
                    ]
                })
                .collect();
            let none = "No account yet. Make one with: flatpass account add EMAIL";
            Ok(Answer::new(table(["e-mail", "id", "since", ""], &rows, none), json!(accounts)))
        }
        AccountCommand::Verify { email } => {
            let account = shop.account(&email).await?;
            let joined = shop.store.vouch_for_email(&account.id, shop.now, &mut system_rng()).await?;
            let mut text = format!("The address {} counts as proved.", account.email);
            for group in &joined {
                text.push_str(&format!("\nIt is in the group {} now.", group.name));
            }
            Ok(Answer::new(text, json!({ "verified": account.email, "joined": joined })))
        }
        AccountCommand::Disable { email } => {
            let account = shop.account(&email).await?;
            shop.store.disable_account(&account.id, shop.now).await?;
            let account = shop.account(&email).await?;
            let since = shown(account.disabled_at, "");
            Ok(Answer::new(format!("{} is disabled since {since}.", account.email), json!(account)))
        }
    }
}

async fn add(shop: &Shop, email: String, name: Option<String>) -> Result<Answer, Failure> {
    let given = password::read(&email)?;
    let made = given.is_none().then(|| password::make(&mut system_rng()));
    let password = given.or_else(|| made.clone()).unwrap_or_default();
    let account =
        shop.store.create_account(NewAccount { email, password, name }, shop.now, &mut system_rng()).await?;
    let text = match &made {
        Some(made) => {
            format!("Made the account {}. Its password, shown only now:\n{}", account.email, &**made)
        }
        None => format!("Made the account {}.", account.email),
    };
    let shown = made.as_ref().map(|made| made.as_str());
    Ok(Answer::new(text, json!({ "account": account, "password": shown })))
}
