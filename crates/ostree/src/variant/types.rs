//! GVariant type strings, parsed. See section 2.2 and 2.3 of the GVariant specification.

/// Types nest at most this deep; libostree's and flatpak's nest five deep.
const MAX_DEPTH: usize = 32;

/// A parsed definite type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    /// `b`: one byte, 0 or 1.
    Bool,
    /// Any number type, `y` to `d`, with its size in bytes, which is its alignment too.
    Number(usize),
    /// `s`, `o` or `g`.
    Text(TextKind),
    /// `v`.
    Variant,
    /// `mX`.
    Maybe(Box<Type>),
    /// `aX`.
    Array(Box<Type>),
    /// `(…)` or `{kv}`, with alignment and, if every member has one, size in bytes.
    Tuple(Tuple),
}

/// What a string may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextKind {
    /// `s`: UTF-8.
    Any,
    /// `o`: a D-Bus object path.
    ObjectPath,
    /// `g`: a D-Bus signature.
    Signature,
}

/// Members of a structure and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tuple {
    pub(super) members: Vec<Type>,
    pub(super) alignment: usize,
    pub(super) fixed_size: Option<usize>,
}

impl Type {
    /// Parses a type string that is one complete type.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut rest = text;
        let parsed = Self::take(&mut rest, 0)?;
        rest.is_empty().then_some(parsed)
    }

    fn take(rest: &mut &[u8], depth: usize) -> Option<Self> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (first, tail) = rest.split_first()?;
        *rest = tail;
        Some(match first {
            b'b' => Self::Bool,
            b'y' => Self::Number(1),
            b'n' | b'q' => Self::Number(2),
            b'i' | b'u' | b'h' => Self::Number(4),
            b'x' | b't' | b'd' => Self::Number(8),
            b's' => Self::Text(TextKind::Any),
            b'o' => Self::Text(TextKind::ObjectPath),
            b'g' => Self::Text(TextKind::Signature),
            b'v' => Self::Variant,
            b'm' => Self::Maybe(Box::new(Self::take(rest, depth + 1)?)),
            b'a' => Self::Array(Box::new(Self::take(rest, depth + 1)?)),
            b'(' => Self::Tuple(Tuple::new(Self::take_members(rest, b')', depth)?)),
            b'{' => {
                let members = Self::take_members(rest, b'}', depth)?;
                match members.as_slice() {
                    [key, _] if key.is_basic() => Self::Tuple(Tuple::new(members)),
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    fn take_members(rest: &mut &[u8], end: u8, depth: usize) -> Option<Vec<Self>> {
        let mut members = Vec::new();
        loop {
            match rest.split_first()? {
                (first, tail) if *first == end => {
                    *rest = tail;
                    return Some(members);
                }
                _ => members.push(Self::take(rest, depth + 1)?),
            }
        }
    }

    const fn is_basic(&self) -> bool {
        matches!(self, Self::Bool | Self::Number(_) | Self::Text(_))
    }

    /// The alignment in bytes: 1, 2, 4 or 8.
    pub(super) fn alignment(&self) -> usize {
        match self {
            Self::Bool | Self::Text(_) => 1,
            Self::Number(size) => *size,
            Self::Variant => 8,
            Self::Maybe(inner) | Self::Array(inner) => inner.alignment(),
            Self::Tuple(tuple) => tuple.alignment,
        }
    }

    /// The size in bytes, when every value of the type has the same.
    pub(super) fn fixed_size(&self) -> Option<usize> {
        match self {
            Self::Bool => Some(1),
            Self::Number(size) => Some(*size),
            Self::Text(_) | Self::Variant | Self::Maybe(_) | Self::Array(_) => None,
            Self::Tuple(tuple) => tuple.fixed_size,
        }
    }
}

impl Tuple {
    fn new(members: Vec<Type>) -> Self {
        let alignment = members.iter().map(Type::alignment).max().unwrap_or(1);
        let fixed_size = members
            .iter()
            .try_fold(0_usize, |end, member| Some(align(end, member.alignment()) + member.fixed_size()?))
            // A structure without members has one zero byte, so that arrays of it can be counted.
            .map(|end| if members.is_empty() { 1 } else { align(end, alignment) });
        Self { members, alignment, fixed_size }
    }

    /// How many framing offsets a value has: one for each member without fixed size but the last member.
    pub(super) fn offset_count(&self) -> usize {
        let framed = self.members.len().saturating_sub(1);
        self.members.iter().take(framed).filter(|member| member.fixed_size().is_none()).count()
    }
}

/// The first multiple of `alignment` (1, 2, 4 or 8) that is not below `position`.
pub(super) const fn align(position: usize, alignment: usize) -> usize {
    position.next_multiple_of(alignment)
}
