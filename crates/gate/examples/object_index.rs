//! Makes a repository of many objects and measures the object index on it: `object_index make FOLDER OBJECTS`, then
//! `object_index measure FOLDER`. Prints what it found as JSON.

#[path = "../tests/gate/generated.rs"]
mod generated;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use flatpass_gate::{ObjectIndex, ObjectIndexConfig, ObjectIndexState};
use flatpass_ostree::{Checksum, ObjectKind, RepoPath};
use generated::{Directory, Maker};
use serde_json::json;

/// Files in a directory, and directories in an app: about as flatpak's runtimes and apps have them.
const FILES: usize = 8;
const DIRECTORIES: usize = 32;
/// Every app has this many versions, and in each this part of the directories differs from the last one.
const VERSIONS: usize = 2;
const CHANGED: usize = 4;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make", folder, objects] => make(Path::new(folder), objects.parse()?),
        ["measure", folder] => measure(Path::new(folder)),
        _ => bail!("usage: object_index make FOLDER OBJECTS | object_index measure FOLDER"),
    }
}

/// Apps in two versions until there are so many objects; every third one is free. All have the same dirmeta, a directory that is
/// the same in all, and one that neighbours share.
fn make(folder: &Path, objects: usize) -> anyhow::Result<()> {
    let maker = Maker::new(folder);
    let meta = maker.dirmeta();
    let directory = |name: &str| {
        let file = |number| (format!("file{number}"), maker.file(&format!("{name}/{number}")));
        maker.directory(&Directory { files: (0..FILES).map(file).collect(), directories: vec![] }, meta)
    };
    let licences = directory("licences");
    let (mut made, mut app, mut kept) = (0, 0, Vec::new());
    while made < objects {
        let shared = directory(&format!("shared{}", app / 5));
        kept.clear();
        for version in 0..VERSIONS {
            let trees = (0..DIRECTORIES).map(|number| {
                if version > 0 && number % CHANGED != 0 {
                    return kept.get(number).copied().unwrap_or(licences);
                }
                made += FILES + 1;
                directory(&format!("app{app}/{version}/{number}"))
            });
            let trees: Vec<Checksum> = trees.collect();
            let named = trees.iter().enumerate().map(|(number, tree)| (format!("dir{number}"), *tree));
            let others = [("licences".to_owned(), licences), ("shared".to_owned(), shared)];
            let root = Directory { files: vec![], directories: named.chain(others).collect() };
            kept.clone_from(&trees);
            let root = maker.directory(&root, meta);
            let name = format!("app/org.test.App{app}/x86_64/stable");
            let token_type = if app % 3 == 0 { None } else { Some(2) };
            let commit = maker.commit(&[&name], token_type, version as u64, root, meta);
            maker.point(&name, commit);
            made += 2;
        }
        app += 1;
    }
    println!("{}", json!({ "apps": app, "objects": made }));
    Ok(())
}

/// The objects that a commit is made of.
fn objects_below(folder: &Path) -> anyhow::Result<Vec<Checksum>> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder)? {
        let folder = entry?;
        for entry in std::fs::read_dir(folder.path())? {
            let (folder, name) = (folder.file_name(), entry?.file_name());
            let path = format!("objects/{}/{}", folder.to_string_lossy(), name.to_string_lossy());
            match RepoPath::parse(&path) {
                Some(RepoPath::Object { checksum, kind }) if kind != ObjectKind::Commit => {
                    found.push(checksum);
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Memory of this process in MB, the part of the mapped file that is in use included.
fn rss() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

fn ready(index: &ObjectIndex) -> (u64, u64) {
    loop {
        match index.state() {
            ObjectIndexState::Ready { objects, bytes } => return (objects, bytes),
            ObjectIndexState::Building { .. } => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn measure(folder: &Path) -> anyhow::Result<()> {
    let state = tempfile::tempdir()?;
    let open = || -> anyhow::Result<Arc<ObjectIndex>> {
        let index = ObjectIndex::open(ObjectIndexConfig {
            name: "bench".to_owned(),
            root: folder.to_owned(),
            file: state.path().join("bench.objects"),
            patience: Duration::from_secs(60),
        })?;
        index.follow()?;
        Ok(index)
    };
    let begun = Instant::now();
    let index = open()?;
    let (objects, bytes) = ready(&index);
    let build = begun.elapsed();

    let mut names = objects_below(&folder.join("objects"))?;
    // In the order of another checksum, so that one lookup says nothing about the next.
    names.sort_by_cached_key(|name| Checksum::of(name.as_bytes()));
    names.truncate(1 << 18);
    // Short runs over other names each time, so that neither the caches nor who else runs here decide.
    let runs = names.chunks(1 << 12).map(|names| {
        let begun = Instant::now();
        let found = names.iter().filter(|name| index.contains(black_box(name))).count();
        assert_eq!(found, names.len());
        begun.elapsed().as_nanos() as f64 / names.len() as f64
    });
    let mut nanoseconds: Vec<f64> = runs.collect();
    nanoseconds.sort_by(f64::total_cmp);

    // One more version of one app, as a publisher would add it.
    let maker = Maker::new(folder);
    let meta = maker.dirmeta();
    let new = maker.file(&format!("what is new to {}", std::process::id()));
    let tree =
        maker.directory(&Directory { files: vec![("new".to_owned(), new)], directories: vec![] }, meta);
    let begun = Instant::now();
    maker.commit(&["app/org.test.App0/x86_64/stable"], None, 99, tree, meta);
    while !index.contains(&new) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let follow = begun.elapsed();

    // The file is there since the first table.
    drop(index);
    let begun = Instant::now();
    ready(open()?.as_ref());
    let restart = begun.elapsed();
    let found = json!({
        "objects": objects,
        "build_seconds": build.as_secs_f64(),
        "bytes_per_object_beyond_prefix": bytes as f64 / objects as f64 - 16.0,
        "lookup_nanoseconds": nanoseconds.get(nanoseconds.len() / 2).context("no measurement")?,
        "follow_seconds": follow.as_secs_f64(),
        "restart_seconds": restart.as_secs_f64(),
        "rss_megabytes": rss()?,
    });
    println!("{found}");
    Ok(())
}
