//! Names of refs, checked by the rules Flatpak itself has for them (`common/flatpak-ref-utils.c`).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest id, arch or branch, in bytes. Flatpak sets it for ids; the others are file names in a repo.
const MAX_PART_BYTES: usize = 255;

/// The full name of a ref: `app/ID/ARCH/BRANCH` or `runtime/ID/ARCH/BRANCH`.
///
/// Extensions such as `runtime/org.test.Paid.Locale/x86_64/stable` are runtimes. Order is that of the text.
#[derive(Clone)]
pub struct RefName {
    text: Box<str>,
    // Ends of the id and of the arch in `text`. A part has at most 255 bytes, so a u16 holds them.
    id_end: u16,
    arch_end: u16,
    kind: RefKind,
}

/// What a ref is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefKind {
    /// `app/…`
    App,
    /// `runtime/…`: a runtime, or an extension of a runtime or of an app.
    Runtime,
}

impl RefKind {
    /// The word as it stands in refs and tokens: `app` or `runtime`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Runtime => "runtime",
        }
    }

    /// The first part of the ref's name, with its slash.
    const fn prefix(self) -> &'static str {
        match self {
            Self::App => "app/",
            Self::Runtime => "runtime/",
        }
    }
}

/// Why a text is not the name of a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefNameError {
    /// It begins with neither `app/` nor `runtime/`.
    #[error("a ref begins with app/ or runtime/")]
    Kind,
    /// There are not exactly four parts.
    #[error("a ref has four parts: app/ID/ARCH/BRANCH or runtime/ID/ARCH/BRANCH")]
    Parts,
    /// `flatpak_is_valid_name` would refuse the id.
    #[error(
        "the id of a ref has at least three parts joined by dots, of the characters A-Z a-z 0-9 _ \
         (and - in the last), none begins with a digit"
    )]
    Id,
    /// `flatpak_is_valid_arch` would refuse the arch.
    #[error("the arch of a ref is made of the characters A-Z a-z 0-9 _")]
    Arch,
    /// `flatpak_is_valid_branch` would refuse the branch.
    #[error("the branch of a ref is made of the characters A-Z a-z 0-9 _ - . and does not begin with a dot")]
    Branch,
}

impl RefName {
    /// Reads the full name of a ref, with nothing before or after it.
    ///
    /// # Errors
    /// The first part that is wrong.
    pub fn parse(text: &str) -> Result<Self, RefNameError> {
        let kind = if text.starts_with(RefKind::App.prefix()) {
            RefKind::App
        } else if text.starts_with(RefKind::Runtime.prefix()) {
            RefKind::Runtime
        } else {
            return Err(RefNameError::Kind);
        };
        let mut parts = text.split('/').skip(1);
        let (Some(id), Some(arch), Some(branch), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(RefNameError::Parts);
        };
        if !Self::is_valid_id(id) {
            return Err(RefNameError::Id);
        }
        if !is_valid_arch(arch) {
            return Err(RefNameError::Arch);
        }
        if !is_valid_branch(branch) {
            return Err(RefNameError::Branch);
        }
        let id_end = kind.prefix().len() + id.len();
        let arch_end = id_end + 1 + arch.len();
        let (Ok(id_end), Ok(arch_end)) = (u16::try_from(id_end), u16::try_from(arch_end)) else {
            return Err(RefNameError::Parts);
        };
        Ok(Self { text: text.into(), id_end, arch_end, kind })
    }

    /// Whether `id` can be the id of an app or a runtime: `org.test.Paid`. The rules of
    /// `flatpak_is_valid_name`: three or more parts joined by dots, at most 255 bytes in all.
    #[must_use]
    pub fn is_valid_id(id: &str) -> bool {
        let Some((front, last)) = id.rsplit_once('.') else { return false };
        id.len() <= MAX_PART_BYTES
            && front.contains('.')
            && front.split('.').all(|element| is_valid_element(element, false))
            && is_valid_element(last, true)
    }

    /// Whether it is an app or a runtime.
    #[must_use]
    pub const fn kind(&self) -> RefKind {
        self.kind
    }

    /// The id: `org.test.Paid`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.part(self.kind.prefix().len(), usize::from(self.id_end))
    }

    /// The architecture: `x86_64`.
    #[must_use]
    pub fn arch(&self) -> &str {
        self.part(usize::from(self.id_end) + 1, usize::from(self.arch_end))
    }

    /// The branch: `stable`.
    #[must_use]
    pub fn branch(&self) -> &str {
        self.part(usize::from(self.arch_end) + 1, self.text.len())
    }

    /// The whole name, as Flatpak writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is an extension of that app by its name, such as `.Locale` or `.Debug`: a runtime whose id
    /// is the app's and then a dot and more. Flatpak writes `_` there for each `-` of the app's id
    /// (`flatpak_make_valid_id_prefix`), since only the last part of an id may have a `-`.
    #[must_use]
    pub fn is_extension_of(&self, app_id: &str) -> bool {
        let id = self.id();
        let same = |(of_ref, of_app): (u8, u8)| of_ref == if of_app == b'-' { b'_' } else { of_app };
        self.kind == RefKind::Runtime
            && !app_id.is_empty()
            && id.as_bytes().get(app_id.len()) == Some(&b'.')
            && id.bytes().zip(app_id.bytes()).all(same)
    }

    fn part(&self, start: usize, end: usize) -> &str {
        // The offsets were taken from this very text, which never changes.
        self.text.get(start..end).unwrap_or_default()
    }
}

fn is_valid_element(element: &str, is_last: bool) -> bool {
    let starts = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (is_last && byte == b'-');
    element.bytes().next().is_some_and(starts)
        && element.bytes().all(|byte| starts(byte) || byte.is_ascii_digit())
}

fn is_valid_arch(arch: &str) -> bool {
    !arch.is_empty()
        && arch.len() <= MAX_PART_BYTES
        && arch.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_valid_branch(branch: &str) -> bool {
    !branch.is_empty()
        && branch.len() <= MAX_PART_BYTES
        && !branch.starts_with('.')
        && branch.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

impl FromStr for RefName {
    type Err = RefNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefName({})", self.text)
    }
}

impl PartialEq for RefName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RefName {}

impl PartialOrd for RefName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RefName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for RefName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Serialize for RefName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for RefName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
