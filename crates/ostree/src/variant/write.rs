//! Writing GVariant: containers out of the bytes of what they contain. See section 2.5 of the GVariant specification.
//!
//! A serialized value does not depend on where it stands, as long as it stands at a multiple of its alignment. So what was read out
//! of one container goes into another byte for byte.

use super::normal::{offset_width, total_size};
use super::types::{Type, align};

/// A structure or dictionary entry of this type. Each member comes as its bytes; there must be as many as the type has.
pub(crate) fn tuple(type_string: &str, members: &[&[u8]]) -> Vec<u8> {
    let Some(Type::Tuple(tuple)) = Type::parse(type_string.as_bytes()) else {
        debug_assert!(false, "{type_string} is a literal of this crate");
        return Vec::new();
    };
    debug_assert_eq!(tuple.members.len(), members.len());
    let mut bytes = Vec::with_capacity(members.iter().map(|member| member.len() + 8).sum());
    let mut ends = Vec::new();
    for (index, (kind, member)) in tuple.members.iter().zip(members).enumerate() {
        bytes.resize(align(bytes.len(), kind.alignment()), 0);
        bytes.extend_from_slice(member);
        if kind.fixed_size().is_none() && index + 1 < tuple.members.len() {
            ends.push(bytes.len());
        }
    }
    if let Some(size) = tuple.fixed_size {
        bytes.resize(size, 0);
        return bytes;
    }
    // The first member's end is written last.
    ends.reverse();
    put_offsets(&mut bytes, &ends);
    bytes
}

/// An array of elements of this type, which has no fixed size.
pub(crate) fn array<Element: AsRef<[u8]>>(
    element_type: &str,
    elements: impl IntoIterator<Item = Element>,
) -> Vec<u8> {
    let alignment = Type::parse(element_type.as_bytes()).map_or(8, |element| element.alignment());
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for element in elements {
        bytes.resize(align(bytes.len(), alignment), 0);
        bytes.extend_from_slice(element.as_ref());
        ends.push(bytes.len());
    }
    put_offsets(&mut bytes, &ends);
    bytes
}

/// A variant with a value of this type inside.
pub(crate) fn variant(type_string: &str, value: &[u8]) -> Vec<u8> {
    [value, &[0], type_string.as_bytes()].concat()
}

/// An entry of an `a{sv}`.
pub(crate) fn entry(key: &str, type_string: &str, value: &[u8]) -> Vec<u8> {
    tuple("{sv}", &[&text(key), &variant(type_string, value)])
}

/// A string. It has no zero byte inside.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn put_offsets(bytes: &mut Vec<u8>, ends: &[usize]) {
    let width = offset_width(total_size(bytes.len(), ends.len()));
    for end in ends {
        bytes.extend((*end as u64).to_le_bytes().iter().take(width));
    }
}
