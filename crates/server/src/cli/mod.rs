//! The commands, one file for each family. Each gives an [`Answer`], which is printed for people or as JSON, or a
//! [`Failure`], which says what to do next.
//!
//! Exit codes: 0 it is done; 1 it was refused or failed; 2 it was not understood; 3 a check found problems.

mod access_token;
mod account;
mod app;
mod certificate_end;
mod config;
mod entitlement;
mod failure;
mod flat_manager;
mod gpg_key;
mod group;
mod init;
mod issuer;
mod key;
mod licence;
mod moment;
mod output;
mod password;
mod peer;
mod plan;
mod registry;
mod repo;
mod repo_check;
mod repo_listing;
mod repo_tokens;
mod robot;
mod serve;
mod shell;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use flatpass::config::{Config, Overrides};
use flatpass_gate::Clock;
use flatpass_store::{Account, Group, Store, StoreError};
use flatpass_token::UnixTime;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

use self::failure::Failure;
use self::output::Answer;

const EXIT_CODES: &str = "Exit codes:\n  0  it is done\n  1  it was refused or failed; the message says what to do next\n  \
    2  the command line was not understood\n  3  a check found problems (repo check, config check, token inspect)";

const EXAMPLES: &str = "Examples:\n  \
    flatpass init /srv/shop --url https://shop.example/ --name 'My shop'\n  \
    cd /srv/shop\n  \
    flatpass repo add apps /srv/repo --policy refs\n  \
    flatpass app price apps org.example.App 5.00 EUR\n  \
    flatpass repo check apps\n  \
    flatpass serve\n\n\
    A running server takes up what these commands change within a second.";

/// Sells Flatpak apps and hosts private Flatpak repositories.
#[derive(Parser)]
#[command(name = "flatpass", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Arguments {
    /// The configuration file [default: $FLATPASS_CONFIG, ./flatpass.toml, /etc/flatpass/flatpass.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON document instead of text; errors too, as {"error": …, "next": …} on standard error
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new store: its folder, configuration, key file, database and first signing key
    Init(init::Init),
    /// Run the server: repos, sign-in, purchases, tokens
    Serve,
    /// Repos: the OSTree repositories, image layouts and container registries of this store
    #[command(subcommand)]
    Repo(repo::RepoCommand),
    /// Apps: what they cost
    #[command(subcommand)]
    App(app::AppCommand),
    /// Accounts: who may sign in
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Groups of accounts: companies, teams, customers
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Plans: bundles of apps that are given as one
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Give an account or a group the right to apps or to a plan, without a purchase
    Grant(entitlement::Grant),
    /// Take a right of an account or a group away
    Revoke(entitlement::Revoke),
    /// Access tokens: long-lived secrets for a device or a robot, used as the password in a remote's URL
    #[command(subcommand)]
    AccessToken(access_token::AccessTokenCommand),
    /// Robots: accounts of machines, with secrets of their own
    #[command(subcommand)]
    Robot(robot::RobotCommand),
    /// Issuers: others whose tokens open repos, such as a company's identity provider
    #[command(subcommand)]
    Issuer(issuer::IssuerCommand),
    /// Signing keys: list them, or replace the one that signs
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Site licences: what an offline site may have, as a file for its peer
    #[command(subcommand)]
    Licence(licence::LicenceCommand),
    /// Tokens: look into one without trusting it
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Peers: serve copies of a store's apps on a local network, also without the internet
    #[command(subcommand)]
    Peer(peer::PeerCommand),
    /// The configuration file: look for mistakes in it
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// What the commands on an existing store work with.
struct Shop {
    config: Config,
    store: Store,
    now: UnixTime,
}

impl Shop {
    /// The account with this address, or the robot: `robot/NAME`.
    async fn account(&self, email: &str) -> Result<Account, Failure> {
        self.store.account_of_holder(email).await?.ok_or_else(|| {
            if let Some(name) = email.strip_prefix("robot/").filter(|name| !name.contains('@')) {
                let next = format!(
                    "see the robots with `flatpass robot list`, or make one: flatpass robot add {name}"
                );
                return Failure::told(format!("there is no robot named {name}"), next);
            }
            let next = format!(
                "see the accounts with `flatpass account list`, or make one: flatpass account add {email}"
            );
            Failure::told(format!("there is no account with the address {email}"), next)
        })
    }

    /// The group of this name.
    async fn group(&self, name: &str) -> Result<Group, Failure> {
        let found = self.store.group_by_name(name).await?;
        Ok(found.ok_or_else(|| StoreError::NoGroup(name.to_owned()))?)
    }
}

/// What to know before rights go to an account: whoever signed up under an address need not be who has it.
fn unproved(account: &Account) -> Option<String> {
    let is_person = account.email.contains('@');
    (is_person && account.email_verified_at.is_none()).then(|| {
        format!(
            "\nNote: nobody proved that {0} is the address of who made this account on {1}. When you are sure: flatpass account verify {0}",
            account.email, account.created_at
        )
    })
}

/// Reads the command line, does what it says, prints the answer and gives the exit code.
pub(crate) async fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    match execute(arguments).await {
        Ok(answer) => output::print(&answer, json),
        Err(failure) => output::print_failure(&failure, json),
    }
}

async fn execute(arguments: Arguments) -> Result<Answer, Failure> {
    let now = Clock::system().now().unix();
    let overrides = Overrides::from_environment();
    if let Command::Peer(command) = arguments.command {
        return peer::run(command).await;
    }
    match &arguments.command {
        Command::Init(init) => return init::run(init, now).await,
        Command::Config(config::ConfigCommand::Check) => {
            return config::check(arguments.config.as_deref(), &overrides).await;
        }
        _ => {}
    }
    let config = Config::load(&Config::find(arguments.config.as_deref())?, &overrides)?;
    if matches!(arguments.command, Command::Serve) {
        return serve::run(config).await;
    }
    config::must_have_database(&config)?;
    let store = flatpass::open_store(&config).await?;
    let shop = Shop { config, store, now };
    let answer = on_shop(&shop, arguments.command).await;
    shop.store.close().await;
    answer
}

async fn on_shop(shop: &Shop, command: Command) -> Result<Answer, Failure> {
    match command {
        Command::Repo(command) => repo::run(shop, command).await,
        Command::App(command) => app::run(shop, command).await,
        Command::Account(command) => account::run(shop, command).await,
        Command::Group(command) => group::run(shop, command).await,
        Command::Plan(command) => plan::run(shop, command).await,
        Command::Grant(grant) => entitlement::grant(shop, grant).await,
        Command::Revoke(revoke) => entitlement::revoke(shop, revoke).await,
        Command::AccessToken(command) => access_token::run(shop, command).await,
        Command::Robot(command) => robot::run(shop, command).await,
        Command::Issuer(command) => issuer::run(shop, command).await,
        Command::Key(command) => key::run(shop, command).await,
        Command::Licence(command) => licence::run(shop, command).await,
        Command::Token(token::TokenCommand::Inspect { token }) => token::inspect(shop, &token).await,
        // `execute` answers these before a store is opened.
        Command::Init(_) | Command::Serve | Command::Config(_) | Command::Peer(_) => {
            Ok(Answer::text(String::new()))
        }
    }
}

/// The system's generator: the edge where randomness enters.
fn system_rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
