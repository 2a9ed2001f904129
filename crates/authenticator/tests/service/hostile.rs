//! Authorities that fail or lie, and remotes that want somebody else's tokens: never a token, always a sentence.

use serde_json::json;

use crate::authority::{Authority, Fault, browse};
use crate::client::{Ask, PAID};
use crate::stage::{self, Stage, until};

const METADATA: &str = "/.well-known/oauth-authorization-server";
const REF_TOKENS: &str = "/api/v1/ref-tokens";

/// Threat 5: a remote that names somebody else's authenticator options.
#[tokio::test]
async fn a_repo_that_the_authority_does_not_list_gets_nothing() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    authority.world().buys = true;
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    browse(&request.webflow().await).await;
    request.done().await;
    assert_eq!(request.response().await.code, 0, "signed in, with a token in memory");

    let port = url::Url::parse(&authority.url).expect("a URL").port().expect("a port");
    let told_off = |message: &str| assert!(message.contains("does not know the repository"), "{message}");
    for uri in [
        "https://evil.example/repo/apps".to_owned(),
        format!("http://127.0.0.1:{}/repo/apps", port - 1),
        format!("http://127.0.0.1:{port}/repo/appsx"),
        format!("http://127.0.0.1:{port}/repo"),
        format!("http://localhost:{port}/repo/apps"),
        format!("http://127.0.0.1.evil.example@127.0.0.1:{port}/repo/other"),
    ] {
        for ask in [Ask::paid(&authority.url).remote(&uri), Ask::paid(&authority.url).remote(&uri).quiet()] {
            let response = client.ask(&ask).await;
            assert_eq!((response.code, response.error_code), (2, Some(24)), "{uri}");
            assert!(response.tokens.is_empty());
            told_off(&response.message);
        }
    }
    let asked = authority.calls(REF_TOKENS);
    for uri in [
        "http://evil.example/repo/apps".to_owned(),
        format!("http://127.0.0.1:{port}\\@evil.example/repo/apps"),
        format!("http://127.0.0.1:{port}@evil.example/repo/apps"),
        format!("http://127.0.0.1:{port}/repo/apps?x"),
        format!("http://127.0.0.1:{port}/repo/apps/../../evil"),
        format!("http://127.0.0.1:{port}/repo/apps\n"),
        "file:///srv/repo".to_owned(),
    ] {
        let response = client.ask(&Ask::paid(&authority.url).remote(&uri)).await;
        assert_eq!((response.code, response.error_code), (2, Some(24)), "{uri}");
        assert!(response.tokens.is_empty());
    }
    assert_eq!(authority.calls(REF_TOKENS), asked, "the authority was not even asked");
}

#[tokio::test]
async fn the_user_and_password_of_a_remote_are_not_sent_to_the_authority() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    authority.world().open.insert(PAID.to_owned());
    let uri = authority.url.replace("http://", "http://device:S3cret@");
    let client = stage.client().await;
    let response = client.ask(&Ask::paid(&authority.url).remote(&format!("{uri}repo/apps"))).await;
    assert_eq!(response.code, 0);
    let asked = authority.world().asked[0].to_string();
    assert!(asked.contains("/repo/apps") && !asked.contains("S3cret"), "{asked}");
}

#[tokio::test]
async fn metadata_that_lies_stops_everything() {
    for (name, value, expected) in [
        ("issuer", json!("https://evil.example"), "says that it is https://evil.example"),
        ("flatpass_ref_tokens_endpoint", json!("https://evil.example/api"), "another host"),
        ("authorization_endpoint", json!("https://evil.example/a"), "another host"),
        ("token_endpoint", json!("http://127.0.0.1:1/t"), "another host"),
        ("token_endpoint", json!(null), "has no token_endpoint"),
        ("code_challenge_methods_supported", json!(["plain"]), "S256"),
    ] {
        let (authority, stage) = (Authority::start().await, Stage::new().await);
        authority.world().metadata.push((name, value));
        let response = stage.client().await.ask(&Ask::paid(&authority.url)).await;
        assert_eq!(response.code, 2);
        assert!(response.message.contains(expected), "{}", response.message);
        assert_eq!(authority.calls(REF_TOKENS) + authority.calls("/oauth/authorize"), 0);
    }
}

#[tokio::test]
async fn every_failure_of_the_authority_ends_in_a_sentence_that_names_it() {
    let elsewhere = Authority::start().await;
    let other = elsewhere.url.clone();
    for (path, fault, expected) in [
        (METADATA, Fault::Status(404), "There is no Flatpass store at"),
        (METADATA, Fault::Html, "There is no Flatpass store at"),
        (METADATA, Fault::Status(503), "has a problem of its own (HTTP status 503)"),
        (METADATA, Fault::Status(429), "too many requests"),
        (METADATA, Fault::Body("application/json", "{".to_owned()), "is not understood"),
        (
            METADATA,
            Fault::Redirect(format!("{other}.well-known/oauth-authorization-server")),
            "another address",
        ),
        (METADATA, Fault::Redirect(METADATA.to_owned()), "another address"),
        (METADATA, Fault::Hang, "did not answer in time"),
        (METADATA, Fault::Huge, "far too large"),
        (METADATA, Fault::Endless, "did not answer in time"),
        (REF_TOKENS, Fault::Status(500), "has a problem of its own (HTTP status 500)"),
        (REF_TOKENS, Fault::Html, "is not understood"),
        (REF_TOKENS, Fault::Body("application/json", "[]".to_owned()), "is not understood"),
        (REF_TOKENS, Fault::Body("application/json", "{}".to_owned()), "says nothing about"),
        (REF_TOKENS, Fault::Redirect(format!("{other}api/v1/ref-tokens")), "another address"),
        (REF_TOKENS, Fault::Hang, "did not answer in time"),
        (REF_TOKENS, Fault::Huge, "far too large"),
    ] {
        let (authority, stage) = (Authority::start().await, Stage::new().await);
        authority.world().faults.insert(path, fault);
        let client = stage.client().await;
        let response = client.ask(&Ask::paid(&authority.url)).await;
        assert_eq!(response.code, 2);
        assert!(response.message.contains(expected), "{path}: {}", response.message);
        let host = authority.url.trim_start_matches("http://").trim_end_matches('/');
        assert!(response.message.contains(host), "{}", response.message);
        // It has harmed nothing: when the authority is well again, so is the request.
        authority.world().faults.clear();
        authority.world().open.insert(PAID.to_owned());
        assert_eq!(client.ask(&Ask::paid(&authority.url)).await.token(PAID), Some(""));
    }
    assert!(elsewhere.world().calls.is_empty(), "a redirect elsewhere is not followed");
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_named() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let response = client.ask(&Ask::paid(&format!("http://{address}/"))).await;
    assert_eq!((response.code, response.error_code), (2, None));
    assert!(response.message.contains(&format!("Cannot reach {address}")), "{}", response.message);
    let response = client.ask(&Ask::paid("https://shop.invalid/")).await;
    assert!(response.message.contains("Cannot reach shop.invalid"), "{}", response.message);
}

#[tokio::test]
async fn a_wrong_certificate_is_told_from_a_right_one() {
    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::aws_lc_rs;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    let mut ca = CertificateParams::new(Vec::new()).expect("valid");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("signed");
    let mut ports = Vec::new();
    for name in ["localhost", "other.example"] {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("valid");
        let certificate = params.signed_by(&key, &ca).expect("signed");
        let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .expect("a pair");
        let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        ports.push(listener.local_addr().expect("bound").port());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        let _head = stream.read(&mut [0; 4096]).await;
                        let answer =
                            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                        let _sent = stream.write_all(answer).await;
                        let _closed = stream.shutdown().await;
                    }
                });
            }
        });
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, ca.pem()).expect("written");
    let roots = flatpass_authenticator::authority::http::read_roots(&file).expect("a root");

    let stage = Stage::with(|environment| environment.http.extra_roots = roots).await;
    let client = stage.client().await;
    let trusted = client.ask(&Ask::paid(&format!("https://localhost:{}/", ports[0]))).await;
    assert!(trusted.message.contains("HTTP status 404"), "{}", trusted.message);
    let wrong_name = client.ask(&Ask::paid(&format!("https://localhost:{}/", ports[1]))).await;
    assert!(wrong_name.message.contains("certificate of localhost"), "{}", wrong_name.message);

    // Without the extra root: unknown to the system, or the system has no roots at all.
    let stage = Stage::new().await;
    let client = stage.client().await;
    let unknown = client.ask(&Ask::paid(&format!("https://localhost:{}/", ports[0]))).await;
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.message.contains("certificate of localhost") || unknown.message.contains("ca-certificates"),
        "{}",
        unknown.message
    );
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_no_sign_in() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    authority.world().foreign_iss = true;
    let client = stage.client().await;
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    let (_, page) = browse(&request.webflow().await).await;
    assert!(page.contains("data-result=\"failed\""), "{page}");
    request.done().await;
    let response = request.response().await;
    assert_eq!((response.code, response.error_code), (2, Some(23)));
    assert_eq!(authority.calls("/oauth/token"), 0, "the code was not used");
    assert!(stage.records().is_empty());
}

#[tokio::test]
async fn an_authority_that_fails_in_the_middle_of_a_sign_in_is_shown_in_browser_and_terminal() {
    let (authority, stage) = (Authority::start().await, Stage::new().await);
    let client = stage.client().await;
    authority.world().faults.insert("/oauth/token", Fault::Status(500));
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    let (_, page) = browse(&request.webflow().await).await;
    assert!(page.contains("HTTP status 500"), "{page}");
    request.done().await;
    let response = request.response().await;
    assert!(response.message.contains("HTTP status 500"), "{}", response.message);
    // Another OAuth error comes with the page's own words.
    authority.world().faults.clear();
    authority.world().denies = Some("server_error");
    let mut request = client.begin(&Ask::paid(&authority.url)).await;
    browse(&request.webflow().await).await;
    request.done().await;
    let response = request.response().await;
    assert!(response.message.contains("server_error"), "{}", response.message);
}

#[tokio::test]
async fn one_authority_that_hangs_does_not_hold_up_another() {
    let (slow, quick) = (Authority::start().await, Authority::start().await);
    let stage = Stage::new().await;
    let client = stage.client().await;
    slow.world().faults.insert(METADATA, Fault::Hang);
    quick.world().open.insert(PAID.to_owned());
    let mut waiting = client.begin(&Ask::paid(&slow.url)).await;
    until("the slow one was asked", || slow.calls(METADATA) == 1).await;
    let answer = tokio::time::timeout(stage::PATIENCE, client.ask(&Ask::paid(&quick.url))).await;
    assert_eq!(answer.expect("in time").code, 0);
    assert_eq!(waiting.response().await.code, 2);
}
