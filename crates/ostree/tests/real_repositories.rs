//! What the readers say of repositories that `ostree` and `flatpak` made, against what `ostree` and `flatpak` say.

mod shop;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use flatpass_ostree::graph::{Gap, Unread, Walk};
use flatpass_ostree::repo::{Mode, Repo, RepoError};
use flatpass_ostree::{Checksum, DeltaName, DeltaSuperblock, DirTree, ReadError, RepoPath, Summary};
use shop::{GIFT, PAID, Shop, files};

const FREE: &str = "app/org.test.Free/x86_64/stable";
const ARM: &str = "app/org.test.Paid/aarch64/stable";
const LOCALE: &str = "runtime/org.test.Paid.Locale/x86_64/stable";

#[test]
fn a_shops_repository_reads_as_ostree_and_flatpak_show_it() {
    let shop = Shop::build();
    let repo = Repo::open(shop.repo()).unwrap();
    assert_eq!(*repo.mode(), Mode::Archive);
    assert_eq!(repo.config().get("flatpak", "authenticator-options.url"), Some("https://shop.example/"));
    assert_eq!(repo.config().get("core", "collection-id"), Some("org.test.Shop"));

    refs_and_commits(&shop, &repo);
    summaries(&shop, &repo);
    deltas(&shop, &repo);
    every_file_a_client_may_ask_for_has_a_path_and_comes_back(&shop);
    the_object_graph(&shop, &repo);
    damage_is_noticed(&shop, &repo);
}

fn refs_and_commits(shop: &Shop, repo: &Repo) {
    let refs: BTreeMap<_, _> =
        repo.refs().unwrap().into_iter().map(|entry| (entry.name, entry.checksum)).collect();
    let listed = shop.ostree(&["refs", "--list"]);
    assert_eq!(refs.keys().map(String::as_str).collect::<Vec<_>>(), sorted(listed.lines()));

    let expected = [(FREE, None), (PAID, Some(2)), (ARM, Some(2)), (LOCALE, Some(2)), (GIFT, Some(1))];
    for (name, token_type) in expected {
        let checksum = refs[name];
        assert_eq!(shop.ostree(&["rev-parse", name]).trim(), checksum.to_hex());
        let commit = repo.commit(&checksum).unwrap().unwrap();
        assert_eq!(commit.token_type, token_type, "{name}");
        assert_eq!(commit.refs, [name]);
        assert_eq!(commit.collection_id.as_deref(), Some("org.test.Shop"));

        let metadata = |key: &str| {
            let option = format!("--print-metadata-key={key}");
            shop.ostree(&["show", &option, name]).trim().to_owned()
        };
        assert_eq!(metadata("ostree.ref-binding"), format!("['{name}']"));
        if let Some(token_type) = token_type {
            // ostree takes every number for a big-endian one.
            assert_eq!(metadata("xa.token-type").parse(), Ok(token_type.swap_bytes()));
        }
        // Where ostree does know that it is a big-endian number, it says so.
        assert_eq!(metadata("xa.installed-size"), format!("uint64 {}", commit.installed_size.unwrap()));
        assert_eq!(metadata("xa.download-size"), format!("uint64 {}", commit.download_size.unwrap()));

        let shown = shop.ostree(&["show", name]);
        assert!(shown.contains(&format!("\n    {}\n", commit.subject)), "{shown}");
        assert_eq!(
            shown.lines().find_map(|line| line.strip_prefix("Parent:  ")).map(str::to_owned),
            commit.parent.map(|parent| parent.to_hex())
        );
        let date =
            shop.run("date", &["--utc", &format!("--date=@{}", commit.timestamp), "+Date:  %F %T +0000"]);
        assert!(shown.contains(&date), "{shown}");
        let root = shop.ostree(&["ls", "--checksum", "--dironly", name]);
        assert!(root.contains(&format!("{} {} /", commit.root_tree, commit.root_meta)), "{root}");
        assert_eq!(commit.flatpak_metadata.unwrap(), shop.ostree(&["cat", name, "/metadata"]));
        if name != GIFT {
            assert_eq!(repo.commit_signatures(&checksum).unwrap().unwrap().openpgp, 1);
        }
    }
    let paid = repo.commit(&refs[PAID]).unwrap().unwrap();
    assert_eq!(repo.commit(&paid.parent.unwrap()).unwrap().unwrap().parent, None);
    assert!(repo.commit_signatures(&refs[GIFT]).unwrap().is_none_or(|signatures| signatures.is_empty()));
    assert!(repo.commit(&Checksum::from_bytes([7; 32])).unwrap().is_none());
}

fn summaries(shop: &Shop, repo: &Repo) {
    let whole = repo.summary().unwrap().unwrap();
    let index = repo.summary_index().unwrap().unwrap();
    assert_eq!(repo.summary_signatures().unwrap().unwrap().openpgp, 1);
    assert_eq!(repo.summary_index_signatures().unwrap().unwrap().openpgp, 1);

    let shown = shop.run("flatpak", &["repo", "--info", "repo"]);
    let says = |key: &str| {
        let prefix = format!("{key}: ");
        shown.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    };
    for metadata in [&whole.metadata, &index.metadata] {
        assert_eq!(metadata.mode, says("Repo mode"));
        assert_eq!(metadata.title, says("Title"));
        assert_eq!(metadata.collection_id.as_deref(), Some("org.test.Shop"));
        let authenticator = metadata.authenticator.as_ref().unwrap();
        assert_eq!(Some(&authenticator.name), says("Authenticator name").as_ref());
        assert!(authenticator.install);
        assert_eq!(authenticator.options, BTreeMap::from([("url".into(), "https://shop.example/".into())]));
        assert!(metadata.indexed_deltas);
        assert_eq!(metadata.default_token_type, None);
    }
    let arches = says("Subsummaries").unwrap();
    assert_eq!(index.subsummaries.keys().map(String::as_str).collect::<Vec<_>>(), sorted(arches.split(", ")));

    let branches = shop.run("flatpak", &["repo", "--branches", "repo"]);
    let names = branches.lines().filter_map(|line| line.split('\t').next());
    assert_eq!(whole.refs.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), sorted(names));

    for (arch, entry) in &index.subsummaries {
        let part = repo.subsummary(&entry.checksum).unwrap().unwrap();
        assert_eq!(part.metadata.layout, 1);
        assert!(part.refs.iter().any(|part| part.name.ends_with(&format!("/{arch}/stable"))));
        for entry in &part.refs {
            // Both layouts say the same of a ref.
            assert_eq!(whole.find(&entry.name).unwrap(), entry, "{arch}");
        }
    }
    for entry in &whole.refs {
        let commit = repo.commit(&entry.checksum).unwrap().unwrap();
        assert_eq!(entry.token_type, commit.token_type, "{}", entry.name);
        let object =
            shop.read(RepoPath::parse(&object_path(&entry.checksum, "commit")).unwrap().relative_path());
        assert_eq!(entry.commit_size, object.len() as u64);
        if commit.installed_size.is_some() {
            assert_eq!(
                (entry.installed_size, entry.download_size),
                (commit.installed_size, commit.download_size)
            );
        }
    }
    let current = &index.subsummaries["x86_64"];
    let delta = RepoPath::SubSummaryDelta { from: current.history[0], to: current.checksum };
    assert!(shop.repo().join(delta.relative_path()).is_file());
}

fn deltas(shop: &Shop, repo: &Repo) {
    let listed = shop.ostree(&["static-delta", "list"]);
    let deltas = repo.deltas().unwrap();
    assert_eq!(
        deltas.iter().map(ToString::to_string).collect::<BTreeSet<_>>(),
        listed.lines().map(str::to_owned).collect()
    );
    assert!(deltas.iter().any(|name| name.from.is_some()));
    // The summary leaves out deltas to commits that are no longer any ref's.
    let current: Vec<_> = repo.refs().unwrap().into_iter().map(|entry| entry.checksum).collect();
    let in_use = deltas.iter().filter(|name| current.contains(&name.to)).copied().collect::<Vec<_>>();
    assert_eq!(repo.summary().unwrap().unwrap().deltas.into_keys().collect::<Vec<_>>(), in_use);
    assert!(in_use.len() < deltas.len());

    for name in &deltas {
        let superblock = repo.superblock(name).unwrap().unwrap();
        let shown = shop.ostree(&["static-delta", "show", &name.to_string()]);
        let says = |key: &str| {
            shown.lines().find_map(|line| line.strip_prefix(key)).map(|rest| rest.trim().to_owned())
        };
        assert_eq!(says("To:"), Some(superblock.to.to_hex()));
        assert_eq!(
            says("From"),
            Some(superblock.from.map_or("<scratch>".into(), |from| format!(": {from}")))
        );
        assert_eq!(says("Timestamp:"), Some(superblock.timestamp.to_string()));
        assert_eq!(says("Number of parts:"), Some(superblock.parts.len().to_string()));
        assert_eq!(says("Number of fallback entries:"), Some(superblock.fallbacks.to_string()));
        for (number, part) in superblock.parts.iter().enumerate() {
            let sizes = format!("PartMeta{number}: ");
            let line = shown.lines().find(|line| line.starts_with(&sizes)).unwrap();
            assert!(
                line.ends_with(&format!(" size={} usize={}", part.size, part.uncompressed_size)),
                "{line}"
            );
            let path = RepoPath::Delta {
                from: name.from,
                to: name.to,
                file: flatpass_ostree::DeltaFile::Part(u32::try_from(number).unwrap()),
            };
            let bytes = shop.read(path.relative_path());
            assert_eq!((bytes.len() as u64, Checksum::of(&bytes)), (part.size, part.checksum));
        }
        assert_eq!(Some(&superblock.commit), repo.commit(&name.to).unwrap().as_ref());
        let path =
            RepoPath::Delta { from: name.from, to: name.to, file: flatpass_ostree::DeltaFile::Superblock };
        let bytes = shop.read(path.relative_path());
        let index = repo.delta_index(&name.to).unwrap().unwrap();
        assert_eq!(index.deltas.get(name), Some(&Checksum::of(&bytes)));
        assert!(index.deltas.keys().all(|entry| entry.to == name.to));
    }
    signed_deltas(shop, repo, &deltas);
}

/// ostree can put signatures around a superblock. flatpak does not, but a gate must see through them.
fn signed_deltas(shop: &Shop, repo: &Repo, deltas: &[DeltaName]) {
    let name = deltas.iter().find(|name| name.from.is_some()).unwrap();
    let (from, to) = (format!("--from={}", name.from.unwrap()), format!("--to={}", name.to));
    let plain = repo.superblock(name).unwrap().unwrap();
    // Debian's ostree is built without Ed25519; the signature that it has for its own tests frames a delta the same way.
    shop.ostree(&["static-delta", "generate", &from, &to, "--sign-type=dummy", "--sign=key"]);
    let signed = repo.superblock(name).unwrap().unwrap();
    assert!(signed.signed && !plain.signed);
    assert_eq!((&signed.commit, signed.from, signed.to), (&plain.commit, plain.from, plain.to));
}

fn every_file_a_client_may_ask_for_has_a_path_and_comes_back(shop: &Shop) {
    let all = files(&shop.repo());
    let (known, unknown): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|file| RepoPath::parse(file).is_some());
    assert!(unknown.iter().all(|file| file == ".lock" || file.starts_with("tmp/")), "{unknown:?}");
    for file in &known {
        assert_eq!(RepoPath::parse(file).unwrap().relative_path(), *file);
    }
    for kind in
        ["summaries/", "refs/heads/", "deltas/", "delta-indexes/", "objects/", "summary.idx.sig", "config"]
    {
        assert!(known.iter().any(|file| file.starts_with(kind)), "{kind}");
    }
}

/// What `ostree ls -R` lists of a commit is what the walk finds, each directory read once.
fn the_object_graph(shop: &Shop, repo: &Repo) {
    let read = |tree: &Checksum| {
        fs::read(shop.repo().join(object_path(tree, "dirtree"))).map_err(|_| Unread::<()>::Absent)
    };
    let mut both = Walk::new();
    let mut reads = Vec::new();
    for name in [FREE, PAID, ARM, LOCALE, GIFT] {
        let commit = repo.refs().unwrap().into_iter().find(|entry| entry.name == name).unwrap().checksum;
        let commit = repo.commit(&commit).unwrap().unwrap();
        let mut found = BTreeSet::new();
        let gaps = Walk::new().commit(&commit, read, |kind, checksum| {
            found.insert((kind.extension(), checksum.to_hex()));
        });
        assert_eq!(gaps, Ok(vec![]), "{name}");
        let listed = shop.ostree(&["ls", "--recursive", "--checksum", name]);
        let mut expected = BTreeSet::new();
        for line in listed.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            if line.starts_with('d') {
                expected.insert(("dirtree", words[4].to_owned()));
                expected.insert(("dirmeta", words[5].to_owned()));
            } else {
                expected.insert(("filez", words[4].to_owned()));
            }
        }
        assert_eq!(found, expected, "{name}: {listed}");
        both.commit(
            &commit,
            |tree| {
                reads.push(*tree);
                read(tree)
            },
            |_, _| (),
        )
        .unwrap();
    }
    let distinct: BTreeSet<_> = reads.iter().collect();
    assert!(distinct.len() == reads.len() && reads.len() > 5, "{reads:?}");

    // A directory that is missing or is not what its name says is a gap; the rest is found.
    let commit = repo.commit(&repo.refs().unwrap()[0].checksum).unwrap().unwrap();
    let root = DirTree::parse(&read(&commit.root_tree).unwrap()).unwrap();
    let [gone, swapped] = [0, 1].map(|index| root.directories[index].tree);
    let damaged = |tree: &Checksum| match tree {
        tree if *tree == gone => Err(Unread::Absent),
        tree if *tree == swapped => read(&commit.root_tree),
        other => read(other),
    };
    let mut found = Vec::new();
    let gaps = Walk::new().commit(&commit, damaged, |_, checksum| found.push(checksum)).unwrap();
    let cause = ReadError::Mismatch { expected: swapped, found: commit.root_tree };
    assert_eq!(gaps, [Gap::Damaged { tree: swapped, cause }, Gap::Missing(gone)]);
    assert!(found.contains(&commit.root_tree) && !found.contains(&gone) && !found.contains(&swapped));
    // One that cannot be read now is no gap: nobody may take the rest for all.
    let failing = |_: &Checksum| Err(Unread::Failed("the disk"));
    assert_eq!(Walk::new().commit(&commit, failing, |_, _| ()), Err("the disk"));
}

fn damage_is_noticed(shop: &Shop, repo: &Repo) {
    // A file that is another commit's, as a careless copy leaves it.
    let refs = repo.refs().unwrap();
    let at = |name: &str| refs.iter().find(|entry| entry.name == name).unwrap().checksum;
    let (free, paid) = (at(FREE), at(PAID));
    fs::copy(shop.repo().join(object_path(&free, "commit")), shop.repo().join(object_path(&paid, "commit")))
        .unwrap();
    let error = repo.commit(&paid).unwrap_err();
    assert!(
        matches!(error, RepoError::Content { cause: ReadError::Mismatch { expected, found }, .. } if expected == paid && found == free)
    );

    // A delta moved to where another one's should be.
    let name = DeltaName { from: None, to: free };
    let moved = DeltaName { from: None, to: Checksum::from_bytes([9; 32]) };
    let folder = |name: &DeltaName| {
        let path =
            RepoPath::Delta { from: name.from, to: name.to, file: flatpass_ostree::DeltaFile::Superblock };
        shop.repo().join(path.relative_path())
    };
    fs::create_dir_all(folder(&moved).parent().unwrap()).unwrap();
    fs::copy(folder(&name), folder(&moved)).unwrap();
    assert!(matches!(
        repo.superblock(&moved).unwrap_err(),
        RepoError::Content { cause: ReadError::OtherDelta { .. }, .. }
    ));

    fs::write(shop.repo().join("refs/heads/app/org.test.Free/x86_64/stable"), "no checksum\n").unwrap();
    assert!(matches!(repo.refs().unwrap_err(), RepoError::Ref { .. }));
}

#[test]
fn a_summary_that_ostree_alone_makes_has_the_default_token_type_and_refs_of_other_collections() {
    let shop = Shop::build();
    shop.ostree(&["refs", "--collections", &format!("--create=org.test.Other:{FREE}"), FREE]);
    // flatpak has no option that writes it; its own tests add it to the summary as this does.
    shop.ostree(&["summary", "--update", "--add-metadata=xa.default-token-type=int32 3"]);
    let repo = Repo::open(shop.repo()).unwrap();
    let summary = repo.summary().unwrap().unwrap();
    assert_eq!(summary.metadata.default_token_type, Some(3));
    assert!(
        summary.refs.iter().all(|entry| entry.token_type.is_none()),
        "ostree knows nothing of token types"
    );
    let mirrored = &summary.mirrored["org.test.Other"];
    assert_eq!(mirrored, &[summary.find(FREE).unwrap().clone()]);
    let file = format!("refs/mirrors/org.test.Other/{FREE}");
    let path = RepoPath::parse(&file).unwrap();
    assert_eq!(
        String::from_utf8(shop.read(path.relative_path())).unwrap().trim(),
        mirrored[0].checksum.to_hex()
    );
}

#[test]
fn a_directory_that_is_no_repository_is_refused_with_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let error = Repo::open(folder.path()).unwrap_err();
    assert!(matches!(error, RepoError::NotARepository { missing: "config", .. }));
    fs::write(folder.path().join("config"), "[core]\nmode=bare\n").unwrap();
    assert!(matches!(
        Repo::open(folder.path()).unwrap_err(),
        RepoError::NotARepository { missing: "objects", .. }
    ));
    fs::create_dir(folder.path().join("objects")).unwrap();
    let repo = Repo::open(folder.path()).unwrap();
    assert_eq!(*repo.mode(), Mode::Other("bare".into()));
    assert_eq!((repo.refs().unwrap(), repo.deltas().unwrap()), (vec![], vec![]));
    assert!(repo.summary().unwrap().is_none() && repo.summary_index().unwrap().is_none());
    fs::write(folder.path().join("config"), "[core]\nmode bare\n").unwrap();
    assert!(matches!(Repo::open(folder.path()).unwrap_err(), RepoError::Config { line: 2, .. }));
}

#[test]
fn a_compressed_summary_cannot_take_more_memory_than_allowed() {
    // 8 MiB of zeros in 8 KiB.
    let content = vec![0_u8; 8 << 20];
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &content).unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 10 << 10);
    let name = Checksum::of(&content);
    let limit = 1 << 20;
    assert_eq!(Summary::parse_compressed(&bomb, &name, limit), Err(ReadError::TooLarge { limit }));
    let half = &bomb[..bomb.len() / 2];
    assert_eq!(Summary::parse_compressed(half, &name, 1 << 30), Err(ReadError::BadCompression));
    // It stops at the limit: of the damage that follows it never learns.
    assert_eq!(Summary::parse_compressed(half, &name, limit), Err(ReadError::TooLarge { limit }));
    assert_eq!(
        Summary::parse_compressed(&bomb, &Checksum::of(b"another"), 1 << 30),
        Err(ReadError::Mismatch { expected: Checksum::of(b"another"), found: name })
    );
    assert!(matches!(Summary::parse_compressed(&bomb, &name, 1 << 30), Err(ReadError::NotNormal { .. })));
}

#[test]
fn a_superblock_that_carries_another_commit_than_it_names_is_refused() {
    let shop = Shop::build();
    let repo = Repo::open(shop.repo()).unwrap();
    let name = repo.deltas().unwrap()[0];
    let path = RepoPath::Delta { from: name.from, to: name.to, file: flatpass_ostree::DeltaFile::Superblock };
    let mut bytes = shop.read(path.relative_path());
    let at = bytes.windows(32).position(|window| window == name.to.as_bytes()).unwrap();
    bytes[at] ^= 1;
    assert!(
        matches!(DeltaSuperblock::parse(&bytes), Err(ReadError::Mismatch { found, .. }) if found == name.to)
    );
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

fn object_path(checksum: &Checksum, extension: &str) -> String {
    let hex = checksum.to_hex();
    format!("objects/{}/{}.{extension}", &hex[..2], &hex[2..])
}
