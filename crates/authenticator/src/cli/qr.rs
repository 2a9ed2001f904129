//! A QR code for a terminal, made of half blocks.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// Black on white, whatever the terminal's own colours are: readers need a dark code on a light ground, with a margin.
const COLOURS: &str = "\u{1b}[38;5;16;48;5;231m";
const PLAIN: &str = "\u{1b}[0m";

/// The lines of a QR code that holds `text`, if it is not wider than `columns`.
#[must_use]
pub fn lines(text: &str, columns: u16) -> Option<Vec<String>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let picture = code.render::<Dense1x2>().quiet_zone(true).build();
    let width = picture.lines().map(|line| line.chars().count()).max()?;
    if width > usize::from(columns) {
        return None;
    }
    Some(picture.lines().map(|line| format!("{COLOURS}{line}{PLAIN}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader makes of a photograph of the lines: 8 times 8 pixels for each module.
    fn scanned(lines: &[String]) -> String {
        let rows: Vec<Vec<bool>> = lines
            .iter()
            .flat_map(|line| {
                let line =
                    line.strip_prefix(COLOURS).and_then(|rest| rest.strip_suffix(PLAIN)).expect("coloured");
                let half = |dark: [char; 2]| line.chars().map(|c| dark.contains(&c)).collect::<Vec<_>>();
                [half(['\u{2580}', '\u{2588}']), half(['\u{2584}', '\u{2588}'])]
            })
            .collect();
        let (width, height) = (rows[0].len() * 8, rows.len() * 8);
        let brightness = |x: usize, y: usize| if rows[y / 8][x / 8] { 0 } else { 255 };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, brightness);
        image.detect_grids()[0].decode().expect("readable").1
    }

    #[test]
    fn a_camera_reads_the_address() {
        let address = "https://shop.example/device?user_code=BCDF-GHJK";
        let lines = lines(address, 80).expect("it fits");
        assert_eq!(scanned(&lines), address);
        assert!(lines.len() <= 22, "it fits into a terminal of 24 lines: {}", lines.len());
    }

    #[test]
    fn what_does_not_fit_is_not_shown() {
        assert_eq!(lines("https://shop.example/", 20), None);
        assert_eq!(lines(&"x".repeat(10_000), u16::MAX), None);
    }
}
