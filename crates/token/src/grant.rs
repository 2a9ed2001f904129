//! What a token opens: items of RFC 9396's `authorization_details`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::{RefKind, RefName, UnixTime};

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
    /// Only these kinds of refs, `app` and `runtime`; `None` for both, an empty list for neither.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known_kinds")]
    pub kinds: Option<Vec<RefKind>>,
    /// Only these commits, each as 64 characters of lower-case hex; `None` for any, an empty list for none at all.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present_list")]
    pub commits: Option<Vec<String>>,
    /// Only commits that were made at or before this moment, as they say themselves; `None` for any.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present_time")]
    pub made_until: Option<UnixTime>,
}

/// A commit that a grant is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitMade<'a> {
    /// Its SHA-256.
    pub checksum: &'a [u8; 32],
    /// When it was made, as it says itself.
    pub at: UnixTime,
}

/// Which commits of a ref a question is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    /// All that there may ever be.
    Every,
    /// This one.
    One(CommitMade<'a>),
    /// Any will do.
    Some,
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

    /// Whether this grant allows `verb` on that ref, whatever commit it has: the verb is among the actions, the id is
    /// among the ids or below one of the prefixes, and branch and arch are each listed or covered by `*`. A grant for some
    /// commits only does not: ask [`Grant::covers_commit`].
    #[must_use]
    pub fn covers(&self, verb: Verb, target: &RefName) -> bool {
        self.covers_every_commit() && self.covers_ref(verb, target)
    }

    /// Whether this grant allows `verb` on that commit of that ref. That the commit is one of the ref, and when it was
    /// made, is for the caller to know.
    #[must_use]
    pub fn covers_commit(&self, verb: Verb, target: &RefName, commit: CommitMade<'_>) -> bool {
        self.admits(Asked::One(commit)) && self.covers_ref(verb, target)
    }

    /// Whether its limits leave what is asked for.
    pub(crate) fn admits(&self, asked: Asked<'_>) -> bool {
        let commit = match asked {
            Asked::Every => return self.covers_every_commit(),
            Asked::Some => return self.commits.as_ref().is_none_or(|commits| !commits.is_empty()),
            Asked::One(commit) => commit,
        };
        let is_listed =
            |commits: &Vec<String>| commits.iter().any(|listed| is_hex_of(listed, commit.checksum));
        self.made_until.is_none_or(|until| commit.at <= until) && self.commits.as_ref().is_none_or(is_listed)
    }

    const fn covers_every_commit(&self) -> bool {
        self.commits.is_none() && self.made_until.is_none()
    }

    pub(crate) fn covers_ref(&self, verb: Verb, target: &RefName) -> bool {
        self.covers_id(target.id()) && self.covers_build(verb, target)
    }

    /// All of a ref but its id.
    pub(crate) fn covers_build(&self, verb: Verb, target: &RefName) -> bool {
        self.actions.contains(&verb)
            && lists(&self.branches, target.branch())
            && lists(&self.arches, target.arch())
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&target.kind()))
    }

    /// Whether there can be a ref on which this grant allows `verb`, whatever commit it has: no list that it needs is empty.
    #[must_use]
    pub fn covers_some(&self, verb: Verb) -> bool {
        self.actions.contains(&verb)
            && self.covers_every_commit()
            && self.kinds.as_ref().is_none_or(|kinds| !kinds.is_empty())
            && [&self.branches, &self.arches].into_iter().all(|list| !list.is_empty())
            && [&self.ids, &self.prefixes].into_iter().any(|list| !list.is_empty())
    }

    /// Whether this grant allows `verb` on every ref there may be.
    #[must_use]
    pub fn covers_everything(&self, verb: Verb) -> bool {
        let all = |list: &[String]| list.iter().any(|item| item == ANY);
        self.actions.contains(&verb)
            && self.covers_every_commit()
            && self.kinds.is_none()
            && [&self.prefixes, &self.branches, &self.arches].into_iter().all(|list| all(list))
    }

    fn covers_id(&self, id: &str) -> bool {
        self.ids.iter().any(|listed| listed == id) || self.covers_by_prefix(id)
    }

    pub(crate) fn covers_by_prefix(&self, id: &str) -> bool {
        self.prefixes.iter().any(|prefix| prefix == ANY || is_below(id, prefix))
    }
}

fn lists(listed: &[String], value: &str) -> bool {
    listed.iter().any(|item| item == ANY || item == value)
}

fn is_below(id: &str, prefix: &str) -> bool {
    !prefix.is_empty() && id.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether `text` is these bytes in lower-case hex.
fn is_hex_of(text: &str, bytes: &[u8; 32]) -> bool {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied();
    text.len() == 2 * bytes.len()
        && text.as_bytes().chunks_exact(2).zip(bytes).all(|(pair, byte)| {
            pair.first().copied() == digit(byte >> 4) && pair.get(1).copied() == digit(byte & 15)
        })
}

/// A limit that stands there must be a list: `null` would open what it limits.
fn present_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Vec::<String>::deserialize(deserializer).map(Some)
}

fn present_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixTime>, D::Error> {
    UnixTime::deserialize(deserializer).map(Some)
}

/// Kinds that are not known here are left out.
fn known_kinds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<RefKind>>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    let kind = |word: &String| match word.as_str() {
        "app" => Some(RefKind::App),
        "runtime" => Some(RefKind::Runtime),
        _ => None,
    };
    Ok(Some(words.iter().filter_map(kind).collect()))
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
