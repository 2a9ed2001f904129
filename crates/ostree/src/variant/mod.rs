//! GVariant as OSTree uses it: what [`gvariant`] does not do.
//!
//! That crate reads values and, like GLib, gives default values for bytes that make no sense. A gate that guards
//! something must not take a default for an answer, so [`check_normal`] comes first, always. After it every framing
//! offset is known to be right, and reading costs no more than the bytes there are.

mod dictionary;
mod normal;
mod types;
pub(crate) mod write;

use std::borrow::Cow;

use gvariant::aligned_bytes::{A8, AlignedSlice, copy_to_align};

pub(crate) use dictionary::Dictionary;
pub(crate) use normal::{elements, member_range, members, split_variant, string};

use crate::ReadError;

/// Checks that `bytes` are a value of `type_string` in normal form and gives them at an address divisible by eight.
pub(crate) fn check_normal<'a>(
    bytes: &'a [u8],
    type_string: &'static str,
) -> Result<Cow<'a, AlignedSlice<A8>>, ReadError> {
    if normal::is_normal(type_string.as_bytes(), bytes) {
        Ok(copy_to_align(bytes))
    } else {
        Err(ReadError::NotNormal { type_string })
    }
}

/// Whether `bytes` are a value of the GVariant type `type_string` in normal form, as `g_variant_is_normal_form` says it.
/// An unknown or indefinite type has no values.
///
/// Public for the tests that compare it with GLib's own answer.
#[doc(hidden)]
#[must_use]
pub fn is_normal(type_string: &str, bytes: &[u8]) -> bool {
    normal::is_normal(type_string.as_bytes(), bytes)
}
