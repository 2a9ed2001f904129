//! What is asked for below the mount of an index.

use flatpass_oci::Digest;

/// What a path below the mount names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexPath {
    /// `index/static` or `index/dynamic`: the second says that hardly anybody will ask the same again, which makes no difference here.
    Index,
    /// `icons/HEX.png`
    Icon(Digest),
}

impl IndexPath {
    /// Reads the raw path. Only the one spelling of each is one.
    pub(super) fn parse(path: &str) -> Option<Self> {
        match path {
            "index/static" | "index/dynamic" => Some(Self::Index),
            other => {
                let hex = other.strip_prefix("icons/")?.strip_suffix(".png")?;
                Digest::from_hex(hex).map(Self::Icon)
            }
        }
    }
}
