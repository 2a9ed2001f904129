//! The command `flatpass-authenticator`: see `flatpass-authenticator --help`.

use std::process::ExitCode;

use clap::Parser as _;
use flatpass_authenticator::cli::Arguments;

fn main() -> ExitCode {
    flatpass_authenticator::cli::run(Arguments::parse())
}
