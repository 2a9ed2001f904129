//! The command `flatpass`: see [`cli`] for what it can do.

mod cli;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    cli::run().await
}
