//! Tells a person at a terminal how to sign in on another device.

use std::env;
use std::fmt::Write as _;
use std::io::Write as _;

use rustix::termios::{isatty, tcgetwinsize};

use super::qr;
use crate::authority::device::DeviceAuthorization;

/// The columns of a terminal that does not say how many it has.
const USUAL_COLUMNS: u16 = 80;

/// Writes the instructions to standard error.
pub fn show(host: &str, begun: &DeviceAuthorization) {
    let _closed = std::io::stderr().lock().write_all(text(host, begun, columns()).as_bytes());
}

/// The terminal's width, if standard error is a terminal that knows colours.
fn columns() -> Option<u16> {
    let stderr = std::io::stderr();
    let is_dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if is_dumb || !isatty(&stderr) {
        return None;
    }
    let columns = tcgetwinsize(&stderr).map_or(0, |size| size.ws_col);
    Some(if columns == 0 { USUAL_COLUMNS } else { columns })
}

fn text(host: &str, begun: &DeviceAuthorization, columns: Option<u16>) -> String {
    let mut text = format!(
        "To sign in to {host}, open this page on any device:\n\n  {}\n\nand type this code there:\n\n  {}\n",
        begun.verification_uri, begun.user_code
    );
    let picture = begun.verification_uri_complete.as_ref().zip(columns);
    if let Some(lines) = picture.and_then(|(address, columns)| qr::lines(address.as_str(), columns)) {
        text.push_str("\nOr scan this, and compare the code:\n\n");
        for line in lines {
            let _infallible = writeln!(text, "{line}");
        }
    }
    let minutes = (begun.expires_in / 60).max(1);
    let _infallible = writeln!(text, "\nThe code is good for {minutes} min. Waiting; Ctrl-C gives up.");
    text
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::secret::SecretText;

    #[test]
    fn the_picture_is_for_terminals_and_the_secret_half_for_nobody() {
        let url = |text: &str| Url::parse(text).expect("valid");
        let begun = DeviceAuthorization {
            device_code: SecretText::new("S3cret".to_owned()),
            user_code: "BCDF-GHJK".to_owned(),
            verification_uri: url("https://shop.example/device"),
            verification_uri_complete: Some(url("https://shop.example/device?user_code=BCDF-GHJK")),
            expires_in: 600,
            interval: 5,
        };
        let plain = text("shop.example", &begun, None);
        assert!(
            plain.contains("  https://shop.example/device\n") && plain.contains("  BCDF-GHJK\n"),
            "{plain}"
        );
        assert!(plain.is_ascii() && !plain.contains('\u{1b}'), "{plain}");
        let wide = text("shop.example", &begun, Some(80));
        assert!(wide.contains('\u{2580}') && !text("shop.example", &begun, Some(30)).contains('\u{2580}'));
        assert!(!wide.contains("S3cret") && !format!("{begun:?}").contains("S3cret"));
    }
}
