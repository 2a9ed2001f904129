//! The real command `flatpass`, run as people and scripts run it.

mod cli_flat_manager;
mod cli_issuers;
mod cli_scene;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cli_scene::{Repository, Shop};
use serde_json::{Value, json};

#[test]
fn init_makes_a_complete_store_and_never_overwrites_one() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("a shop");
    let init = |arguments: &[&str]| {
        let mut all = vec!["init", place.to_str().unwrap()];
        all.extend(arguments);
        cli_scene::run(&all, "", &[])
    };
    let refused = init(&["--url", "http://shop.example/"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("allow_http"), "{}", refused.stderr);
    assert!(!place.exists(), "a refusal makes nothing");

    // The environment of whoever runs this does not decide where the files of a new store are.
    let done = cli_scene::run(
        &["init", place.to_str().unwrap(), "--url", "https://shop.example", "--name", "A \"shop\"\\"],
        "",
        &[("FLATPASS_DATABASE", "sqlite:/nonexistent/x.db")],
    );
    assert_eq!(done.code, 0, "{}", done.stderr);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place), 0o700);
    assert_eq!(mode(&place.join("secret.key")), 0o600);
    assert_eq!(mode(&place.join("flatpass.db")), 0o600);
    let config = place.join("flatpass.toml");
    let check = cli_scene::run(&["--config", config.to_str().unwrap(), "config", "check"], "", &[]);
    assert_eq!(check.code, 0, "{}", check.stdout);
    let keys =
        cli_scene::run(&["--config", config.to_str().unwrap(), "--json", "key", "list"], "", &[]).json();
    assert_eq!(keys.as_array().unwrap().len(), 1);
    assert_eq!(keys[0]["phase"], "signing");

    let before = fs::read(&config).unwrap();
    for left in ["flatpass.toml", "secret.key", "flatpass.db"] {
        let again = init(&["--url", "https://other.example/"]);
        assert_eq!(again.code, 1);
        assert!(again.stderr.contains("exists already; nothing was changed"), "{}", again.stderr);
        assert_eq!(fs::read(&config).unwrap(), before);
        let _ = left;
    }
    fs::remove_file(&config).unwrap();
    let again = init(&[]);
    assert!(again.stderr.contains("secret.key exists already"), "{}", again.stderr);
    assert!(!config.exists());
}

#[test]
fn exit_codes_tell_success_refusal_misuse_and_found_problems_apart() {
    let shop = Shop::new();
    assert_eq!(shop.run(&["account", "list"]).code, 0);
    let refused = shop.run(&["repo", "remove", "none"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stdout.is_empty());
    assert!(
        refused.stderr.contains("no repo named \"none\"") && refused.stderr.contains("next: "),
        "{}",
        refused.stderr
    );
    let error: Value = serde_json::from_str(&shop.run(&["--json", "repo", "remove", "none"]).stderr).unwrap();
    assert_eq!(error["error"], "there is no repo named \"none\"");
    assert!(error["next"].as_str().unwrap().contains("flatpass repo list"));
    assert_eq!(shop.run(&["repo", "remove"]).code, 2);
    assert_eq!(shop.run(&["repo", "add", "apps", "/srv", "--policy", "closed"]).code, 2);
    assert_eq!(shop.run(&["grant", "a@example.org", "apps", "not an id"]).code, 2);
    fs::write(shop.config(), "url = \"https://shop.example\"\nlisten = \"here\"\n").unwrap();
    let checked = shop.run(&["config", "check"]);
    assert_eq!(checked.code, 3);
    assert!(
        checked.stdout.contains("listen") && checked.stdout.contains("127.0.0.1:8080"),
        "{}",
        checked.stdout
    );
    assert_eq!(
        shop.run(&["account", "list"]).code,
        1,
        "a wrong configuration is a failure of any other command"
    );
}

#[test]
fn every_command_explains_itself() {
    let mut waiting = vec![vec![]];
    let mut seen = 0;
    while let Some(command) = waiting.pop() {
        let mut arguments = command.clone();
        arguments.push("--help");
        let help = cli_scene::run(&arguments, "", &[]);
        assert_eq!(help.code, 0);
        assert!(help.stdout.contains("Usage: flatpass"), "{command:?}");
        seen += 1;
        let commands =
            help.stdout.split("Commands:\n").nth(1).unwrap_or("").split("\n\n").next().unwrap_or("");
        for line in commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let name: &'static str = line.split_whitespace().next().unwrap().to_owned().leak();
            assert!(line.split_whitespace().count() > 2, "a sentence for {name}");
            if name != "help" {
                waiting.push(command.iter().copied().chain([name]).collect());
            }
        }
    }
    assert!(seen >= 25, "{seen} helps");
}

#[test]
fn config_check_names_each_thing_that_keeps_a_store_from_working() {
    let shop = Shop::new();
    let check = || {
        let done = shop.run(&["--json", "config", "check"]);
        let told = done.json();
        assert_eq!(told["ok"] == json!(true), done.code == 0);
        assert!(matches!(done.code, 0 | 3));
        told["problems"].to_string()
    };
    assert_eq!(check(), "[]");
    let key = shop.folder().join("secret.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(check().contains("chmod 600"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let text = fs::read_to_string(&key).unwrap();
    fs::write(&key, format!("{}\n", "A".repeat(43))).unwrap();
    assert!(check().contains("not the one that the database was made with"));
    fs::write(&key, text).unwrap();
    assert_eq!(check(), "[]");

    let database = shop.folder().join("flatpass.db");
    fs::rename(&database, shop.folder().join("elsewhere.db")).unwrap();
    assert!(check().contains("there is no database at"));
    let other = shop.run(&["account", "list"]);
    assert!(other.code == 1 && other.stderr.contains("flatpass init"), "{}", other.stderr);
    assert!(!database.exists(), "no command makes an empty database in place of a lost one");
    let missing = cli_scene::run(&["--config", "/nonexistent.toml", "config", "check"], "", &[]);
    assert_eq!(missing.code, 3);
}

/// Threat 14: what is typed or made must not stand in `ps`, and is shown once.
#[test]
fn a_password_comes_from_standard_input_or_is_made_and_shown_once() {
    let shop = Shop::new();
    let typed = shop.run_with(&["account", "add", " Ann@Example.org"], "correct horse battery\n");
    assert_eq!(typed.code, 0, "{}", typed.stderr);
    assert!(typed.stdout.contains("ann@example.org"));
    assert!(!typed.stdout.contains("correct horse"));
    let again = shop.run_with(&["account", "add", "ann@example.org"], "correct horse battery\n");
    assert!(again.code == 1 && again.stderr.contains("already an account"), "{}", again.stderr);
    let short = shop.run_with(&["account", "add", "bob@example.org"], "short\n");
    assert!(short.code == 1 && short.stderr.contains("8 characters"), "{}", short.stderr);
    let lines = shop.run_with(&["account", "add", "bob@example.org"], "one long line\nanother line\n");
    assert!(lines.code == 1 && lines.stderr.contains("one line"), "{}", lines.stderr);
    let no_address = shop.run_with(&["account", "add", "bob"], "correct horse battery\n");
    assert!(no_address.code == 1 && no_address.stderr.contains("e-mail"), "{}", no_address.stderr);

    let made = shop.run(&["--json", "account", "add", "bob@example.org"]).json();
    let password = made["password"].as_str().unwrap();
    assert!(password.len() >= 20);
    assert_eq!(made["account"]["email"], "bob@example.org");
    let list = shop.run(&["--json", "account", "list"]);
    assert_eq!(list.json().as_array().unwrap().len(), 2);
    assert!(!list.stdout.contains(password) && !list.stdout.contains("argon2"));
    let in_argv = shop.run(&["account", "add", "eve@example.org", "a password here"]);
    assert_eq!(in_argv.code, 2, "there is no argument for it");
    shop.run(&["account", "disable", "bob@example.org"]).ok();
    assert!(shop.run(&["account", "list"]).stdout.contains("disabled"));
}

#[test]
fn on_a_terminal_the_password_is_asked_for_twice_and_not_shown() {
    let shop = Shop::new();
    let command =
        format!("{} --config {} account add ann@example.org", cli_scene::PROGRAM, shop.config().display());
    let on_terminal = |typed: &str| {
        let mut child = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut seen = Vec::new();
        let mut stdout = child.stdout.take().unwrap();
        // Each line is typed when its prompt is there, as a person does.
        for line in typed.lines() {
            let mut byte = [0];
            while !seen.ends_with(b": ") && stdout.read(&mut byte).unwrap() == 1 {
                seen.push(byte[0]);
            }
            seen.push(b'\n');
            // The echo goes off right after the prompt.
            std::thread::sleep(Duration::from_millis(200));
            writeln!(stdin, "{line}").unwrap();
        }
        stdout.read_to_end(&mut seen).unwrap();
        (child.wait().unwrap().code(), String::from_utf8_lossy(&seen).into_owned())
    };
    let (code, shown) = on_terminal("correct horse battery\ncorrect horse batter\n");
    assert!(code == Some(1) && shown.contains("differ"), "{shown}");
    let (code, shown) = on_terminal("correct horse battery\ncorrect horse battery\n");
    assert!(code == Some(0) && shown.contains("Made the account"), "{shown}");
    assert!(!shown.contains("horse"), "{shown}");
}

#[test]
fn repos_are_added_only_when_they_can_be_served() {
    let shop = Shop::new();
    let repository = Repository::new();
    let path = repository.path();
    let added = shop.run(&["--json", "repo", "add", "apps", path]).json();
    assert_eq!(added["url"], "https://shop.example/repo/apps");
    assert_eq!(added["policy"], "refs");
    assert_eq!(added["open_token_types"], json!([0, 1]));
    let twice = shop.run(&["repo", "add", "apps", path]);
    assert!(twice.code == 1 && twice.stderr.contains("flatpass repo remove apps"), "{}", twice.stderr);
    let empty = tempfile::tempdir().unwrap();
    let none = shop.run(&["repo", "add", "other", empty.path().to_str().unwrap()]);
    assert!(none.code == 1 && none.stderr.contains("ostree init --mode=archive-z2"), "{}", none.stderr);
    let bare = empty.path().join("bare");
    cli_scene::tool("ostree", &["init", "--mode=bare-user", &format!("--repo={}", bare.display())]);
    let bare = shop.run(&["repo", "add", "other", bare.to_str().unwrap()]);
    assert!(bare.code == 1 && bare.stderr.contains("pull-local"), "{}", bare.stderr);
    let name = shop.run(&["repo", "add", "Other", path]);
    assert!(name.code == 1 && name.stderr.contains("a-z"), "{}", name.stderr);
    shop.run(&["repo", "add", "internal", path, "--policy", "private", "--url", "https://cdn.example/x"])
        .ok();
    let list = shop.run(&["--json", "repo", "list"]).json();
    assert_eq!(
        list.as_array().unwrap().iter().map(|repo| &repo["name"]).collect::<Vec<_>>(),
        ["apps", "internal"]
    );
    shop.run(&["repo", "remove", "internal"]).ok();
    assert_eq!(shop.run(&["repo", "list"]).stdout.lines().count(), 2);
}

#[test]
fn a_repo_is_checked_until_it_is_well_and_each_mend_is_a_command_that_works() {
    let shop = Shop::new();
    let repository = Repository::new();
    shop.run(&["repo", "add", "apps", repository.path()]).ok();
    let check = || {
        let done = shop.run(&["--json", "repo", "check", "apps"]);
        let told = done.json();
        assert_eq!(done.code, if told["ok"] == json!(true) { 0 } else { 3 });
        told["findings"].as_array().unwrap().clone()
    };
    let codes = |findings: &[Value]| {
        let mut codes: Vec<_> = findings.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect();
        codes.dedup();
        codes
    };
    // Runs the commands of the first finding with this code, as they are printed.
    let mend = |code: &str| {
        let findings = check();
        let found = findings
            .iter()
            .find(|one| one["code"] == code)
            .unwrap_or_else(|| panic!("no {code}: {findings:?}"));
        for command in found["mend"].as_array().unwrap() {
            repository.shell(&shop, &command.as_str().unwrap().replace("KEY-ID", repository.key_id()));
        }
    };
    assert_eq!(codes(&check()), ["empty", "no-summary"]);
    repository.export("org.test.Free", None);
    repository.export("org.test.Paid", None);
    repository.export_locale("org.test.Paid");
    assert_eq!(codes(&check()), ["no-summary", "unsigned-commit"]);
    mend("no-summary");
    assert_eq!(codes(&check()), ["unsigned-summary", "unsigned-commit"]);
    mend("unsigned-summary");
    mend("unsigned-commit");
    assert_eq!(check(), Vec::<Value>::new(), "a free repo needs no authenticator");

    shop.run(&["app", "price", "apps", "org.test.Paid", "5.00", "EUR"]).ok();
    let findings = check();
    assert_eq!(codes(&findings), ["priced-without-token-type", "no-authenticator"]);
    let named: Vec<_> = findings.iter().map(|one| one["what"].as_str().unwrap()).collect();
    assert!(
        named[0].contains("app/org.test.Paid/") && named[1].contains("runtime/org.test.Paid.Locale/"),
        "{named:?}"
    );
    mend("priced-without-token-type");
    let findings = check();
    assert_eq!(codes(&findings)[0], "priced-without-token-type", "the .Locale is left");
    assert!(findings[0]["what"].as_str().unwrap().contains(".Locale"));
    mend("priced-without-token-type");
    mend("no-authenticator");
    mend("unsigned-summary");
    mend("unsigned-commit");
    assert_eq!(check(), Vec::<Value>::new());

    // What may go wrong later.
    repository.export("org.test.Free", None);
    assert_eq!(codes(&check()), ["stale-summary", "unsigned-commit"]);
    repository.flatpak(&[
        "build-update-repo",
        "--authenticator-option=url=https://other.example/",
        repository.path(),
    ]);
    assert!(codes(&check()).contains(&"other-authenticator-url".to_owned()));
    mend("other-authenticator-url");
    repository.flatpak(&["build-update-repo", "--redirect-url=https://new.example/", repository.path()]);
    let redirected = check();
    assert!(
        redirected.iter().any(|one| one["code"] == "redirect-url" && one["weight"] == "note"),
        "{redirected:?}"
    );
    mend("redirect-url");
    repository.export("org.test.Dear", Some(2));
    repository.flatpak(&["build-update-repo", repository.path()]);
    mend("no-price");
    shop.run(&["app", "price", "apps", "org.test.Gone", "5.00", "EUR"]).ok();
    mend("priced-not-published");
    mend("unsigned-commit");
    assert_eq!(check(), Vec::<Value>::new());
    assert!(shop.run(&["repo", "check", "apps"]).stdout.contains("all is well"));

    fs::remove_dir_all(repository.path()).unwrap();
    assert_eq!(codes(&check()), ["not-a-repository"]);
}

#[test]
fn the_extension_of_an_app_that_needs_a_token_must_need_one_too() {
    let shop = Shop::new();
    let repository = Repository::new();
    repository.export("org.test.Given", Some(3));
    repository.export_locale("org.test.Given");
    repository.flatpak(&["build-update-repo", repository.path()]);
    shop.run(&["repo", "add", "apps", repository.path()]).ok();
    let checked = shop.run(&["repo", "check", "apps"]);
    assert_eq!(checked.code, 3);
    assert!(
        checked.stdout.contains("org.test.Given.Locale") && checked.stdout.contains("--token-type=3"),
        "{}",
        checked.stdout
    );
    // A private repo with a redirect locks its clients out.
    repository.flatpak(&["build-update-repo", "--redirect-url=https://new.example/", repository.path()]);
    shop.run(&["repo", "add", "internal", repository.path(), "--policy", "private"]).ok();
    let findings = shop.run(&["--json", "repo", "check", "internal"]).json()["findings"].clone();
    let redirect = findings.as_array().unwrap().iter().find(|one| one["code"] == "redirect-url").unwrap();
    assert_eq!(redirect["weight"], "problem");
}

#[test]
fn the_key_that_signs_indexes_is_in_the_files_for_clients_unless_another_is_given() {
    use base64::Engine as _;
    let shop = Shop::new();
    let repository = Repository::new();
    let [secret, public] = ["secret", "public"].map(|name| shop.folder().join(name).display().to_string());
    let id = repository.key_id();
    repository.shell(&shop, &format!("gpg --batch --export-secret-keys {id} > '{secret}'"));
    repository.shell(&shop, &format!("gpg --export {id} > '{public}'"));
    let of_public = base64::engine::general_purpose::STANDARD.encode(fs::read(&public).unwrap());
    let added = ["--json", "repo", "add", "internal", repository.path(), "--policy", "private"];
    let added = shop.run(&[&added[..], &["--signing-key", &secret]].concat()).json();
    assert_eq!(added["gpg_key"], json!(of_public));
    let set = |arguments: &[&str]| {
        shop.run(&[&["--json", "repo", "set", "internal"], arguments].concat()).json()["gpg_key"].clone()
    };
    assert_eq!(set(&["--no-gpg-key"]), Value::Null);
    assert_eq!(set(&["--no-gpg-key", "--signing-key", &secret]), Value::Null);
    assert_eq!(set(&["--gpg-key", &public]), json!(of_public));
    let mistaken = shop.run(&["repo", "set", "internal", "--gpg-key", &secret]);
    assert!(mistaken.code == 1 && mistaken.stderr.contains("secret key"), "{}", mistaken.stderr);
    // What cannot make an index for each person is told, and changes nothing.
    let now = shop.run(&["--json", "repo", "set", "internal", "--signing-key", &secret]).json();
    let fingerprint = now["signing_key"].as_str().unwrap();
    assert!(now["per_person_index"] == json!(true) && fingerprint.len() == 40, "{now}");
    for (wrong, why) in [(public.as_str(), "not an exported OpenPGP secret key"), ("/no/such", "cannot read")]
    {
        let refused = shop.run(&["repo", "set", "internal", "--signing-key", wrong]);
        assert!(refused.code == 1 && refused.stderr.contains(why), "{}", refused.stderr);
    }
    shop.run(&["repo", "add", "apps", repository.path()]).ok();
    let open = shop.run(&["repo", "set", "apps", "--per-person-index"]);
    assert!(open.code == 1 && open.stderr.contains("the index is public"), "{}", open.stderr);
    assert_eq!(shop.run(&["repo", "set", "internal"]).code, 2, "nothing to change is named");
    assert_eq!(shop.run(&["repo", "set", "internal", "--one-index", "--per-person-index"]).code, 2);
    let finds = |code: &str| {
        let findings = shop.run(&["--json", "repo", "check", "internal"]).json()["findings"].clone();
        findings.as_array().unwrap().iter().any(|one| one["code"] == code)
    };
    assert!(!finds("one-index"));
    // Clients refuse what a key signs that has ended, so both halves are looked at.
    let ends = ["signing-key-expired", "published-key-expired", "signing-key-ends", "published-key-ends"];
    assert_eq!(ends.map(&finds), [false; 4], "it never ends");
    for (name, time, life, found) in [
        ("old", "--faked-system-time 1600000000!", "1y", [true, true, false, false]),
        ("late", "", "seconds=864000", [false, false, true, true]),
        ("young", "", "1y", [false; 4]),
    ] {
        repository.shell(
            &shop,
            &format!(
                "gpg --batch {time} --passphrase '' --quick-gen-key {name}@example.org ed25519 sign {life} &&
                 gpg --batch --export-secret-keys {name}@example.org > '{secret}'"
            ),
        );
        shop.run(&["repo", "set", "internal", "--signing-key", &secret]).ok();
        repository.shell(&shop, &format!("gpg --export {name}@example.org > '{public}'"));
        shop.run(&["repo", "set", "internal", "--gpg-key", &public]).ok();
        assert_eq!(ends.map(&finds), found, "{name}");
    }
    shop.run(&["repo", "set", "internal", "--one-index"]).ok();
    assert!(finds("one-index"));
}

/// The files that add it cannot name the store: only the summary can.
#[test]
fn the_summary_of_a_private_repo_must_name_the_authenticator_and_the_store() {
    let shop = Shop::new();
    let repository = Repository::new();
    repository.export("org.test.Free", None);
    repository.flatpak(&["build-update-repo", repository.path()]);
    shop.run(&["repo", "add", "apps", repository.path()]).ok();
    shop.run(&["repo", "add", "internal", repository.path(), "--policy", "private"]).ok();
    let finds = |repo: &str| {
        let findings = shop.run(&["--json", "repo", "check", repo]).json()["findings"].clone();
        let mut findings = findings.as_array().unwrap().clone();
        findings.retain(|one| one["code"] == "no-authenticator");
        findings
    };
    assert_eq!(finds("apps"), Vec::<Value>::new(), "nothing in it needs a token");
    let found = finds("internal").remove(0);
    assert_eq!(found["weight"], "problem");
    repository.shell(&shop, found["mend"][0].as_str().unwrap());
    assert_eq!(finds("internal"), Vec::<Value>::new());
}

#[test]
fn prices_rights_and_access_tokens_are_given_listed_and_taken_away() {
    let shop = Shop::new();
    let repository = Repository::new();
    repository.export("org.test.Paid", Some(2));
    shop.run(&["repo", "add", "apps", repository.path()]).ok();
    let price =
        shop.run(&["--json", "app", "price", "apps", "org.test.Paid", "5", "eur", "--title", "Paid"]).json();
    assert_eq!(price["price"], json!({ "minor": 500, "currency": "EUR" }));
    assert_eq!(price["page"], "https://shop.example/apps/apps/org.test.Paid");
    shop.run(&["app", "price", "apps", "org.test.Paid", "7.50", "EUR"]).ok();
    let listed = shop.run(&["app", "list"]).stdout;
    assert!(listed.contains("7.50 EUR") && listed.contains("Paid"), "the title stays: {listed}");
    for wrong in [["5,00", "EUR"], ["0", "EUR"], ["5.001", "EUR"], ["5", "EUD"]] {
        assert_eq!(
            shop.run(&["app", "price", "apps", "org.test.Paid", wrong[0], wrong[1]]).code,
            1,
            "{wrong:?}"
        );
    }

    shop.run_with(&["account", "add", "ann@example.org"], "correct horse battery\n").ok();
    let given = shop
        .run(&["--json", "grant", "ann@example.org", "apps", "org.test.Paid", "--until", "2099-12-31"])
        .json();
    assert_eq!(given["ends_at"], 4_102_444_800i64);
    let again = shop
        .run(&["--json", "grant", "ann@example.org", "apps", "org.test.Paid", "--until", "2099-12-31"])
        .json();
    assert_eq!(again["id"], given["id"], "the same is not given twice");
    let typo = shop.run(&["grant", "ann@example.org", "apps", "org.test.Piad"]);
    assert!(typo.code == 0 && typo.stdout.contains("spelled right"), "{}", typo.stdout);
    assert_eq!(
        shop.run(&["grant", "ann@example.org", "apps", "org.test.Paid", "--until", "2001-01-01"]).code,
        1
    );
    let nobody = shop.run(&["grant", "eve@example.org", "apps", "org.test.Paid"]);
    assert!(
        nobody.code == 1 && nobody.stderr.contains("flatpass account add eve@example.org"),
        "{}",
        nobody.stderr
    );

    let wrong = shop.run(&["revoke", "ann@example.org", "apps", "org.test.*"]);
    assert!(wrong.code == 1 && wrong.stderr.contains("org.test.Paid"), "{}", wrong.stderr);
    let revoked = shop.run(&["--json", "revoke", "ann@example.org", "apps", "org.test.Paid"]).json();
    assert_eq!(revoked["revoked"][0]["id"], given["id"]);
    assert_eq!(shop.run(&["revoke", "ann@example.org", "apps", "org.test.Paid"]).code, 1);

    // Threat 14: no command that is advised has a secret among its arguments.
    let advised = shop.run(&["access-token", "add", "ann@example.org", "apps", "--name", "x"]).stdout;
    let id = advised.split_whitespace().nth(1).unwrap();
    let rotated = shop.run(&["access-token", "rotate", id]).stdout;
    for text in [&advised, &rotated] {
        let mut commands = text.lines().map(str::trim).filter(|line| line.starts_with("flatpa")).peekable();
        assert!(commands.peek().is_some() && commands.all(|line| !line.contains("fpt_")), "{text}");
    }
    shop.run(&["access-token", "revoke", id]).ok();
    let made =
        shop.run(&["--json", "access-token", "add", "ann@example.org", "apps", "--name", "laptop"]).json();
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(made["url"], format!("https://device:{secret}@shop.example/repo/apps"));
    let inspected = shop.run_with(&["--json", "token", "inspect"], secret);
    assert_eq!((inspected.code, &inspected.json()["repo"]), (0, &json!("apps")));
    let list = shop.run(&["--json", "access-token", "list", "ann@example.org"]);
    assert_eq!(list.json()[0]["name"], "laptop");
    assert!(!list.stdout.contains(secret), "shown once");
    let id = made["token"]["id"].as_str().unwrap();
    let rotated = shop.run(&["--json", "access-token", "rotate", id]).json();
    assert_ne!(rotated["secret"], made["secret"]);
    shop.run(&["access-token", "revoke", id]).ok();
    assert_eq!(shop.run(&["access-token", "rotate", id]).code, 1);
    assert_eq!(shop.run(&["access-token", "revoke", id]).code, 1);
    assert_eq!(shop.run_with(&["token", "inspect"], secret).code, 3);
    assert_eq!(shop.run(&["--json", "access-token", "list"]).json(), json!([]));

    // What is made to push is for a registry that takes it, and a certificate's access token ends with it.
    let add = ["--json", "access-token", "add", "ann@example.org", "apps", "--name", "x"];
    let push = shop.run(&[&add[..], &["--push"]].concat());
    assert!(push.code == 1 && push.stderr.contains("container registry"), "{}", push.stderr);
    let file = shop.folder().join("client.cert");
    let with_certificate = |year: i32, options: &[&str]| {
        let mut params = rcgen::CertificateParams::new(vec!["ann".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 6, 30);
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        fs::write(&file, made.pem()).unwrap();
        shop.run(&[&add[..], &["--certificate", file.to_str().unwrap()], options].concat())
    };
    let ended = with_certificate(2003, &[]);
    assert!(ended.code == 1 && ended.stderr.contains("has ended"), "{}", ended.stderr);
    let end = json!(4_086_460_800_i64);
    assert_eq!(with_certificate(2099, &[]).json()["token"]["expires_at"], end);
    assert_eq!(with_certificate(2099, &["--until", "2100-01-01"]).json()["token"]["expires_at"], end);
    let sooner = with_certificate(2099, &["--until", "2098-01-01T00:00:00Z"]).json();
    assert_eq!(sooner["token"]["expires_at"], json!(4_039_372_800_i64));
}

#[test]
fn robots_get_secrets_that_are_shown_once_or_written_to_a_file_for_its_owner_only() {
    let shop = Shop::new();
    let repository = Repository::new();
    shop.run(&["repo", "add", "apps", repository.path()]).ok();
    let robot = shop.run(&["--json", "robot", "add", "kiosks"]).json();
    assert_eq!(robot["email"], "robot/kiosks");
    assert_eq!(shop.run(&["robot", "add", "kiosks"]).code, 1);
    shop.run(&["grant", "robot/kiosks", "apps", "*"]).ok();
    let unknown = shop.run(&["grant", "robot/nobody", "apps", "*"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("flatpass robot add nobody"), "{}", unknown.stderr);

    let made = shop.run(&["--json", "robot", "secret", "kiosks", "--name", "lobby"]).json();
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("fpk_"), "{made}");
    let out = shop.folder().join("robot.toml");
    let out = out.to_str().unwrap();
    let quiet = shop.run(&["robot", "secret", "kiosks", "--out", out]).ok();
    let file = fs::read_to_string(out).unwrap();
    let id = robot["id"].as_str().unwrap();
    assert!(
        file.starts_with(&format!(
            "store = \"https://shop.example/\"\nclient_id = \"{id}\"\nclient_secret = \"fpk_"
        )),
        "{file}"
    );
    let written = file.split("fpk_").nth(1).unwrap().split('"').next().unwrap();
    assert!(!quiet.stdout.contains(written));
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(out).unwrap().permissions().mode() & 0o777, 0o600);
    // What is there is not overwritten, and no secret is made that nobody has.
    assert_eq!(shop.run(&["robot", "secret", "kiosks", "--out", out]).code, 1);
    let list = shop.run(&["--json", "robot", "list"]);
    assert!(!list.stdout.contains(written) && !list.stdout.contains(secret), "shown once");
    assert_eq!(list.json()[0]["secrets"].as_array().unwrap().len(), 2);

    let secret_id = made["made"]["id"].as_str().unwrap();
    shop.run(&["robot", "revoke", "kiosks", secret_id]).ok();
    assert_eq!(shop.run(&["robot", "revoke", "kiosks", secret_id]).code, 1);
    shop.run(&["robot", "remove", "kiosks"]).ok();
    assert_eq!(shop.run(&["--json", "robot", "list"]).json(), json!([]));
    assert_eq!(shop.run(&["robot", "secret", "kiosks"]).code, 1);
}

#[test]
fn a_token_is_taken_apart_without_being_trusted() {
    let shop = Shop::new();
    let repository = Repository::new();
    shop.run(&["repo", "add", "apps", repository.path()]).ok();
    let token = shop.sign("https://shop.example/repo/apps", "org.test.Paid", 3600);
    let good = shop.run_with(&["--json", "token", "inspect"], &token);
    assert_eq!((good.code, &good.json()["repo"]), (0, &json!("apps")), "{}", good.stdout);
    assert_eq!(good.json()["claims"]["sub"], "acc_test");
    let text = shop.run_with(&["token", "inspect", "-"], &token).stdout;
    assert!(text.contains("download: org.test.Paid") && text.contains("accepted"), "{text}");

    let (message, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{message}.{other}{}", &signature[1..]);
    for (what, token) in [
        ("signature", forged.as_str()),
        ("expired", &shop.sign("https://shop.example/repo/apps", "org.test.Paid", -3600)),
        ("does not have", &shop.sign("https://shop.example/repo/other", "org.test.Paid", 3600)),
        ("not a token of this store", "garbage"),
        ("not a token of this store", ""),
        ("not known", "fpt_00000000000000000000000000000000"),
        ("not known", "fpa_00000000000000000000000000000000"),
    ] {
        let refused = shop.run_with(&["token", "inspect"], token);
        assert_eq!(refused.code, 3, "{what}");
        assert!(
            refused.stdout.starts_with("refused") && refused.stdout.contains(what),
            "{what}: {}",
            refused.stdout
        );
        let told = shop.run_with(&["--json", "token", "inspect"], token).json();
        assert_eq!(told["accepted"], false);
    }
    // A stolen key: nothing that it signed counts any more.
    shop.run(&["key", "rotate", "--at-once"]).ok();
    let after = shop.run_with(&["token", "inspect"], &token);
    assert!(after.code == 3 && after.stdout.contains("key that is not known"), "{}", after.stdout);
}

#[test]
fn keys_rotate_with_an_overlap_and_one_rotation_at_a_time() {
    let shop = Shop::new();
    let new = shop.run(&["--json", "key", "rotate"]).json();
    assert_eq!(new["phase"], "published");
    let wait = new["active_from"].as_i64().unwrap() - new["created_at"].as_i64().unwrap();
    assert!(wait >= 3600 + 5, "longer than a token lives: {wait}");
    let keys = shop.run(&["--json", "key", "list"]).json();
    let phases: Vec<_> = keys.as_array().unwrap().iter().map(|key| key["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["published", "signing"]);
    let twice = shop.run(&["key", "rotate"]);
    assert!(twice.code == 1 && twice.stderr.contains("already published"), "{}", twice.stderr);
}

/// One GET; gives the status.
fn get(port: u16, path: &str, basic: Option<&str>) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let authorization = basic.map(|basic| format!("Authorization: Basic {basic}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n")
        .ok()?;
    let mut answer = Vec::new();
    let _ = stream.take(4096).read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

#[test]
fn a_running_server_takes_up_what_commands_change_and_ends_on_sigterm() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let shop = Shop::at(&format!("http://127.0.0.1:{port}/"), &format!("127.0.0.1:{port}"));
    let repository = Repository::new();
    repository.export("org.test.Free", None);
    repository.flatpak(&["build-update-repo", repository.path()]);
    let mut server = cli_scene::Server::start(&shop);
    let until = |what: &str, reached: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !reached() {
            assert!(start.elapsed() < Duration::from_secs(15), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
        start.elapsed()
    };
    until("it answers", &|| get(port, "/", None).is_some());
    // A repo that is not there answers as a private one does.
    assert_eq!(get(port, "/repo/apps/summary", None), Some(401));

    shop.run(&["repo", "add", "open", repository.path(), "--policy", "open"]).ok();
    let took = until("the repo is there", &|| get(port, "/repo/open/summary", None) == Some(200));
    assert!(took < Duration::from_secs(2), "{took:?}");
    shop.run(&["repo", "add", "apps", repository.path(), "--policy", "private"]).ok();
    shop.run_with(&["account", "add", "ann@example.org"], "correct horse battery\n").ok();
    let made = shop.run(&["--json", "access-token", "add", "ann@example.org", "apps", "--name", "x"]).json();
    let basic = cli_scene::base64(&format!("device:{}", made["secret"].as_str().unwrap()));
    shop.run(&["grant", "ann@example.org", "apps", "org.test.Paid"]).ok();
    until("the secret opens it", &|| get(port, "/repo/apps/summary", Some(&basic)) == Some(200));
    shop.run(&["access-token", "revoke", made["token"]["id"].as_str().unwrap()]).ok();
    until("the secret is revoked", &|| get(port, "/repo/apps/summary", Some(&basic)) == Some(401));

    let second = shop.run(&["serve"]);
    assert!(second.code == 1 && second.stderr.contains("cannot listen"), "{}", second.stderr);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn groups_plans_and_rights_are_given_listed_and_taken_by_commands() {
    let shop = Shop::new();
    let repository = Repository::new();
    shop.run(&["repo", "add", "apps", repository.path(), "--policy", "private"]).ok();
    for email in ["ann@acme.example", "bob@acme.example"] {
        shop.run_with(&["account", "add", email], "correct horse battery\n").ok();
    }
    let made = shop.run(&["--json", "group", "add", "acme", "--title", "Acme GmbH"]).json();
    assert_eq!((&made["name"], &made["title"]), (&json!("acme"), &json!("Acme GmbH")));
    assert_eq!(shop.run(&["group", "add", "acme"]).code, 1);
    let unknown = shop.run(&["group", "members", "none"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("flatpass group list"), "{}", unknown.stderr);

    shop.run(&["group", "add-member", "acme", "ann@acme.example", "--role", "owner"]).ok();
    let twice = shop.run(&["group", "add-member", "acme", "ann@acme.example"]);
    assert!(twice.code == 1 && twice.stderr.contains("flatpass group role acme"), "{}", twice.stderr);
    let domain = shop.run(&["group", "domain", "acme", "Acme.Example"]).ok();
    assert!(
        domain.stdout.contains("0 joined now") && domain.stdout.contains("flatpass account verify"),
        "{}",
        domain.stdout
    );
    let verified = shop.run(&["--json", "account", "verify", "bob@acme.example"]).json();
    assert_eq!(verified["joined"][0]["name"], "acme");
    let members = shop.run(&["--json", "group", "members", "acme"]).json();
    let seen: Vec<_> =
        members.as_array().unwrap().iter().map(|one| (&one["email"], &one["role"], &one["how"])).collect();
    assert_eq!(
        seen,
        [
            (&json!("ann@acme.example"), &json!("owner"), &json!("hand")),
            (&json!("bob@acme.example"), &json!("member"), &json!("domain"))
        ]
    );
    shop.run(&["group", "role", "acme", "bob@acme.example", "manager"]).ok();
    assert_eq!(shop.run(&["group", "role", "acme", "bob@acme.example", "king"]).code, 2);
    assert_eq!(shop.run(&["--json", "group", "domain", "acme"]).json(), json!(["acme.example"]));
    shop.run(&["group", "domain", "acme", "acme.example", "--remove"]).ok();
    assert_eq!(shop.run(&["group", "domain", "acme", "acme.example", "--remove"]).code, 1);

    let invited =
        shop.run(&["--json", "group", "invite", "acme", "--uses", "3", "--until", "2099-12-31"]).json();
    let link = invited["link"].as_str().unwrap();
    assert!(link.starts_with("https://shop.example/join/fpi_"), "{link}");
    let listed = shop.run(&["--json", "group", "invitations", "acme"]);
    assert_eq!(listed.json()[0]["max_uses"], 3);
    assert!(!listed.stdout.contains("fpi_"), "shown once");
    let id = invited["invitation"]["id"].as_str().unwrap();
    shop.run(&["group", "revoke-invitation", "acme", id]).ok();
    assert_eq!(shop.run(&["group", "revoke-invitation", "acme", id]).code, 1);

    shop.run(&["plan", "add", "pro"]).ok();
    let empty = shop.run(&["grant", "--group", "acme", "--plan", "pro", "--until", "2099-12-31"]).ok();
    assert!(empty.stdout.contains("holds nothing yet"), "{}", empty.stdout);
    shop.run(&["plan", "include", "pro", "apps", "org.test.*", "--branch", "stable"]).ok();
    let plans = shop.run(&["--json", "plan", "list"]).json();
    assert_eq!(plans[0]["items"][0]["app"], "org.test.*");
    let given = shop
        .run(&[
            "--json",
            "grant",
            "--group",
            "acme",
            "apps",
            "org.test.Paid",
            "--verbs",
            "list,download",
            "--from",
            "2098-01-01",
            "--upgrades-until",
            "2098-12-31",
        ])
        .json();
    assert_eq!(
        (&given["verbs"], &given["starts_at"]),
        (&json!(["list", "download"]), &json!(4_039_372_800i64))
    );
    assert!(given["group_id"].as_str().unwrap().starts_with("grp_") && given["upgrades_until"].is_number());
    for (wrong, code) in [
        (&["grant", "--group", "acme", "ann@acme.example", "apps", "org.test.Paid"][..], 2),
        (&["grant", "--group", "acme"], 2),
        (&["grant", "ann@acme.example", "--plan", "pro", "apps", "org.test.Paid"], 2),
        (&["grant", "ann@acme.example", "apps", "org.test.Paid", "--verbs", "fly"], 2),
        (&["grant", "ann@acme.example", "apps", "org.test.Paid", "--branch", "a b"], 1),
        (
            &[
                "grant",
                "ann@acme.example",
                "apps",
                "org.test.Paid",
                "--from",
                "2099-01-01",
                "--until",
                "2098-01-01",
            ],
            1,
        ),
        (&["grant", "ann@acme.example", "--plan", "none"], 1),
        (&["grant", "--group", "none", "--plan", "pro"], 1),
    ] {
        let done = shop.run(wrong);
        assert_eq!(done.code, code, "{wrong:?}: {}{}", done.stdout, done.stderr);
    }
    shop.run(&["grant", "ann@acme.example", "apps", "org.test.Paid", "--branch", "beta"]).ok();
    let inexact = shop.run(&["revoke", "ann@acme.example", "apps", "org.test.Paid"]);
    assert!(inexact.code == 1 && inexact.stderr.contains("--branch beta"), "{}", inexact.stderr);
    let revoked = shop.run(&["revoke", "ann@acme.example", "apps", "org.test.Paid", "--branch", "beta"]).ok();
    assert!(
        revoked.stdout.contains("org.test.* through the group acme covers it still"),
        "{}",
        revoked.stdout
    );
    shop.run(&["revoke", "--group", "acme", "--plan", "pro"]).ok();
    shop.run(&["plan", "exclude", "pro", "apps", "org.test.*", "--branch", "stable"]).ok();
    assert_eq!(shop.run(&["plan", "exclude", "pro", "apps", "org.test.*"]).code, 1);
    shop.run(&["plan", "remove", "pro"]).ok();
    let out = shop.run(&["group", "remove-member", "acme", "ann@acme.example"]).ok();
    assert!(out.stdout.contains("no owner now"), "{}", out.stdout);
    assert_eq!(shop.run(&["group", "remove-member", "acme", "ann@acme.example"]).code, 1);
    shop.run(&["group", "remove", "acme"]).ok();
    assert_eq!(shop.run(&["--json", "group", "list"]).json(), json!([]));
}
