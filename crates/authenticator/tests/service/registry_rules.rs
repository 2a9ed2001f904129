//! What container tools' `registries.conf` says, and their ready tokens, for OCI remotes with no store.

use flatpass_authenticator::registry::files::{AuthFile, AuthForm};
use flatpass_authenticator::registry::rules::RegistriesConf;
use serde_json::json;
use tempfile::TempDir;

use crate::client::{Client, OciAsk};
use crate::program::{Home, said};
use crate::registries::sign_in;
use crate::stage::{Bus, Stage};
use crate::token_registry::{DIGEST, TokenRegistry, auth, basic};

const APP: &str = "app/org.test.Paid/x86_64/stable";
const FREE: &str = "app/org.test.Free/x86_64/stable";

fn ask(registry: &TokenRegistry) -> OciAsk {
    OciAsk::of("oci+http://127.0.0.1:1/", &registry.url).image(APP, "shop/paid", DIGEST).quiet()
}

/// A stage whose person has this file of credentials and this `registries.conf`.
async fn stage_with(credentials: &serde_json::Value, rules: &str) -> (Stage, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, conf) = (folder.path().join("auth.json"), folder.path().join("registries.conf"));
    std::fs::write(&file, credentials.to_string()).expect("written");
    std::fs::write(&conf, rules).expect("written");
    let stage = Stage::with(|environment| {
        environment.auth_files = vec![AuthFile { path: file, form: AuthForm::Current }];
        environment.registries_conf = RegistriesConf { file: Some(conf), folders: Vec::new() };
    });
    (stage.await, folder)
}

#[tokio::test]
async fn what_is_blocked_gets_no_token_and_is_not_even_asked_for() {
    let registry = TokenRegistry::start().await;
    registry.books().open.insert("shop/free".to_owned());
    registry.books().open.insert("shop/paid".to_owned());
    let rules = format!("[[registry]]\nprefix = \"{}/shop/paid\"\nblocked = true\n", registry.host);
    let (stage, folder) = stage_with(&json!({}), &rules).await;
    let client = stage.client().await;
    let free = OciAsk::of("oci+http://127.0.0.1:1/", &registry.url).image(FREE, "shop/free", DIGEST);
    assert_eq!(client.ask_oci(&free).await.code, 0, "the rest of the registry is not");
    registry.books().log.clear();
    let refused = client.ask_oci(&free.image(APP, "shop/paid", DIGEST)).await;
    assert_eq!((refused.code, refused.error_code), (2, Some(24)));
    let conf = folder.path().join("registries.conf");
    let sentence = format!("{} blocks {}/shop/paid for this computer", conf.display(), registry.host);
    assert!(refused.message.contains(&sentence), "{}", refused.message);
    assert_eq!(registry.books().log.len(), 0);
    // It is read anew for each request, and what cannot be read could block.
    std::fs::write(&conf, "[[registry]").expect("written");
    let refused = client.ask_oci(&ask(&registry)).await;
    assert!(refused.message.contains("may forbid this registry. Mend it"), "{}", refused.message);
    assert_eq!(registry.books().log.len(), 0);
    std::fs::remove_file(&conf).expect("removed");
    assert_eq!(client.ask_oci(&ask(&registry)).await.code, 0);
}

#[tokio::test]
async fn a_mirror_that_the_index_names_gets_its_own_credentials_and_the_registry_behind_it_none() {
    let (registry, mirror) = (TokenRegistry::start().await, TokenRegistry::start().await);
    registry.user("ann", "pw", &["shop/paid"]);
    mirror.user("ann-there", "pw", &["shop/paid"]);
    // As container tools would be led from one to the other, and told to care less.
    let rules = format!(
        "[[registry]]\nlocation = \"{0}\"\ninsecure = true\n[[registry.mirror]]\nlocation = \"{1}\"\ninsecure = true\n\
         [[registry]]\nprefix = \"{1}\"\nlocation = \"{0}\"\n",
        registry.host, mirror.host
    );
    let of_registry = json!({ "auths": { (registry.host.as_str()): { "auth": auth("ann", "pw") } } });
    let (stage, folder) = stage_with(&of_registry, &rules).await;
    let client = stage.client().await;
    let refused = client.ask_oci(&ask(&mirror)).await;
    assert!(refused.message.contains(&format!("registry login {}", mirror.host)), "{}", refused.message);
    assert!(mirror.passwords_seen().is_empty() && registry.books().log.is_empty());
    let of_both = json!({ "auths": {
        (registry.host.as_str()): { "auth": auth("ann", "pw") },
        (mirror.host.as_str()): { "auth": auth("ann-there", "pw") },
    }});
    std::fs::write(folder.path().join("auth.json"), of_both.to_string()).expect("written");
    // The mirror's own challenge counts, whatever it says of the registry.
    let challenge = format!(r#"Bearer realm="http://{}/token",service="{}""#, mirror.host, registry.host);
    mirror.books().challenge = Some(challenge);
    assert_eq!(client.ask_oci(&ask(&mirror)).await.code, 0);
    assert_eq!(mirror.passwords_seen(), [basic("ann-there", "pw")]);
    assert!(registry.books().log.is_empty());
    // And the registry is asked where Flatpak will pull from it, with what belongs there.
    mirror.books().log.clear();
    assert_eq!(client.ask_oci(&ask(&registry)).await.code, 0);
    assert_eq!(registry.passwords_seen(), [basic("ann", "pw")]);
    assert!(mirror.books().log.is_empty());
}

#[tokio::test]
async fn a_registry_that_cannot_be_reached_is_named_first_and_then_the_mirror_that_flatpak_does_not_use() {
    let (stage, _folder) = stage_with(&json!({}), "").await;
    let nobody = OciAsk::of("oci+http://127.0.0.1:1/", "http://127.0.0.1:1/").image(APP, "shop/paid", DIGEST);
    let refused = stage.client().await.ask_oci(&nobody).await.message;
    assert!(refused.starts_with("127.0.0.1:1 cannot be reached"), "{refused}");
    assert!(refused.ends_with("Try again later, or tell whoever runs the registry."), "{refused}");
    let rules = "[[registry]]\nprefix = \"127.0.0.1:1/shop\"\nlocation = \"inside.example/shop\"\n";
    let (stage, _folder) = stage_with(&json!({}), rules).await;
    let refused = stage.client().await.ask_oci(&nobody).await.message;
    assert!(refused.starts_with("127.0.0.1:1 cannot be reached"), "{refused}");
    assert!(
        refused.contains("Flatpak itself downloads from there; inside.example/shop, which "),
        "{refused}"
    );
}

#[tokio::test]
async fn a_ready_token_of_a_file_goes_to_its_own_registry_and_to_no_token_server() {
    let (registry, other) = (TokenRegistry::start().await, TokenRegistry::start().await);
    registry.ready("ready.token", &["shop/paid"]);
    registry.books().refresh.insert("identity".to_owned(), "ann".to_owned());
    registry.books().rights.insert(("ann".to_owned(), "shop/more".to_owned()));
    let entry = json!({ "registrytoken": "ready.token", "identitytoken": "identity" });
    let (stage, _folder) = stage_with(&json!({ "auths": { (registry.host.as_str()): entry } }), "").await;
    let client = stage.client().await;
    let response = client.ask_oci(&ask(&registry)).await;
    assert_eq!((response.code, response.token(APP)), (0, Some("ready.token")), "{}", response.message);
    let token_requests: Vec<_> =
        registry.books().log.iter().filter(|(_, path, _)| path.starts_with("/token")).cloned().collect();
    assert!(token_requests.iter().all(|(_, _, sent)| sent.is_none()), "{token_requests:?}");
    // Where it opens nothing, the identity token beside it may.
    let more = ask(&registry).image(FREE, "shop/more", DIGEST);
    let response = client.ask_oci(&more).await;
    assert_eq!(response.token(APP), Some("ready.token"), "{}", response.message);
    assert!(response.token(FREE).is_some_and(|token| token != "ready.token"));
    // Nobody else sees it.
    assert_eq!(client.ask_oci(&ask(&other)).await.code, 2);
    assert!(other.books().log.iter().all(|(_, _, sent)| sent.as_deref() != Some("Bearer ready.token")));
    registry.ready("ready.token", &[]);
    let refused = client.ask_oci(&OciAsk { fresh: true, ..more }).await;
    assert!(refused.message.contains("may not download"), "{}", refused.message);
}

#[tokio::test]
async fn the_program_reads_the_persons_own_file_which_names_helpers_too() {
    use std::os::unix::fs::PermissionsExt;
    let (registry, bus, home) = (TokenRegistry::start().await, Bus::start(), Home::new());
    registry.user("ann", "pw", &["shop/paid"]);
    let containers = home.path(".config/containers");
    std::fs::create_dir_all(containers.join("registries.conf.d")).expect("a folder");
    let write = |below: &str, text: &str| std::fs::write(containers.join(below), text).expect("written");
    write("registries.conf", "credential-helpers = [\"containers-auth.json\", \"stage\"]\n");
    let helper = home.path("docker-credential-stage");
    let script = "#!/bin/sh\nread -r server || true\necho '{\"ServerURL\":\"\",\"Username\":\"ann\",\"Secret\":\"pw\"}'\n";
    std::fs::write(&helper, script).expect("written");
    std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).expect("executable");
    let search = std::env::var("PATH").expect("a path");
    let path = format!("{}:{search}", home.path("").display());
    let _service = home.serve_with(&bus, &[("PATH", &path)]).await;
    let client = Client::new(bus.connect().await).await;
    let response = client.ask_oci(&ask(&registry)).await;
    assert_eq!((response.code, response.message.as_str()), (0, ""));
    write(
        "registries.conf.d/10-no.conf",
        &format!("[[registry]]\nlocation = \"{}\"\nblocked = true\n", registry.host),
    );
    let refused = client.ask_oci(&ask(&registry)).await;
    assert!(refused.message.contains("registries.conf.d/10-no.conf blocks"), "{}", refused.message);
    let signed_in = sign_in(&home, &bus, &registry.host, "ann", "pw").await;
    assert!(said(&signed_in).contains("10-no.conf blocks the registry"), "{}", said(&signed_in));
}
