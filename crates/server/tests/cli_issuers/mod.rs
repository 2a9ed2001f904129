//! `flatpass issuer`, `flatpass repo set --tokens` and `flatpass robot introspect`, as people and scripts run them.

use std::fs;

use crate::cli_scene::{Repository, Shop};
use serde_json::json;

#[test]
fn an_issuer_is_added_mapped_used_and_removed_and_each_mistake_names_the_next_step() {
    let shop = Shop::new();
    let repository = Repository::new();
    shop.run(&["repo", "add", "apps", repository.path()]).ok();
    assert_eq!(shop.run(&["--json", "repo", "list"]).ok().json()[0]["tokens"], "jwt");
    let refused = shop.run(&["repo", "set", "apps", "--tokens", "issuer:acme"]);
    assert!(refused.code == 1 && refused.stderr.contains("flatpass issuer add NAME"), "{}", refused.stderr);
    for wrong in ["jwts", "issuer", "issuer:", "issuer:A B", "opaque:x", ""] {
        assert_eq!(shop.run(&["repo", "set", "apps", "--tokens", wrong]).code, 2, "{wrong}");
    }

    let issuer = "https://login.acme.example/realms/staff";
    for (wrong, said) in [
        (vec!["--issuer", "http://login.acme.example"], "over an open network"),
        (vec!["--issuer", "login.acme.example"], "is not a URL"),
        (vec!["--issuer", "https://a:b@login.acme.example"], "has a user"),
        (vec!["--issuer", issuer, "--jwks", "http://keys.acme.example"], "--jwks"),
        (vec!["--issuer", issuer, "--audience", ""], "must not be empty"),
    ] {
        let refused = shop.run(&[vec!["issuer", "add", "acme"], wrong].concat());
        assert!(refused.code != 0 && refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    for wrong in [
        vec!["--issuer", issuer, "--introspection", "https://login.acme.example/i"],
        vec!["--issuer", issuer, "--any-audience"],
        vec!["--issuer", issuer, "--client-id", "x"],
    ] {
        assert_eq!(shop.run(&[vec!["issuer", "add", "acme"], wrong].concat()).code, 2);
    }
    let added = shop.run(&["issuer", "add", "acme", "--issuer", issuer, "--audience", "flatpak"]).ok();
    assert!(added.stdout.contains("open nothing yet"), "{}", added.stdout);
    let twice = shop.run(&["issuer", "add", "acme", "--issuer", issuer]);
    assert!(twice.code == 1 && twice.stderr.contains("flatpass issuer remove acme"), "{}", twice.stderr);

    let map = |more: &[&str]| shop.run(&[&["--json", "issuer", "map", "acme"], more].concat());
    for wrong in [
        &["--claim", "groups", "--prefix", "com.acme"][..],
        &["--claim", "groups", "--value", "x"],
        &["--everyone", "--claim", "groups", "--value", "x", "--prefix", "com.acme"],
        &["--prefix", "com.acme"],
        &["--everyone", "--ids", "com.acme.*"],
        &["--everyone", "--prefix", "com.acme.*"],
        &["--everyone", "--prefix", ""],
        &["--claim", "a..b", "--value", "x", "--prefix", "com.acme"],
        &["--everyone", "--prefix", "com.acme", "--verb", "fly"],
    ] {
        assert_eq!(map(wrong).code, 2, "{wrong:?}");
    }
    assert_eq!(map(&["--everyone", "--prefix", "com.acme", "--repo", "nothing"]).code, 1);
    assert_eq!(map(&["--everyone", "--prefix", "com.acme", "--branch", "a/b"]).code, 1);
    let rule =
        map(&["--claim", "groups", "--value", "engineering", "--ids", "com.acme.Tool", "--branch", "beta"]);
    let rule = rule.ok().json();
    assert_eq!(rule["claim"], json!({ "path": "groups", "value": "engineering" }));
    assert_eq!(rule["grant"]["actions"], json!(["list", "download", "upgrade"]));
    map(&["--everyone", "--prefix", "*", "--verb", "list", "--repo", "apps"]).ok();
    let told = shop.run(&["repo", "set", "apps", "--tokens", "issuer:acme"]).ok();
    assert!(told.stdout.contains("flatpass issuer show acme"), "{}", told.stdout);
    let shown = shop.run(&["issuer", "show", "acme"]).ok().stdout;
    for words in [issuer, "flatpak", "groups: engineering", "com.acme.Tool", "beta", "everyone", "apps"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let used = shop.run(&["issuer", "remove", "acme"]);
    assert!(used.code == 1 && used.stderr.contains("flatpass repo set apps --tokens jwt"), "{}", used.stderr);
    shop.run(&["issuer", "unmap", "acme", rule["id"].as_str().unwrap()]).ok();
    // Nobody is there to be asked for keys.
    shop.run(&["issuer", "add", "here", "--issuer", "http://127.0.0.1:9"]).ok();
    shop.run(&["repo", "set", "apps", "--tokens", "issuer:here"]).ok();
    let checked = shop.run(&["--json", "repo", "check", "apps"]);
    let codes: Vec<_> =
        checked.json()["findings"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert_eq!(checked.code, 3);
    for code in ["issuer-away", "issuer-without-rules"] {
        assert!(codes.contains(&json!(code)), "{codes:?}");
    }
    assert_eq!(shop.run(&["issuer", "unmap", "acme", "rul_none"]).code, 1);
    shop.run(&["repo", "set", "apps", "--tokens", "opaque"]).ok();
    let listed = shop.run(&["--json", "repo", "list"]).ok().json();
    assert_eq!(
        (&listed[0]["tokens"], &listed[0]["former_tokens"]["tokens"]),
        (&json!("opaque"), &json!("issuer:here"))
    );
    shop.run(&["issuer", "remove", "acme"]).ok();
    assert_eq!(shop.run(&["issuer", "show", "acme"]).code, 1);
}

#[test]
fn the_secret_for_introspection_is_read_from_a_file_and_kept_sealed() {
    let shop = Shop::new();
    let (good, empty) = (shop.folder().join("secret.txt"), shop.folder().join("empty.txt"));
    fs::write(&good, "a very secret word\n").unwrap();
    fs::write(&empty, "\n").unwrap();
    let add = |file: &std::path::Path| {
        shop.run(&[
            "issuer",
            "add",
            "acme",
            "--issuer",
            "https://login.acme.example",
            "--introspection",
            "https://login.acme.example/i",
            "--client-id",
            "shop",
            "--client-secret-file",
            file.to_str().unwrap(),
        ])
    };
    for bad in [&empty, &shop.folder().join("none.txt")] {
        let refused = add(bad);
        assert!(refused.code == 1 && refused.stderr.contains("on one line"), "{}", refused.stderr);
    }
    add(&good).ok();
    let listed = shop.run(&["--json", "issuer", "list"]).ok();
    assert!(!listed.stdout.contains("very secret"));
    assert_eq!(listed.json()[0]["introspection"]["client_id"], "shop");
    for file in fs::read_dir(shop.folder()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() && path != good {
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(11).any(|window| window == b"very secret"), "{}", path.display());
        }
    }
    shop.run(&[
        "issuer",
        "set",
        "acme",
        "--client-secret-file",
        good.to_str().unwrap(),
        "--client-id",
        "other",
    ])
    .ok();
    assert_eq!(shop.run(&["--json", "issuer", "list"]).ok().json()[0]["introspection"]["client_id"], "other");
    // Nobody is there to be asked.
    shop.run(&["issuer", "add", "here", "--issuer", "http://127.0.0.1:9"]).ok();
    let checked = shop.run(&["issuer", "check", "here"]);
    assert!(checked.code == 3 && checked.stdout.contains("cannot be used"), "{}", checked.stdout);
    assert_eq!(shop.run(&["issuer", "set", "here", "--client-secret-file", good.to_str().unwrap()]).code, 1);
}

#[test]
fn a_robot_is_let_to_check_tokens_of_a_repo_and_kept_from_it_again() {
    let shop = Shop::new();
    let repository = Repository::new();
    shop.run(&["repo", "add", "apps", repository.path()]).ok();
    shop.run(&["robot", "add", "gate"]).ok();
    assert_eq!(shop.run(&["robot", "introspect", "gate", "nothing"]).code, 1);
    assert_eq!(shop.run(&["robot", "introspect", "nobody", "apps"]).code, 1);
    shop.run(&["robot", "introspect", "gate", "apps"]).ok();
    assert_eq!(shop.run(&["--json", "robot", "introspect", "gate"]).ok().json(), json!(["apps"]));
    shop.run(&["robot", "introspect", "gate", "apps", "--end"]).ok();
    assert_eq!(shop.run(&["--json", "robot", "introspect", "gate"]).ok().json(), json!([]));
}
