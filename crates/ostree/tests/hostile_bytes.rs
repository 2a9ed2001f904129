//! Damaged, cut, swapped and made-up bytes: no reader panics, none takes them for something that needs no token, and what
//! counts as whole is what GLib counts as whole.

mod shop;

use std::fs;
use std::process::Command;

use flatpass_ostree::repo::{KeyFile, Repo};
use flatpass_ostree::{
    Checksum, Commit, DeltaIndex, DeltaSuperblock, DirTree, ReadError, RepoPath, Signatures, Summary,
    SummaryIndex, is_normal,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use shop::{PAID, Shop, files};

const COMMIT: &str = "(a{sv}aya(say)sstayay)";
const SUPERBLOCK: &str = "(a{sv}tayay(a{sv}aya(say)sstayay)aya(uayttay)a(yaytt))";
const DIRTREE: &str = "(a(say)a(sayay))";
const SUMMARY: &str = "(a(s(taya{sv}))a{sv})";
const SUMMARY_INDEX: &str = "(a{s(ayaaya{sv})}a{sv})";

/// Gives the bytes to every reader.
fn read_all(bytes: &[u8]) {
    let _ = Commit::parse(bytes);
    let _ = DeltaSuperblock::parse(bytes);
    let _ = DeltaIndex::parse(bytes);
    let _ = DirTree::parse(bytes);
    let _ = Summary::parse(bytes);
    let _ = SummaryIndex::parse(bytes);
    let _ = Signatures::parse(bytes);
    let _ = Summary::parse_compressed(bytes, &Checksum::of(bytes), 1 << 20);
    let text = String::from_utf8_lossy(bytes);
    let _ = RepoPath::parse(&text);
    let _ = KeyFile::parse(&text);
}

/// One file of each kind, with its GVariant type.
fn samples(shop: &Shop) -> Vec<(&'static str, Vec<u8>)> {
    let repo = Repo::open(shop.repo()).unwrap();
    let commit = shop.ostree(&["rev-parse", PAID]);
    let commit = format!("objects/{}/{}.commit", &commit[..2], &commit.trim()[2..]);
    let superblock =
        files(&shop.repo()).into_iter().find(|file| file.contains('-') && file.ends_with("superblock"));
    let root = shop.ostree(&["ls", "--checksum", "--dironly", PAID]);
    let root = root.split_whitespace().nth(4).unwrap();
    let root = format!("objects/{}/{}.dirtree", &root[..2], &root[2..]);
    let delta_index = files(&shop.repo()).into_iter().find(|file| file.ends_with(".index"));
    let index = repo.summary_index().unwrap().unwrap();
    let part = RepoPath::SubSummary(index.subsummaries["x86_64"].checksum).relative_path();
    let unpack = Command::new("gzip").arg("-dc").arg(shop.repo().join(part)).output().unwrap();
    vec![
        (COMMIT, shop.read(commit)),
        (SUPERBLOCK, shop.read(superblock.unwrap())),
        ("a{sv}", shop.read(delta_index.unwrap())),
        (SUMMARY, shop.read("summary")),
        (SUMMARY, unpack.stdout),
        (SUMMARY_INDEX, shop.read("summary.idx")),
        (DIRTREE, shop.read(root)),
        ("a{sv}", shop.read("summary.sig")),
    ]
}

/// What happens to a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    CutStart(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let any_index = any::<prop::sample::Index>;
    let one = prop_oneof![
        (any_index(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (any_index(), prop_oneof![Just(0_u8), Just(1), Just(0xff), any::<u8>()])
            .prop_map(|(at, value)| Damage::Set(at, value)),
        any_index().prop_map(Damage::Cut),
        any_index().prop_map(Damage::CutStart),
        (any_index(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any_index(), any_index()).prop_map(|(from, to)| Damage::Repeat(from, to)),
    ];
    prop::collection::vec(one, 1..4)
}

fn apply(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for damage in damages {
        let length = bytes.len();
        if length == 0 {
            break;
        }
        match damage {
            Damage::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Damage::Set(at, value) => bytes[at.index(length)] = *value,
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::CutStart(at) => bytes.drain(..at.index(length)).for_each(drop),
            Damage::Insert(at, piece) => {
                let at = at.index(length);
                bytes.splice(at..at, piece.iter().copied()).for_each(drop);
            }
            Damage::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(from..from, piece).for_each(drop);
            }
        }
    }
    bytes
}

/// The same cases in every run, so that a failure is one for everybody.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn generate<T>(strategy: &impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = runner(0);
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn a_file_cut_off_anywhere_is_refused_and_never_reads_as_one_without_a_token_type() {
    let shop = Shop::build();
    for (type_string, bytes) in samples(&shop) {
        assert!(is_normal(type_string, &bytes), "{type_string}");
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            match type_string {
                COMMIT => assert_eq!(Commit::parse(cut), Err(ReadError::NotNormal { type_string: COMMIT })),
                SUPERBLOCK => assert_eq!(
                    DeltaSuperblock::parse(cut),
                    Err(ReadError::NotNormal { type_string: SUPERBLOCK })
                ),
                SUMMARY => {
                    assert_eq!(Summary::parse(cut), Err(ReadError::NotNormal { type_string: SUMMARY }));
                }
                SUMMARY_INDEX => assert_eq!(
                    SummaryIndex::parse(cut),
                    Err(ReadError::NotNormal { type_string: SUMMARY_INDEX })
                ),
                DIRTREE => {
                    assert_eq!(DirTree::parse(cut), Err(ReadError::NotNormal { type_string: DIRTREE }));
                }
                // No bytes are a dictionary without entries.
                _ => assert_eq!(DeltaIndex::parse(cut).is_ok(), length == 0),
            }
        }
    }
}

#[test]
fn damaged_files_panic_no_reader_and_lose_their_token_type_only_with_their_name() {
    let shop = Shop::build();
    let samples = samples(&shop);
    let (_, commit) = &samples[0];
    let whole = Commit::parse(commit).unwrap();
    let strategy = (0..samples.len(), damage());
    runner(5_000)
        .run(&strategy, |(which, damages)| {
            let bytes = apply(&samples[which].1, &damages);
            read_all(&bytes);
            if let Ok(read) = Commit::parse(&bytes)
                && read.token_type != whole.token_type
            {
                // The name of a commit is its checksum, which every caller that guards something compares.
                prop_assert_ne!(Checksum::of(&bytes), Checksum::of(commit));
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn made_up_bytes_panic_no_reader() {
    let piece = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec![
            "\0",
            "xa.token-type",
            "\0i",
            "\0as",
            "\0v",
            "\0a{sv}",
            "OSTSGNDT",
            "\0\0\0\0\0\0\0\0"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    runner(5_000)
        .run(&prop::collection::vec(piece, 0..60), |pieces| {
            read_all(&pieces.concat());
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_the_fuzzer_begins_with_and_what_it_once_found_panics_no_reader() {
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let (mut seeds, mut read) = (0, 0);
    for folder in ["seeds", "regressions"].map(|folder| fuzz.join(folder)) {
        if folder.is_dir() {
            for file in files(&folder) {
                let bytes = fs::read(folder.join(&file)).unwrap();
                seeds += 1;
                read += usize::from(file.starts_with("commit/") && Commit::parse(&bytes).is_ok());
                read_all(&bytes);
            }
        }
    }
    assert!(seeds > 20 && read == 3, "{seeds} files, {read} commits");
}

#[test]
fn types_nested_without_end_use_up_neither_stack_nor_time() {
    let depth = 2_000_000;
    let variants = b"\0v".repeat(depth);
    assert!(!is_normal("v", &variants));
    for open in ["a", "m", "(", "{s", "a(", "ma"] {
        let mut bytes = vec![0];
        bytes.extend(open.repeat(depth / open.len()).bytes());
        assert!(!is_normal("v", &bytes), "{open}");
    }
    // Arrays whose elements all overlap would let a megabyte be read as many gigabytes.
    let mut overlapping = vec![b'a'; 1 << 20];
    overlapping.extend([0_u32.to_le_bytes(), (1_u32 << 20).to_le_bytes()].concat().repeat(1 << 17));
    assert!(!is_normal("as", &overlapping));
    read_all(&overlapping);
}

#[test]
fn a_token_type_that_is_not_an_i_is_an_error_and_not_a_commit_without_one() {
    let shop = Shop::build();
    let (_, commit) = &samples(&shop)[0];
    let key = commit.windows(14).position(|window| window == b"xa.token-type\0").unwrap();
    let value = key + commit[key..].windows(2).position(|window| window == b"\0i").unwrap() + 1;
    let mut other = commit.clone();
    other[value] = b'u';
    let expected = ReadError::WrongType { key: "xa.token-type".into(), expected: "i", found: "u".into() };
    assert_eq!(Commit::parse(&other), Err(expected));

    // The same key twice: another reader could see the other value.
    let metadata = "{'xa.token-type': <0>, 'xa.token-type': <2>}";
    let script = format!(
        "from gi.repository import GLib; import sys\n\
         v = GLib.Variant.parse(GLib.VariantType.new('a{{sv}}'), \"{metadata}\", None, None)\n\
         c = GLib.Variant.new_tuple(v, *[GLib.Variant.parse(GLib.VariantType.new(t), s, None, None) for t, s in\n\
         [('ay', '[]'), ('a(say)', '[]'), ('s', '\"\"'), ('s', '\"\"'), ('t', '0'), ('ay', '[]'), ('ay', '[]')]])\n\
         sys.stdout.buffer.write(c.get_data_as_bytes().get_data())"
    );
    let twice = python(&script, "");
    assert!(is_normal(COMMIT, &twice));
    assert_eq!(Commit::parse(&twice), Err(ReadError::DuplicateKey { key: "xa.token-type".into() }));
}

#[test]
fn normal_is_what_glib_calls_normal() {
    let shop = Shop::build();
    let samples = samples(&shop);
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for (which, damages) in generate(&(0..samples.len(), damage()), 3000) {
        let (type_string, bytes) = &samples[which];
        cases.push(((*type_string).to_owned(), apply(bytes, &damages)));
    }
    cases.extend(samples.iter().map(|(type_string, bytes)| ((*type_string).to_owned(), bytes.clone())));
    let types = [
        "b", "y", "n", "u", "x", "d", "s", "o", "g", "v", "()", "(())", "ms", "mi", "mmb", "ab", "as", "ao",
        "ag", "av", "a()", "a{sv}", "{sy}", "(sy)", "(ys)", "(yx)", "(xy)", "a(xy)", "(asas)", "(ssas)",
        "(syv)", "a(yas)", "aas", "aay", "mv", "(ynv)", "(b(yi)s)", "a{y(si)}", "a(mss)", "(ayayay)",
    ];
    let byte = prop_oneof![4 => Just(0_u8), 4 => 0_u8..12, 1 => Just(b'/'), 1 => prop::sample::select(b"asivy(){}".to_vec()), 1 => any::<u8>()];
    let strategy = (prop::sample::select(types.to_vec()), prop::collection::vec(byte, 0..24));
    cases.extend(
        generate(&strategy, 30_000).into_iter().map(|(type_string, bytes)| (type_string.to_owned(), bytes)),
    );
    // Values as GLib writes them, then damaged: most made-up bytes are no value at all.
    for (type_string, text) in [
        ("(asas)", "(['a', 'bc', ''], ['d'])"),
        ("a{sv}", "{'k': <'v'>, 'l': <uint64 5>, 'm': <[<1>, <'x'>]>}"),
        ("(yvx)", "(1, <(byte 1, 'x')>, 7)"),
        ("a(xy)", "[(1, 2), (3, 4)]"),
        ("(ysmsv)", "(7, 'seven', 'maybe', <@mi 5>)"),
        ("aas", "[['a'], [], ['b', 'c']]"),
        ("(og)", "('/a/b_1', 'a{sv}(ii)')"),
    ] {
        let script = format!(
            "from gi.repository import GLib; import sys\n\
             v = GLib.Variant.parse(GLib.VariantType.new('{type_string}'), \"{text}\", None, None)\n\
             sys.stdout.buffer.write(v.get_data_as_bytes().get_data())"
        );
        let bytes = python(&script, "");
        cases.extend(
            generate(&damage(), 1000).iter().map(|damages| (type_string.to_owned(), apply(&bytes, damages))),
        );
        cases.push((type_string.to_owned(), bytes));
    }
    // Containers just around the sizes where framing offsets grow wider, with the smallest width and with the next.
    for size in (236..256).chain(65_516..65_528) {
        let text = "x".repeat(size);
        for width in [1, 2, 4] {
            let array = encode_strings(&[&text, "y", ""], width);
            // A structure has its offsets in reverse, and none for the last member.
            let body = text.len() + 4;
            let offsets: Vec<_> = array[body..].chunks_exact(width).take(2).rev().collect();
            cases.push(("(sss)".to_owned(), [&array[..body], &offsets.concat()].concat()));
            cases.push(("as".to_owned(), array));
        }
    }

    let input: String =
        cases.iter().map(|(type_string, bytes)| format!("{type_string} {}\n", hex(bytes))).collect();
    let script = "from gi.repository import GLib; import sys\n\
        for line in sys.stdin:\n\
        \x20   t, h = line.rstrip('\\n').split(' ')\n\
        \x20   v = GLib.Variant.new_from_bytes(GLib.VariantType.new(t), GLib.Bytes.new(bytes.fromhex(h)), False)\n\
        \x20   print('1' if v.is_normal_form() else '0')";
    let answers = String::from_utf8(python(script, &input)).unwrap();
    let answers: Vec<bool> = answers.lines().map(|line| line == "1").collect();
    assert_eq!(answers.len(), cases.len());
    let (mut normal, mut wrong) = (0, Vec::new());
    for ((type_string, bytes), glib) in cases.iter().zip(answers) {
        normal += usize::from(glib);
        if bytes.is_empty() && type_string.starts_with('(') {
            // GLib lets no bytes at all pass as a structure of defaults. Here an empty file is never a commit.
            assert!(!is_normal(type_string, bytes), "{type_string}");
            continue;
        }
        if is_normal(type_string, bytes) != glib {
            wrong.push(format!("{type_string} {} is normal: {glib}", hex(bytes)));
        }
    }
    assert!(normal > 1500, "too few of the {} cases are values: {normal}", cases.len());
    assert!(
        wrong.is_empty(),
        "{} differ, such as:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

/// An `as` with offsets of this width, whether or not a container of that size has such.
fn encode_strings(texts: &[&str], width: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for text in texts {
        bytes.extend(text.bytes());
        bytes.push(0);
        ends.push(bytes.len());
    }
    for end in ends {
        bytes.extend(&end.to_le_bytes()[..width]);
    }
    bytes
}

/// What a Python program with GLib writes.
fn python(script: &str, input: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input");
    fs::write(&file, input).unwrap();
    let script = format!("import gi\n{script}");
    // Debian's own Python, which has Debian's bindings.
    let output = Command::new("/usr/bin/python3")
        .args(["-c", &script])
        .stdin(fs::File::open(&file).unwrap())
        .output()
        .expect("python3 with python3-gi must be installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
