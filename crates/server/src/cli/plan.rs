//! `flatpass plan`: bundles of apps that are given as one.

use clap::{Args, Subcommand};
use flatpass_store::{AppPattern, NewEntitlement, NewPlanItem};
use flatpass_token::Verb;
use serde_json::json;

use super::entitlement::words;
use super::failure::Failure;
use super::output::{Answer, table};
use super::{Shop, system_rng};

/// What can be done with plans.
#[derive(Subcommand)]
pub(super) enum PlanCommand {
    /// Make a plan that holds nothing yet
    #[command(after_help = "Example:\n  flatpass plan add pro --title 'Everything and the beta'\n  \
        flatpass plan include pro apps 'org.example.*'\n  flatpass grant --group acme --plan pro")]
    Add {
        /// Its name: a-z, 0-9, '.', '_' and '-'
        name: String,
        /// What people read
        #[arg(long)]
        title: Option<String>,
    },
    /// Remove a plan: what it gave to anybody ends now
    Remove {
        /// Its name
        name: String,
    },
    /// List the plans and what they hold
    List,
    /// Put apps into a plan: who has it has them from now on
    Include {
        #[command(flatten)]
        item: Item,
        /// What it allows, of list, download, upgrade and export
        #[arg(long, value_delimiter = ',', value_name = "VERBS", default_values_t = NewEntitlement::USUAL)]
        verbs: Vec<Verb>,
    },
    /// Take apps out of a plan, exactly as they were put in: who had them by it alone loses them now
    Exclude {
        #[command(flatten)]
        item: Item,
    },
}

/// What a plan has.
#[derive(Args)]
pub(super) struct Item {
    /// The plan's name
    plan: String,
    /// The repo's name
    repo: String,
    /// The app's id, PREFIX.* or *
    app: AppPattern,
    /// Only this branch
    #[arg(long)]
    branch: Option<String>,
}

impl Item {
    fn described(&self) -> String {
        let branch = self.branch.as_ref().map(|branch| format!(" (branch {branch})")).unwrap_or_default();
        format!("{}{branch} of {}", self.app, self.repo)
    }
}

/// Does it.
pub(super) async fn run(shop: &Shop, command: PlanCommand) -> Result<Answer, Failure> {
    match command {
        PlanCommand::Add { name, title } => {
            let plan = shop.store.add_plan(&name, title.as_deref(), shop.now, &mut system_rng()).await?;
            let text = format!(
                "Made the plan {name}. It holds nothing yet.\nNext: flatpass plan include {name} REPO APP"
            );
            Ok(Answer::new(text, json!(plan)))
        }
        PlanCommand::Remove { name } => {
            shop.store.remove_plan(&name, shop.now).await?;
            Ok(Answer::new(format!("Removed the plan {name}."), json!({ "removed": name })))
        }
        PlanCommand::List => list(shop).await,
        PlanCommand::Include { item, verbs } => {
            let described = item.described();
            let Item { plan, repo, app, branch } = item;
            let new = NewPlanItem { repo, app, branch, verbs };
            let made = shop.store.include_in_plan(&plan, new, shop.now, &mut system_rng()).await?;
            let text = format!("{plan} lets people {} {described}.", words(&made.verbs));
            Ok(Answer::new(text, json!(made)))
        }
        PlanCommand::Exclude { item } => {
            let branch = item.branch.as_deref();
            if !shop.store.exclude_from_plan(&item.plan, &item.repo, &item.app, branch, shop.now).await? {
                let what = format!("the plan {} does not hold {}", item.plan, item.described());
                return Err(Failure::told(what, "see what it holds with: flatpass plan list"));
            }
            let text = format!("{} does not hold {} any more.", item.plan, item.described());
            Ok(Answer::new(text, json!({ "excluded": item.described() })))
        }
    }
}

async fn list(shop: &Shop) -> Result<Answer, Failure> {
    let plans = shop.store.plans().await?;
    let mut rows = Vec::new();
    for plan in &plans {
        if plan.items.is_empty() {
            rows.push([
                plan.name.clone(),
                String::new(),
                "(nothing)".to_owned(),
                String::new(),
                String::new(),
            ]);
        }
        for item in &plan.items {
            let verbs: Vec<_> = item.verbs.iter().map(|verb| verb.as_str()).collect();
            let branch = item.branch.clone().unwrap_or_else(|| "every".to_owned());
            rows.push([plan.name.clone(), item.repo.clone(), item.app.to_string(), branch, verbs.join(",")]);
        }
    }
    let none = "No plan yet. Make one with: flatpass plan add NAME";
    Ok(Answer::new(table(["plan", "repo", "app", "branch", "verbs"], &rows, none), json!(plans)))
}
