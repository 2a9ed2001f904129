//! Content objects that `ostree` made, checked while they arrive.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use flatpass_ostree::{Checksum, ContentCheck, ReadError};

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Every kind of content object: files small, empty and large, and links whose headers have framing offsets of one and of two bytes, with
/// the size in front of them and without.
fn objects(folder: &Path) -> Vec<(Checksum, Vec<u8>)> {
    let (repo, tree) = (folder.join("repo"), folder.join("tree"));
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("small"), "hello").unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    let large: Vec<u8> = (0..20_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(tree.join("large"), &large).unwrap();
    for length in (225..=262).chain([1000]) {
        symlink("x".repeat(length), tree.join(format!("link{length}"))).unwrap();
    }
    let at = format!("--repo={}", repo.display());
    run(Command::new("ostree").args([&at, "init", "--mode=archive-z2"]));
    run(Command::new("ostree").args([&at, "commit", "--branch=x", "--canonical-permissions"]).arg(&tree));
    let mut found = Vec::new();
    for first in fs::read_dir(repo.join("objects")).unwrap() {
        let first = first.unwrap();
        for entry in fs::read_dir(first.path()).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "filez") {
                let name = format!("{}{}", first.file_name().display(), path.file_stem().unwrap().display());
                found.push((name.parse().unwrap(), fs::read(path).unwrap()));
            }
        }
    }
    assert_eq!(found.len(), 3 + 39);
    found
}

fn check(pieces: &[&[u8]]) -> Result<Checksum, ReadError> {
    let mut check = ContentCheck::new();
    for piece in pieces {
        check.push(piece)?;
    }
    check.finish()
}

#[test]
fn an_object_has_its_own_checksum_however_it_arrives_and_no_other_bytes_do() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in objects(folder.path()) {
        assert_eq!(check(&[&bytes]), Ok(name));
        let step = if bytes.len() > 10_000 { 4093 } else { 1 };
        assert_eq!(check(&bytes.chunks(step).collect::<Vec<_>>()), Ok(name), "in pieces of {step}");

        let with_more = [bytes.as_slice(), b"\0"].concat();
        assert!(check(&[&with_more]).is_err(), "bytes that nobody checked");
        assert!(check(&[&bytes, b"x"]).is_err());
        for at in (0..bytes.len()).step_by((bytes.len() / 60).max(1)) {
            assert_ne!(check(&[&bytes[..at]]), Ok(name), "cut off at {at}");
            let mut other = bytes.clone();
            other[at] ^= 1;
            // Two spellings of the same compressed content are both good; the content and all about it are the same then.
            let found = check(&[&other]);
            assert!(found != Ok(name) || at > 8 + 25, "changed at {at}: {found:?}");
        }
    }
}

#[test]
fn a_bomb_ends_where_the_header_says() {
    let folder = tempfile::tempdir().unwrap();
    let objects = objects(folder.path());
    let (_, large) = objects.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let mut lying = large.clone();
    // The size, of which the checksum knows nothing: 5 instead of 80,000.
    lying[8..16].copy_from_slice(&5_u64.to_be_bytes());
    assert_eq!(check(&[&lying]), Err(ReadError::TooLarge { limit: 5 }));
}
