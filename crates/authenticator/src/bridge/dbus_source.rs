//! Tokens from `org.flatpass.Authenticator`, which the session bus starts if it does not run. This is the
//! first client of `RequestSummaryToken`.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Mutex;
use zbus::message::Type;
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};
use zbus::{Connection, MatchRule, MessageStream};

use super::book::Bridged;
use super::tokens::{ANY_TYPE, Given, NoToken, TokenSource};
use crate::authority::error::shown;
use crate::dbus::handle::request_path;
use crate::dbus::{AUTHENTICATOR_PATH, BUS_NAME};
use crate::secret::SecretText;

const INTERFACE: &str = "org.freedesktop.Flatpak.Authenticator";
const REQUEST_INTERFACE: &str = "org.freedesktop.Flatpak.AuthenticatorRequest";
/// FLATPAK_ERROR_AUTHENTICATION_FAILED and FLATPAK_ERROR_NOT_AUTHORIZED in Flatpak's `flatpak-error.h`.
const NEEDS_A_PERSON: [i32; 2] = [23, 24];

/// How a connection to the bus is made.
type Connect = Box<dyn Fn() -> Connecting + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = zbus::Result<Connection>> + Send>>;

/// The authenticator on a bus.
pub struct DbusSource {
    connect: Connect,
    connection: Mutex<Option<Connection>>,
    next: AtomicU32,
}

impl fmt::Debug for DbusSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DbusSource").finish_non_exhaustive()
    }
}

impl DbusSource {
    /// The authenticator of the session bus that the environment names.
    #[must_use]
    pub fn session() -> Self {
        Self::with(|| Box::pin(Connection::session()))
    }

    /// The authenticator of the bus that `connect` connects to.
    pub fn with(connect: impl Fn() -> Connecting + Send + Sync + 'static) -> Self {
        Self { connect: Box::new(connect), connection: Mutex::new(None), next: AtomicU32::new(1) }
    }

    async fn connection(&self) -> zbus::Result<Connection> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_ref() {
            return Ok(connection.clone());
        }
        let connection = (self.connect)().await?;
        *kept = Some(connection.clone());
        Ok(connection)
    }

    async fn request(&self, question: &Question<'_>) -> zbus::Result<(u32, HashMap<String, OwnedValue>)> {
        let connection = self.connection().await?;
        let answer = request(&connection, &self.handle_token(), question).await;
        if let Err(zbus::Error::InputOutput(_)) = &answer {
            // The bus is another one now, or the same one anew.
            *self.connection.lock().await = None;
        }
        answer
    }

    fn handle_token(&self) -> String {
        format!("bridge{}", self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// What the authenticator is asked.
enum Question<'a> {
    /// A token for the index, another one than before if the second is set.
    Summary(&'a Bridged, bool),
    /// A token for peers for a ref, and for this commit of it.
    Peers(&'a Bridged, &'a str, Option<&'a str>),
}

async fn request(
    connection: &Connection,
    handle_token: &str,
    question: &Question<'_>,
) -> zbus::Result<(u32, HashMap<String, OwnedValue>)> {
    let name = connection.unique_name().map(|name| name.as_str()).unwrap_or_default();
    let handle = request_path(name, handle_token).ok_or(zbus::Error::InvalidReply)?;
    // Only the owner of the name may answer, and its answer may come before the call returns.
    let rule = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(BUS_NAME)?
        .interface(REQUEST_INTERFACE)?
        .path(handle.as_ref())?
        .member("Response")?
        .build();
    let mut answers = MessageStream::for_match_rule(rule, connection, None).await?;
    let (Question::Summary(remote, _) | Question::Peers(remote, ..)) = question;
    let authenticator_options = HashMap::from([("url", Value::from(remote.store.as_str()))]);
    let mut options = HashMap::from([("no-interaction", Value::from(true))]);
    let reply = match question {
        Question::Summary(_, fresh) => {
            options.insert("fresh", Value::from(*fresh));
            let body = (handle_token, authenticator_options, "bridge", remote.repo.as_str(), options, "");
            call(connection, "RequestSummaryToken", &body).await?
        }
        Question::Peers(_, name, commit) => {
            options.insert("for", Value::from("peers"));
            let about: HashMap<&str, Value<'_>> = HashMap::new();
            let refs = [(*name, commit.unwrap_or_default(), ANY_TYPE, about)];
            let repo = remote.repo.as_str();
            let body = (handle_token, authenticator_options, "bridge", repo, &refs[..], options, "");
            call(connection, "RequestRefTokens", &body).await?
        }
    };
    let given: OwnedObjectPath = reply.body().deserialize()?;
    if given != handle {
        return Err(zbus::Error::InvalidReply);
    }
    let answerer = reply.header().sender().map(|sender| sender.to_owned());
    loop {
        let answer = answers.next().await.ok_or(zbus::Error::InvalidReply)??;
        if answer.header().sender().map(|sender| sender.to_owned()) == answerer {
            return answer.body().deserialize();
        }
    }
}

async fn call<B: serde::Serialize + zbus::zvariant::DynamicType>(
    connection: &Connection,
    method: &str,
    body: &B,
) -> zbus::Result<zbus::Message> {
    connection.call_method(Some(BUS_NAME), AUTHENTICATOR_PATH, Some(INTERFACE), method, body).await
}

/// What kept the call from being answered.
fn unreachable(error: zbus::Error) -> NoToken {
    match error {
        zbus::Error::MethodError(name, detail, _) => {
            NoToken::Unreachable(shown(&detail.unwrap_or_else(|| name.to_string())))
        }
        error => NoToken::Unreachable(shown(&error.to_string())),
    }
}

impl TokenSource for DbusSource {
    fn peers_token<'a>(
        &'a self,
        remote: &'a Bridged,
        name: &'a str,
        commit: Option<&'a str>,
    ) -> Pin<Box<dyn Future<Output = Result<Given, NoToken>> + Send + 'a>> {
        Box::pin(async move {
            let (code, results) =
                self.request(&Question::Peers(remote, name, commit)).await.map_err(unreachable)?;
            read_refs(code, results)
        })
    }

    fn token<'a>(
        &'a self,
        remote: &'a Bridged,
        fresh: bool,
    ) -> Pin<Box<dyn Future<Output = Result<Given, NoToken>> + Send + 'a>> {
        Box::pin(async move {
            let (code, results) =
                self.request(&Question::Summary(remote, fresh)).await.map_err(unreachable)?;
            read(code, results)
        })
    }
}

/// An authenticator that does not speak as it should.
fn not_understood() -> NoToken {
    NoToken::Failed("The authenticator's answer is not understood. Update flatpass-authenticator.".to_owned())
}

/// The refusal in the arguments of the `Response` signal.
fn refusal(mut results: HashMap<String, OwnedValue>) -> NoToken {
    let message = results.remove("error-message").and_then(|value| String::try_from(value).ok());
    let Some(message) = message.map(|message| shown(&message)) else { return not_understood() };
    let error_code = results.remove("error-code").and_then(|value| i32::try_from(value).ok());
    match error_code {
        Some(code) if NEEDS_A_PERSON.contains(&code) => NoToken::Refused(message),
        _ => NoToken::Failed(message),
    }
}

/// Reads the arguments of the `Response` signal to `RequestRefTokens` for one ref.
fn read_refs(code: u32, mut results: HashMap<String, OwnedValue>) -> Result<Given, NoToken> {
    if code != 0 {
        return Err(refusal(results));
    }
    let tokens =
        results.remove("tokens").and_then(|value| HashMap::<String, Vec<String>>::try_from(value).ok());
    let token =
        tokens.ok_or_else(not_understood)?.into_keys().find(|token| !token.is_empty()).map(SecretText::new);
    if token.as_ref().is_some_and(|token| !token.is_bearer_token()) {
        return Err(not_understood());
    }
    Ok(Given { token, keep_for: Duration::ZERO })
}

/// Reads the arguments of the `Response` signal to `RequestSummaryToken`.
fn read(code: u32, mut results: HashMap<String, OwnedValue>) -> Result<Given, NoToken> {
    if code != 0 {
        return Err(refusal(results));
    }
    let token = results.remove("token").and_then(|value| String::try_from(value).ok());
    let token = token.map(SecretText::new).ok_or_else(not_understood)?;
    let keep_for = results.remove("keep-for").and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
    let keep_for = Duration::from_secs(keep_for.into());
    if token.expose().is_empty() {
        return Ok(Given { token: None, keep_for });
    }
    if !token.is_bearer_token() {
        return Err(not_understood());
    }
    Ok(Given { token: Some(token), keep_for })
}
