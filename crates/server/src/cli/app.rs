//! `flatpass app`.

use clap::Subcommand;
use flatpass_store::{Money, Offer, StoreError, StoredOffer};
use serde_json::{Value, json};

use super::Shop;
use super::failure::Failure;
use super::output::{Answer, table};

/// What can be done with apps.
#[derive(Subcommand)]
pub(super) enum AppCommand {
    /// Set what an app costs; from then on it needs a token, whatever its token type
    #[command(after_help = "Examples:\n  flatpass app price apps org.example.App 5.00 EUR\n  \
        flatpass app price apps org.example.App 800 JPY --title 'Example for everyone'\n\n\
        The app's extensions (.Locale, .Debug, …) go with it. Orders in progress keep their price.")]
    Price {
        /// The repo's name
        repo: String,
        /// The app's id
        app_id: String,
        /// The price, such as 5.00
        amount: String,
        /// The currency, such as EUR
        currency: String,
        /// What people read on the page instead of the id
        #[arg(long)]
        title: Option<String>,
    },
    /// List the apps that have a price
    List {
        /// Only those of this repo
        repo: Option<String>,
    },
    /// Take an app out of the offers; who owns it keeps it
    Remove {
        /// The repo's name
        repo: String,
        /// The app's id
        app_id: String,
    },
}

/// Does it.
pub(super) async fn run(shop: &Shop, command: AppCommand) -> Result<Answer, Failure> {
    match command {
        AppCommand::Price { repo, app_id, amount, currency, title } => {
            let price = Money::parse(&amount, &currency).map_err(StoreError::from)?;
            let title = match title {
                Some(title) => title,
                // A new price keeps the title.
                None => shop.store.offer(&repo, &app_id).await?.map(|offer| offer.title).unwrap_or_default(),
            };
            let stored = shop.store.set_offer(&repo, &app_id, Offer { price, title }, shop.now).await?;
            let page = shop.config.at(&format!("apps/{repo}/{app_id}"));
            let text = format!("{app_id} costs {}. Its page: {page}", stored.price);
            Ok(Answer::new(text, with_page(shop, &stored)))
        }
        AppCommand::List { repo } => list(shop, repo).await,
        AppCommand::Remove { repo, app_id } => {
            if !shop.store.remove_offer(&repo, &app_id).await? {
                return Err(Failure::told(
                    format!("{app_id} has no price in {repo}"),
                    "see what has one with: flatpass app list",
                ));
            }
            let text = format!("{app_id} is not for sale any more. Who owns it keeps it.");
            Ok(Answer::new(text, json!({ "repo": repo, "app_id": app_id })))
        }
    }
}

async fn list(shop: &Shop, repo: Option<String>) -> Result<Answer, Failure> {
    let names = match repo {
        Some(name) if shop.store.repo(&name).await?.is_none() => return Err(StoreError::NoRepo(name).into()),
        Some(name) => vec![name],
        None => shop.store.repos().await?.into_iter().map(|repo| repo.name).collect(),
    };
    let mut offers = Vec::new();
    for name in names {
        offers.extend(shop.store.offers(&name).await?);
    }
    let rows: Vec<_> = offers
        .iter()
        .map(|offer| [offer.repo.clone(), offer.app_id.clone(), offer.price.to_string(), offer.title.clone()])
        .collect();
    let none = "No app has a price. Set one with: flatpass app price REPO APPID 5.00 EUR";
    let json = offers.iter().map(|offer| with_page(shop, offer)).collect();
    Ok(Answer::new(table(["repo", "app", "price", "title"], &rows, none), Value::Array(json)))
}

fn with_page(shop: &Shop, offer: &StoredOffer) -> Value {
    let mut value = json!(offer);
    value["page"] = json!(shop.config.at(&format!("apps/{}/{}", offer.repo, offer.app_id)));
    value
}
