//! The query of an index (Flatpak's OCI specifications, "Registry Index Protocol").

/// The longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 4096;
/// The most parameters of one.
const MAX_PARAMETERS: usize = 32;

/// Which images are asked for. Without conditions it is all of them.
///
/// Of values for one of the first four an image must have one; of the conditions on labels and annotations it must meet all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IndexQuery {
    /// `repository=`
    pub(super) repositories: Vec<String>,
    /// `tag=`
    pub(super) tags: Vec<String>,
    /// `os=`
    pub(super) systems: Vec<String>,
    /// `architecture=`
    pub(super) architectures: Vec<String>,
    /// `label:NAME=` and `label:NAME:exists=1`
    pub(super) labels: Vec<Condition>,
    /// `annotation:NAME=` and `annotation:NAME:exists=1`
    pub(super) annotations: Vec<Condition>,
}

/// What a label or annotation must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Condition {
    pub(super) name: String,
    /// `None`: whatever it is.
    pub(super) value: Option<String>,
}

/// Why a query cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Too long.
    #[error("the query has more than {MAX_QUERY_BYTES} bytes")]
    TooLong,
    /// Too many parameters.
    #[error("the query has more than {MAX_PARAMETERS} parameters")]
    TooMany,
    /// Percent-encoding that is none, or of no text.
    #[error("the query is not percent-encoded UTF-8")]
    Encoding,
    /// A label or annotation without a name.
    #[error("a condition on a label or annotation needs its name: label:NAME=VALUE or label:NAME:exists=1")]
    NoName,
    /// The specification gives a meaning to `1` only.
    #[error("the value of a parameter that ends in :exists is 1")]
    Exists,
}

impl IndexQuery {
    /// Reads what follows the `?` of a request. Parameters that are not known here are left out, as the protocol may come to have more.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(QueryError::TooLong);
        }
        let mut query = Self::default();
        for (number, parameter) in text.split('&').filter(|parameter| !parameter.is_empty()).enumerate() {
            if number == MAX_PARAMETERS {
                return Err(QueryError::TooMany);
            }
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (key, value) = (decode(key)?, decode(value)?);
            match key.as_str() {
                "repository" => query.repositories.push(value),
                "tag" => query.tags.push(value),
                "os" => query.systems.push(value),
                "architecture" => query.architectures.push(value),
                key => {
                    if let Some(rest) = key.strip_prefix("label:") {
                        query.labels.push(Condition::read(rest, value)?);
                    } else if let Some(rest) = key.strip_prefix("annotation:") {
                        query.annotations.push(Condition::read(rest, value)?);
                    }
                }
            }
        }
        Ok(query.in_order())
    }

    /// Queries that ask for the same are equal.
    fn in_order(mut self) -> Self {
        for values in [&mut self.repositories, &mut self.tags, &mut self.systems, &mut self.architectures] {
            values.sort_unstable();
            values.dedup();
        }
        for conditions in [&mut self.labels, &mut self.annotations] {
            conditions.sort_unstable();
            conditions.dedup();
        }
        self
    }

    /// Bytes of memory that its words take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let values =
            [&self.repositories, &self.tags, &self.systems, &self.architectures].into_iter().flatten();
        let conditions = self.labels.iter().chain(&self.annotations);
        let conditions = conditions.map(|one| one.name.len() + one.value.as_ref().map_or(0, String::len));
        values.map(String::len).chain(conditions).sum()
    }
}

impl Condition {
    fn read(name: &str, value: String) -> Result<Self, QueryError> {
        let (name, value) = match name.strip_suffix(":exists") {
            Some(name) if value == "1" => (name, None),
            Some(_) => return Err(QueryError::Exists),
            None => (name, Some(value)),
        };
        if name.is_empty() { Err(QueryError::NoName) } else { Ok(Self { name: name.to_owned(), value }) }
    }

    pub(super) fn is_met(&self, found: Option<&str>) -> bool {
        match (&self.value, found) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(wanted), Some(found)) => wanted == found,
        }
    }
}

/// `application/x-www-form-urlencoded`, as Flatpak writes it.
fn decode(text: &str) -> Result<String, QueryError> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                let value = high.zip(low).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
                value.ok_or(QueryError::Encoding)?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).map_err(|_| QueryError::Encoding)
}

/// Whether there is no condition, or one of the values is this one.
pub(super) fn is_one_of(values: &[String], found: &str) -> bool {
    values.is_empty() || values.iter().any(|wanted| wanted == found)
}
