//! OCI remotes with a store: whose registry gets a token, and the addresses that remotes get.

use crate::authority::{Authority, Fault, browse};
use crate::client::OciAsk;
use crate::private_remotes::Private;
use crate::program::said;
use crate::stage::Stage;
use crate::token_registry::{DIGEST, TokenRegistry, auth};

const PAID: &str = crate::client::PAID;
const REGISTRY: &str = "https://registry.example/";

/// What flatpak asks for the paid app of a store's OCI repo, whose index names this registry.
fn ask(authority: &Authority, registry: &str) -> OciAsk {
    let remote_uri = format!("oci+{}repo/apps", authority.url);
    OciAsk::of(&remote_uri, registry).image(PAID, "shop/paid", DIGEST)
}

async fn sold() -> (Authority, Stage) {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    {
        let mut world = authority.world();
        (world.buys, world.registry) = (true, Some(REGISTRY.to_owned()));
    }
    (authority, stage)
}

#[tokio::test]
async fn a_person_buys_an_image_on_the_stores_page_and_the_token_is_for_the_stores_own_registry() {
    let (authority, stage) = sold().await;
    let client = stage.client().await;
    let with_store = ask(&authority, REGISTRY).option("url", &authority.url);
    let mut request = client.begin_oci(&with_store).await;
    assert_eq!(browse(&request.webflow().await).await.0, 200);
    request.done().await;
    let response = request.response().await;
    assert!(response.token(PAID).expect("a token").starts_with("ref-"), "{}", response.message);
    let asked = authority.world().asked.last().cloned().expect("asked");
    assert_eq!(asked["refs"][0]["commit"], DIGEST);
    // The store is found where the remote is, too; a secret in the path of the remote's address is not sent on.
    let secret = format!("oci+{}i/fps_Secret/apps", authority.url);
    let found = OciAsk { remote_uri: secret, ..ask(&authority, "https://registry.example:443/v2/") };
    assert_eq!(client.ask_oci(&found.quiet()).await.tokens, response.tokens);
    assert!(authority.world().asked.iter().all(|asked| !asked.to_string().contains("fps_Secret")));
}

#[tokio::test]
async fn an_index_that_names_another_registry_than_the_store_gets_no_token_for_it() {
    let (authority, stage) = sold().await;
    authority.world().owned.insert(PAID.to_owned());
    let client = stage.client().await;
    let good = ask(&authority, REGISTRY).option("url", &authority.url);
    let mut request = client.begin_oci(&good).await;
    browse(&request.webflow().await).await;
    request.done().await;
    assert_eq!(request.response().await.code, 0);
    for other in [
        "https://collector.example/",
        "http://registry.example/",
        "https://registry.example:444/",
        "https://registry.example.collector.example/",
        "https://127.0.0.1/",
    ] {
        // Also when the store is not named, and though the right answer is in memory.
        for ask in [ask(&authority, other).option("url", &authority.url), ask(&authority, other)] {
            let refused = client.ask_oci(&ask).await;
            assert_eq!((refused.code, refused.error_code), (2, Some(24)), "{other}");
            let why = ["says that its apps are in registry.example", "is reached over http"];
            assert!(why.iter().any(|why| refused.message.contains(why)), "{}", refused.message);
        }
    }
    stage.clock.advance(121);
    authority.world().registry = None;
    let refused = client.ask_oci(&good).await;
    assert!(refused.message.contains("does not say that this repository's apps are in a container registry"));
    assert_eq!(client.ask_oci(&good.clone()).await.code, 2);
}

#[tokio::test]
async fn a_store_that_names_its_registry_to_members_only_is_signed_in_to_first() {
    let (authority, stage) = sold().await;
    {
        let mut world = authority.world();
        world.is_private = true;
        world.owned.insert(PAID.to_owned());
    }
    let client = stage.client().await;
    // As a `.flatpakref` makes it: the list's secret in the path, and no word of the store.
    let ask = OciAsk {
        remote_uri: format!("oci+{}i/fps_Secret/apps", authority.url),
        ..ask(&authority, "https://collector.example/")
    };
    let quiet = client.ask_oci(&ask.clone().quiet()).await;
    assert!(quiet.message.to_lowercase().contains("sign in"), "{}", quiet.message);
    let mut request = client.begin_oci(&ask).await;
    assert_eq!(browse(&request.webflow().await).await.0, 200);
    request.done().await;
    // And then it says where its tokens may go, as ever.
    let refused = request.response().await;
    assert_eq!((refused.code, refused.error_code), (2, Some(24)));
    assert!(refused.message.contains("says that its apps are in registry.example"), "{}", refused.message);
    let true_one = OciAsk { remote_uri: ask.remote_uri, ..self::ask(&authority, REGISTRY) };
    assert!(client.ask_oci(&true_one.quiet()).await.token(PAID).is_some());
}

#[tokio::test]
async fn where_the_remote_is_and_no_store_the_registry_leads_the_way() {
    let (authority, registry, stage) =
        (Authority::start().await, TokenRegistry::start().await, Stage::new().await);
    registry.user("ann", "pw", &["shop/paid"]);
    let client = stage.client().await;
    let ask = |remote_uri: &str| {
        OciAsk::of(remote_uri, &registry.url)
            .image(PAID, "shop/paid", DIGEST)
            .option("auth", &auth("ann", "pw"))
            .option("auth-registry", &registry.host)
            .quiet()
    };
    let at_store = format!("oci+{}repo/apps", authority.url);
    for fault in
        [Fault::Status(404), Fault::Html, Fault::Huge, Fault::Redirect("https://evil.example/".to_owned())]
    {
        authority.world().faults.insert("/.well-known/oauth-authorization-server", fault);
        let fresh = OciAsk { fresh: true, ..ask(&at_store) };
        let response = client.ask_oci(&fresh).await;
        assert_eq!((response.code, response.message.as_str()), (0, ""));
    }
    authority.world().faults.clear();
    // A store that does not know the repository has no word in it.
    let unknown = format!("oci+{}repo/other", authority.url);
    assert_eq!(client.ask_oci(&ask(&unknown)).await.code, 0);
    assert_eq!(authority.calls("/api/v1/ref-tokens"), 1);
    // No other shape of an address is asked for a store.
    let before = authority.calls("/.well-known/oauth-authorization-server");
    assert_eq!(client.ask_oci(&ask(&format!("oci+{}apps", authority.url))).await.code, 0);
    assert_eq!(authority.calls("/.well-known/oauth-authorization-server"), before);
    // A store that is ill is not passed by.
    authority.world().faults.insert("/.well-known/oauth-authorization-server", Fault::Status(503));
    let ill = Stage::new().await.client().await.ask_oci(&ask(&at_store)).await;
    assert_eq!(ill.code, 2);
    assert!(ill.message.contains("a problem of its own"), "{}", ill.message);
}

/// A private OCI repo, and a person.
async fn private_oci() -> Private {
    let private = Private::new().await;
    let mut world = private.authority.world();
    world.oci_index = Some(r#"{"Registry":"https://registry.example/","Results":[]}"#.to_owned());
    world.repo = None;
    drop(world);
    private
}

fn url_in(config: &str) -> String {
    let line = config.lines().find_map(|line| line.strip_prefix("url=")).expect("an address");
    line.to_owned()
}

#[tokio::test]
async fn a_public_oci_repo_is_added_by_the_same_words_as_any_other() {
    let private = private_oci().await;
    private.authority.world().is_private = false;
    let where_it_is = format!("{}apps", private.authority.url.trim_start_matches("http://"));
    let output = private.run(&["remote-add", "--user", &where_it_is, "shop"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let config = private.config("flatpak");
    assert_eq!(url_in(&config), format!("oci+{}repo/apps", private.authority.url));
    assert!(config.contains("xa.authenticator-name=org.flatpass.Authenticator"), "{config}");
    assert!(config.contains(&format!("xa.authenticator-options.url={}", private.authority.url)), "{config}");
    assert!(private.can_list().await);
}

#[tokio::test]
async fn who_was_given_a_key_gets_no_list_that_nobody_signs_unless_they_say_so() {
    let private = private_oci().await;
    let url = format!("{}repo/apps", private.authority.url);
    let file = private.home.path("shop.flatpakrepo");
    let write = |url: &str| {
        let text = format!("[Flatpak Repo]\nUrl={url}\nGPGKey=mQENBFUUCGcBCAC\n");
        std::fs::write(&file, text).expect("written");
    };
    let add = async |options: &[&str]| {
        let path = file.display().to_string();
        let output = private.run(&[&["remote-add", "--user"], options, &[&path, "shop"]].concat()).await;
        (output.status.code(), said(&output))
    };
    write(&url);
    for (is_private, options) in [(false, &[][..]), (true, &[]), (true, &["--bridge"])] {
        private.authority.world().is_private = is_private;
        let (code, text) = add(options).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("--no-gpg-verify") && text.contains("container registry"), "{text}");
        assert!(!private.config("flatpak").contains("shop"), "nothing was added");
    }
    assert!(private.authority.world().machines.secrets.is_empty(), "no secret is left");
    private.authority.world().is_private = false;
    let remove = async || private.run(&["remote-remove", "--user", "shop"]).await.status.code();
    let (code, text) = add(&["--no-gpg-verify"]).await;
    assert_eq!((code, remove().await), (Some(0), Some(0)), "{text}");
    // A file that says itself that it is a registry's means no signatures.
    write(&format!("oci+{url}"));
    let (code, text) = add(&[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("nobody signs them"), "{text}");
}

#[tokio::test]
async fn a_private_oci_repo_gets_a_secret_in_its_path_that_no_argument_shows_and_that_rotates_and_ends() {
    let private = private_oci().await;
    let (code, text) = private.add(&["--user"]).await;
    assert_eq!(code, Some(0), "{text}");
    let secret_in = |config: &str| {
        let url = url_in(config);
        let rest =
            url.strip_prefix(&format!("oci+{}i/", private.authority.url)).expect("a path secret").to_owned();
        rest.strip_suffix("/apps").expect("the repo").to_owned()
    };
    let secret = secret_in(&private.config("flatpak"));
    assert!(private.is_good(&secret) && private.can_list().await);
    let argv = std::fs::read_to_string(private.home.path("argv")).expect("arguments");
    assert!(argv.contains("remote-add") && !argv.contains(&secret), "{argv}");

    let output = private.run(&["remote-rotate", "--user", "shop"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let rotated = secret_in(&private.config("flatpak"));
    assert!(rotated != secret && private.is_good(&rotated) && !private.is_good(&secret));
    assert!(private.can_list().await);

    let output = private.run(&["remote-remove", "--user", "shop"]).await;
    assert!(said(&output).contains("Its secret has ended"), "{}", said(&output));
    assert!(!private.is_good(&rotated) && !private.config("flatpak").contains("shop"));
}

#[tokio::test]
async fn over_the_bridge_an_oci_repo_has_no_secret_in_its_address_and_flatpak_reads_its_index() {
    let private = private_oci().await;
    let (code, text) = private.add(&["--user", "--bridge"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("whoever holds the bridge's port"), "{text}");
    let url = url_in(&private.config("flatpak"));
    assert!(url.starts_with("oci+http://127.0.0.1:"), "{url}");
    // `run` has a bridge of its own beside the command.
    let listed = private.run(&["run", "--", "flatpak", "remote-ls", "--user", "shop"]).await;
    assert_eq!(listed.status.code(), Some(0), "{}", said(&listed));
    let output = private.run(&["remote-remove", "--user", "shop"]).await;
    assert!(said(&output).contains("does not serve"), "{}", said(&output));
}
