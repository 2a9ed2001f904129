//! The options for flat-manager of `flatpass repo set`, and its tokens in `flatpass token inspect`.

use std::fs;

use flatpass_token::SharedSecret;
use serde_json::json;

use crate::cli_scene::{Repository, Shop};

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=";

#[test]
fn a_repo_is_given_to_flat_manager_with_a_secret_that_no_output_repeats() {
    let (shop, repository) = (Shop::new(), Repository::new());
    shop.run(&["repo", "add", "apps", repository.path()]).ok();
    let file = |name: &str, text: &str| {
        let path = shop.folder().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let set = |options: &[&str]| shop.run(&[&["--json", "repo", "set", "apps"], options].concat());
    let without = set(&["--tokens", "flat-manager"]);
    assert!(without.code != 0 && without.stderr.contains("--flat-manager-secret-file"), "{}", without.stderr);
    for (text, told) in [
        ("c2VjcmV0", "can be guessed"),
        ("no base64!", "not base64"),
        ("-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n", "another kind"),
    ] {
        let refused = set(&["--flat-manager-secret-file", &file("weak", text)]);
        assert!(refused.code != 0 && refused.stderr.contains(told), "{}", refused.stderr);
        assert!(refused.stderr.contains("openssl rand"), "{}", refused.stderr);
    }
    for url in
        ["http://fm.example/", "ftp://fm.example/", "https://user:pw@fm.example/", "https://fm.example/?x"]
    {
        assert_ne!(set(&["--flat-manager-url", url]).code, 0, "{url}");
    }
    let secret = file("secret", &format!("{SECRET}\n"));
    let done = set(&[
        "--tokens",
        "flat-manager",
        "--flat-manager-secret-file",
        &secret,
        "--flat-manager-repo",
        "stable",
        "--flat-manager-url",
        "http://127.0.0.1:8080/",
        "--update-token-secret-file",
        &secret,
    ])
    .ok();
    assert!(!done.stdout.contains("MDEy") && !done.stderr.contains("MDEy"));
    let expected =
        json!({ "repo": "stable", "url": "http://127.0.0.1:8080", "secrets": 1, "update_token_secrets": 1 });
    assert_eq!((&done.json()["flat_manager"], &done.json()["tokens"]), (&expected, &json!("flat-manager")));
    let off = set(&["--no-update-tokens", "--no-flat-manager-url", "--end-old-secrets"]).ok();
    let expected = json!({ "repo": "stable", "url": null, "secrets": 1, "update_token_secrets": 0 });
    assert_eq!(off.json()["flat_manager"], expected);

    let now = flatpass_gate::Clock::system().now().unix();
    let claims = json!({
        "sub": "ann", "exp": now.0 + 600, "scope": ["download"], "repos": ["stable"], "apps": ["org.test.Paid"],
    });
    let inspect =
        |secret: &SharedSecret| shop.run_with(&["token", "inspect"], &secret.sign(&claims).unwrap());
    let known = inspect(&SharedSecret::from_base64(SECRET).unwrap()).ok();
    assert!(
        known.stdout.contains("for the repo apps") && known.stdout.contains("org.test.Paid"),
        "{}",
        known.stdout
    );
    let other = inspect(&SharedSecret::from_bytes(vec![1; 32].into()).unwrap());
    assert_eq!(other.code, 3, "{}", other.stdout);
    shop.run(&["repo", "add", "images", "oci://registry.example/shop"]).ok();
    let images = shop.run(&["repo", "set", "images", "--flat-manager-repo", "stable"]);
    assert!(images.code != 0 && images.stderr.contains("OSTree"), "{}", images.stderr);
}
