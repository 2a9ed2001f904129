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
    /// Where its objects come from, if not from the URL: `contenturl`.
    pub content_url: Option<String>,
    /// Its own URL, while a peer's stands in that place ([`FORMER_URL`]).
    pub former_url: Option<String>,
    /// Whether signatures of commits and of the list are checked (`gpg-verify`, `gpg-verify-summary`).
    pub is_signed: bool,
}

impl Remote {
    /// Whether its objects come from servers that a list names.
    #[must_use]
    pub fn has_mirror_list(&self) -> bool {
        self.content_url.as_deref().is_some_and(|url| url.starts_with("mirrorlist="))
    }
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
    /// The key has a value already.
    #[error("the remote has a {0}= already; remove it by hand first")]
    Taken(&'static str),
}

/// Where files of a remote come from, in place of its URL: libostree's key.
pub const CONTENT_URL: &str = "contenturl";
/// Where the URL of a remote is kept while a peer's stands in its place.
pub const FORMER_URL: &str = "xa.flatpass-url";
const STORE_OPTION: &str = "xa.authenticator-options.url";

/// What stands in a remote's group. Of keys that stand there twice the last one counts, as for GLib.
#[must_use]
pub fn remote(text: &[u8], name: &str) -> Option<Remote> {
    let (mut url, mut store, mut content_url, mut former_url) = (None, None, None, None);
    // libostree's defaults.
    let (mut commits, mut summary) = (true, false);
    for (key, value) in entries(text, name) {
        let value = text.get(value).map(|bytes| String::from_utf8_lossy(bytes).trim_end().to_owned());
        let is_true = value.as_deref() == Some("true");
        match key {
            b"url" => url = value,
            b"gpg-verify" => commits = is_true,
            b"gpg-verify-summary" => summary = is_true,
            key if key == STORE_OPTION.as_bytes() => store = value,
            key if key == CONTENT_URL.as_bytes() => content_url = value,
            key if key == FORMER_URL.as_bytes() => former_url = value,
            _ => {}
        }
    }
    Some(Remote { url: url?, store, content_url, former_url, is_signed: commits && summary })
}

/// The names of all remotes, in the order in which they stand there.
#[must_use]
pub fn names(text: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let name = line.trim_ascii().strip_prefix(b"[remote \"").and_then(|rest| rest.strip_suffix(b"\"]"));
        if let Some(name) = name.and_then(|name| str::from_utf8(name).ok())
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// The text with one more line for a remote, below its URL; [`without_key`] gives back what was.
///
/// # Errors
/// [`EditError`].
pub fn with_key(text: &[u8], name: &str, key: &'static str, value: &str) -> Result<Vec<u8>, EditError> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Err(EditError::BadUrl);
    }
    if entries(text, name).any(|(known, _)| known == key.as_bytes()) {
        return Err(EditError::Taken(key));
    }
    let place = only(text, name, "url")?;
    let before = text.get(..place.end).unwrap_or_default();
    let after = text.get(place.end..).unwrap_or_default();
    Ok([before, format!("\n{key}={value}").as_bytes(), after].concat())
}

/// The text without the line of a key, whose value is `value`.
///
/// # Errors
/// [`EditError`].
pub fn without_key(text: &[u8], name: &str, key: &str, value: &str) -> Result<Vec<u8>, EditError> {
    let place = only(text, name, key)?;
    if text.get(place.clone()).map(<[u8]>::trim_ascii_end) != Some(value.as_bytes()) {
        return Err(EditError::Changed);
    }
    // The line with what ends the line before: the group's name at least stands there.
    let start = text.get(..place.start).and_then(|before| before.iter().rposition(|byte| *byte == b'\n'));
    let before = text.get(..start.ok_or(EditError::NotThere)?).unwrap_or_default();
    let after = text.get(place.end..).unwrap_or_default();
    Ok([before, after].concat())
}

/// The place of the value of a key that stands there once.
fn only(text: &[u8], name: &str, key: &str) -> Result<Range<usize>, EditError> {
    let mut places = entries(text, name).filter(|(known, _)| *known == key.as_bytes());
    let (_, place) = places.next().ok_or(EditError::NotThere)?;
    if places.next().is_some() { Err(EditError::Twice) } else { Ok(place) }
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
    let place = only(text, name, "url")?;
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
    fn a_line_comes_and_goes_and_nothing_else_changes() {
        for config in [CONFIG, CONFIG.trim_end(), &CONFIG.replace("\n\n", "\n")] {
            for name in ["shop", "shop2"] {
                let text = config.as_bytes();
                let more = with_key(text, name, CONTENT_URL, "mirrorlist=file:///l").expect("added");
                let read = remote(&more, name).expect("there");
                assert_eq!(read.content_url.as_deref(), Some("mirrorlist=file:///l"));
                assert_eq!(with_key(&more, name, CONTENT_URL, "x"), Err(EditError::Taken(CONTENT_URL)));
                assert_eq!(without_key(&more, name, CONTENT_URL, "file:///x"), Err(EditError::Changed));
                let back = without_key(&more, name, CONTENT_URL, "mirrorlist=file:///l").expect("removed");
                assert_eq!(String::from_utf8(back).expect("text"), config);
            }
        }
        assert_eq!(without_key(CONFIG.as_bytes(), "shop", CONTENT_URL, "x"), Err(EditError::NotThere));
        assert_eq!(names(CONFIG.as_bytes()), ["shop", "shop2"]);
        let signed = |text: &str| remote(text.as_bytes(), "a").expect("there").is_signed;
        assert!(signed("[remote \"a\"]\nurl=x\ngpg-verify=true\ngpg-verify-summary=true\n"));
        assert!(!signed("[remote \"a\"]\nurl=x\ngpg-verify=true\n"), "the list is not");
        assert!(!signed("[remote \"a\"]\nurl=x\ngpg-verify=false\ngpg-verify-summary=true\n"));
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
