//! The one parser from a request path to a typed path in a repository.
//!
//! It is an allow-list: the files of an `archive-z2` repository that stock clients ask for, each in the one spelling
//! that they send. The file system is only ever given [`RepoPath::relative_path`], which is built from typed values,
//! so nothing that a client writes reaches it.

use std::fmt;

use crate::Checksum;

/// Longer request paths are no repository paths. The longest that is one, a delta, has 110 bytes; refs are shorter in
/// practice than D-Bus allows names to be (255) three times over.
pub const MAX_PATH_LENGTH: usize = 1024;

/// A file of an `archive-z2` repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RepoPath {
    /// `config`: the repository's mode. A client asks for it before every pull.
    Config,
    /// `summary`: the list of refs of all architectures.
    Summary,
    /// `summary.sig`: signatures of the summary.
    SummarySig,
    /// `summary.idx`: flatpak's index of per-architecture summaries.
    SummaryIdx,
    /// `summary.idx.sig`: signatures of the newest index.
    SummaryIdxSig,
    /// `summaries/HEX.idx.sig`: signatures of the index with this checksum.
    SummaryIdxSigOf(Checksum),
    /// `summaries/HEX.gz`: the per-architecture summary whose uncompressed content has this checksum.
    SubSummary(Checksum),
    /// `summaries/HEX-HEX.delta`: how one per-architecture summary becomes another.
    SubSummaryDelta {
        /// Checksum of the summary that the client has.
        from: Checksum,
        /// Checksum of the summary that it gets.
        to: Checksum,
    },
    /// `refs/…`: the file of one ref, which holds its commit's checksum.
    Ref(RefPath),
    /// `objects/xx/HEX.KIND`.
    Object {
        /// The object's name; for [`ObjectKind::CommitMeta`] that of the commit it is about.
        checksum: Checksum,
        /// What the object is.
        kind: ObjectKind,
    },
    /// `deltas/…`: a file of a static delta.
    Delta {
        /// The commit that the client has, or none for a delta from nothing.
        from: Option<Checksum>,
        /// The commit that it leads to.
        to: Checksum,
        /// Which file of the delta's directory.
        file: DeltaFile,
    },
    /// `delta-indexes/XX/REST.index`: which deltas lead to a commit.
    DeltaIndex {
        /// The commit that they lead to.
        to: Checksum,
    },
}

/// A ref's file below `refs/`. Names are fragments of `A-Z a-z 0-9 . _ -`, joined by `/`, none of which begins with a dot.
/// (`ostree_validate_rev` in libostree allows the leading dot; no flatpak ref has one, and without it `..` needs no rule.)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RefPath {
    /// `refs/heads/NAME`.
    Head(Box<str>),
    /// `refs/mirrors/COLLECTION/NAME`: a ref of another collection that this repository carries.
    Mirror {
        /// The collection ID.
        collection: Box<str>,
        /// The ref's name within it.
        name: Box<str>,
    },
}

/// What an object file holds. Only what archive repositories serve: no `payload-link`, which is local to a disk, no `file`, which
/// bare repositories have, and no `commit-tombstone`, for which 404 means the same to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A commit: who, when, which refs, which tree.
    Commit,
    /// Detached metadata of a commit: its signatures.
    CommitMeta,
    /// Names and checksums of one directory's entries.
    DirTree,
    /// Owner and mode of one directory.
    DirMeta,
    /// A file's content and metadata, compressed.
    FileZ,
}

/// A file in a static delta's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeltaFile {
    /// `superblock`: what the delta is and the commit that it leads to.
    Superblock,
    /// `0`, `1`, …: the content.
    Part(u32),
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Commit, Self::CommitMeta, Self::DirTree, Self::DirMeta, Self::FileZ];

    /// The file name extension, without the dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::CommitMeta => "commitmeta",
            Self::DirTree => "dirtree",
            Self::DirMeta => "dirmeta",
            Self::FileZ => "filez",
        }
    }

    fn from_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.extension() == extension)
    }
}

impl RepoPath {
    /// Parses a request path as it came over the wire: below the repository's root, without a leading slash, still
    /// percent-encoded, without query or fragment. `None` means that no archive repository has such a file, which a
    /// server answers with 404.
    ///
    /// Only the canonical spelling parses, so for each path that does, `parse(&path.relative_path())` gives it back and
    /// the input equals `relative_path()`. Percent-encoding never parses: clients leave every character of these paths as it is,
    /// `+` in delta names included.
    #[must_use]
    pub fn parse(raw: &str) -> Option<Self> {
        if raw.len() > MAX_PATH_LENGTH {
            return None;
        }
        let Some((folder, rest)) = raw.split_once('/') else {
            return Some(match raw {
                "config" => Self::Config,
                "summary" => Self::Summary,
                "summary.sig" => Self::SummarySig,
                "summary.idx" => Self::SummaryIdx,
                "summary.idx.sig" => Self::SummaryIdxSig,
                _ => return None,
            });
        };
        match folder {
            "objects" => parse_object(rest),
            "deltas" => parse_delta(rest),
            "delta-indexes" => parse_delta_index(rest),
            "summaries" => parse_summaries(rest),
            "refs" => RefPath::parse(rest).map(Self::Ref),
            _ => None,
        }
    }

    /// The file's path below the repository's root.
    #[must_use]
    pub fn relative_path(&self) -> String {
        let mut path = String::with_capacity(128);
        self.push_relative_path(&mut path);
        path
    }

    /// Appends what [`Self::relative_path`] gives to `out`, for callers that keep a buffer.
    pub fn push_relative_path(&self, out: &mut String) {
        match self {
            Self::Config => out.push_str("config"),
            Self::Summary => out.push_str("summary"),
            Self::SummarySig => out.push_str("summary.sig"),
            Self::SummaryIdx => out.push_str("summary.idx"),
            Self::SummaryIdxSig => out.push_str("summary.idx.sig"),
            Self::SummaryIdxSigOf(index) => {
                out.push_str("summaries/");
                index.push_hex(out, None);
                out.push_str(".idx.sig");
            }
            Self::SubSummary(checksum) => {
                out.push_str("summaries/");
                checksum.push_hex(out, None);
                out.push_str(".gz");
            }
            Self::SubSummaryDelta { from, to } => {
                out.push_str("summaries/");
                from.push_hex(out, None);
                out.push('-');
                to.push_hex(out, None);
                out.push_str(".delta");
            }
            Self::Ref(RefPath::Head(name)) => {
                out.push_str("refs/heads/");
                out.push_str(name);
            }
            Self::Ref(RefPath::Mirror { collection, name }) => {
                out.push_str("refs/mirrors/");
                out.push_str(collection);
                out.push('/');
                out.push_str(name);
            }
            Self::Object { checksum, kind } => {
                out.push_str("objects/");
                checksum.push_hex(out, Some('/'));
                out.push('.');
                out.push_str(kind.extension());
            }
            Self::Delta { from, to, file } => {
                out.push_str("deltas/");
                if let Some(from) = from {
                    from.push_delta_base64(out, Some('/'));
                    out.push('-');
                    to.push_delta_base64(out, None);
                } else {
                    to.push_delta_base64(out, Some('/'));
                }
                match file {
                    DeltaFile::Superblock => out.push_str("/superblock"),
                    DeltaFile::Part(number) => {
                        out.push('/');
                        out.push_str(&number.to_string());
                    }
                }
            }
            Self::DeltaIndex { to } => {
                out.push_str("delta-indexes/");
                to.push_delta_base64(out, Some('/'));
                out.push_str(".index");
            }
        }
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.relative_path())
    }
}

impl RefPath {
    /// `refs/heads/NAME`, or `None` when `name` is no ref name.
    #[must_use]
    pub fn head(name: &str) -> Option<Self> {
        is_ref_name(name).then(|| Self::Head(name.into()))
    }

    fn parse(rest: &str) -> Option<Self> {
        let (folder, rest) = rest.split_once('/')?;
        match folder {
            "heads" => Self::head(rest),
            "mirrors" => {
                let (collection, name) = rest.split_once('/')?;
                (is_ref_fragment(collection) && is_ref_name(name))
                    .then(|| Self::Mirror { collection: collection.into(), name: name.into() })
            }
            // `refs/remotes` is the repository owner's own record of other servers; clients never ask for it.
            _ => None,
        }
    }
}

fn is_ref_name(name: &str) -> bool {
    name.split('/').all(is_ref_fragment)
}

fn is_ref_fragment(fragment: &str) -> bool {
    !fragment.is_empty()
        && !fragment.starts_with('.')
        && fragment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn parse_object(rest: &str) -> Option<RepoPath> {
    let (first, rest) = rest.split_once('/')?;
    let (rest, extension) = rest.split_once('.')?;
    // Sixty-four digits in all would also allow `objects/xxx/…`.
    if first.len() != 2 {
        return None;
    }
    let checksum = Checksum::from_split_hex(first.as_bytes(), rest.as_bytes()).ok()?;
    Some(RepoPath::Object { checksum, kind: ObjectKind::from_extension(extension)? })
}

fn parse_delta(rest: &str) -> Option<RepoPath> {
    let (first, rest) = rest.split_once('/')?;
    let (name, file) = rest.split_once('/')?;
    if first.len() != 2 {
        return None;
    }
    let (from, to) = match name.split_once('-') {
        Some((rest, to)) => (Some(delta_checksum(first, rest)?), Checksum::from_delta_base64(to).ok()?),
        None => (None, delta_checksum(first, name)?),
    };
    let file = match file {
        "superblock" => DeltaFile::Superblock,
        _ => DeltaFile::Part(parse_number(file)?),
    };
    Some(RepoPath::Delta { from, to, file })
}

fn delta_checksum(first: &str, rest: &str) -> Option<Checksum> {
    Checksum::from_split_delta_base64(first.as_bytes(), rest.as_bytes()).ok()
}

/// A number as ostree prints it: decimal, no sign, no leading zero.
fn parse_number(text: &str) -> Option<u32> {
    let canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    if canonical { text.parse().ok() } else { None }
}

fn parse_delta_index(rest: &str) -> Option<RepoPath> {
    let (first, rest) = rest.split_once('/')?;
    let rest = rest.strip_suffix(".index")?;
    if first.len() != 2 {
        return None;
    }
    Some(RepoPath::DeltaIndex { to: delta_checksum(first, rest)? })
}

fn parse_summaries(rest: &str) -> Option<RepoPath> {
    let (name, extension) = rest.split_once('.')?;
    match extension {
        "gz" => Checksum::from_hex(name).ok().map(RepoPath::SubSummary),
        "idx.sig" => Checksum::from_hex(name).ok().map(RepoPath::SummaryIdxSigOf),
        "delta" => {
            let (from, to) = name.split_once('-')?;
            Some(RepoPath::SubSummaryDelta {
                from: Checksum::from_hex(from).ok()?,
                to: Checksum::from_hex(to).ok()?,
            })
        }
        _ => None,
    }
}
