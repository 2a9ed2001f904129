use std::cell::Cell;

use flatpass_token::{Grant, KeySet, RefKind, RefName, SigningKey, Verb, Verifier};
use proptest::prelude::*;

use crate::shop::{NOW, claims, key, target, verifier};

fn allows(grants: Vec<Grant>, verb: Verb, name: &str) -> bool {
    let key = key();
    let token = key.sign(&claims("tok_1", grants)).expect("a token");
    let verified = verifier(KeySet::new().with(&key)).verify(&token, NOW).expect("a good token");
    verified.allows(verb, &target(name))
}

#[test]
fn a_token_for_one_app_does_not_open_another() {
    let grants = vec![Grant::for_ids(&[Verb::Download], ["org.test.Paid"])];
    assert!(allows(grants.clone(), Verb::Download, "app/org.test.Paid/x86_64/stable"));
    for other in [
        "app/org.test.Other/x86_64/stable",
        "app/org.test.Paid2/x86_64/stable",
        "app/org.test.Pai/x86_64/stable",
        "app/org.test.paid/x86_64/stable",
        "app/org.test.Paid.More/x86_64/stable",
        "runtime/org.test.Paid.Locale/x86_64/stable",
        "app/xorg.test.Paid/x86_64/stable",
    ] {
        assert!(!allows(grants.clone(), Verb::Download, other), "{other}");
    }
    for verb in [Verb::Upgrade, Verb::Export, Verb::List] {
        assert!(!allows(grants.clone(), verb, "app/org.test.Paid/x86_64/stable"), "{verb}");
    }
}

#[test]
fn a_token_without_grants_opens_nothing() {
    for grants in [vec![], vec![Grant::default()]] {
        for verb in Verb::ALL {
            assert!(!allows(grants.clone(), verb, "app/org.test.Paid/x86_64/stable"));
        }
    }
}

#[test]
fn a_grant_that_lacks_any_list_allows_nothing_at_all() {
    let full = Grant::for_everything(&[Verb::List]);
    assert!(full.covers_some(Verb::List) && full.covers(Verb::List, &target("app/a.b.C/x/y")));
    assert!(!full.covers_some(Verb::Download));
    let lacking = [
        Grant { actions: vec![], ..full.clone() },
        Grant { prefixes: vec![], ..full.clone() },
        Grant { branches: vec![], ..full.clone() },
        Grant { arches: vec![], ..full.clone() },
        Grant { kinds: Some(vec![]), ..full.clone() },
        Grant { commits: Some(vec![]), ..full },
    ];
    for grant in lacking {
        assert!(!grant.covers_some(Verb::List), "{grant:?}");
        assert!(!grant.covers(Verb::List, &target("app/a.b.C/x/y")), "{grant:?}");
    }
}

#[test]
fn a_grant_with_any_limit_does_not_cover_everything() {
    let full = Grant::for_everything(&[Verb::List]);
    assert!(full.covers_everything(Verb::List) && !full.covers_everything(Verb::Download));
    let limited = [
        Grant { prefixes: vec!["org".into()], ..full.clone() },
        Grant { branches: vec!["stable".into()], ..full.clone() },
        Grant { arches: vec!["x86_64".into()], ..full.clone() },
        Grant { kinds: Some(vec![RefKind::App, RefKind::Runtime]), ..full.clone() },
        Grant { commits: Some(vec!["c1".repeat(32)]), ..full.clone() },
        Grant { made_until: Some(NOW), ..full },
    ];
    for grant in limited {
        assert!(!grant.covers_everything(Verb::List), "{grant:?}");
    }
}

/// Few words, so that they meet often.
fn ids() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["org", "acme", "acmeother"]), 3..5)
        .prop_map(|elements| elements.join("."))
}

fn refs() -> impl Strategy<Value = RefName> {
    let arch = prop::sample::select(vec!["x86_64", "aarch64"]);
    let branch = prop::sample::select(vec!["stable", "beta"]);
    (any::<bool>(), ids(), arch, branch).prop_map(|(app, id, arch, branch)| {
        target(&format!("{}/{id}/{arch}/{branch}", if app { "app" } else { "runtime" }))
    })
}

/// A list that is now and then empty.
fn list<T: Clone + std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(of, 0..7).prop_map(|mut items| {
        items.truncate(3);
        items
    })
}

fn grants() -> impl Strategy<Value = Grant> {
    let words = |words: &'static [&str]| list(prop::sample::select(words).prop_map(str::to_owned));
    let prefixes = ["org", "org.acme", "org.acm", "org.acme.", ".", "", "acme", "org.*", "*", "acmeother"];
    (
        list(prop::sample::select(Verb::ALL.to_vec())),
        list(prop_oneof![ids(), Just("*".to_owned()), Just(String::new())]),
        list(prop_oneof![ids(), prop::sample::select(prefixes.to_vec()).prop_map(str::to_owned)]),
        words(&["stable", "beta", "*", "", "sta*"]),
        words(&["x86_64", "aarch64", "*", ""]),
        prop::option::weighted(0.3, list(prop::sample::select(vec![RefKind::App, RefKind::Runtime]))),
    )
        .prop_map(|(actions, ids, prefixes, branches, arches, kinds)| Grant {
            actions,
            ids,
            prefixes,
            branches,
            arches,
            kinds,
            ..Grant::default()
        })
}

/// The rule as the design says it, written the slow way: element by element.
fn opens(grant: &Grant, verb: Verb, name: &RefName) -> bool {
    let elements = |id: &str| id.split('.').map(str::to_owned).collect::<Vec<_>>();
    let id = elements(name.id());
    let by_id = grant.ids.iter().any(|listed| elements(listed) == id);
    let by_prefix = grant.prefixes.iter().any(|prefix| prefix == "*" || id.starts_with(&elements(prefix)));
    let one_of = |list: &[String], value: &str| list.iter().any(|item| [value, "*"].contains(&item.as_str()));
    grant.actions.contains(&verb)
        && grant.kinds.as_ref().is_none_or(|kinds| kinds.contains(&name.kind()))
        && (by_id || by_prefix)
        && one_of(&grant.branches, name.branch())
        && one_of(&grant.arches, name.arch())
}

fn signed(key: &SigningKey, gate: &Verifier, grants: Vec<Grant>) -> flatpass_token::VerifiedToken {
    let token = key.sign(&claims("tok_1", grants)).expect("a token");
    gate.verify(&token, NOW).expect("a good token")
}

#[test]
fn a_token_opens_exactly_what_its_grants_say() {
    let key = key();
    let gate = verifier(KeySet::new().with(&key));
    // How often each outcome was met, to know that the test means something.
    let (opened, closed) = (Cell::new(0), Cell::new(0));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let strategy = (prop::collection::vec(grants(), 0..4), prop::collection::vec(refs(), 8));
    runner
        .run(&strategy, |(grants, refs)| {
            let verified = signed(&key, &gate, grants.clone());
            prop_assert_eq!(verified.grants(), grants.as_slice());
            for name in &refs {
                for verb in Verb::ALL {
                    let expected = grants.iter().any(|grant| opens(grant, verb, name));
                    let count = if expected { &opened } else { &closed };
                    count.set(count.get() + 1);
                    prop_assert_eq!(verified.allows(verb, name), expected, "{:?} {} {}", grants, verb, name);
                    prop_assert!(!expected || verified.allows_any(verb));
                }
            }
            Ok(())
        })
        .expect("every token opens what it says");
    assert!(opened.get() > 100 && closed.get() > 100, "{opened:?} opened, {closed:?} closed");
}

proptest! {
    #[test]
    fn a_prefix_ends_at_a_dot(prefix in ids(), rest in "[A-Za-z_][A-Za-z0-9_]{0,6}") {
        let grant = Grant {
            actions: vec![Verb::Download],
            prefixes: vec![prefix.clone()],
            branches: vec!["*".into()],
            arches: vec!["*".into()],
            ..Grant::default()
        };
        let covers = |id: &str| grant.covers(Verb::Download, &target(&format!("app/{id}/x86_64/stable")));
        prop_assert!(covers(&prefix));
        let below = format!("{prefix}.{rest}");
        prop_assert!(covers(&below));
        let glued = format!("{prefix}{rest}");
        let dashed = format!("{prefix}-{rest}");
        prop_assert!(!covers(&glued));
        prop_assert!(!covers(&dashed));
    }
}
