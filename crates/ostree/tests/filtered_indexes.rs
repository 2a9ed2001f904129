//! Summaries with only some refs in them: byte for byte what GLib makes of them, and nothing of what was left out.

#[expect(dead_code, reason = "other tests need more of it")]
mod shop;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use flatpass_ostree::repo::Repo;
use flatpass_ostree::{
    Checksum, Fate, IndexSource, Summary, SummaryIndex, SummarySource, filtered_components,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use shop::{GIFT, PAID, Shop};

const SUMMARY: &str = "(a(s(taya{sv}))a{sv})";
const SUMMARY_INDEX: &str = "(a{s(ayaaya{sv})}a{sv})";

/// The shop with every kind of file that has refs in it, uncompressed.
fn files(shop: &Shop) -> Vec<(String, Vec<u8>)> {
    // Metadata that clients use, and metadata of a kind that might name refs.
    for value in [
        "--add-metadata=xa.gpg-keys=[byte 1, 2]",
        "--add-metadata=xa.default-token-type=int32 1",
        "--add-metadata=org.test.unknown=['app/org.test.Paid/x86_64/stable']",
    ] {
        shop.run("ostree", &["--repo=repo", "summary", "--update", value]);
    }
    let repo = Repo::open(shop.repo()).unwrap();
    let mut files = vec![("summary".to_owned(), shop.read("summary"))];
    shop.update();
    files.push(("compat".to_owned(), shop.read("summary")));
    for (name, entry) in repo.summary_index().unwrap().unwrap().subsummaries {
        let path = shop.repo().join(format!("summaries/{}.gz", entry.checksum));
        files.push((name, Command::new("gzip").arg("-dc").arg(path).output().unwrap().stdout));
    }
    files
}

/// Asks GLib, a question a line.
fn ask_glib(shop: &Shop, questions: &[String]) -> Vec<Vec<u8>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/filtered.py");
    let mut python = Command::new("/usr/bin/python3")
        .arg(script)
        .current_dir(shop.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 with python3-gi must be installed");
    let mut input = python.stdin.take().unwrap();
    let text = questions.concat();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let unhex = |line: &str| {
        (0..line.len() / 2).map(|at| u8::from_str_radix(&line[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    String::from_utf8(output.stdout).unwrap().lines().map(unhex).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn any_choice_of_refs_is_byte_for_byte_what_glib_makes_and_names_no_other() {
    let shop = Shop::build();
    let files = files(&shop);
    let mut questions = Vec::new();
    let mut answers = Vec::new();
    for (name, bytes) in &files {
        fs::write(shop.path(name), bytes).unwrap();
        let source = SummarySource::read(bytes).unwrap();
        let refs: Vec<(String, Checksum)> =
            source.refs().map(|(name, commit)| (name.to_owned(), *commit)).collect();
        assert!(!source.with_refs(|_| Fate::Keep).is_empty());
        let config = Config { cases: 0, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let choice = prop::collection::vec(any::<bool>(), refs.len());
        for _ in 0..40 {
            let choice = choice.new_tree(&mut runner).unwrap().current();
            let kept: BTreeSet<&str> = refs
                .iter()
                .zip(&choice)
                .filter(|(_, kept)| **kept)
                .map(|((name, _), _)| name.as_str())
                .collect();
            let made = source.with_refs(|name| if kept.contains(name) { Fate::Keep } else { Fate::Leave });
            let parsed = Summary::parse(&made).unwrap();
            assert_eq!(parsed.refs.iter().map(|one| one.name.as_str()).collect::<BTreeSet<_>>(), kept);
            for (name, commit) in &refs {
                let shared = kept.iter().any(|other| other.contains(name.as_str()));
                if !kept.contains(name.as_str()) && !shared {
                    assert!(!contains(&made, name.as_bytes()), "{name}");
                    assert!(!contains(&made, commit.to_hex().as_bytes()), "{name}");
                    assert!(!contains(&made, commit.as_bytes()), "{name}");
                }
            }
            questions.push(format!("{}\t{SUMMARY}\t{}\n", name, Vec::from_iter(kept).join(",")));
            answers.push(made);
        }
    }
    fs::write(shop.path("index"), shop.read("summary.idx")).unwrap();
    let index = IndexSource::read(&shop.read("summary.idx")).unwrap();
    let flipped = |checksum: &Checksum| Checksum::from_bytes(checksum.as_bytes().map(|byte| 255 - byte));
    for kept in [&["x86_64"][..], &["aarch64", "x86_64"], &[]] {
        let of = |name: &str| *index.subsummaries().find(|(found, _)| *found == name).unwrap().1;
        let wanted: Vec<Checksum> = kept.iter().map(|name| of(name)).collect();
        questions.push(format!("index\t{SUMMARY_INDEX}\t{}\n", kept.join(",")));
        answers
            .push(index.with_subsummaries(|checksum| wanted.contains(checksum).then(|| flipped(checksum))));
        let parsed = SummaryIndex::parse(answers.last().unwrap()).unwrap();
        assert!(parsed.subsummaries.values().all(|entry| entry.history.is_empty()));
    }
    let expected = ask_glib(&shop, &questions);
    assert_eq!(expected.len(), answers.len());
    for ((question, answer), expected) in questions.iter().zip(&answers).zip(&expected) {
        assert_eq!(answer, expected, "{question}");
    }
}

#[test]
fn what_clients_use_survives_and_ostree_reads_it() {
    let shop = Shop::build();
    let repo = Repo::open(shop.repo()).unwrap();
    let before = repo.summary().unwrap().unwrap();
    let source = SummarySource::read(&shop.read("summary")).unwrap();
    let to = Checksum::of(b"another commit");
    let made = source.with_refs(|name| match name {
        PAID | GIFT => Fate::Keep,
        "appstream2/x86_64" => Fate::Point { commit: to, size: 77 },
        _ => Fate::Leave,
    });
    let after = Summary::parse(&made).unwrap();
    assert_eq!(after.metadata, before.metadata);
    assert!(
        after.metadata.authenticator.is_some()
            && after.metadata.indexed_deltas
            && after.metadata.title.is_some()
    );
    let find =
        |summary: &Summary, name: &str| summary.refs.iter().find(|one| one.name == name).unwrap().clone();
    for name in [PAID, GIFT] {
        assert_eq!(find(&after, name), find(&before, name));
    }
    let appstream = find(&after, "appstream2/x86_64");
    assert_eq!((appstream.checksum, appstream.commit_size, appstream.installed_size), (to, 77, None));
    let paid = find(&before, PAID).checksum;
    assert!(
        before.deltas.keys().any(|delta| delta.to == paid && delta.from.is_some()),
        "a delta between two"
    );
    let of_kept = |commit: &Checksum| [PAID, GIFT].iter().any(|name| find(&before, name).checksum == *commit);
    let expected = before.deltas.clone().into_iter().filter(|(delta, _)| of_kept(&delta.to)).collect();
    assert_eq!(after.deltas, expected);
    fs::write(shop.repo().join("summary"), &made).unwrap();
    let shown = shop.ostree(&["summary", "-v"]);
    assert!(shown.contains(PAID) && shown.contains(GIFT) && !shown.contains("org.test.Free"), "{shown}");
}

#[test]
fn of_a_list_of_apps_only_components_that_are_wholly_of_kept_refs_are_left_whatever_stands_around() {
    let left = |text: &str| {
        let made = filtered_components(text.as_bytes(), |name| name.starts_with("app/org.test.Mine"))?;
        Some(String::from_utf8(made).unwrap())
    };
    let bundle = |name: &str| format!("<bundle type=\"flatpak\">{name}</bundle>");
    let (mine, other) =
        (bundle("app/org.test.Mine/x86_64/stable"), bundle("app/org.test.Other/x86_64/stable"));
    let good = format!(
        "<component type='a'><id>good &amp; well</id>{mine}<p><![CDATA[<component>]]></p></component>"
    );
    let text = format!(
        "<?xml version=\"1.0\"?>\n<components version=\"0.8\"><!-- secret 1 -->\n {good} secret 2 \
         <component><id>secret 3</id>{other}</component><component><id>secret 4</id></component>\
         <component><id>secret 5</id>{mine}{other}</component><component/>\
         <component><id>secret 6</id><bundle type=\"flatpak\"><![CDATA[app/org.test.Mine]]></bundle></component>\
         <component><id>secret 7</id><x>{mine}</x></component>\
         <component><id>secret 8</id><bundle type=\"tarball\">app/org.test.Mine/x86_64/stable</bundle></component>\
         <other>{good}secret 9</other></components> <!-- end -->"
    );
    let expected =
        format!("<?xml version=\"1.0\"?>\n<components version=\"0.8\">\n  {good}\n</components>\n");
    assert_eq!(left(&text), Some(expected));
    for broken in [
        "",
        "<components>",
        "<components><component></components>",
        "<component/>",
        "<components/>",
        "<components></components><components></components>",
        "<html></html>",
        "<components><component></component>",
    ] {
        assert_eq!(left(broken), None, "{broken}");
    }
    assert_eq!(left("<components></components>").as_deref(), Some("<components>\n</components>\n"));
}
