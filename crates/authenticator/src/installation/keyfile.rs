//! The configuration file's text: GLib's key file format, read and changed byte for byte.

use std::ops::Range;

use thiserror::Error;

/// What the configuration says about a remote. `Debug` does not show the URL, which may have a secret in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its URL, as it stands there.
    pub url: String,
    /// The authority's address, if the remote has an authenticator with that option.
    pub store: Option<String>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Why a URL cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EditError {
    /// No such remote, or it has no URL.
    #[error("the remote is not there any more")]
    NotThere,
    /// It has another URL than it had.
    #[error("the remote's address was changed by another program")]
    Changed,
    /// Two groups or two keys of the same name: which one counts is for a person to sort out.
    #[error("the remote stands there twice; remove one of them by hand")]
    Twice,
    /// A URL that cannot stand there.
    #[error("the new address has characters that it cannot have")]
    BadUrl,
}

const STORE_OPTION: &str = "xa.authenticator-options.url";

/// What stands in a remote's group. Of keys that stand there twice the last one counts, as for GLib.
#[must_use]
pub fn remote(text: &[u8], name: &str) -> Option<Remote> {
    let mut url = None;
    let mut store = None;
    for (key, value) in entries(text, name) {
        let value = text.get(value).map(|bytes| String::from_utf8_lossy(bytes).trim_end().to_owned());
        match key {
            b"url" => url = value,
            key if key == STORE_OPTION.as_bytes() => store = value,
            _ => {}
        }
    }
    Some(Remote { url: url?, store })
}

/// The text with another URL for a remote, and not another byte changed.
///
/// # Errors
/// [`EditError`].
pub fn with_url(text: &[u8], name: &str, from: &str, to: &str) -> Result<Vec<u8>, EditError> {
    // A backslash would be an escape in this format, a blank at the end would be lost.
    if to.is_empty() || !to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Err(EditError::BadUrl);
    }
    let mut places = entries(text, name).filter(|(key, _)| *key == b"url");
    let (_, place) = places.next().ok_or(EditError::NotThere)?;
    if places.next().is_some() {
        return Err(EditError::Twice);
    }
    let value = text.get(place.clone()).ok_or(EditError::NotThere)?;
    let value = value.trim_ascii_end();
    if value != from.as_bytes() {
        return Err(EditError::Changed);
    }
    let end = place.start + value.len();
    let before = text.get(..place.start).unwrap_or_default();
    let after = text.get(end..).unwrap_or_default();
    Ok([before, to.as_bytes(), after].concat())
}

/// The keys of all groups of a remote, with the places of their values (without the line's end).
fn entries<'a>(text: &'a [u8], name: &str) -> impl Iterator<Item = (&'a [u8], Range<usize>)> {
    let group = format!("[remote \"{name}\"]").into_bytes();
    let mut inside = false;
    let mut start = 0;
    text.split_inclusive(|byte| *byte == b'\n').filter_map(move |line| {
        let at = start;
        start += line.len();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let trimmed = line.trim_ascii();
        if trimmed.starts_with(b"[") {
            inside = trimmed == group;
            return None;
        }
        if !inside || trimmed.starts_with(b"#") {
            return None;
        }
        let equals = line.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (line.get(..equals)?, line.get(equals + 1..)?);
        let value_start = at + equals + 1 + (value.len() - value.trim_ascii_start().len());
        Some((key.trim_ascii(), value_start..at + line.len()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONFIG: &str = "# mine\n[core]\nrepo_version=1\nurl=https://core.example/\n\n[remote \"shop\"]\n# why\n\
        url = https://d:old@shop.example/repo/apps \nxa.title=A\\sshop\nfoo;bar=1\n\
        xa.authenticator-options.url=https://shop.example/\n\n[remote \"shop2\"]\nurl=https://d:old@shop.example/repo/apps\n";
    const OLD: &str = "https://d:old@shop.example/repo/apps";
    const NEW: &str = "https://d:new@shop.example/repo/apps";

    #[test]
    fn only_the_url_of_that_remote_changes() {
        let remote = remote(CONFIG.as_bytes(), "shop").expect("there");
        assert_eq!((remote.url.as_str(), remote.store.as_deref()), (OLD, Some("https://shop.example/")));
        let changed = with_url(CONFIG.as_bytes(), "shop", OLD, NEW).expect("changed");
        assert_eq!(String::from_utf8(changed).expect("text"), CONFIG.replacen("d:old", "d:new", 1));
    }

    #[test]
    fn what_is_not_as_it_was_or_ambiguous_is_left_alone() {
        let edit = |text: &str, name: &str, to: &str| with_url(text.as_bytes(), name, OLD, to);
        assert_eq!(edit(CONFIG, "shop3", NEW), Err(EditError::NotThere));
        assert_eq!(edit(&CONFIG.replace(":old", ":other"), "shop", NEW), Err(EditError::Changed));
        assert_eq!(
            edit(&format!("{CONFIG}[remote \"shop\"]\nurl={OLD}\n"), "shop", NEW),
            Err(EditError::Twice)
        );
        for bad in ["", "https://d:n@shop.example/\nx=y", "https://d:n\\n@x/", "https://d:n@x/ "] {
            assert_eq!(edit(CONFIG, "shop", bad), Err(EditError::BadUrl), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_the_rest_stays(text in "(\\[remote \"a\"\\]\n|url ?= ?[a-z]{0,2} ?\n|[ -~\n]{0,9})*") {
            if let Some(before) = remote(text.as_bytes(), "a")
                && let Ok(after) = with_url(text.as_bytes(), "a", &before.url, "https://new/")
            {
                prop_assert_eq!(remote(&after, "a").map(|remote| remote.url), Some("https://new/".to_owned()));
                let back = with_url(&after, "a", "https://new/", if before.url.is_empty() { "x" } else { &before.url });
                if !before.url.is_empty() {
                    prop_assert_eq!(back, Ok(text.into_bytes()));
                }
            }
        }
    }
}
