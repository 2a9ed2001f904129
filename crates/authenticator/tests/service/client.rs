//! A client of the authenticator that does what libflatpak does, and insists on what libflatpak insists on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::StreamExt as _;
use zbus::message::Type;
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};
use zbus::{Connection, MatchRule, MessageStream};

use crate::stage::PATIENCE;

pub(crate) const NAME: &str = "org.flatpass.Authenticator";
pub(crate) const PATH: &str = "/org/freedesktop/Flatpak/Authenticator";
pub(crate) const INTERFACE: &str = "org.freedesktop.Flatpak.Authenticator";
pub(crate) const REQUEST_INTERFACE: &str = "org.freedesktop.Flatpak.AuthenticatorRequest";
pub(crate) const PAID: &str = "app/org.test.Paid/x86_64/stable";
pub(crate) const COMMIT: &str = "1641cafe1641cafe1641cafe1641cafe1641cafe1641cafe1641cafe1641cafe";

pub(crate) struct Client {
    pub(crate) connection: Connection,
    next: AtomicU32,
}

/// What is asked for. `Default` with a `url` is what flatpak sends for a paid app.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) url: String,
    pub(crate) remote_uri: String,
    pub(crate) refs: Vec<(String, String, i32)>,
    pub(crate) no_interaction: bool,
}

impl Ask {
    pub(crate) fn paid(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            remote_uri: format!("{}/repo/apps", url.trim_end_matches('/')),
            refs: vec![(PAID.to_owned(), COMMIT.to_owned(), 2)],
            no_interaction: false,
        }
    }

    pub(crate) fn quiet(self) -> Self {
        Self { no_interaction: true, ..self }
    }

    pub(crate) fn remote(self, remote_uri: &str) -> Self {
        Self { remote_uri: remote_uri.to_owned(), ..self }
    }

    pub(crate) fn refs(self, names: &[&str], token_type: i32) -> Self {
        let refs = names.iter().map(|name| ((*name).to_owned(), COMMIT.to_owned(), token_type)).collect();
        Self { refs, ..self }
    }
}

/// What is asked for images in a registry. [`OciAsk::of`] is what flatpak sends for an OCI remote with no options.
#[derive(Clone)]
pub(crate) struct OciAsk {
    pub(crate) remote_uri: String,
    pub(crate) registry: String,
    /// Refs, each with its repository and the digest of its manifest.
    pub(crate) images: Vec<(String, String, String)>,
    pub(crate) options: Vec<(&'static str, String)>,
    pub(crate) no_interaction: bool,
    pub(crate) fresh: bool,
}

impl OciAsk {
    pub(crate) fn of(remote_uri: &str, registry: &str) -> Self {
        Self {
            remote_uri: remote_uri.to_owned(),
            registry: registry.to_owned(),
            images: Vec::new(),
            options: Vec::new(),
            no_interaction: false,
            fresh: false,
        }
    }

    pub(crate) fn image(mut self, name: &str, repository: &str, digest: &str) -> Self {
        self.images.push((name.to_owned(), repository.to_owned(), digest.to_owned()));
        self
    }

    pub(crate) fn option(mut self, name: &'static str, value: &str) -> Self {
        self.options.push((name, value.to_owned()));
        self
    }

    pub(crate) fn quiet(self) -> Self {
        Self { no_interaction: true, ..self }
    }
}

/// What is asked for an index. `Default` with a `url` is what a client sends for a private remote.
#[derive(Clone)]
pub(crate) struct SummaryAsk {
    pub(crate) url: String,
    pub(crate) remote_uri: String,
    pub(crate) options: Vec<&'static str>,
}

impl SummaryAsk {
    pub(crate) fn of(url: &str) -> Self {
        let remote_uri = format!("{}/repo/apps", url.trim_end_matches('/'));
        Self { url: url.to_owned(), remote_uri, options: Vec::new() }
    }

    /// With these options set.
    pub(crate) fn with(self, options: &[&'static str]) -> Self {
        Self { options: options.to_vec(), ..self }
    }
}

/// A request under way, with the same assertions as `request_tokens_response` and its neighbours in
/// `flatpak-transaction.c`.
pub(crate) struct Request {
    pub(crate) path: OwnedObjectPath,
    signals: MessageStream,
    in_webflow: bool,
    connection: Connection,
}

#[derive(Debug)]
pub(crate) enum Signal {
    Webflow(String),
    WebflowDone,
    /// What is asked for, and why it is asked again.
    BasicAuth(String, Option<String>),
    Response(u32, HashMap<String, OwnedValue>),
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) code: u32,
    pub(crate) message: String,
    pub(crate) error_code: Option<i32>,
    pub(crate) tokens: HashMap<String, Vec<String>>,
    /// The token for an index, and how long it may be kept.
    pub(crate) summary: Option<(String, u32)>,
}

impl Response {
    /// The token for a ref; `None` if there is no token for it.
    pub(crate) fn token(&self, name: &str) -> Option<&str> {
        self.tokens
            .iter()
            .find(|(_, refs)| refs.iter().any(|one| one == name))
            .map(|(token, _)| token.as_str())
    }
}

impl Client {
    pub(crate) async fn new(connection: Connection) -> Self {
        Self { connection, next: AtomicU32::new(1) }
    }

    /// The handle that libflatpak computes.
    pub(crate) fn handle(&self, token: &str) -> String {
        let name = self.connection.unique_name().expect("on a bus").as_str();
        format!("{PATH}/request/{}/{token}", name.trim_start_matches(':').replace('.', "_"))
    }

    pub(crate) async fn call(&self, token: &str, ask: &Ask) -> zbus::Result<OwnedObjectPath> {
        let refs: Vec<(&str, &str, i32, HashMap<&str, Value<'_>>)> = ask
            .refs
            .iter()
            .map(|(name, commit, token_type)| {
                let summary = HashMap::from([("summary.tokt", Value::from(*token_type))]);
                (name.as_str(), commit.as_str(), *token_type, summary)
            })
            .collect();
        let authenticator_options = HashMap::from([("url", Value::from(ask.url.as_str()))]);
        let mut options = HashMap::new();
        if ask.no_interaction {
            options.insert("no-interaction", Value::from(true));
        }
        let body = (token, authenticator_options, "shop", ask.remote_uri.as_str(), refs, options, "");
        let reply =
            self.connection.call_method(Some(NAME), PATH, Some(INTERFACE), "RequestRefTokens", &body).await?;
        reply.body().deserialize()
    }

    pub(crate) async fn call_summary(&self, token: &str, ask: &SummaryAsk) -> zbus::Result<OwnedObjectPath> {
        let authenticator_options = HashMap::from([("url", Value::from(ask.url.as_str()))]);
        let options: HashMap<&str, Value<'_>> =
            ask.options.iter().map(|name| (*name, Value::from(true))).collect();
        let body = (token, authenticator_options, "shop", ask.remote_uri.as_str(), options, "");
        let reply = self
            .connection
            .call_method(Some(NAME), PATH, Some(INTERFACE), "RequestSummaryToken", &body)
            .await?;
        reply.body().deserialize()
    }

    pub(crate) async fn begin(&self, ask: &Ask) -> Request {
        let token = self.next.fetch_add(1, Ordering::SeqCst).to_string();
        let (expected, signals) = self.listen(&token).await;
        let path = self.call(&token, ask).await.expect("a handle");
        assert_eq!(path.as_str(), expected, "the handle must be exact");
        Request { path, signals, in_webflow: false, connection: self.connection.clone() }
    }

    pub(crate) async fn begin_oci(&self, ask: &OciAsk) -> Request {
        let token = self.next.fetch_add(1, Ordering::SeqCst).to_string();
        let (expected, signals) = self.listen(&token).await;
        let token_type = if ask.fresh { i32::MAX } else { 1 };
        let refs: Vec<(&str, &str, i32, HashMap<&str, Value<'_>>)> = ask
            .images
            .iter()
            .map(|(name, repository, digest)| {
                let summary =
                    HashMap::from([("summary.xa.oci-repository", Value::from(repository.as_str()))]);
                (name.as_str(), digest.as_str(), token_type, summary)
            })
            .collect();
        let of_remote: HashMap<&str, Value<'_>> =
            ask.options.iter().map(|(name, value)| (*name, Value::from(value.as_str()))).collect();
        let mut options = HashMap::from([("xa.oci-registry-uri", Value::from(ask.registry.as_str()))]);
        if ask.no_interaction {
            options.insert("no-interaction", Value::from(true));
        }
        let body = (token.as_str(), of_remote, "shop", ask.remote_uri.as_str(), refs, options, "");
        let reply = self.connection.call_method(Some(NAME), PATH, Some(INTERFACE), "RequestRefTokens", &body);
        let path: OwnedObjectPath = reply.await.expect("a handle").body().deserialize().expect("a path");
        assert_eq!(path.as_str(), expected, "the handle must be exact");
        Request { path, signals, in_webflow: false, connection: self.connection.clone() }
    }

    /// A request for images whose person is never asked anything.
    pub(crate) async fn ask_oci(&self, ask: &OciAsk) -> Response {
        self.begin_oci(ask).await.response().await
    }

    pub(crate) async fn begin_summary(&self, ask: &SummaryAsk) -> Request {
        let token = self.next.fetch_add(1, Ordering::SeqCst).to_string();
        let (expected, signals) = self.listen(&token).await;
        let path = self.call_summary(&token, ask).await.expect("a handle");
        assert_eq!(path.as_str(), expected, "the handle must be exact");
        Request { path, signals, in_webflow: false, connection: self.connection.clone() }
    }

    /// A request for an index whose person never gets to see a web page.
    pub(crate) async fn ask_summary(&self, ask: &SummaryAsk) -> Response {
        self.begin_summary(ask).await.response().await
    }

    /// The handle that belongs to a token, and its signals from now on.
    async fn listen(&self, token: &str) -> (String, MessageStream) {
        let expected = self.handle(token);
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .interface(REQUEST_INTERFACE)
            .expect("valid")
            .path(expected.as_str())
            .expect("valid")
            .build();
        let signals = MessageStream::for_match_rule(rule, &self.connection, None).await.expect("matched");
        (expected, signals)
    }

    /// A request whose person never gets to see a web page.
    pub(crate) async fn ask(&self, ask: &Ask) -> Response {
        self.begin(ask).await.response().await
    }
}

impl Request {
    pub(crate) async fn next(&mut self) -> Signal {
        let message = tokio::time::timeout(PATIENCE, self.signals.next())
            .await
            .expect("a signal in time")
            .expect("a signal")
            .expect("a message");
        let header = message.header();
        assert!(header.destination().is_none(), "signals are broadcast");
        assert_eq!(header.path().expect("a path").as_str(), self.path.as_str());
        let body = message.body();
        match header.member().expect("a member").as_str() {
            "Webflow" => {
                assert!(!self.in_webflow, "one web flow at a time");
                self.in_webflow = true;
                let (url, _): (String, HashMap<String, OwnedValue>) = body.deserialize().expect("sa{sv}");
                Signal::Webflow(url)
            }
            "WebflowDone" => {
                assert!(self.in_webflow, "libflatpak would abort");
                self.in_webflow = false;
                let _: HashMap<String, OwnedValue> = body.deserialize().expect("a{sv}");
                Signal::WebflowDone
            }
            "BasicAuth" => {
                let (realm, mut options): (String, HashMap<String, OwnedValue>) =
                    body.deserialize().expect("sa{sv}");
                let error =
                    options.remove("previous-error").map(|text| String::try_from(text).expect("a string"));
                Signal::BasicAuth(realm, error)
            }
            "Response" => {
                assert!(!self.in_webflow, "libflatpak would abort");
                let (code, results) = body.deserialize().expect("ua{sv}");
                Signal::Response(code, results)
            }
            other => panic!("{other}"),
        }
    }

    pub(crate) async fn webflow(&mut self) -> String {
        match self.next().await {
            Signal::Webflow(url) => url,
            other => panic!("{other:?}"),
        }
    }

    /// The question for a password: the realm, and why it is asked again.
    pub(crate) async fn question(&mut self) -> (String, Option<String>) {
        match self.next().await {
            Signal::BasicAuth(realm, error) => (realm, error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn reply(&self, user: &str, password: &str, remember: bool) -> zbus::Result<()> {
        let mut options = HashMap::new();
        if remember {
            options.insert("remember", Value::from(true));
        }
        let body = (user, password, options);
        self.connection
            .call_method(Some(NAME), &self.path, Some(REQUEST_INTERFACE), "BasicAuthReply", &body)
            .await?;
        Ok(())
    }

    pub(crate) async fn done(&mut self) {
        match self.next().await {
            Signal::WebflowDone => {}
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn response(&mut self) -> Response {
        let Signal::Response(code, mut results) = self.next().await else { panic!("not a response") };
        let message = results.remove("error-message").map(|value| String::try_from(value).expect("a string"));
        let error_code = results.remove("error-code").map(|value| i32::try_from(value).expect("an int"));
        let tokens = results
            .remove("tokens")
            .map(|value| HashMap::<String, Vec<String>>::try_from(value).expect("a{sas}"))
            .unwrap_or_default();
        let summary = results.remove("token").map(|token| {
            let keep_for = results.remove("keep-for").expect("beside a token");
            (String::try_from(token).expect("a string"), u32::try_from(keep_for).expect("a number"))
        });
        assert!(results.is_empty(), "{results:?}");
        let message = message.unwrap_or_default();
        match code {
            0 | 1 => assert!(message.is_empty()),
            2 => assert!(tokens.is_empty() && summary.is_none() && !message.is_empty()),
            other => panic!("{other}"),
        }
        Response { code, message, error_code, tokens, summary }
    }

    /// What libflatpak does when the person says no at the prompt: it forgets the web flow, then closes.
    pub(crate) async fn close(&mut self) {
        self.in_webflow = false;
        close(&self.connection, &self.path).await.expect("closed");
    }
}

pub(crate) async fn close(connection: &Connection, path: &OwnedObjectPath) -> zbus::Result<()> {
    connection.call_method(Some(NAME), path, Some(REQUEST_INTERFACE), "Close", &()).await?;
    Ok(())
}
