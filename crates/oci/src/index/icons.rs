//! Icons: taken out of the labels they came in, and named by what they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::Digest;

/// The labels that have them.
const LABELS: [&str; 2] = ["org.freedesktop.appstream.icon-64", "org.freedesktop.appstream.icon-128"];
/// What such a label begins with if the icon is in it. Flatpak takes no other kind.
const DATA: &str = "data:image/png;base64,";
/// What a PNG begins with.
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The largest icon, in bytes. 128 by 128 pixels without compression are 64 KiB.
const MAX_ICON_BYTES: usize = 256 * 1024;

/// What is to become of a label.
pub(super) enum IconLabel {
    /// It is no icon, or one that is elsewhere: it stays as it is.
    Stays,
    /// It holds this one.
    Holds(Digest, Vec<u8>),
    /// It should hold one and does not: clients are better off without it.
    Broken,
}

/// Looks at a label.
pub(super) fn look(name: &str, value: &str) -> IconLabel {
    if !LABELS.contains(&name) || !value.starts_with("data:") {
        return IconLabel::Stays;
    }
    let encoded = value.strip_prefix(DATA).filter(|encoded| encoded.len() / 4 * 3 <= MAX_ICON_BYTES);
    match encoded.and_then(|encoded| BASE64.decode(encoded).ok()) {
        Some(icon) if icon.starts_with(SIGNATURE) => IconLabel::Holds(Digest::of(&icon), icon),
        _ => IconLabel::Broken,
    }
}

/// Where the icon is, seen from the index: a client resolves it by the address that it got the index from, secret path and all.
pub(super) fn address(digest: &Digest) -> String {
    format!("../icons/{}.png", digest.hex())
}
