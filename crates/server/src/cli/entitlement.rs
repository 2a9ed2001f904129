//! `flatpass grant` and `flatpass revoke`.

use clap::Args;
use flatpass_store::{AppPattern, Held, Holder, NewEntitlement, Source, SourceKind, StoreError, What};
use flatpass_token::{UnixTime, Verb};
use serde_json::json;

use super::failure::Failure;
use super::moment::{must_be_ahead, parse_from, parse_until, shown};
use super::output::Answer;
use super::shell::quoted;
use super::{Shop, repo, system_rng, unproved};

/// Who, and what: the same words for giving and for taking away.
#[derive(Args)]
struct Target {
    /// The account's e-mail address or robot/NAME (not with --group), then the repo's name and the app's id, PREFIX.* or * (not with --plan)
    #[arg(value_name = "EMAIL REPO APP", num_args = 0..=3)]
    words: Vec<String>,
    /// For each member of this group, in place of EMAIL
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// For what this plan holds, in place of REPO and APP
    #[arg(long, value_name = "NAME", conflicts_with = "branch")]
    plan: Option<String>,
    /// Only this branch
    #[arg(long)]
    branch: Option<String>,
}

/// A right to be given.
#[derive(Args)]
#[command(
    override_usage = "flatpass grant [OPTIONS] <EMAIL|--group NAME> <REPO APP|--plan NAME>",
    after_help = "Examples:\n  flatpass grant ann@example.org apps org.example.App\n  \
    flatpass grant ann@example.org apps 'org.example.*' --until 2027-06-30\n  \
    flatpass grant --group acme internal '*' --verbs list,download,upgrade,export\n  \
    flatpass grant --group testers apps org.example.App --branch beta\n  \
    flatpass grant --group acme --plan everything --from 2027-01-01 --until 2027-12-31\n\n\
    Without the verb upgrade, and after --upgrades-until, people keep what was published before and get nothing newer."
)]
pub(super) struct Grant {
    #[command(flatten)]
    target: Target,
    /// What it allows, of list, download, upgrade and export [default: list,download,upgrade; of a plan all that it has]
    #[arg(long, value_delimiter = ',', value_name = "VERBS")]
    verbs: Vec<Verb>,
    /// The first day (UTC), or a moment; now without it
    #[arg(long, value_name = "DATE", value_parser = parse_from)]
    from: Option<UnixTime>,
    /// The last day (UTC), or a moment; for ever without it
    #[arg(long, value_name = "DATE", value_parser = parse_until)]
    until: Option<UnixTime>,
    /// The last day (UTC) whose versions it covers; what is older stays
    #[arg(long, value_name = "DATE", value_parser = parse_until)]
    upgrades_until: Option<UnixTime>,
}

/// A right to be taken away.
#[derive(Args)]
#[command(
    override_usage = "flatpass revoke [OPTIONS] <EMAIL|--group NAME> <REPO APP|--plan NAME>",
    after_help = "Name what is taken exactly as it was given, with its --branch or --plan. A running server refuses tokens that were\n\
    given out before within a second. If the app was bought, its order becomes refund_due: the money is owed back."
)]
pub(super) struct Revoke {
    #[command(flatten)]
    target: Target,
}

/// Somebody, with a name for messages.
struct Who {
    holder: Holder,
    name: String,
    /// What to know before rights go there.
    note: Option<String>,
}

impl Target {
    /// Sorts the words, which mean different things with and without --group and --plan.
    async fn read(&self, shop: &Shop) -> Result<(Who, What), Failure> {
        let mut words = self.words.iter().map(String::as_str);
        let email = if self.group.is_none() { words.next() } else { None };
        let what = match (&self.plan, words.next(), words.next(), words.next()) {
            (Some(plan), None, None, None) => What::Plan { plan: plan.clone() },
            (None, Some(repo), Some(app), None) => What::Apps {
                repo: repo.to_owned(),
                app: app.parse::<AppPattern>().map_err(|error| Failure::Usage(error.to_string()))?,
                branch: self.branch.clone(),
            },
            _ => {
                return Err(Failure::Usage(
                    "name EMAIL REPO APP; --group stands for EMAIL, --plan for REPO APP".to_owned(),
                ));
            }
        };
        let who = match (&self.group, email) {
            (Some(group), _) => {
                let group = shop.group(group).await?;
                Who { holder: Holder::Group(group.id), name: format!("the group {}", group.name), note: None }
            }
            (None, Some(email)) => {
                let account = shop.account(email).await?;
                let note = unproved(&account);
                Who { holder: Holder::Account(account.id), name: account.email, note }
            }
            (None, None) => return Err(Failure::Usage("name an account or a --group".to_owned())),
        };
        Ok((who, what))
    }
}

/// What it is for, as a sentence ends.
fn described(what: &What) -> String {
    match what {
        What::Apps { repo, app, branch: None } => format!("{app} in {repo}"),
        What::Apps { repo, app, branch: Some(branch) } => format!("{app} (branch {branch}) in {repo}"),
        What::Plan { plan } => format!("the plan {plan}"),
    }
}

/// What it is for, as arguments of these commands.
fn as_arguments(what: &What) -> String {
    match what {
        What::Apps { repo, app, branch: None } => format!("{repo} {}", quoted(&app.to_string())),
        What::Apps { repo, app, branch: Some(branch) } => {
            format!("{repo} {} --branch {branch}", quoted(&app.to_string()))
        }
        What::Plan { plan } => format!("--plan {plan}"),
    }
}

pub(super) fn words(verbs: &[Verb]) -> String {
    let words: Vec<_> = verbs.iter().map(|verb| verb.as_str()).collect();
    match words.split_last() {
        None => "do nothing".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

fn same_verbs(one: &[Verb], other: &[Verb]) -> bool {
    Verb::ALL.iter().all(|verb| one.contains(verb) == other.contains(verb))
}

/// Gives the right; one that is there already is not given twice.
pub(super) async fn grant(shop: &Shop, grant: Grant) -> Result<Answer, Failure> {
    must_be_ahead(grant.until, shop.now)?;
    let starts_at = grant.from.unwrap_or(shop.now);
    if grant.until.is_some_and(|until| until <= starts_at) {
        return Err(Failure::told("--until is not after --from", "give --until a later date"));
    }
    let (who, what) = grant.target.read(shop).await?;
    let verbs = match (&what, grant.verbs.is_empty()) {
        (_, false) => grant.verbs,
        (What::Apps { .. }, true) => NewEntitlement::USUAL.to_vec(),
        (What::Plan { .. }, true) => Verb::ALL.to_vec(),
    };
    let new = NewEntitlement {
        holder: who.holder,
        what,
        verbs,
        starts_at,
        ends_at: grant.until,
        upgrades_until: grant.upgrades_until,
        source: Source { kind: SourceKind::Grant, id: "flatpass grant".to_owned() },
    };
    let same = |one: &&Held| {
        let begins = one.starts_at == new.starts_at || (grant.from.is_none() && one.starts_at <= shop.now);
        let ends = (one.ends_at, one.upgrades_until) == (new.ends_at, new.upgrades_until);
        one.source.kind == SourceKind::Grant
            && one.what == new.what
            && begins
            && ends
            && same_verbs(&one.verbs, &new.verbs)
    };
    let has = shop.store.held_by(&new.holder, shop.now).await?;
    let given = match has.iter().find(same) {
        Some(same) => same.clone(),
        None => shop.store.grant(new, shop.now, &mut system_rng()).await?,
    };
    let may = match &given.what {
        What::Plan { .. } if same_verbs(&given.verbs, &Verb::ALL) => "may do what it allows with".to_owned(),
        _ => format!("may {}", words(&given.verbs)),
    };
    let mut text = format!("{} {may} {}", who.name, described(&given.what));
    if given.starts_at > shop.now {
        text.push_str(&format!(", from {}", given.starts_at));
    }
    text.push_str(&format!(", until {}.", shown(given.ends_at, "it is revoked")));
    if let Some(last) = given.upgrades_until {
        text.push_str(&format!("\nIt covers what was published until {last}."));
    }
    if let Some(note) = note(shop, &given.what).await? {
        text.push_str(&format!("\nNote: {note}"));
    }
    text.extend(who.note);
    Ok(Answer::new(text, json!(given)))
}

/// What may be a mistake.
async fn note(shop: &Shop, what: &What) -> Result<Option<String>, Failure> {
    match what {
        What::Apps { repo, app, .. } => {
            let stored = shop.store.repo(repo).await?.ok_or_else(|| StoreError::NoRepo(repo.clone()))?;
            let absent = repo::has_app(&stored, app) == Some(false);
            Ok(absent.then(|| format!("{repo} has no ref of this id now. Is it spelled right?")))
        }
        What::Plan { plan } => {
            let plans = shop.store.plans().await?;
            let empty = plans.iter().any(|one| one.name == *plan && one.items.is_empty());
            Ok(empty.then(|| format!("{plan} holds nothing yet: flatpass plan include {plan} REPO APP")))
        }
    }
}

/// Takes the right away.
pub(super) async fn revoke(shop: &Shop, revoke: Revoke) -> Result<Answer, Failure> {
    let (who, what) = revoke.target.read(shop).await?;
    let has = shop.store.held_by(&who.holder, shop.now).await?;
    let mut ended = Vec::new();
    for one in has.iter().filter(|one| one.what == what) {
        if shop.store.revoke_entitlement(&one.id, shop.now).await? {
            ended.push(one);
        }
    }
    if ended.is_empty() {
        let others: Vec<_> = has.iter().map(|one| as_arguments(&one.what)).collect();
        let next = if others.is_empty() {
            "it has no rights of its own".to_owned()
        } else {
            format!("revoke what it has: {}", others.join("; "))
        };
        return Err(Failure::told(format!("{} has no right to {}", who.name, described(&what)), next));
    }
    let orders: Vec<_> = ended
        .iter()
        .filter(|one| one.source.kind == SourceKind::Order)
        .map(|one| one.source.id.as_str())
        .collect();
    let mut text = format!("{} has no right to {} any more.", who.name, described(&what));
    for still in still_has(shop, &who.holder, &what).await? {
        text.push_str(&format!("\nNote: {still} covers it still."));
    }
    for order in &orders {
        text.push_str(&format!("\nIt was bought: order {order} is now refund_due."));
    }
    Ok(Answer::new(text, json!({ "revoked": ended, "refund_due": orders })))
}

/// What an account has otherwise of the same app.
async fn still_has(shop: &Shop, holder: &Holder, what: &What) -> Result<Vec<String>, Failure> {
    let (Holder::Account(account), What::Apps { repo, app, .. }) = (holder, what) else {
        return Ok(Vec::new());
    };
    let mut still = Vec::new();
    for one in shop.store.entitlements(account, Some(repo), shop.now).await? {
        if !one.app.covers(&app.to_string()) {
            continue;
        }
        let through = match (&one.holder, &one.plan) {
            (Holder::Account(_), None) => String::new(),
            (Holder::Account(_), Some(plan)) => format!(" by the plan {plan}"),
            (Holder::Group(id), _) => {
                let group = shop.store.group(id).await?;
                format!(" through the group {}", group.map_or_else(|| id.0.clone(), |group| group.name))
            }
        };
        still.push(format!("{}{through}", one.app));
    }
    Ok(still)
}
