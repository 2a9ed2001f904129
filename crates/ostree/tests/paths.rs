//! The parser of request paths: what it lets through, and that it lets nothing else through.

use flatpass_ostree::{Checksum, DeltaFile, MAX_PATH_LENGTH, ObjectKind, RefPath, RepoPath};
use proptest::prelude::*;

const HEX: &str = "c3ae6ac34d1b3a1a9f5ab6ca51b1a8d9f0d3d4c9c2f1b0a99887766554433221";
const DELTA: &str = "w65qw00bOhqfWrbKUbGo2fDT1MnC8bCpmId2ZVRDMiE";

fn checksum() -> Checksum {
    Checksum::from_hex(HEX).unwrap()
}

/// Every kind of path in the spelling that flatpak 1.14.10 and ostree 2022.7 were seen to send.
fn known() -> Vec<(String, RepoPath)> {
    let (to, first, rest) = (checksum(), &HEX[..2], &HEX[2..]);
    let from = Checksum::from_delta_base64("3dn3RE3KawvL6PzH0WwO+QHv4MObVWAU+e9xT+eWI_8").unwrap();
    let (delta_first, delta_rest) = DELTA.split_at(2);
    let other = "3d/n3RE3KawvL6PzH0WwO+QHv4MObVWAU+e9xT+eWI_8";
    let mut known = vec![
        ("config".into(), RepoPath::Config),
        ("summary".into(), RepoPath::Summary),
        ("summary.sig".into(), RepoPath::SummarySig),
        ("summary.idx".into(), RepoPath::SummaryIdx),
        ("summary.idx.sig".into(), RepoPath::SummaryIdxSig),
        (format!("summaries/{HEX}.gz"), RepoPath::SubSummary(to)),
        (format!("summaries/{HEX}.idx.sig"), RepoPath::SummaryIdxSigOf(to)),
        (format!("summaries/{HEX}-{HEX}.delta"), RepoPath::SubSummaryDelta { from: to, to }),
        ("refs/heads/appstream2/x86_64".into(), RepoPath::Ref(RefPath::Head("appstream2/x86_64".into()))),
        (
            "refs/heads/app/org.test.Paid-1_x/x86_64/23.08".into(),
            RepoPath::Ref(RefPath::Head("app/org.test.Paid-1_x/x86_64/23.08".into())),
        ),
        (
            "refs/mirrors/org.test.Shop/ostree-metadata".into(),
            RepoPath::Ref(RefPath::Mirror {
                collection: "org.test.Shop".into(),
                name: "ostree-metadata".into(),
            }),
        ),
        (format!("delta-indexes/{delta_first}/{delta_rest}.index"), RepoPath::DeltaIndex { to }),
        (
            format!("deltas/{delta_first}/{delta_rest}/superblock"),
            RepoPath::Delta { from: None, to, file: DeltaFile::Superblock },
        ),
        (
            format!("deltas/{delta_first}/{delta_rest}/0"),
            RepoPath::Delta { from: None, to, file: DeltaFile::Part(0) },
        ),
        (
            format!("deltas/{other}-{DELTA}/10"),
            RepoPath::Delta { from: Some(from), to, file: DeltaFile::Part(10) },
        ),
    ];
    for kind in ObjectKind::ALL {
        known.push((
            format!("objects/{first}/{rest}.{}", kind.extension()),
            RepoPath::Object { checksum: to, kind },
        ));
    }
    known
}

#[test]
fn what_clients_ask_for_parses_and_comes_back_as_it_was() {
    for (text, path) in known() {
        assert_eq!(RepoPath::parse(&text), Some(path.clone()), "{text}");
        assert_eq!(path.relative_path(), text);
        assert_eq!(path.to_string(), text);
    }
}

#[test]
fn files_of_a_repository_that_no_client_asks_for_do_not_parse() {
    let (first, rest) = HEX.split_at(2);
    let mut refused: Vec<String> = [
        "",
        "/",
        ".",
        "..",
        ".lock",
        "objects",
        "objects/",
        "deltas",
        "refs",
        "refs/heads",
        "refs/heads/",
        "summaries",
        "state",
        "tmp/cache/x",
        "extensions/x",
        "refs/remotes/origin/app/x/y/z",
        "config.bak",
        "summary.gz",
        "summary.idx.gz",
        "Config",
        "SUMMARY",
        "refs/other/x",
        "refs/mirrors/org.test.Shop",
        "refs/mirrors/org.test.Shop/",
        "refs/heads/.hidden",
        "refs/heads/a/.b",
        "refs/heads/a b",
        "refs/heads/a+b",
        "refs/heads/a~b",
        "refs/heads/é",
        "refs/heads/a:b",
        "org.test.Paid.flatpakref",
        "shop.flatpakrepo",
        "appstream/x86_64/appstream.xml.gz",
    ]
    .map(str::to_owned)
    .into();
    for extension in ["file", "payload-link", "commit-tombstone", "sig", "commit2", "Commit", "filez.gz", ""]
    {
        refused.push(format!("objects/{first}/{rest}.{extension}"));
    }
    for file in
        ["meta", "Superblock", "superblock.gz", "00", "01", "-1", "+1", "1a", "", "4294967296", "0/", "0/0"]
    {
        refused.push(format!("deltas/{}/{}/{file}", &DELTA[..2], &DELTA[2..]));
    }
    refused.extend([
        format!("objects/{first}/{rest}"),
        format!("objects/{HEX}.commit"),
        format!("objects/{}/{}.commit", &HEX[..3], &HEX[3..]),
        format!("objects/{}/{}.commit", &HEX[..1], &HEX[1..]),
        format!("objects/{first}/{}.commit", rest.to_uppercase()),
        format!("objects/{first}/{}0.commit", rest),
        format!("objects/{first}/{}.commit", &rest[1..]),
        format!("summaries/{HEX}"),
        format!("summaries/{HEX}.idx"),
        format!("summaries/{HEX}-{HEX}.gz"),
        format!("summaries/{HEX}.delta"),
        format!("deltas/{}/{}", &DELTA[..2], &DELTA[2..]),
        format!("deltas/{DELTA}/superblock"),
        format!("deltas/{}/{}-{}/superblock", &DELTA[..2], &DELTA[2..], &DELTA[..42]),
        format!("deltas/{}/{}-{DELTA}-{DELTA}/superblock", &DELTA[..2], &DELTA[2..]),
        format!("delta-indexes/{}/{}", &DELTA[..2], &DELTA[2..]),
        format!("delta-indexes/{}/{}-{DELTA}.index", &DELTA[..2], &DELTA[2..]),
        format!("refs/heads/{}", "a".repeat(MAX_PATH_LENGTH)),
    ]);
    for text in refused {
        assert_eq!(RepoPath::parse(&text), None, "{text}");
    }
}

#[test]
fn the_last_digit_of_a_delta_name_has_one_spelling() {
    // 43 digits hold 258 bits: the last digit's two lowest belong to no byte, and E, F, G and H would be the same name.
    let (first, rest) = DELTA.split_at(2);
    for (last, canonical) in [("E", true), ("F", false), ("G", false), ("H", false)] {
        let text = format!("deltas/{first}/{}{last}/superblock", &rest[..40]);
        assert_eq!(RepoPath::parse(&text).is_some(), canonical, "{text}");
    }
}

/// Spellings that other parsers take for the same file.
fn tricks(text: &str, at: usize) -> Vec<String> {
    let (before, after) = text.split_at(at);
    let mut found = vec![
        format!("/{text}"),
        format!("./{text}"),
        format!("../{text}"),
        format!("{text}/"),
        format!("{text}/."),
        format!("{text}/.."),
        format!("{text}%00"),
        format!("{text}\0"),
        format!("{text}\n"),
        format!("{text} "),
        format!(" {text}"),
        format!("{text}?"),
        format!("{text}?x=y"),
        format!("{text}#x"),
        format!("{text};x"),
        format!("{text}\\"),
        format!("http://host/{text}"),
        format!("{before}\0{after}"),
        format!("{before}%{:02x}{}", text.as_bytes()[at], &after[1..]),
        format!("{before}%{:02X}{}", text.as_bytes()[at], &after[1..]),
        format!("{before}%25{:02X}{}", text.as_bytes()[at], &after[1..]),
        format!("{before}/../{after}"),
        format!("{before}%2f..%2f{after}"),
    ];
    for slash in ["//", "/./", "/x/../", "%2F", "%2f", "\\", "/%2e/", "/%2e%2e/", "/.%2e/"] {
        if let Some(index) = text.find('/') {
            found.push(format!("{}{slash}{}", &text[..index], &text[index + 1..]));
        }
        if let Some(index) = text.rfind('/') {
            found.push(format!("{}{slash}{}", &text[..index], &text[index + 1..]));
        }
    }
    let swapped: String =
        before.chars().chain(after.chars().take(1).map(swap_case)).chain(after.chars().skip(1)).collect();
    // Case is part of a ref's and of a delta's name, but never a second spelling of another kind of path.
    if swapped != text && !text.starts_with("refs/") && !text.starts_with("delta") {
        found.push(swapped);
    }
    found
}

fn swap_case(character: char) -> char {
    if character.is_ascii_uppercase() {
        character.to_ascii_lowercase()
    } else {
        character.to_ascii_uppercase()
    }
}

#[test]
fn no_other_spelling_of_a_path_parses() {
    for (text, _) in known() {
        for at in 0..text.len() {
            for trick in tricks(&text, at) {
                // A dot-dot or an escape in the middle of a path never makes another path either.
                assert_eq!(RepoPath::parse(&trick), None, "{trick:?}");
            }
        }
    }
}

fn any_path() -> impl Strategy<Value = RepoPath> {
    let sum = || any::<[u8; 32]>().prop_map(Checksum::from_bytes);
    let fragment = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}";
    let name = move || {
        prop::collection::vec(fragment, 1..5).prop_map(|fragments| fragments.join("/").into_boxed_str())
    };
    let file = prop_oneof![Just(DeltaFile::Superblock), any::<u32>().prop_map(DeltaFile::Part)];
    prop_oneof![
        sum().prop_map(RepoPath::SummaryIdxSigOf),
        sum().prop_map(RepoPath::SubSummary),
        (sum(), sum()).prop_map(|(from, to)| RepoPath::SubSummaryDelta { from, to }),
        name().prop_map(|name| RepoPath::Ref(RefPath::Head(name))),
        (fragment, name()).prop_map(|(collection, name)| RepoPath::Ref(RefPath::Mirror {
            collection: collection.into(),
            name
        })),
        (sum(), prop::sample::select(&ObjectKind::ALL))
            .prop_map(|(checksum, kind)| RepoPath::Object { checksum, kind }),
        (prop::option::of(sum()), sum(), file).prop_map(|(from, to, file)| RepoPath::Delta {
            from,
            to,
            file
        }),
        sum().prop_map(|to| RepoPath::DeltaIndex { to }),
    ]
}

proptest! {
    #[test]
    fn a_typed_path_survives_being_written_and_parsed(path in any_path()) {
        prop_assert_eq!(RepoPath::parse(&path.relative_path()), Some(path));
    }

    #[test]
    fn whatever_parses_is_its_own_file_name(
        start in any_path(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[./%a-fA-F0-9_+-]|\\PC"), 0..4),
    ) {
        let mut text = start.relative_path();
        for (at, piece) in edits {
            let at = at.index(text.len() + 1);
            if text.is_char_boundary(at) {
                text.insert_str(at, &piece);
            }
        }
        if let Some(path) = RepoPath::parse(&text) {
            prop_assert_eq!(path.relative_path(), text.as_str());
            let safe = |part: &str| !part.is_empty() && !part.starts_with('.');
            prop_assert!(text.split('/').all(safe), "{}", text);
        }
    }

    #[test]
    fn a_checksum_survives_both_notations(bytes in any::<[u8; 32]>()) {
        let checksum = Checksum::from_bytes(bytes);
        prop_assert_eq!(Checksum::from_hex(&checksum.to_hex()), Ok(checksum));
        prop_assert_eq!(Checksum::from_delta_base64(&checksum.to_delta_base64()), Ok(checksum));
    }
}
