//! Where a password comes from: a terminal with the echo off, or the first line of standard input. Never an argument.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use flatpass_token::Secret;
use rand::CryptoRng;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::failure::Failure;

/// More than any password may have.
const LONGEST: u64 = 16 * 1024;

/// The password for `email`; `None` when none was given and one shall be made.
pub(super) fn read(email: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    let password = if io::stdin().is_terminal() {
        let first = ask(&format!("Password for {email} (empty: one is made): "))?;
        if !first.is_empty() && *ask("Once more: ")? != *first {
            return Err(Failure::told("the two passwords differ; nothing was changed", "try again"));
        }
        first
    } else {
        one_line()?
    };
    Ok((!password.is_empty()).then_some(password))
}

/// A password that somebody else made, such as that of an account at another server. Empty when none was given.
pub(super) fn of_other(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    if io::stdin().is_terminal() { ask(prompt) } else { one_line() }
}

/// A password that nobody needs to remember: 190 random bits.
pub(super) fn make(rng: &mut impl CryptoRng) -> Zeroizing<String> {
    Zeroizing::new(Secret::generate("", rng).expose().to_owned())
}

/// All of standard input, which must be at most one line.
fn one_line() -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().lock().take(LONGEST).read_to_string(&mut text).map_err(cannot)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains(['\n', '\r']) {
        return Err(Failure::told(
            "standard input has more than one line",
            "give the password alone, on one line",
        ));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let stdin = io::stdin();
    write!(io::stderr(), "{prompt}").map_err(cannot)?;
    let quiet = Quiet::begin(&stdin).map_err(|error| cannot(error.into()))?;
    let mut line = Zeroizing::new(String::new());
    let read = stdin.lock().take(LONGEST).read_line(&mut line);
    drop(quiet);
    // The newline that was typed was not shown.
    writeln!(io::stderr()).map_err(cannot)?;
    read.map_err(cannot)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// The terminal with its echo off, until this is dropped.
struct Quiet<'a> {
    terminal: &'a io::Stdin,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(terminal: &'a io::Stdin) -> rustix::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is made for map_err")]
fn cannot(error: io::Error) -> Failure {
    Failure::told(
        format!("cannot read the password: {error}"),
        "give it on standard input, as UTF-8, on one line",
    )
}
