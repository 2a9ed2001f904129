//! Printing answers and failures.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::failure::Failure;

/// The exit code of a check that found problems.
pub(super) const FOUND_PROBLEMS: u8 = 3;

/// What a command has to say, for people and for programs.
pub(super) struct Answer {
    text: String,
    json: Value,
    code: u8,
}

impl Answer {
    /// `text` for people (lines without a newline at the end), `json` for programs.
    pub(super) fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, code: 0 }
    }

    /// The same words for both.
    pub(super) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        let json = json!({ "message": text });
        Self::new(text, json)
    }

    /// With another exit code than 0.
    pub(super) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }
}

/// Prints the answer on standard output.
pub(super) fn print(answer: &Answer, as_json: bool) -> ExitCode {
    let text = if as_json { answer.json.to_string() } else { answer.text.clone() };
    if text.is_empty() {
        return ExitCode::from(answer.code);
    }
    match writeln!(io::stdout().lock(), "{text}") {
        // The reader has seen enough, as in `flatpass account list | head`.
        Ok(()) => ExitCode::from(answer.code),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(answer.code),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Prints the failure on standard error.
pub(super) fn print_failure(failure: &Failure, as_json: bool) -> ExitCode {
    let next = failure.next();
    let text = if as_json {
        json!({ "error": failure.to_string(), "next": next }).to_string()
    } else {
        match next {
            Some(next) => format!("flatpass: {failure}\n  next: {next}"),
            None => format!("flatpass: {failure}"),
        }
    };
    // Nobody is left to be told when this fails.
    let _ = writeln!(io::stderr().lock(), "{text}");
    ExitCode::from(failure.code())
}

/// Lines up `rows` under `head`. With no rows: `empty`.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]], empty: &str) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    let mut widths = head.map(|title| title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(line(head)).chain(body).collect::<Vec<_>>().join("\n")
}
