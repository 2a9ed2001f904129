//! Application ids, patterns over them, and which offered app a ref belongs to.

use std::fmt;
use std::str::FromStr;

use flatpass_token::RefName;

/// What an entitlement is for: one app, all apps below a prefix, or all apps of the repo.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AppPattern {
    /// One app with its extensions: `org.test.Paid`.
    App(String),
    /// Everything below a prefix: `org.acme.*` holds the prefix `org.acme`, and covers an id equal to it too.
    Below(String),
    /// Everything in the repo: `*`.
    All,
}

/// The text is neither an application id, nor `PREFIX.*`, nor `*`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not an application id such as org.example.App (nor a pattern such as org.example.* or *)"
)]
pub struct AppPatternError(pub String);

impl AppPattern {
    /// Whether this pattern covers the app `app_id`, exactly as a token's `ids` and `prefixes` do.
    pub fn covers(&self, app_id: &str) -> bool {
        match self {
            Self::App(id) => id == app_id,
            Self::Below(prefix) => is_below(app_id, prefix),
            Self::All => true,
        }
    }
}

impl FromStr for AppPattern {
    type Err = AppPatternError;

    fn from_str(text: &str) -> Result<Self, AppPatternError> {
        if text == "*" {
            return Ok(Self::All);
        }
        match text.strip_suffix(".*") {
            Some(prefix) if has_elements(prefix, 1) => Ok(Self::Below(prefix.to_owned())),
            None if is_app_id(text) => Ok(Self::App(text.to_owned())),
            _ => Err(AppPatternError(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for AppPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(id) => out.write_str(id),
            Self::Below(prefix) => write!(out, "{prefix}.*"),
            Self::All => out.write_str("*"),
        }
    }
}

impl serde::Serialize for AppPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether `text` is an application id as Flatpak takes it: at least three elements joined by dots, each of letters, digits,
/// `_` and `-` and not beginning with a digit, at most 255 characters in all.
pub fn is_app_id(text: &str) -> bool {
    has_elements(text, 3)
}

/// Whether `text` is a branch as Flatpak takes it, such as `stable` or `24.08`.
pub fn is_branch(text: &str) -> bool {
    RefName::parse(&format!("app/a.b.C/x86_64/{text}")).is_ok()
}

fn has_elements(text: &str, least: usize) -> bool {
    let element = |element: &str| {
        element.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && element.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'))
    };
    text.len() <= 255 && text.split('.').count() >= least && text.split('.').all(element)
}

/// Whether `id` is `prefix` or continues it after a dot.
pub(crate) fn is_below(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What the ids of an app's extensions begin with: `org.test.Paid.`; Flatpak writes `_` for `-` there, because a dash may stand
/// in the last element of an id only (`flatpak_make_valid_id_prefix` in common/flatpak-utils.c).
pub(crate) fn extension_prefix(app_id: &str) -> String {
    format!("{}.", app_id.replace('-', "_"))
}

/// The app that the ref with the id `ref_id` belongs to, of the apps that are known (offered, or in the repo): the app itself, or
/// the one with the longest id that the ref's id continues after a dot. So `org.test.Paid.Locale` belongs to `org.test.Paid`,
/// unless `org.test.Paid.Locale` is an app of its own. `None`: it belongs to none of them.
pub fn owner_of<'a>(ref_id: &str, apps: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let rank = |app: &&str| (*app == ref_id, app.len(), !app.contains('-'));
    apps.into_iter()
        .filter(|app| *app == ref_id || ref_id.starts_with(&extension_prefix(app)))
        .max_by_key(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_belongs_to_its_app_but_an_app_offered_below_it_does_not() {
        let offered = ["org.test.Paid", "org.test.Paid.Pro", "org.test.Other"];
        let owner = |id| owner_of(id, offered);
        assert_eq!(owner("org.test.Paid"), Some("org.test.Paid"));
        assert_eq!(owner("org.test.Paid.Locale"), Some("org.test.Paid"));
        assert_eq!(owner("org.test.Paid.Debug"), Some("org.test.Paid"));
        assert_eq!(owner("org.test.Paid.Pro"), Some("org.test.Paid.Pro"));
        assert_eq!(owner("org.test.Paid.Pro.Locale"), Some("org.test.Paid.Pro"));
        assert_eq!(owner("org.test.PaidLocale"), None, "a prefix ends at a dot");
        assert_eq!(owner("org.test"), None);
        assert_eq!(owner("Org.test.Paid"), None, "case counts");
        assert_eq!(owner_of("org.test.Paid", []), None);
    }

    #[test]
    fn the_extensions_of_an_app_with_a_dash_have_an_underscore() {
        let offered = ["org.test.my-app"];
        assert_eq!(owner_of("org.test.my-app", offered), Some("org.test.my-app"));
        assert_eq!(owner_of("org.test.my_app.Locale", offered), Some("org.test.my-app"));
        assert_eq!(owner_of("org.test.my_app", offered), None, "another app");
        let both = ["org.test.my_app", "org.test.my-app"];
        assert_eq!(owner_of("org.test.my_app.Locale", both), Some("org.test.my_app"), "the one that says so");
    }

    #[test]
    fn patterns_read_back_what_they_print_and_refuse_the_rest() {
        for good in ["*", "org.acme.*", "acme.*", "org.test.Paid", "org.test.Paid-2_b.Locale"] {
            assert_eq!(good.parse::<AppPattern>().map(|pattern| pattern.to_string()), Ok(good.to_owned()));
        }
        let long = format!("org.test.{}", "a".repeat(300));
        for bad in [
            "",
            ".",
            "**",
            ".*",
            "org",
            "org.test",
            "org..Paid",
            "org.test.",
            "org.test.9p",
            "o rg.a.b",
            "org.*.x",
            &long,
        ] {
            assert!(bad.parse::<AppPattern>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_pattern_covers_nothing_beside_its_prefix() {
        let below: AppPattern = "org.acme.*".parse().unwrap();
        assert!(below.covers("org.acme.Tool") && below.covers("org.acme"));
        assert!(!below.covers("org.acmeTool") && !below.covers("org.other.Tool"));
        let one: AppPattern = "org.acme.Tool".parse().unwrap();
        assert!(one.covers("org.acme.Tool") && !one.covers("org.acme.Tool.Locale"));
    }
}
