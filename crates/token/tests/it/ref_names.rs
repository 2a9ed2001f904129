use std::collections::HashSet;

use flatpass_token::{RefKind, RefName, RefNameError};
use proptest::prelude::*;

/// What libflatpak 1.14.10 accepts (`Flatpak.Ref.parse`).
#[test]
fn names_that_flatpak_accepts_are_read() {
    let longest = format!("app/org.test.{}/x86_64/stable", "x".repeat(255 - "org.test.".len()));
    for text in [
        "app/org.test.Paid/x86_64/stable",
        "runtime/org.test.Paid.Locale/x86_64/stable",
        "runtime/org.freedesktop.Platform.GL.nvidia-550-54/x86_64/1.4",
        "app/_a._b._c/_/_",
        "app/a.b.-/X/-x",
        "app/org.test.a9-9/i386/23.08..",
        "runtime/org.test.Paid/aarch64/1_0-rc.1",
        &longest,
    ] {
        let parsed = RefName::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.to_string(), text);
    }
    let name = RefName::parse("runtime/org.test.Paid.Locale/x86_64/stable").expect("a ref");
    assert_eq!(
        (name.kind(), name.id(), name.arch(), name.branch()),
        (RefKind::Runtime, "org.test.Paid.Locale", "x86_64", "stable")
    );
}

/// And what it does not, plus what cannot be a file in a repo.
#[test]
fn names_that_flatpak_refuses_are_refused_for_what_is_wrong() {
    let too_long = "x".repeat(256 - "org.test.".len());
    let long_id = format!("app/org.test.{too_long}/x86_64/stable");
    let long_branch = format!("app/org.test.Paid/x86_64/{}", "x".repeat(256));
    let long_arch = format!("app/org.test.Paid/{}/stable", "x".repeat(256));
    let cases: &[(RefNameError, &[&str])] = &[
        (
            RefNameError::Kind,
            &[
                "",
                "app",
                "App/org.test.Paid/x86_64/stable",
                " app/org.test.Paid/x86_64/stable",
                "appstream/x86_64",
                "/app/org.test.Paid/x86_64/stable",
            ],
        ),
        (
            RefNameError::Parts,
            &[
                "app/",
                "app/org.test.Paid",
                "app/org.test.Paid/x86_64",
                "app/org.test.Paid/x86_64/stable/",
                "app/org.test.Paid/x86_64/stable/x",
            ],
        ),
        (
            RefNameError::Id,
            &[
                "app//x86_64/stable",
                "app/org/x86_64/stable",
                "app/org.test/x86_64/stable",
                "app/.org.test.Paid/x86_64/stable",
                "app/org.test.Paid./x86_64/stable",
                "app/org..Paid/x86_64/stable",
                "app/org.9test.Paid/x86_64/stable",
                "app/org.test.9/x86_64/stable",
                "app/org.te-st.Paid/x86_64/stable",
                "app/-org.test.Paid/x86_64/stable",
                "app/org.test.Pa id/x86_64/stable",
                "app/org.test.Paü/x86_64/stable",
                "app/org.test.*/x86_64/stable",
                "app/org.test.Paid%2e/x86_64/stable",
                "app/org.test.Paid\0/x86_64/stable",
                "app/../x86_64/stable",
                &long_id,
            ],
        ),
        (
            RefNameError::Arch,
            &[
                "app/org.test.Paid//stable",
                "app/org.test.Paid/x86-64/stable",
                "app/org.test.Paid/*/stable",
                "app/org.test.Paid/../stable",
                &long_arch,
            ],
        ),
        (
            RefNameError::Branch,
            &[
                "app/org.test.Paid/x86_64/",
                "app/org.test.Paid/x86_64/.stable",
                "app/org.test.Paid/x86_64/..",
                "app/org.test.Paid/x86_64/sta+ble",
                "app/org.test.Paid/x86_64/stable\n",
                "app/org.test.Paid/x86_64/*",
                &long_branch,
            ],
        ),
    ];
    for (error, texts) in cases {
        for text in *texts {
            assert_eq!(RefName::parse(text), Err(*error), "{text}");
        }
    }
}

#[test]
fn an_extension_belongs_to_the_app_it_is_named_after() {
    let name = |text| RefName::parse(text).expect("a ref");
    let locale = name("runtime/org.test.Paid.Locale/x86_64/stable");
    assert!(locale.is_extension_of("org.test.Paid"));
    assert!(name("runtime/org.test.Paid.Plugin.More/x86_64/stable").is_extension_of("org.test.Paid"));
    assert!(name("runtime/org.test.Pa_id.Locale/x86_64/stable").is_extension_of("org.test.Pa-id"));
    for other in ["org.test.Pai", "org.test.Paid2", "org.test.paid", "org.test.Paid.Locale", ""] {
        assert!(!locale.is_extension_of(other), "{other}");
    }
    assert!(
        !name("app/org.test.Paid.Locale/x86_64/stable").is_extension_of("org.test.Paid"),
        "an app of its own"
    );
    assert!(!name("runtime/org.test.PaidLocale/x86_64/stable").is_extension_of("org.test.Paid"));
    assert!(!name("runtime/org.test.Paid/x86_64/stable").is_extension_of("org.test.Paid"));
}

/// The rules once more, as regular expressions say them.
fn names() -> impl Strategy<Value = (bool, String, String, String)> {
    let id = "([A-Za-z_][A-Za-z0-9_]{0,9}\\.){2,4}[A-Za-z_-][A-Za-z0-9_-]{0,9}";
    (any::<bool>(), id, "[A-Za-z0-9_]{1,10}", "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,10}")
}

proptest! {
    #[test]
    fn a_name_that_keeps_the_rules_is_read_and_written_the_same((app, id, arch, branch) in names()) {
        let text = format!("{}/{id}/{arch}/{branch}", if app { "app" } else { "runtime" });
        let parsed = RefName::parse(&text).expect("a name by the rules");
        prop_assert_eq!(parsed.to_string(), &*text);
        prop_assert_eq!(parsed.kind() == RefKind::App, app);
        prop_assert_eq!((parsed.id(), parsed.arch(), parsed.branch()), (&*id, &*arch, &*branch));
        prop_assert_eq!(&text.parse::<RefName>().expect("the same"), &parsed);
        let json = serde_json::to_string(&parsed).expect("JSON");
        prop_assert_eq!(&serde_json::from_str::<RefName>(&json).expect("the same"), &parsed);
        prop_assert!(HashSet::from([parsed.clone()]).contains(&parsed));
    }

    #[test]
    fn whatever_is_read_as_a_name_keeps_the_rules(text in "(app|runtime)/[a-zA-Z0-9._/-]{0,40}") {
        if let Ok(parsed) = RefName::parse(&text) {
            prop_assert_eq!(parsed.to_string(), &*text);
            let elements: Vec<_> = parsed.id().split('.').collect();
            prop_assert!(elements.len() >= 3);
            for (n, element) in elements.iter().enumerate() {
                prop_assert!(!element.is_empty() && !element.starts_with(|c: char| c.is_ascii_digit()));
                prop_assert!(!element.contains('-') || n == elements.len() - 1);
            }
            prop_assert!(!parsed.branch().is_empty() && !parsed.branch().starts_with('.'));
            prop_assert!(!parsed.arch().is_empty() && !parsed.arch().contains(['-', '.']));
        }
    }
}
