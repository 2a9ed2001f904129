//! Repositories made by the program itself, as large as wanted: real commits, dirtrees and dirmetas, and files that are
//! empty, because nobody opens them.

use std::fs;
use std::path::{Path, PathBuf};

use flatpass_ostree::{Checksum, ObjectKind, RepoPath};

/// Writes objects into a folder.
pub(crate) struct Maker {
    root: PathBuf,
}

/// A directory before it is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    pub(crate) files: Vec<(String, Checksum)>,
    pub(crate) directories: Vec<(String, Checksum)>,
}

impl Maker {
    pub(crate) fn new(root: &Path) -> Self {
        for number in 0..256 {
            fs::create_dir_all(root.join(format!("objects/{number:02x}"))).unwrap();
        }
        for folder in ["refs/heads", "refs/mirrors", "refs/remotes", "state", "tmp"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("config"), "[core]\nrepo_version=1\nmode=archive-z2\n").unwrap();
        Self { root: root.to_owned() }
    }

    pub(crate) fn path(&self, checksum: Checksum, kind: ObjectKind) -> PathBuf {
        self.root.join(RepoPath::Object { checksum, kind }.relative_path())
    }

    fn write(&self, bytes: &[u8], kind: ObjectKind) -> Checksum {
        let checksum = Checksum::of(bytes);
        fs::write(self.path(checksum, kind), bytes).unwrap();
        checksum
    }

    /// A file that is known by that text.
    pub(crate) fn file(&self, text: &str) -> Checksum {
        let checksum = Checksum::of(text.as_bytes());
        fs::write(self.path(checksum, ObjectKind::FileZ), "").unwrap();
        checksum
    }

    /// The metadata that every directory has.
    pub(crate) fn dirmeta(&self) -> Checksum {
        // Owner, group and mode, big-endian; no extended attributes.
        let numbers = [0_u32, 0, 0o40755].map(u32::to_be_bytes);
        self.write(&numbers.concat(), ObjectKind::DirMeta)
    }

    pub(crate) fn directory(&self, directory: &Directory, meta: Checksum) -> Checksum {
        let ay = |checksum: &Checksum| Part::new(checksum.as_bytes().to_vec(), 1);
        let files = directory.files.iter().map(|(name, file)| tuple(&[text(name), ay(file)]));
        let directories =
            directory.directories.iter().map(|(name, tree)| tuple(&[text(name), ay(tree), ay(&meta)]));
        self.write(&tuple(&[array(files.collect()), array(directories.collect())]).bytes, ObjectKind::DirTree)
    }

    /// Makes a ref point to that commit.
    pub(crate) fn point(&self, name: &str, commit: Checksum) {
        let path = self.root.join("refs/heads").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{commit}\n")).unwrap();
    }

    pub(crate) fn commit(
        &self,
        refs: &[&str],
        token_type: Option<i32>,
        time: u64,
        tree: Checksum,
        meta: Checksum,
    ) -> Checksum {
        let mut metadata = vec![];
        if !refs.is_empty() {
            metadata.push(entry(
                "ostree.ref-binding",
                "as",
                &array(refs.iter().map(|name| text(name)).collect()),
            ));
        }
        if let Some(number) = token_type {
            metadata.push(entry("xa.token-type", "i", &Part::new(number.to_le_bytes().to_vec(), 4)));
        }
        let mut metadata = array(metadata);
        metadata.alignment = 8;
        let commit = tuple(&[
            metadata,
            Part::new(vec![], 1),
            Part::new(vec![], 1),
            text("made by a test"),
            text(""),
            Part { bytes: time.to_be_bytes().to_vec(), alignment: 8, is_fixed: true },
            Part::new(tree.as_bytes().to_vec(), 1),
            Part::new(meta.as_bytes().to_vec(), 1),
        ]);
        self.write(&commit.bytes, ObjectKind::Commit)
    }
}

/// A value in GVariant's form.
#[derive(Clone)]
struct Part {
    bytes: Vec<u8>,
    alignment: usize,
    is_fixed: bool,
}

impl Part {
    const fn new(bytes: Vec<u8>, alignment: usize) -> Self {
        Self { bytes, alignment, is_fixed: false }
    }
}

fn text(text: &str) -> Part {
    Part::new([text.as_bytes(), b"\0"].concat(), 1)
}

fn entry(key: &str, kind: &str, value: &Part) -> Part {
    let variant = Part::new([value.bytes.as_slice(), b"\0", kind.as_bytes()].concat(), 8);
    tuple(&[text(key), variant])
}

fn array(elements: Vec<Part>) -> Part {
    let alignment = elements.iter().map(|element| element.alignment).max().unwrap_or(1);
    let mut bytes = vec![];
    let mut ends = vec![];
    for element in elements {
        bytes.resize(bytes.len().next_multiple_of(element.alignment), 0);
        bytes.extend(element.bytes);
        ends.push(bytes.len());
    }
    Part::new(framed(bytes, &ends), alignment)
}

fn tuple(members: &[Part]) -> Part {
    let alignment = members.iter().map(|member| member.alignment).max().unwrap_or(1);
    let mut bytes = vec![];
    let mut ends = vec![];
    for (index, member) in members.iter().enumerate() {
        bytes.resize(bytes.len().next_multiple_of(member.alignment), 0);
        bytes.extend(&member.bytes);
        if !member.is_fixed && index + 1 < members.len() {
            ends.push(bytes.len());
        }
    }
    ends.reverse();
    Part::new(framed(bytes, &ends), alignment)
}

/// With the offsets behind, of the smallest width that works.
fn framed(mut bytes: Vec<u8>, ends: &[usize]) -> Vec<u8> {
    let body = bytes.len();
    let fits = |width: usize| body + ends.len() * width < 1 << (8 * width);
    let width = [1, 2, 4].into_iter().find(|width| fits(*width)).unwrap();
    bytes.extend(ends.iter().flat_map(|end| end.to_le_bytes().into_iter().take(width)));
    bytes
}
