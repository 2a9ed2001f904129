//! An object of a repo as a peer sends it: taken whole and compared with its checksum before a client gets a byte of it.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::time::Duration;

use bytes::Bytes;
use flatpass_ostree::{Checksum, ContentCheck, ObjectKind, ReadError};
use reqwest::Response;
use thiserror::Error;
use tokio::time::Instant;

/// Objects up to this size are kept in memory, larger ones in a file without a name.
const IN_MEMORY: u64 = 1 << 20;
/// No file of an app is larger.
const MOST: u64 = 8 << 30;
/// The largest commit, dirtree or dirmeta: libostree takes no larger one.
const MOST_METADATA: u64 = 128 << 20;
/// A peer is in the same building: longer than this it is not silent.
const SILENCE: Duration = Duration::from_secs(3);
/// And it is not slower than this, after a first while.
const BYTES_PER_SECOND: u64 = 256 << 10;
const FIRST_WHILE: Duration = Duration::from_secs(5);

/// Why there is no object.
#[derive(Debug, Error)]
pub(super) enum Wrong {
    /// It is not what its name says.
    #[error("{0}")]
    Lie(&'static str),
    /// It did not come, or not whole, or not in time.
    #[error("{0}")]
    Broken(String),
    /// This computer has no room.
    #[error("it cannot be kept: {0}")]
    File(#[from] io::Error),
}

/// An object that is what its name says.
#[derive(Debug)]
pub(super) enum Object {
    /// In memory.
    Memory(Bytes),
    /// In a file that is open at its beginning, with its size.
    File(File, u64),
}

impl Object {
    /// Takes the body of a peer's answer.
    pub(super) async fn take(
        mut answer: Response,
        checksum: &Checksum,
        kind: ObjectKind,
    ) -> Result<Self, Wrong> {
        let broken = |what: &str| Wrong::Broken(what.to_owned());
        let size = answer.content_length().ok_or_else(|| broken("it does not say how large it is"))?;
        let most = if kind == ObjectKind::FileZ { MOST } else { MOST_METADATA };
        if size > most {
            return Err(Wrong::Lie("it is larger than any file of its kind"));
        }
        let until = Instant::now() + FIRST_WHILE + Duration::from_secs(size / BYTES_PER_SECOND);
        let mut check = Check::of(kind);
        let mut place = Place::of(size)?;
        let mut seen = 0_u64;
        loop {
            let next = tokio::time::timeout_at(until.min(Instant::now() + SILENCE), answer.chunk()).await;
            let next = next.map_err(|_| broken("it is too slow"))?;
            let Some(piece) = next.map_err(|error| Wrong::Broken(error.without_url().to_string()))? else {
                break;
            };
            seen += piece.len() as u64;
            if seen > size {
                return Err(broken("it is longer than was said"));
            }
            check.push(&piece).map_err(|_| Wrong::Lie("it is no object of its kind"))?;
            place.put(&piece)?;
        }
        if seen != size {
            return Err(broken("it was cut off"));
        }
        if check.finish().ok().as_ref() != Some(checksum) {
            return Err(Wrong::Lie("its checksum is another"));
        }
        Ok(place.finish(size)?)
    }

    /// Its size, in bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }
}

enum Check {
    Whole(Vec<u8>),
    Content(Box<ContentCheck>),
}

impl Check {
    fn of(kind: ObjectKind) -> Self {
        if kind == ObjectKind::FileZ { Self::Content(Box::default()) } else { Self::Whole(Vec::new()) }
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), ReadError> {
        match self {
            Self::Whole(bytes) => bytes.extend_from_slice(piece),
            Self::Content(check) => check.push(piece)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<Checksum, ReadError> {
        match self {
            Self::Whole(bytes) => Ok(Checksum::of(&bytes)),
            Self::Content(check) => check.finish(),
        }
    }
}

enum Place {
    Memory(Vec<u8>),
    File(File),
}

impl Place {
    fn of(size: u64) -> io::Result<Self> {
        if size <= IN_MEMORY { Ok(Self::Memory(Vec::new())) } else { Ok(Self::File(tempfile::tempfile()?)) }
    }

    /// A write into the page cache; the disk is not waited for.
    fn put(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => bytes.extend_from_slice(piece),
            Self::File(file) => file.write_all(piece)?,
        }
        Ok(())
    }

    fn finish(self, size: u64) -> io::Result<Object> {
        match self {
            Self::Memory(bytes) => Ok(Object::Memory(bytes.into())),
            Self::File(mut file) => {
                file.rewind()?;
                Ok(Object::File(file, size))
            }
        }
    }
}
