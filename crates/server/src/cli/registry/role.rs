//! `flatpass repo role`: who may write to a repo's registry.

use clap::Args;
use flatpass_store::{Holder, Repo, RepoRole, RepoRoleError};
use serde_json::json;

use crate::cli::Shop;
use crate::cli::failure::Failure;
use crate::cli::output::{Answer, table};

/// Who gets which role.
#[derive(Args)]
#[command(
    override_usage = "flatpass repo role <NAME> [<EMAIL|--group NAME> <publisher|operator|none>]",
    after_help = "Roles:\n  \
        publisher  pulls and pushes all of the repo\n  \
        operator   deletes, too\n  \
        none       takes the role away\n\n\
        Examples:\n  flatpass repo role images robot/build publisher\n  flatpass repo role images --group staff operator\n  \
        flatpass repo role images\n\n\
        Roles count where the registry takes this store's tokens, for robots' secrets and for access tokens made to push. A token that was given out before lasts a few minutes more."
)]
pub(in crate::cli) struct Role {
    /// The repo's name
    name: String,
    /// The account's e-mail address or robot/NAME (not with --group), then the role; without them the roles are listed
    #[arg(value_name = "EMAIL ROLE", num_args = 0..=2)]
    words: Vec<String>,
    /// For each member of this group, in place of EMAIL
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
}

/// Gives or takes it.
pub(in crate::cli) async fn run(shop: &Shop, role: Role) -> Result<Answer, Failure> {
    let repo = shop.store.repo(&role.name).await?;
    let repo = repo.ok_or_else(|| flatpass_store::StoreError::NoRepo(role.name.clone()))?;
    let mut words = role.words.iter().map(String::as_str);
    let (holder, who) = match (&role.group, words.next()) {
        (None, None) => return list(shop, &repo).await,
        (Some(group), word) => {
            let group = shop.group(group).await?;
            words = role.words.iter().map(String::as_str);
            if word.is_none() {
                return Err(Failure::Usage("name a role: publisher, operator or none".to_owned()));
            }
            (Holder::Group(group.id), format!("the group {}", group.name))
        }
        (None, Some(email)) => {
            let account = shop.account(email).await?;
            (Holder::Account(account.id), account.email)
        }
    };
    let (Some(word), None) = (words.next(), words.next()) else {
        return Err(Failure::Usage("name an account or a --group, and one role".to_owned()));
    };
    let new = match word {
        "none" => None,
        word => {
            Some(word.parse().map_err(|error: RepoRoleError| Failure::Usage(format!("{error}, or none")))?)
        }
    };
    if new.is_some() && repo.source.registry().is_none() {
        return Err(Failure::told(
            format!("{} is not in a container registry, so nobody pushes to it", repo.name),
            "publish with the tools that made it",
        ));
    }
    shop.store.set_repo_role(&repo.name, &holder, new, shop.now).await?;
    let name = &repo.name;
    let text = match new {
        Some(RepoRole::Publisher) => format!("{who} may push to {name}."),
        Some(RepoRole::Operator) => format!("{who} may push to {name} and delete there."),
        None => format!("{who} has no role in {name} any more."),
    };
    let hint = match (new, who.strip_prefix("robot/")) {
        (None, _) => String::new(),
        (Some(_), Some(robot)) => format!("\nA password for docker login:  flatpass robot secret {robot}"),
        (Some(_), None) => {
            format!(
                "\nA password for docker login:  flatpass access-token add EMAIL {name} --name docker --push"
            )
        }
    };
    Ok(Answer::new(format!("{text}{hint}"), json!({ "repo": name, "holder": holder, "role": new })))
}

async fn list(shop: &Shop, repo: &Repo) -> Result<Answer, Failure> {
    let held = shop.store.repo_roles(&repo.name).await?;
    let mut rows = Vec::new();
    for one in &held {
        let who = match &one.holder {
            Holder::Account(id) => {
                shop.store.account(id).await?.map_or_else(|| id.0.clone(), |found| found.email)
            }
            Holder::Group(id) => {
                let group = shop.store.group(id).await?;
                format!("the group {}", group.map_or_else(|| id.0.clone(), |found| found.name))
            }
        };
        rows.push([who, one.role.to_string(), one.created_at.to_string()]);
    }
    let none = "Nobody has a role. Give one with: flatpass repo role NAME EMAIL publisher";
    Ok(Answer::new(table(["who", "role", "since"], &rows, none), json!(held)))
}
