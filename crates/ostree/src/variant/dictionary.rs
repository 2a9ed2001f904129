//! Dictionaries `a{sv}`, the form in which OSTree and flatpak carry everything that came later.

use std::collections::BTreeMap;

use gvariant::aligned_bytes::{A8, AlignedSlice, AsAligned};
use gvariant::casting::AlignOf;
use gvariant::{Marker, NonFixedWidthArray, Str, Structure, Variant, gv};

use crate::ReadError;

/// The entries of an `a{sv}` that [`super::check_normal`] has passed.
pub(crate) struct Dictionary<'a>(BTreeMap<&'a str, &'a Variant>);

impl<'a> Dictionary<'a> {
    /// Takes the entries.
    ///
    /// # Errors
    /// [`ReadError::DuplicateKey`]
    pub(crate) fn new<Entry>(entries: &'a NonFixedWidthArray<Entry>) -> Result<Self, ReadError>
    where
        Entry: Structure<'a, RefTuple = (&'a Str, &'a Variant)> + ?Sized,
    {
        let mut map = BTreeMap::new();
        for entry in entries {
            let (key, value) = entry.to_tuple();
            let key = key.to_str();
            if map.insert(key, value).is_some() {
                return Err(ReadError::DuplicateKey { key: key.to_owned() });
            }
        }
        Ok(Self(map))
    }

    /// The value of a key, with its type.
    pub(crate) fn get<M: Marker>(&self, key: &str, marker: M) -> Result<Option<&'a M::Type>, ReadError>
    where
        AlignedSlice<A8>: AsAligned<<M::Type as AlignOf>::AlignOf>,
    {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        value.get(marker).map(Some).ok_or_else(|| ReadError::WrongType {
            key: key.to_owned(),
            expected: str::from_utf8(M::TYPESTR).unwrap_or_default(),
            found: String::from_utf8_lossy(value.split().0).into_owned(),
        })
    }

    /// A string.
    pub(crate) fn string(&self, key: &str) -> Result<Option<String>, ReadError> {
        Ok(self.get(key, gv!("s"))?.map(|text| text.to_str().to_owned()))
    }

    /// A list of strings.
    pub(crate) fn strings(&self, key: &str) -> Result<Vec<String>, ReadError> {
        let list = self.get(key, gv!("as"))?;
        Ok(list.into_iter().flatten().map(|text| text.to_str().to_owned()).collect())
    }

    /// A boolean, `false` when it is absent.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, ReadError> {
        Ok(self.get(key, gv!("b"))?.is_some_and(|flag| flag.to_bool()))
    }

    /// An `i` that flatpak writes little-endian on every machine.
    pub(crate) fn little_endian_i32(&self, key: &str) -> Result<Option<i32>, ReadError> {
        Ok(self.get(key, gv!("i"))?.copied().map(i32::from_le))
    }

    /// A `u` that flatpak writes little-endian on every machine.
    pub(crate) fn little_endian_u32(&self, key: &str) -> Result<Option<u32>, ReadError> {
        Ok(self.get(key, gv!("u"))?.copied().map(u32::from_le))
    }

    /// A `t` that ostree writes big-endian on every machine.
    pub(crate) fn big_endian_u64(&self, key: &str) -> Result<Option<u64>, ReadError> {
        Ok(self.get(key, gv!("t"))?.copied().map(u64::from_be))
    }

    /// Keys that begin with `prefix`, without it, with their values where these are strings. Others are left out, as flatpak does.
    pub(crate) fn strings_below(&self, prefix: &str) -> BTreeMap<String, String> {
        self.0
            .iter()
            .filter_map(|(key, value)| {
                Some((key.strip_prefix(prefix)?.to_owned(), value.get(gv!("s"))?.to_str().to_owned()))
            })
            .collect()
    }

    /// Every key.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.keys().copied()
    }
}
