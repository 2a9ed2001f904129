//! `flatpass issuer`: somebody else whose tokens open repos, such as a company's identity provider.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use flatpass::config::is_loopback;
use flatpass_store::{
    AppPattern, ClaimIs, IntrospectionAt, Issuer, IssuerAudience, IssuerRule, StoreError, is_branch,
};
use flatpass_token::{ClaimRule, Grant, Secret, Verb};
use serde_json::json;
use url::Url;

use super::failure::Failure;
use super::output::{Answer, FOUND_PROBLEMS, table};
use super::shell::quoted;
use super::{Shop, system_rng};

/// The longest secret that is read from a file, in bytes.
const LONGEST_SECRET: u64 = 4096;

/// What can be done with issuers.
#[derive(Subcommand)]
pub(super) enum IssuerCommand {
    /// Accept the tokens of an OAuth or OpenID Connect issuer
    #[command(after_help = "Examples:\n  \
        flatpass issuer add acme --issuer https://login.acme.example/realms/staff --audience flatpak\n  \
        flatpass issuer check acme\n  \
        flatpass issuer map acme --claim groups --value engineering --prefix com.acme\n  \
        flatpass repo set internal --tokens issuer:acme\n\n\
        Its tokens must be JWTs signed with RS256, PS256, ES256, ES384 or EdDSA, whose keys its metadata names; with --introspection\n\
        they may be anything, and each is asked about there (RFC 7662). What no rule names opens nothing.")]
    Add(Add),
    /// Exchange the secret with which an issuer is asked about tokens
    Set {
        /// Its name
        name: String,
        /// Read the new secret from this file
        #[arg(long, value_name = "FILE")]
        client_secret_file: PathBuf,
        /// As another client
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
    },
    /// List the issuers
    List,
    /// Show an issuer and what its tokens open
    Show {
        /// Its name
        name: String,
    },
    /// Remove an issuer whose tokens no repo takes, with its rules
    Remove {
        /// Its name
        name: String,
    },
    /// Ask an issuer for its keys, or whether it may be asked about tokens
    #[command(
        after_help = "Exit code 3 when a server would find no key to check tokens with, or get no answer about them."
    )]
    Check {
        /// Its name
        name: String,
    },
    /// Say what tokens with a claim open
    #[command(after_help = "Examples:\n  \
        flatpass issuer map acme --claim groups --value engineering --prefix com.acme\n  \
        flatpass issuer map acme --claim realm_access.roles --value tester --ids com.acme.App --branch beta --repo internal\n  \
        flatpass issuer map acme --everyone --prefix '*' --verb list\n\n\
        A claim is a text or a list of texts; scope is a list of words in one text. Dots lead to members of members.\n\
        An id opens its .Locale, .Debug and .Sources too; other extensions want a prefix.")]
    Map(Map),
    /// Take a rule away
    Unmap {
        /// The issuer's name
        name: String,
        /// The rule, as `flatpass issuer show` names it
        rule: String,
    },
}

/// A new issuer.
#[derive(Args)]
#[command(group = ArgGroup::new("for").args(["audience", "any_audience"]))]
pub(super) struct Add {
    /// What it is called here: a-z, 0-9, '.', '_', '-'
    name: String,
    /// What it calls itself: the claim iss of its tokens, to the letter
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// Where its keys are, if its metadata does not say so
    #[arg(long, value_name = "URL", conflicts_with = "introspection")]
    jwks: Option<String>,
    /// Ask there what each token is, instead of reading it
    #[arg(long, value_name = "URL", requires_all = ["client_id", "client_secret_file"])]
    introspection: Option<String>,
    /// As whom this store asks
    #[arg(long, value_name = "ID", requires = "introspection")]
    client_id: Option<String>,
    /// Read the secret of that client from this file; it is kept sealed
    #[arg(long, value_name = "FILE", requires = "introspection")]
    client_secret_file: Option<PathBuf>,
    /// The claim aud that its tokens must have, alone or among others [default: the URL of the repo]
    #[arg(long, value_name = "AUDIENCE")]
    audience: Option<String>,
    /// Let the introspection endpoint alone decide whether a token is for this store
    #[arg(long, requires = "introspection")]
    any_audience: bool,
}

/// A new rule.
#[derive(Args)]
#[command(group = ArgGroup::new("whose").required(true).args(["claim", "everyone"]))]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["ids", "prefixes"]))]
pub(super) struct Map {
    /// The issuer's name
    name: String,
    /// The claim that tokens must have
    #[arg(long, value_name = "PATH", requires = "value")]
    claim: Option<String>,
    /// What it must be, or have in it
    #[arg(long, value_name = "VALUE", requires = "claim")]
    value: Option<String>,
    /// Every token of the issuer
    #[arg(long)]
    everyone: bool,
    /// Ids of apps, each exactly
    #[arg(long, value_name = "ID,ID", value_delimiter = ',')]
    ids: Vec<String>,
    /// What ids begin with, up to a dot or their end; * for all
    #[arg(long = "prefix", value_name = "PREFIX", value_delimiter = ',')]
    prefixes: Vec<String>,
    /// What it allows, of list, download, upgrade and export
    #[arg(long = "verb", alias = "verbs", value_name = "VERBS", value_delimiter = ',',
        default_values_t = [Verb::List, Verb::Download, Verb::Upgrade])]
    verbs: Vec<Verb>,
    /// Only these branches
    #[arg(long = "branch", value_name = "BRANCH", value_delimiter = ',')]
    branches: Vec<String>,
    /// Only in this repo; in each that takes the issuer's tokens without it
    #[arg(long, value_name = "NAME")]
    repo: Option<String>,
}

/// Does it.
pub(super) async fn run(shop: &Shop, command: IssuerCommand) -> Result<Answer, Failure> {
    match command {
        IssuerCommand::Add(new) => add(shop, new).await,
        IssuerCommand::Set { name, client_secret_file, client_id } => {
            let secret = secret_of(&client_secret_file)?;
            let issuer = found(shop, &name).await?;
            if issuer.introspection.is_none() {
                return Err(Failure::told(
                    format!("{name} is not asked about tokens: its keys check them"),
                    "leave it as it is; its keys are followed by themselves",
                ));
            }
            shop.store.set_issuer_secret(&name, client_id.as_deref(), &secret, &mut system_rng()).await?;
            Ok(Answer::new(format!("{name} is asked with the new secret."), json!({ "changed": name })))
        }
        IssuerCommand::List => {
            let issuers = shop.store.issuers().await?;
            let mut rows = Vec::new();
            for one in &issuers {
                let rules = shop.store.issuer_rules(&one.name).await?.len().to_string();
                rows.push([one.name.clone(), one.url.clone(), way(one).to_owned(), audience(one), rules]);
            }
            let none = "No issuer yet. Add one with: flatpass issuer add NAME --issuer URL";
            Ok(Answer::new(table(["issuer", "url", "by", "audience", "rules"], &rows, none), json!(issuers)))
        }
        IssuerCommand::Show { name } => show(shop, &found(shop, &name).await?).await,
        IssuerCommand::Remove { name } => {
            shop.store.remove_issuer(&name).await?;
            Ok(Answer::new(format!("Removed {name}."), json!({ "removed": name })))
        }
        IssuerCommand::Check { name } => check(shop, &found(shop, &name).await?).await,
        IssuerCommand::Map(new) => map(shop, new).await,
        IssuerCommand::Unmap { name, rule } => {
            shop.store.remove_issuer_rule(&name, &rule).await?;
            Ok(Answer::new(format!("{rule} opens nothing any more."), json!({ "removed": rule })))
        }
    }
}

async fn found(shop: &Shop, name: &str) -> Result<Issuer, Failure> {
    Ok(shop.store.issuer(name).await?.ok_or_else(|| StoreError::NoIssuer(name.to_owned()))?)
}

fn way(issuer: &Issuer) -> &'static str {
    if issuer.introspection.is_some() { "introspection" } else { "its keys" }
}

fn audience(issuer: &Issuer) -> String {
    match &issuer.audience {
        IssuerAudience::OfRepo => "the repo's URL".to_owned(),
        IssuerAudience::Is(audience) => audience.clone(),
        IssuerAudience::Any => "any".to_owned(),
    }
}

async fn add(shop: &Shop, new: Add) -> Result<Answer, Failure> {
    must_be_safe("--issuer", &new.issuer)?;
    for (option, url) in [("--jwks", &new.jwks), ("--introspection", &new.introspection)] {
        if let Some(url) = url {
            must_be_safe(option, url)?;
        }
    }
    let secret = new.client_secret_file.as_deref().map(secret_of).transpose()?;
    let issuer = Issuer {
        name: new.name,
        url: new.issuer,
        jwks_url: new.jwks,
        introspection: new
            .introspection
            .zip(new.client_id)
            .map(|(url, client_id)| IntrospectionAt { url, client_id }),
        audience: match new.audience {
            _ if new.any_audience => IssuerAudience::Any,
            Some(audience) if audience.is_empty() => {
                return Err(Failure::Usage("the audience must not be empty".to_owned()));
            }
            Some(audience) => IssuerAudience::Is(audience),
            None => IssuerAudience::OfRepo,
        },
        created_at: shop.now,
    };
    shop.store.add_issuer(&issuer, secret.as_ref(), &mut system_rng()).await?;
    let name = &issuer.name;
    let text = format!(
        "Added {name}: {}, checked by {}, for the audience {}. Its tokens open nothing yet.\n\n\
        Next:  flatpass issuer check {name}\n       \
        flatpass issuer map {name} --claim groups --value GROUP --prefix PREFIX\n       \
        flatpass repo set REPO --tokens issuer:{name}",
        issuer.url,
        way(&issuer),
        audience(&issuer)
    );
    Ok(Answer::new(text, json!(issuer)))
}

/// Over https, or on this machine; with nothing in it that is not part of an address.
fn must_be_safe(option: &str, text: &str) -> Result<(), Failure> {
    let told = |what: &str| {
        Failure::told(
            format!("{option}: {} {what}", quoted(text)),
            "write its https URL, as its metadata or its documentation has it",
        )
    };
    let url = Url::parse(text).map_err(|error| told(&format!("is not a URL ({error})")))?;
    let is_here = url.host().is_some_and(|host| is_loopback(&host));
    if !(url.scheme() == "https" || (url.scheme() == "http" && is_here)) {
        return Err(told("would be asked over an open network: anybody on the way could make tokens"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(told("has a user, a password or a fragment in it"));
    }
    Ok(())
}

fn secret_of(path: &Path) -> Result<Secret, Failure> {
    let told = |what: String| Failure::told(what, "name a file with the client's secret alone, on one line");
    let mut text = zeroize::Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(LONGEST_SECRET + 1).read_to_string(&mut text));
    read.map_err(|error| told(format!("cannot read {}: {error}", path.display())))?;
    let line = text.trim_end_matches(['\n', '\r']);
    if line.is_empty() || line.len() as u64 > LONGEST_SECRET || line.contains(['\n', '\r']) {
        return Err(told(format!("{} is not one line with a secret", path.display())));
    }
    Ok(Secret::from(line.to_owned()))
}

async fn show(shop: &Shop, issuer: &Issuer) -> Result<Answer, Failure> {
    let rules = shop.store.issuer_rules(&issuer.name).await?;
    let repos = shop.store.repos().await?;
    let repos: Vec<_> = repos
        .iter()
        .filter(|repo| repo.tokens.issuer() == Some(&issuer.name))
        .map(|repo| &repo.name)
        .collect();
    let mut lines =
        vec![format!("{}: {}", issuer.name, issuer.url), format!("  checked by  {}", way(issuer))];
    if let Some(url) = &issuer.jwks_url {
        lines.push(format!("  keys        {url}"));
    }
    if let Some(at) = &issuer.introspection {
        lines.push(format!("  asked at    {} as {}", at.url, at.client_id));
    }
    lines.push(format!("  audience    {}", audience(issuer)));
    let none = format!("none: flatpass repo set REPO --tokens issuer:{}", issuer.name);
    let names = repos.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    lines.push(format!("  repos       {}", if names.is_empty() { &none } else { &names }));
    let rows: Vec<_> = rules.iter().map(row).collect();
    let nothing = format!(
        "Its tokens open nothing. Say what: flatpass issuer map {} --claim PATH --value VALUE --prefix PREFIX",
        issuer.name
    );
    lines.push(String::new());
    lines.push(table(["rule", "claim", "repo", "opens", "verbs", "branches"], &rows, &nothing));
    let mut value = json!(issuer);
    value["repos"] = json!(repos);
    value["rules"] = json!(rules);
    Ok(Answer::new(lines.join("\n"), value))
}

fn row(rule: &IssuerRule) -> [String; 6] {
    let claim =
        rule.claim.as_ref().map_or("everyone".to_owned(), |claim| format!("{}: {}", claim.path, claim.value));
    let below = rule
        .grant
        .prefixes
        .iter()
        .map(|prefix| if prefix == "*" { prefix.clone() } else { format!("{prefix}.*") });
    let opens: Vec<_> = rule.grant.ids.iter().cloned().chain(below).collect();
    let verbs: Vec<_> = rule.grant.actions.iter().map(|verb| verb.as_str()).collect();
    [
        rule.id.clone(),
        claim,
        rule.repo.clone().unwrap_or_else(|| "all".to_owned()),
        opens.join(" "),
        verbs.join(","),
        rule.grant.branches.join(" "),
    ]
}

async fn check(shop: &Shop, issuer: &Issuer) -> Result<Answer, Failure> {
    let secret = shop.store.issuer_secret(&issuer.name).await?;
    match flatpass::ask_issuer(&shop.config, issuer, secret.as_ref()).await {
        Ok(lines) => {
            let text = format!("{} answers.\n{}", issuer.name, lines.join("\n"));
            Ok(Answer::new(text, json!({ "good": true, "found": lines })))
        }
        Err(why) => {
            let text = format!("{} cannot be used: {why}", issuer.name);
            Ok(Answer::new(text, json!({ "good": false, "why": why })).with_code(FOUND_PROBLEMS))
        }
    }
}

async fn map(shop: &Shop, new: Map) -> Result<Answer, Failure> {
    for id in &new.ids {
        if !matches!(id.parse::<AppPattern>(), Ok(AppPattern::App(_))) {
            return Err(Failure::Usage(format!("{} is not the id of an app", quoted(id))));
        }
    }
    for prefix in &new.prefixes {
        let is_prefix = prefix == "*" || matches!(format!("{prefix}.*").parse(), Ok(AppPattern::Below(_)));
        if !is_prefix {
            return Err(Failure::Usage(format!(
                "{} is not what ids begin with, such as com.acme",
                quoted(prefix)
            )));
        }
    }
    if let Some(branch) = new.branches.iter().find(|branch| !is_branch(branch)) {
        return Err(StoreError::Branch(branch.clone()).into());
    }
    let any = || vec!["*".to_owned()];
    let grant = Grant {
        actions: new.verbs,
        ids: new.ids,
        prefixes: new.prefixes,
        branches: if new.branches.is_empty() { any() } else { new.branches },
        arches: any(),
        ..Grant::default()
    };
    let claim = new.claim.zip(new.value).map(|(path, value)| ClaimIs { path, value });
    if let Some(claim) = &claim {
        ClaimRule::for_claim(&claim.path, &claim.value, Grant::default())
            .map_err(|error| Failure::Usage(error.to_string()))?;
    }
    let rule = shop
        .store
        .add_issuer_rule(&new.name, new.repo.as_deref(), claim.as_ref(), &grant, shop.now, &mut system_rng())
        .await?;
    let [id, claim, repo, opens, verbs, _] = row(&rule);
    let text = format!("{id}: tokens of {} with {claim} may {verbs} {opens}, in {repo}.", new.name);
    Ok(Answer::new(text, json!(rule)))
}
