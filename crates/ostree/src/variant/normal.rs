//! Whether bytes are in GVariant's normal form: the one serialization that each value has. See section 2.7 of the
//! GVariant specification, and `gvariant-serialiser.c` in GLib, whose `g_variant_is_normal_form` the tests compare with.

use std::ops::Range;

use super::types::{TextKind, Tuple, Type, align};

/// Variants nest at most this deep, so that hostile bytes cannot use up the stack. OSTree's nest three deep.
const MAX_VARIANT_DEPTH: usize = 32;

/// Whether `bytes` are a value of the type in normal form.
pub(super) fn is_normal(type_string: &[u8], bytes: &[u8]) -> bool {
    Type::parse(type_string).is_some_and(|parsed| check(&parsed, bytes, 0).is_some())
}

/// Where the member at `index` of a structure lies within `bytes`, when these are in normal form at the structure's own level.
pub(crate) fn member_range(type_string: &str, bytes: &[u8], index: usize) -> Option<Range<usize>> {
    let Some(Type::Tuple(tuple)) = Type::parse(type_string.as_bytes()) else { return None };
    member_ranges(&tuple, bytes)?.into_iter().nth(index)
}

/// The bytes of each member of a structure with `N` members, as [`member_range`].
pub(crate) fn members<'a, const N: usize>(type_string: &str, bytes: &'a [u8]) -> Option<[&'a [u8]; N]> {
    let Some(Type::Tuple(tuple)) = Type::parse(type_string.as_bytes()) else { return None };
    let ranges = member_ranges(&tuple, bytes)?;
    ranges.into_iter().map(|range| bytes.get(range)).collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// The bytes of each element of an array.
pub(crate) fn elements<'a>(type_string: &str, bytes: &'a [u8]) -> Option<Vec<&'a [u8]>> {
    let ranges = element_ranges(type_string, bytes)?;
    ranges.into_iter().map(|range| bytes.get(range)).collect()
}

/// A variant's type string and the bytes of its value, when it is one at its own level.
pub(crate) fn split_variant(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().rposition(|byte| *byte == 0)?;
    let (value, rest) = bytes.split_at_checked(end)?;
    let type_string = rest.get(1..)?;
    Type::parse(type_string)?;
    Some((str::from_utf8(type_string).ok()?, value))
}

/// A string without its end.
pub(crate) fn string(bytes: &[u8]) -> Option<&str> {
    check_text(TextKind::Any, bytes)?;
    str::from_utf8(bytes.split_last()?.1).ok()
}

/// Where each element of an array lies within `bytes`, when these are in normal form at the array's own level.
fn element_ranges(type_string: &str, bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    let Some(Type::Array(element)) = Type::parse(type_string.as_bytes()) else { return None };
    match element.fixed_size() {
        Some(size) if bytes.len().is_multiple_of(size) => {
            Some((0..bytes.len() / size).map(|index| index * size..(index + 1) * size).collect())
        }
        Some(_) => None,
        None => array_ranges(&element, bytes),
    }
}

/// `Some` when the bytes are normal: an option, so that each rule can end in `?`.
fn check(expected: &Type, bytes: &[u8], depth: usize) -> Option<()> {
    match expected {
        Type::Bool => matches!(bytes, [0 | 1]).then_some(()),
        Type::Number(size) => (bytes.len() == *size).then_some(()),
        Type::Text(kind) => check_text(*kind, bytes),
        Type::Variant => check_variant(bytes, depth),
        Type::Maybe(inner) => check_maybe(inner, bytes, depth),
        Type::Array(element) => match element.fixed_size() {
            Some(size) => check_fixed_array(element, size, bytes, depth),
            None => check_array(element, bytes, depth),
        },
        Type::Tuple(tuple) => {
            let ranges = member_ranges(tuple, bytes)?;
            tuple
                .members
                .iter()
                .zip(ranges)
                .try_for_each(|(member, range)| check(member, bytes.get(range)?, depth))
        }
    }
}

fn check_text(kind: TextKind, bytes: &[u8]) -> Option<()> {
    let (end, text) = bytes.split_last()?;
    let text = std::str::from_utf8(text).ok()?;
    let allowed = match kind {
        TextKind::Any => !text.contains('\0'),
        TextKind::ObjectPath => is_object_path(text),
        TextKind::Signature => is_signature(text.as_bytes()),
    };
    (*end == 0 && allowed).then_some(())
}

/// `/`, or elements of letters, digits and `_`, each after a slash. See "Valid Object Paths" in the D-Bus specification.
fn is_object_path(text: &str) -> bool {
    let is_element = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text == "/" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_element))
}

/// Any number of complete types, one after the other, none of which D-Bus lacks (`m`, and `r`, `*` and `?` which [`Type`] lacks too).
fn is_signature(text: &[u8]) -> bool {
    let mut whole = Vec::with_capacity(text.len() + 2);
    whole.push(b'(');
    whole.extend_from_slice(text);
    whole.push(b')');
    !text.contains(&b'm') && text.len() <= 255 && Type::parse(&whole).is_some()
}

/// The value, a zero byte, the type string.
fn check_variant(bytes: &[u8], depth: usize) -> Option<()> {
    let end = bytes.iter().rposition(|byte| *byte == 0)?;
    let (value, rest) = bytes.split_at_checked(end)?;
    let inner = Type::parse(rest.get(1..)?)?;
    if depth >= MAX_VARIANT_DEPTH {
        return None;
    }
    check(&inner, value, depth + 1)
}

fn check_maybe(inner: &Type, bytes: &[u8], depth: usize) -> Option<()> {
    if bytes.is_empty() {
        return Some(());
    }
    if inner.fixed_size().is_some() {
        return check(inner, bytes, depth);
    }
    let (end, value) = bytes.split_last()?;
    if *end == 0 { check(inner, value, depth) } else { None }
}

fn check_fixed_array(element: &Type, size: usize, bytes: &[u8], depth: usize) -> Option<()> {
    let elements = bytes.chunks_exact(size);
    if !elements.remainder().is_empty() {
        return None;
    }
    match element {
        // Any bits are a number. Checksums and file contents come this way.
        Type::Number(_) => Some(()),
        _ => elements.into_iter().try_for_each(|bytes| check(element, bytes, depth)),
    }
}

fn check_array(element: &Type, bytes: &[u8], depth: usize) -> Option<()> {
    array_ranges(element, bytes)?.into_iter().try_for_each(|range| check(element, bytes.get(range)?, depth))
}

/// The elements, then the offset of each one's end. Checks padding and framing offsets, not the elements.
fn array_ranges(element: &Type, bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let width = offset_width(bytes.len());
    let elements_end = read_offset(bytes, bytes.len().checked_sub(width)?, width)?;
    let offsets_length = bytes.len().checked_sub(elements_end)?;
    let count = offsets_length / width;
    if offsets_length % width != 0 || count == 0 || total_size(elements_end, count) != bytes.len() {
        return None;
    }
    let mut position = 0;
    let mut ranges = Vec::with_capacity(count);
    for index in 0..count {
        let start = skip_padding(bytes, position, element.alignment())?;
        let end = read_offset(bytes, elements_end + index * width, width)?;
        // No element can reach into the offsets: the last one ends at `elements_end`, and a range that runs backwards is none.
        if end < start {
            return None;
        }
        ranges.push(start..end);
        position = end;
    }
    Some(ranges)
}

/// The range of each member of a structure. Checks padding and framing offsets, not the members.
fn member_ranges(tuple: &Tuple, bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    if tuple.fixed_size.is_some_and(|size| size != bytes.len()) {
        return None;
    }
    let offsets = tuple.offset_count();
    let width = offset_width(bytes.len());
    let body_end = bytes.len().checked_sub(offsets * width)?;
    // The first member's end is the last offset.
    let mut next_offset = bytes.len();
    let mut position = 0;
    let mut ranges = Vec::with_capacity(tuple.members.len());
    for (index, member) in tuple.members.iter().enumerate() {
        let start = skip_padding(bytes, position, member.alignment())?;
        let end = match member.fixed_size() {
            Some(size) => start.checked_add(size)?,
            None if index + 1 == tuple.members.len() => body_end,
            None => {
                next_offset = next_offset.checked_sub(width)?;
                read_offset(bytes, next_offset, width)?
            }
        };
        if end < start {
            return None;
        }
        ranges.push(start..end);
        position = end;
    }
    if let Some(size) = tuple.fixed_size {
        // Padding at the end, so that elements of an array are aligned; also the unit's one byte.
        bytes.get(position..size)?.iter().all(|byte| *byte == 0).then_some(ranges)
    } else {
        (position == body_end && (offsets == 0 || total_size(body_end, offsets) == bytes.len()))
            .then_some(ranges)
    }
}

/// Where the next value begins after zero bytes up to its alignment.
fn skip_padding(bytes: &[u8], position: usize, alignment: usize) -> Option<usize> {
    let start = align(position, alignment);
    bytes.get(position..start)?.iter().all(|byte| *byte == 0).then_some(start)
}

/// The width in bytes of the framing offsets of a container of this size.
pub(super) const fn offset_width(size: usize) -> usize {
    match size {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

/// The size of a container whose members take `body` bytes and that has `count` offsets of the smallest width that works.
pub(super) fn total_size(body: usize, count: usize) -> usize {
    [1, 2, 4]
        .into_iter()
        .map(|width| (width, body + count * width))
        .find(|(width, total)| offset_width(*total) <= *width)
        .map_or(body + count * 8, |(_, total)| total)
}

fn read_offset(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let mut value = [0_u8; 8];
    value.get_mut(..width)?.copy_from_slice(bytes.get(at..at.checked_add(width)?)?);
    usize::try_from(u64::from_le_bytes(value)).ok()
}
