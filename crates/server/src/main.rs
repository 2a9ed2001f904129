//! The command `flatpass`.

mod cli;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use flatpass::config::{Config, Overrides};
use flatpass_gate::Clock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Sells Flatpak apps and hosts private Flatpak repositories.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Answers in JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a store.
    Init { folder: PathBuf, #[arg(long)] url: String, #[arg(long)] listen: String, #[arg(long)] name: String },
    /// Serves the store.
    Serve,
    #[command(subcommand)]
    Repo(cli::RepoCommand),
    #[command(subcommand)]
    App(cli::AppCommand),
    #[command(subcommand)]
    Account(cli::AccountCommand),
    #[command(subcommand)]
    AccessToken(cli::AccessTokenCommand),
    Grant { email: String, repo: String, app: String },
    Revoke { email: String, repo: String, app: String },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::INFO).init();
    let arguments = Arguments::parse();
    let now = Clock::system().now().unix();
    if let Command::Init { folder, url, listen, name } = &arguments.command {
        println!("{}", cli::init(folder, url, listen, name).await?);
        return Ok(());
    }
    let config = Config::load(&Config::find(arguments.config.as_deref())?, &Overrides::from_environment())?;
    if matches!(arguments.command, Command::Serve) {
        let (end, shutdown) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            let _ = end.send(true);
        });
        flatpass::serve(config, Clock::system(), shutdown, |config| eprintln!("listening on {}", config.url)).await?;
        return Ok(());
    }
    let store = flatpass::open_store(&config).await?;
    let value = match arguments.command {
        Command::Repo(command) => cli::repo(&store, command, now).await?,
        Command::App(command) => cli::app(&store, command, now).await?,
        Command::Account(command) => cli::account(&store, command, now).await?,
        Command::AccessToken(command) => cli::access_token(&store, command, now).await?,
        Command::Grant { email, repo, app } => cli::grant(&store, &email, &repo, &app, now).await?,
        Command::Revoke { email, repo, app } => cli::revoke(&store, &email, &repo, &app, now).await?,
        Command::Init { .. } | Command::Serve => unreachable!(),
    };
    println!("{value}");
    Ok(())
}
