//! The index per person: who may list a part of a private repo sees that part, signed, whole, and nothing of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use base64::Engine as _;
use flatpass_gate::{IndexSigner, Listing};
use flatpass_ostree::{
    Checksum, Commit, ObjectKind, RepoPath, Signatures, Summary, SummaryIndex, SummaryMetadata,
    signature_file,
};
use flatpass_token::{Grant, UnixTime, Verb};

use crate::shop::{Desk, FREE, LOCALE, MOUNT, OTHER, PAID, SECRET, Shop, basic, object, superblock};
use crate::wire::{Reply, Server, without_date};

/// Signs so that a test can tell what was signed and when.
#[derive(Debug)]
struct Stamp;

impl IndexSigner for Stamp {
    fn sign(&self, message: &[u8], at: UnixTime) -> Result<Vec<u8>, String> {
        Ok(format!("{} at {}", Checksum::of(message), at.0).into_bytes())
    }
}

fn per_person() -> Listing {
    Listing::PerPerson { signer: Some(Arc::new(Stamp)) }
}

fn signature_of(message: &[u8], desk: &Desk) -> Vec<u8> {
    signature_file(&[Stamp.sign(message, desk.clock.now().unix()).unwrap()])
}

fn lists(ids: &[&str]) -> Grant {
    Grant::for_ids(&[Verb::List, Verb::Download], ids.iter().copied())
}

/// The apps and runtimes in a summary.
fn names(summary: &Summary) -> BTreeSet<&str> {
    let names = summary.refs.iter().map(|one| one.name.as_str());
    names.filter(|name| !name.starts_with("appstream")).collect()
}

/// What a client with the token reads: the index, the per-architecture summary that it names, and the summary.
struct Seen {
    index: Reply,
    part: Summary,
    summary: Summary,
    metadata: SummaryMetadata,
}

fn see(server: &Server, desk: &Desk, token: &str) -> Seen {
    let index = server.get_as(token, "summary.idx");
    assert_eq!(index.status, 200, "{}", index.text());
    let parsed = SummaryIndex::parse(&index.body).unwrap();
    let part = follow(server, token, &index.body);
    let signature = RepoPath::SummaryIdxSigOf(Checksum::of(&index.body)).relative_path();
    for path in ["summary.idx.sig", &signature] {
        assert_eq!(server.get_as(token, path).body, signature_of(&index.body, desk), "{path}");
    }
    let summary = server.get_as(token, "summary");
    let signature = server.get_as(token, "summary.sig");
    assert_eq!(signature.body, signature_of(&summary.body, desk));
    assert_eq!(Signatures::parse(&signature.body).unwrap().openpgp, 1);
    Seen { index, part, summary: Summary::parse(&summary.body).unwrap(), metadata: parsed.metadata }
}

/// The per-architecture summary that an index names.
fn follow(server: &Server, token: &str, index: &[u8]) -> Summary {
    let entry = &SummaryIndex::parse(index).unwrap().subsummaries["x86_64"];
    let part = server.get_as(token, &RepoPath::SubSummary(entry.checksum).relative_path());
    assert_eq!(part.status, 200, "{}", part.text());
    Summary::parse_compressed(&part.body, &entry.checksum, 1 << 20).unwrap()
}

#[test]
fn each_sees_its_own_refs_in_every_file_and_who_lists_everything_the_operators_bytes() {
    let shop = Shop::build();
    let desk = Desk::private(shop.repo(), per_person());
    let server = Server::start(&desk);
    let paid = desk.bearer(&[lists(&["org.test.Paid", "org.test.Paid.Locale"])]);
    let other = desk.basic(&[lists(&["org.test.Other", "org.test.Free"])]);
    let own = Summary::parse(&shop.read("summary")).unwrap();
    for (token, expected) in [(&paid, [PAID, LOCALE]), (&other, [OTHER, FREE])] {
        let seen = see(&server, &desk, token);
        assert_eq!(names(&seen.summary), BTreeSet::from(expected));
        assert_eq!(names(&seen.part), BTreeSet::from(expected));
        assert_eq!((&seen.summary.metadata, &seen.metadata.title), (&own.metadata, &own.metadata.title));
        let commits = expected.map(|name| shop.rev(name));
        assert!(seen.summary.deltas.keys().all(|delta| commits.contains(&delta.to)));
        for list in ["appstream/x86_64", "appstream2/x86_64"] {
            assert_ne!(seen.summary.find(list).unwrap().checksum, shop.rev(list));
        }
        assert!(!seen.summary.deltas.is_empty());
    }
    let full = desk.bearer(&[Grant::for_everything(&[Verb::List])]);
    let files = shop.files("summaries").into_iter().chain(shop.files("refs"));
    for path in files.chain(["summary", "summary.idx"].map(str::to_owned)) {
        assert_eq!(server.get_as(&full, &path).body, shop.read(&path), "{path}");
        if !path.starts_with("summary") || path.starts_with("summaries/") {
            let own = path.contains("org.test.Paid/") || path.contains("org.test.Paid.Locale/");
            let list = path.contains("appstream");
            let reply = server.get_as(&paid, &path);
            assert_eq!(reply.status == 200, own || list, "{path}");
            assert_eq!(reply.body == shop.read(&path), own, "{path}");
        }
    }
    // One who may list nothing that is there gets an index with nothing in it.
    let nothing = desk.bearer(&[lists(&["org.test.Gone"])]);
    assert!(
        SummaryIndex::parse(&server.get_as(&nothing, "summary.idx").body).unwrap().subsummaries.is_empty()
    );
    assert!(Summary::parse(&server.get_as(&nothing, "summary").body).unwrap().refs.is_empty());
}

#[test]
fn what_may_not_be_seen_and_what_is_not_there_are_the_same() {
    let shop = Shop::build();
    let desk = Desk::private(shop.repo(), per_person());
    let server = Server::start(&desk);
    let token = desk.bearer(&[lists(&["org.test.Paid"])]);
    let stranger = desk.bearer(&[lists(&["org.test.Other"])]);
    let theirs = SummaryIndex::parse(&server.get_as(&stranger, "summary.idx").body).unwrap();
    let theirs = theirs.subsummaries["x86_64"].checksum;
    let none = Checksum::of(b"none");
    let alike = |paths: &[String], status: u16| {
        let first = without_date(server.get_as(&token, &paths[0]));
        assert_eq!(first.status, status, "{}", paths[0]);
        for path in paths {
            assert_eq!(without_date(server.get_as(&token, path)), first, "{path}");
        }
    };
    let mut indexes = vec![
        RepoPath::SubSummary(none).relative_path(),
        RepoPath::SubSummary(theirs).relative_path(),
        "refs/heads/appstream2/aarch64".to_owned(),
        "refs/heads/ostree-metadata".to_owned(),
    ];
    indexes.extend(shop.files("summaries"));
    alike(&indexes, 404);
    alike(&[format!("refs/heads/{OTHER}"), "refs/heads/app/org.no.App/x86_64/stable".to_owned()], 403);
    let commits = [
        object(none, ObjectKind::Commit),
        shop.commit(OTHER),
        shop.commit("appstream2/x86_64"),
        shop.commit("appstream/x86_64"),
        superblock(None, none),
        superblock(None, shop.rev(OTHER)),
        superblock(None, shop.rev("appstream2/x86_64")),
        object(shop.rev("appstream2/x86_64"), ObjectKind::CommitMeta),
        RepoPath::DeltaIndex { to: shop.rev("appstream2/x86_64") }.relative_path(),
        RepoPath::DeltaIndex { to: none }.relative_path(),
    ];
    alike(&commits, 403);
    assert_eq!(server.get_as(&token, &format!("refs/heads/{PAID}")).status, 200);
}

#[test]
fn a_client_finds_what_its_index_names_although_the_repo_was_updated_meanwhile() {
    let shop = Shop::build();
    let desk = Desk::private(shop.repo(), per_person());
    let server = Server::start(&desk);
    let token = desk.bearer(&[lists(&["org.test.Paid", "org.test.Paid.Locale"])]);
    let stranger = desk.bearer(&[lists(&["org.test.Paid"])]);
    let mut before = Vec::new();
    for version in 3..6 {
        let index = server.get_as(&token, "summary.idx").body;
        before.push((index, shop.rev(PAID)));
        shop.export("org.test.Paid", 2, false, version);
        shop.update(&[]);
        let newest = see(&server, &desk, &token);
        assert_eq!(newest.part.find(PAID).unwrap().checksum, shop.rev(PAID), "no older than the update");
        for (index, commit) in &before {
            assert_ne!(index, &newest.index.body);
            assert_eq!(follow(&server, &token, index).find(PAID).unwrap().checksum, *commit);
            let signature = RepoPath::SummaryIdxSigOf(Checksum::of(index)).relative_path();
            assert_eq!(server.get_as(&token, &signature).body, signature_of(index, &desk));
            // Somebody who may list less does not get it, however they know its name.
            let entry = SummaryIndex::parse(index).unwrap().subsummaries["x86_64"].checksum;
            let path = RepoPath::SubSummary(entry).relative_path();
            assert_eq!(server.get_as(&stranger, &path).status, 404);
        }
    }
    // A damaged index of the operator's leaves the last good one in force.
    let good = server.get_as(&token, "summary.idx").body;
    let whole = shop.read("summary.idx");
    fs::write(shop.repo().join("summary.idx"), b"what is this").unwrap();
    assert_eq!(server.get_as(&token, "summary.idx").body, good);
    fs::write(shop.repo().join("summary.idx"), whole).unwrap();
    assert_eq!(server.get_as(&token, "summary.idx").body, good);
}

#[test]
fn validators_and_ranges_are_those_of_each_persons_own_file() {
    let shop = Shop::build();
    let desk = Desk::private(shop.repo(), per_person());
    let server = Server::start(&desk);
    let tokens = ["org.test.Paid", "org.test.Other"].map(|id| desk.bearer(&[lists(&[id])]));
    let replies = tokens.each_ref().map(|token| server.get_as(token, "summary"));
    let tags = replies.each_ref().map(|reply| reply.field("etag").unwrap());
    assert_ne!(tags[0], tags[1]);
    for (token, reply) in tokens.iter().zip(&replies) {
        assert_eq!(reply.field("cache-control"), Some("private, no-store"));
        assert_eq!(reply.field("vary"), Some("Authorization"));
        for tag in tags {
            let asked = server.get("summary", &[("Authorization", token), ("If-None-Match", tag)]);
            assert_eq!(asked.status == 304, reply.field("etag") == Some(tag));
        }
        let part = server.get("summary", &[("Authorization", token), ("Range", "bytes=3-9")]);
        assert_eq!((part.status, &part.body[..]), (206, &reply.body[3..10]));
        let head = server.connect().ask("HEAD", &format!("{MOUNT}/summary"), &[("Authorization", token)]);
        assert_eq!(head.field("content-length"), Some(reply.body.len().to_string().as_str()));
    }
}

#[test]
fn a_repo_without_an_index_and_a_signer_works_as_well() {
    let shop = Shop::build();
    for name in ["summary.idx", "summary.idx.sig"] {
        let _ = fs::remove_file(shop.repo().join(name));
    }
    let desk = Desk::private(shop.repo(), Listing::PerPerson { signer: None });
    let server = Server::start(&desk);
    let token = desk.bearer(&[lists(&["org.test.Paid"])]);
    let status = |path: &str| server.get_as(&token, path).status;
    assert_eq!(
        ["summary.idx", "summary.idx.sig", "summary.sig", "summary"].map(status),
        [404, 404, 404, 200]
    );
    let summary = Summary::parse(&server.get_as(&token, "summary").body).unwrap();
    assert_eq!(names(&summary), BTreeSet::from([PAID]));
    // Without an index per person every member sees all.
    let shared = Desk::private(shop.repo(), Listing::Shared);
    let server = Server::start(&shared);
    let token = shared.bearer(&[lists(&["org.test.Paid"])]);
    assert_eq!(server.get_as(&token, "summary").body, shop.read("summary"));
    assert_eq!(server.get_as(&token, &shop.commit("appstream2/x86_64")).status, 200);
}

/// An app with an entry in the list of apps and an icon there.
fn export_listed(shop: &Shop, id: &str) {
    let build = shop.path("build").join(id);
    let info = build.join("files/share/app-info");
    fs::create_dir_all(info.join("xmls")).unwrap();
    fs::create_dir_all(info.join("icons/flatpak/64x64")).unwrap();
    fs::create_dir_all(build.join("export")).unwrap();
    let metadata = format!("[Application]\nname={id}\nruntime=org.test.Platform/x86_64/stable\n");
    fs::write(build.join("metadata"), metadata).unwrap();
    let xml = format!(
        "<?xml version=\"1.0\"?><components version=\"0.8\"><component type=\"desktop\"><id>{id}</id><name>Name of {id}</name>\
         <summary>It &amp; more</summary><icon type=\"cached\" height=\"64\" width=\"64\">{id}.png</icon></component></components>"
    );
    fs::write(info.join(format!("xmls/{id}.xml")), xml).unwrap();
    shop.run("gzip", &["-n", info.join(format!("xmls/{id}.xml")).to_str().unwrap()]);
    // A picture of one point, another one for each app.
    let png = base64::engine::general_purpose::STANDARD
        .decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
        .unwrap();
    let icon = info.join(format!("icons/flatpak/64x64/{id}.png"));
    fs::write(icon, [png, id.as_bytes().to_vec()].concat()).unwrap();
    let build = build.to_str().unwrap().to_owned();
    shop.run("flatpak", &["build-export", "--disable-sandbox", "repo", &build, "stable"]);
}

/// Pulls a ref with the real `ostree`, as whoever has this secret, and gives the files that its commit has.
fn pull(shop: &Shop, server: &Server, secret: &str, name: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let (repo, out) = (folder.path().join("client"), folder.path().join("out"));
    let repo = format!("--repo={}", repo.display());
    let url = format!("http://device:{secret}@{}{MOUNT}", server.address);
    shop.run("ostree", &["init", &repo, "--mode=bare-user-only"]);
    shop.run("ostree", &["remote", "add", &repo, "--no-gpg-verify", "shop", &url]);
    shop.run("ostree", &["pull", &repo, "shop", name]);
    shop.run("ostree", &["fsck", &repo, "--quiet"]);
    shop.run("ostree", &["checkout", &repo, "-U", &format!("shop:{name}"), out.to_str().unwrap()]);
    let mut found = BTreeMap::new();
    let mut folders = vec![out.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&out).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn the_list_of_apps_has_ones_own_apps_and_their_icons_and_comes_by_ostree_pull() {
    let shop = Shop::empty();
    export_listed(&shop, "org.test.Alpha");
    export_listed(&shop, "org.test.Beta");
    export_listed(&shop, "org.test.Gamma");
    shop.update(&["--generate-static-deltas"]);
    let desk = Desk::private(shop.repo(), per_person());
    let server = Server::start(&desk);
    desk.basic(&[lists(&["org.test.Alpha", "org.test.Gamma"])]);
    for name in ["appstream2/x86_64", "appstream/x86_64"] {
        let files = pull(&shop, &server, SECRET, name);
        let packed = name.starts_with("appstream/");
        let (list, icons) =
            files.iter().partition::<Vec<_>, _>(|(name, _)| name.starts_with("appstream.xml"));
        let xml = if packed { unpack(list[0].1) } else { list[0].1.clone() };
        let xml = String::from_utf8(xml).unwrap();
        assert!(xml.contains("Name of org.test.Alpha") && xml.contains("Name of org.test.Gamma"), "{xml}");
        assert!(xml.contains("It &amp; more") && xml.trim_end().ends_with("</components>"), "{xml}");
        assert!(!xml.contains("Beta"), "{xml}");
        let icons: Vec<_> = icons.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(icons, ["icons/64x64/org.test.Alpha.png", "icons/64x64/org.test.Gamma.png"]);
        assert_eq!(list.len(), 1);
    }
    // What was made is signed, and is nobody else's.
    let token = basic("device", SECRET);
    let made = server.get_as(&token, "refs/heads/appstream2/x86_64");
    let made = Checksum::from_hex(made.text().trim()).unwrap();
    assert_ne!(made, shop.rev("appstream2/x86_64"));
    let commit = server.get_as(&token, &object(made, ObjectKind::Commit));
    let signature = server.get_as(&token, &object(made, ObjectKind::CommitMeta));
    assert_eq!(signature.body, signature_of(&commit.body, &desk));
    let parsed = Commit::parse(&commit.body).unwrap();
    assert_eq!((parsed.refs, parsed.parent), (vec!["appstream2/x86_64".to_owned()], None));
    assert_eq!(parsed.timestamp, shop.parsed("appstream2/x86_64").timestamp);
    let stranger = desk.bearer(&[lists(&["org.test.Alpha"])]);
    let downloader = desk.download(&["org.test.Alpha", "org.test.Gamma"]);
    for other in [&stranger, &downloader] {
        for (checksum, kind) in [(made, ObjectKind::Commit), (made, ObjectKind::CommitMeta)] {
            assert_eq!(server.get_as(other, &object(checksum, kind)).status, 403);
        }
        assert_eq!(server.get_as(other, &object(parsed.root_tree, ObjectKind::DirTree)).status, 403);
    }
    // The operator's own list, which has all apps, is for those who may list all, in all its parts.
    let whole = object(shop.parsed("appstream2/x86_64").root_tree, ObjectKind::DirTree);
    assert_eq!(server.get_as(&token, &whole).status, 403);
    let everything = desk.bearer(&[Grant::for_everything(&[Verb::List])]);
    assert_eq!(server.get_as(&everything, &whole).status, 200);
    // Another server that made nothing yet finds it as well.
    let again = Desk { clock: desk.clock, ..Desk::private(shop.repo(), per_person()) };
    let server = Server::start(&again);
    let token = again.basic(&[lists(&["org.test.Alpha", "org.test.Gamma"])]);
    assert_eq!(server.get_as(&token, &object(made, ObjectKind::Commit)).body, commit.body);
    assert_eq!(server.get_as(&token, &object(parsed.root_tree, ObjectKind::DirTree)).status, 200);
    // With no architecture in common there is no list at all.
    let nothing = again.bearer(&[lists(&["org.test.Gone"])]);
    assert_eq!(server.get_as(&nothing, "refs/heads/appstream2/x86_64").status, 404);
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    std::process::Command::new("gzip").arg("-dc").stdin(file.reopen().unwrap()).output().unwrap().stdout
}
