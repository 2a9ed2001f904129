//! Reading a password: from the terminal without showing it, or a line of standard input.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::secret::SecretText;

/// Reads one line that is not shown. Without a terminal it is just the next line. `None`: Ctrl-C.
///
/// # Errors
/// The system's.
pub async fn read(question: &str) -> io::Result<Option<SecretText>> {
    let hidden = if io::stdin().is_terminal() {
        write!(io::stderr(), "{question}")?;
        Some(Hidden::begin()?)
    } else {
        None
    };
    let reading = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| SecretText::new(line))
    });
    let read = tokio::select! {
        read = reading => Some(read.map_err(io::Error::other)?),
        // The terminal must show again what is typed, before this program ends.
        _ = tokio::signal::ctrl_c() => None,
    };
    if hidden.is_some() {
        drop(hidden);
        writeln!(io::stderr())?;
    }
    let text = read.transpose()?;
    Ok(text.map(|text| SecretText::new(text.expose().trim_end_matches(['\r', '\n']).to_owned())))
}

/// Reads one line that is shown.
///
/// # Errors
/// The system's.
pub fn read_shown(question: &str) -> io::Result<String> {
    if io::stdin().is_terminal() {
        write!(io::stderr(), "{question}")?;
    }
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// The terminal, while it does not show what is typed.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _unplugged = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
