//! What a token opens: items of RFC 9396's `authorization_details`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::RefName;

/// Stands for every branch, every arch, or, among the prefixes, every id.
const ANY: &str = "*";

/// What a token allows to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Fetch a ref for the first time.
    Download,
    /// Fetch newer commits of a ref that is installed.
    Upgrade,
    /// Carry a ref on: to a peer, or with `flatpak create-usb`.
    Export,
    /// See a private index.
    List,
}

impl Verb {
    /// Every verb there is.
    pub const ALL: [Self; 4] = [Self::Download, Self::Upgrade, Self::Export, Self::List];

    /// The word as it stands in tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upgrade => "upgrade",
            Self::Export => "export",
            Self::List => "list",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`Verb`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a verb is one of download, upgrade, export, list")]
pub struct UnknownVerb;

impl FromStr for Verb {
    type Err = UnknownVerb;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == word).ok_or(UnknownVerb)
    }
}

/// One item of the `authorization_details` claim (RFC 9396 section 2) with the type `flatpak`.
///
/// In JSON: `{"type":"flatpak","actions":["download"],"ids":["org.test.Paid"],"prefixes":["org.acme"],
/// "branches":["*"],"arches":["*"]}`. **An absent or empty list grants nothing**, whichever list it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename = "flatpak")]
pub struct Grant {
    /// What may be done. Words that this version does not know are left out when a token is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "known_verbs")]
    pub actions: Vec<Verb>,
    /// Ids of apps and runtimes, each exactly: `org.test.Paid` does not open `org.test.Paid.Locale`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Beginnings of ids that end at a dot or at the id's end: `org.acme` opens `org.acme` and `org.acme.Tool`
    /// but not `org.acmeother.Tool`. `*` opens every id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// Branches, each exactly, or `*` for every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
    /// Architectures, each exactly, or `*` for every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arches: Vec<String>,
}

impl Grant {
    /// These verbs on these ids (each exactly), for every branch and arch.
    #[must_use]
    pub fn for_ids(actions: &[Verb], ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            actions: actions.to_vec(),
            ids: ids.into_iter().map(Into::into).collect(),
            ..Self::any_build()
        }
    }

    /// These verbs on everything in the repo: every id, branch and arch.
    #[must_use]
    pub fn for_everything(actions: &[Verb]) -> Self {
        Self { actions: actions.to_vec(), prefixes: vec![ANY.into()], ..Self::any_build() }
    }

    fn any_build() -> Self {
        Self { branches: vec![ANY.into()], arches: vec![ANY.into()], ..Self::default() }
    }

    /// Whether this grant allows `verb` on that ref: the verb is among the actions, the id is among the ids or
    /// below one of the prefixes, and branch and arch are each listed or covered by `*`.
    #[must_use]
    pub fn covers(&self, verb: Verb, target: &RefName) -> bool {
        self.actions.contains(&verb)
            && self.covers_id(target.id())
            && lists(&self.branches, target.branch())
            && lists(&self.arches, target.arch())
    }

    /// Whether there can be a ref on which this grant allows `verb`: no list that it needs is empty.
    #[must_use]
    pub fn covers_some(&self, verb: Verb) -> bool {
        self.actions.contains(&verb)
            && [&self.branches, &self.arches].into_iter().all(|list| !list.is_empty())
            && [&self.ids, &self.prefixes].into_iter().any(|list| !list.is_empty())
    }

    fn covers_id(&self, id: &str) -> bool {
        self.ids.iter().any(|listed| listed == id)
            || self.prefixes.iter().any(|prefix| prefix == ANY || is_below(id, prefix))
    }
}

fn lists(listed: &[String], value: &str) -> bool {
    listed.iter().any(|item| item == ANY || item == value)
}

fn is_below(id: &str, prefix: &str) -> bool {
    !prefix.is_empty() && id.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A gate that is older than the authority leaves out the verbs it does not know: it then grants less, not more.
fn known_verbs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Verb>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    Ok(words.iter().filter_map(|word| word.parse().ok()).collect())
}

/// Reads the `authorization_details` claim: items of other types are for others and skipped, whatever they hold.
pub(crate) fn flatpak_grants<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Grant>, D::Error> {
    #[derive(Deserialize)]
    struct ItemType {
        r#type: String,
    }
    let mut grants = Vec::new();
    for item in Vec::<Box<RawValue>>::deserialize(deserializer)? {
        let item_type: ItemType = serde_json::from_str(item.get()).map_err(serde::de::Error::custom)?;
        if item_type.r#type == "flatpak" {
            grants.push(serde_json::from_str(item.get()).map_err(serde::de::Error::custom)?);
        }
    }
    Ok(grants)
}
