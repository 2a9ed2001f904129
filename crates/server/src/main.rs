//! The command `flatpass`.

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
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the store.
    Serve,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config = Config::load(&Config::find(arguments.config.as_deref())?, &Overrides::from_environment())?;
    match arguments.command {
        Command::Serve => {
            let (end, shutdown) = watch::channel(false);
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::spawn(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
                let _ = end.send(true);
            });
            flatpass::serve(config, Clock::system(), shutdown, |config| {
                eprintln!("listening on {}", config.url)
            })
            .await?;
        }
    }
    Ok(())
}
