//! The command line: what a person or the session bus can start.
//!
//! Exit codes: 0 done, 1 failed (a sentence on standard error says why and what to do), 2 wrong arguments,
//! 3 the person cancelled; `run` has those of its command.

pub mod bridge;
pub mod browser;
mod crossing;
pub mod device_code;
pub mod flatpakrepo;
pub mod install;
pub mod keep_bus;
pub mod location;
pub mod login;
pub mod logout;
pub mod password;
pub mod peers;
pub mod qr;
pub mod registry;
pub mod remote_add;
pub mod remote_remove;
pub mod remote_rotate;
pub mod run;
pub mod serve;
pub mod sign_in;
pub mod status;
pub mod surroundings;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::session::refusal::Ended;

/// Lets Flatpak install apps that need a sign-in or were bought.
///
/// Flatpak starts this by itself when a remote asks for it; you are then shown the store's page in your browser, and
/// nothing more is needed. The commands here are for adding a store's remote (a private one too), for signing in ahead
/// of time, and for machines where nobody is signed in to a desktop.
#[derive(Debug, Parser)]
#[command(name = "flatpass-authenticator", version, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    serve: serve::Serve,
    /// Say more about what happens, on standard error.
    #[arg(short, long, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "Examples:
  Add a store's remote and install an app from it:
    flatpass-authenticator remote-add --user shop.example/apps
    flatpak install --user apps org.example.App
  Sign in, so that updates at night need nobody:
    flatpass-authenticator login https://shop.example/
  Give a private remote a new secret:
    flatpass-authenticator remote-rotate apps
  Sign in to a container registry that no store stands before:
    flatpass-authenticator registry login registry.example
  Update a server, with the robot's credentials in /etc/flatpass/robot.toml:
    flatpass-authenticator run -- flatpak update --system -y --noninteractive

Environment:
  BROWSER               the program that shows web pages
  CREDENTIALS_DIRECTORY systemd's credentials for `run`; flatpass-robot is the robot's
  FLATPASS_CA_FILE      a PEM file with more trusted certificate authorities
  FLATPASS_CREDENTIALS  where sign-ins are kept: auto, file or secret-service; auto is
                        the keyring, or a file where there is none
  XDG_STATE_HOME        sign-ins are recorded in its folder flatpass (default ~/.local/state)";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Login(login::Login),
    Logout(logout::Logout),
    Status(status::Status),
    RemoteAdd(remote_add::RemoteAdd),
    Bridge(bridge::BridgeCommand),
    Peers(peers::PeersCommand),
    RemoteRotate(remote_rotate::RemoteRotate),
    RemoteRemove(remote_remove::RemoteRemove),
    Run(run::Run),
    Registry(registry::RegistryCommand),
    Install(install::Install),
    #[command(name = crate::private_bus::KEEPER_COMMAND, hide = true)]
    KeepBus(keep_bus::KeepBus),
}

/// The address of a store, as an argument.
#[derive(Debug, Clone, Args)]
pub struct StoreArgument {
    /// The store's address, such as `https://shop.example/`
    #[arg(value_name = "URL")]
    url: String,
}

/// How a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The person said no.
    Cancelled,
    /// Anything else, as a sentence.
    Error(anyhow::Error),
    /// The exit code of another command, which has said what there is to say.
    Exit(u8),
}

impl Failure {
    fn ended(ended: Ended) -> Self {
        match ended {
            Ended::Cancelled => Self::Cancelled,
            Ended::Refused(refusal) => refusal.into(),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Runs the command and gives the exit code.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    let level = if arguments.verbose { LevelFilter::DEBUG } else { LevelFilter::WARN };
    // Only our own words: what libraries log could have a token in it.
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(ours);
    tracing_subscriber::registry().with(lines).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(arguments));
            // A keyring that does not answer must not keep the process.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Cancelled) => {
            eprintln!("Cancelled; nothing was changed.");
            ExitCode::from(3)
        }
        Err(Failure::Exit(code)) => ExitCode::from(code),
        Err(Failure::Error(error)) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        None => Box::pin(arguments.serve.run()).await,
        Some(_) if arguments.serve.replace || arguments.serve.for_oci => {
            Err(anyhow::anyhow!("--replace and --for-oci belong after `serve`.").into())
        }
        Some(Command::Serve(command)) => Box::pin(command.run()).await,
        Some(Command::Login(command)) => Box::pin(command.run()).await,
        Some(Command::Logout(command)) => Box::pin(command.run()).await,
        Some(Command::Status(command)) => Box::pin(command.run()).await,
        Some(Command::RemoteAdd(command)) => Box::pin(command.run()).await,
        Some(Command::Bridge(command)) => Box::pin(command.run()).await,
        Some(Command::Peers(command)) => Box::pin(command.run()).await,
        Some(Command::RemoteRotate(command)) => Box::pin(command.run()).await,
        Some(Command::RemoteRemove(command)) => Box::pin(command.run()).await,
        Some(Command::Run(command)) => Box::pin(command.run()).await,
        Some(Command::Registry(command)) => Box::pin(command.run()).await,
        Some(Command::KeepBus(command)) => Box::pin(command.run()).await,
        Some(Command::Install(command)) => command.run(),
    }
}
