//! `flatpass serve`.

use std::io::IsTerminal as _;

use flatpass::config::Config;
use flatpass_gate::Clock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::failure::Failure;
use super::output::Answer;

/// Serves until SIGTERM or SIGINT, then lets running answers finish.
pub(super) async fn run(config: Config) -> Result<Answer, Failure> {
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
    super::config::must_have_database(&config)?;
    if config.sign_up_tells() {
        tracing::warn!(
            "everybody may sign up and there is no [mail], so signing up tells whether an address has an account, as often as \
             limits.sign_in_per_minute allows; configure [mail], or write sign_up = \"closed\" under [accounts]"
        );
    }
    let (end, shutdown) = watch::channel(false);
    let cannot = |error: std::io::Error| {
        Failure::told(format!("cannot listen for signals: {error}"), "start it again; if it stays, report it")
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = end.send(true);
    });
    let ready = |config: &Config| tracing::info!(url = %config.url, listen = %config.listen, "serving");
    flatpass::serve(config, Clock::system(), shutdown, ready).await?;
    Ok(Answer::text("stopped"))
}
