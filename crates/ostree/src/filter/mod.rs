//! A repository's index with only some of its refs in it, for somebody who may not see the others.
//!
//! What stays is copied byte for byte out of the operator's own files, so clients find all that they are used to. What goes, goes
//! everywhere: the lists of refs, the caches by ref, the static deltas of commits. Metadata of a kind that is not known
//! here and that could name refs is left out too.

mod app_list;
mod components;
mod index;
mod summary;

pub use app_list::{AppList, AppListError, AppListSource};
#[doc(hidden)]
pub use components::filtered_components;
pub use index::IndexSource;
pub use summary::{Fate, SummarySource};

use crate::variant::{elements, members, split_variant, write};

/// The content of `summary.sig`, `summary.idx.sig`, `summaries/HEX.idx.sig` or `HEX.commitmeta` with these OpenPGP signatures, each binary.
#[must_use]
pub fn signature_file(signatures: &[Vec<u8>]) -> Vec<u8> {
    let list = write::array("ay", signatures);
    write::array("{sv}", [write::entry("ostree.gpgsigs", "aay", &list)])
}

/// Whether a value of this type is a number, a text or some bytes, and so names no refs as a list of them would.
fn is_plain(type_string: &str) -> bool {
    matches!(
        type_string.as_bytes(),
        [b'b' | b'y' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's'] | b"ay"
    )
}

/// The entries of an `a{sv}` whose values are plain.
fn only_plain(dictionary: &[u8]) -> Option<Box<[u8]>> {
    let plain = |entry: &&[u8]| {
        let value = members("{sv}", entry).map(|[_, value]| value);
        value.and_then(split_variant).is_some_and(|(type_string, _)| is_plain(type_string))
    };
    Some(write::array("{sv}", elements("a{sv}", dictionary)?.into_iter().filter(plain)).into())
}
