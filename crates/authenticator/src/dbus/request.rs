//! `org.freedesktop.Flatpak.AuthenticatorRequest`: one request's object, and the task behind it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use tokio::sync::{oneshot, watch};
use url::Url;
use zbus::fdo::{self, DBusProxy};
use zbus::message::Header;
use zbus::names::{BusName, UniqueName};
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};
use zbus::{Connection, interface};

use super::results::{self, Granted};
use crate::authority::address::AuthorityUrl;
use crate::peers::uses::Destination;
use crate::registry::prompt::{Prompt, Typed};
use crate::registry::remote::RemoteAsk;
use crate::secret::SecretText;
use crate::session::Sessions;
use crate::session::ask::Ask;
use crate::session::flow::Interaction;
use crate::session::refusal::{Ended, Refusal};
use crate::session::summary::SummaryAsk;

/// The object of a request. Only the client that made the request may use it.
#[derive(Debug)]
pub(super) struct Request {
    owner: UniqueName<'static>,
    close: Mutex<Option<oneshot::Sender<()>>>,
    question: Arc<Question>,
}

/// The question for a password that is open, if one is.
#[derive(Debug, Default)]
struct Question(Mutex<Option<oneshot::Sender<Typed>>>);

impl Question {
    fn ask(&self) -> oneshot::Receiver<Typed> {
        let (sender, receiver) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Gives whether somebody had asked.
    fn answer(&self, typed: Typed) -> bool {
        let asker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        asker.is_some_and(|asker| asker.send(typed).is_ok())
    }
}

impl Request {
    fn only_owner(&self, header: &Header<'_>) -> fdo::Result<()> {
        if header.sender() == Some(&self.owner) {
            Ok(())
        } else {
            Err(fdo::Error::AccessDenied("This request belongs to another program.".to_owned()))
        }
    }
}

/// See the crate's documentation for what the signals mean; all of them are broadcast.
#[interface(name = "org.freedesktop.Flatpak.AuthenticatorRequest")]
impl Request {
    /// Ends the request: its owner does not want it any more.
    async fn close(&self, #[zbus(header)] header: Header<'_>) -> fdo::Result<()> {
        self.only_owner(&header)?;
        if let Some(close) = self.close.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ended_already = close.send(());
        }
        Ok(())
    }

    /// Answers a `BasicAuth` signal. With the option `remember` (b) the registry's password is remembered.
    async fn basic_auth_reply(
        &self,
        user: String,
        password: String,
        options: HashMap<String, OwnedValue>,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        self.only_owner(&header)?;
        let remember = matches!(options.get("remember").map(|value| &**value), Some(Value::Bool(true)));
        let typed = Typed { user, password: SecretText::new(password), remember };
        if self.question.answer(typed) {
            Ok(())
        } else {
            Err(fdo::Error::NotSupported("Nobody has asked for a password.".to_owned()))
        }
    }

    /// Asks the client to open an address.
    #[zbus(signal)]
    async fn webflow(
        emitter: &SignalEmitter<'_>,
        uri: &str,
        options: HashMap<&str, Value<'_>>,
    ) -> zbus::Result<()>;

    /// The address is done with.
    #[zbus(signal)]
    async fn webflow_done(emitter: &SignalEmitter<'_>, options: HashMap<&str, Value<'_>>)
    -> zbus::Result<()>;

    /// Asks the client for user and password.
    #[zbus(signal)]
    async fn basic_auth(
        emitter: &SignalEmitter<'_>,
        realm: &str,
        options: HashMap<&str, Value<'_>>,
    ) -> zbus::Result<()>;

    /// The request's end.
    #[zbus(signal)]
    async fn response(
        emitter: &SignalEmitter<'_>,
        response: u32,
        results: HashMap<&str, Value<'_>>,
    ) -> zbus::Result<()>;
}

/// What a client asks an authority for.
#[derive(Debug)]
pub(super) enum Asked {
    /// Tokens for refs of an OSTree repo.
    Refs(AuthorityUrl, Ask, Destination),
    /// Tokens for images in a registry.
    Oci(Box<RemoteAsk>),
    /// A token for a repo's index.
    Summary(AuthorityUrl, SummaryAsk),
}

/// A request whose object exists and whose caller has not been answered yet.
pub(super) struct Pending {
    connection: Connection,
    path: OwnedObjectPath,
    owner: UniqueName<'static>,
    closed: oneshot::Receiver<()>,
    question: Arc<Question>,
}

/// Signals of one request, without a destination: `xdg-dbus-proxy` drops those that have one.
struct Signals {
    emitter: SignalEmitter<'static>,
    /// Whether the client is between `Webflow` and `WebflowDone`.
    in_webflow: Mutex<bool>,
    question: Arc<Question>,
}

impl Signals {
    async fn done_if_shown(&self) {
        if std::mem::take(&mut *self.in_webflow.lock().unwrap_or_else(PoisonError::into_inner)) {
            log(Request::webflow_done(&self.emitter, HashMap::new()).await);
        }
    }
}

impl Interaction for Signals {
    async fn webflow(&self, url: &Url) {
        *self.in_webflow.lock().unwrap_or_else(PoisonError::into_inner) = true;
        log(Request::webflow(&self.emitter, url.as_str(), HashMap::new()).await);
    }

    async fn webflow_done(&self) {
        self.done_if_shown().await;
    }
}

impl Prompt for Signals {
    async fn password(&self, realm: &str, previous_error: Option<&str>) -> Option<Typed> {
        let typed = self.question.ask();
        let mut options = HashMap::new();
        // For programs whose person can be asked whether to remember it.
        options.insert("can-remember", Value::from(true));
        if let Some(error) = previous_error {
            options.insert("previous-error", Value::from(error));
        }
        log(Request::basic_auth(&self.emitter, realm, options).await);
        typed.await.ok()
    }
}

/// How the waiting for a request ended.
enum End {
    Answered(Result<Granted, Ended>),
    Closed,
    Vanished,
    Stopping,
}

impl Pending {
    /// Makes the request's object at `path`.
    ///
    /// # Errors
    /// [`fdo::Error::InvalidArgs`] if the owner has a request with this handle already.
    pub(super) async fn new(
        connection: &Connection,
        path: OwnedObjectPath,
        owner: UniqueName<'static>,
    ) -> fdo::Result<Self> {
        let (close, closed) = oneshot::channel();
        let question = Arc::new(Question::default());
        let object =
            Request { owner: owner.clone(), close: Mutex::new(Some(close)), question: Arc::clone(&question) };
        let is_new = connection.object_server().at(&path, object).await?;
        if !is_new {
            return Err(fdo::Error::InvalidArgs("This handle token is in use.".to_owned()));
        }
        Ok(Self { connection: connection.clone(), path, owner, closed, question })
    }

    /// Answers the request: with tokens, or with a sentence; or not at all if its owner has gone.
    pub(super) async fn run(
        self,
        sessions: Arc<Sessions>,
        asked: Result<Asked, Refusal>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let signals = Signals {
            emitter: SignalEmitter::from_parts(self.connection.clone(), self.path.clone().into_inner()),
            in_webflow: Mutex::new(false),
            question: self.question,
        };
        let work = async {
            match asked? {
                Asked::Refs(_, ask, destination) if destination.has_password => {
                    Ok(Granted::Refs(ask.without_tokens()))
                }
                Asked::Refs(store, mut ask, destination) => {
                    destination.freshen().await;
                    ask.used_at.repo = sessions.real_repo(&store, ask.used_at.repo).await?;
                    sessions.with(&store)?.tokens(&ask, &signals).await.map(Granted::Refs)
                }
                Asked::Oci(ask) => Box::pin(sessions.oci_tokens(&ask, &signals)).await.map(Granted::Refs),
                Asked::Summary(store, mut ask) => {
                    ask.repo = sessions.real_repo(&store, ask.repo).await?;
                    sessions.with(&store)?.summary_token(&ask, &signals).await.map(Granted::Summary)
                }
            }
        };
        let end = tokio::select! {
            outcome = Box::pin(work) => End::Answered(outcome),
            _ = self.closed => End::Closed,
            () = vanished(&self.connection, &self.owner) => End::Vanished,
            _ = stopping.wait_for(|stop| *stop) => End::Stopping,
        };
        let outcome = match end {
            End::Answered(outcome) => Some(outcome),
            // A client that closes has left its web flow already, and would not expect to hear that it is done.
            End::Closed => {
                *signals.in_webflow.lock().unwrap_or_else(PoisonError::into_inner) = false;
                Some(Err(Ended::Cancelled))
            }
            End::Vanished => None,
            End::Stopping => Some(Err(Refusal::Stopping.into())),
        };
        if let Some(outcome) = outcome {
            // The client insists on this order.
            signals.done_if_shown().await;
            let code = results::code(&outcome);
            if let Err(Ended::Refused(refusal)) = &outcome {
                tracing::info!(%refusal, "a request was refused");
            }
            log(Request::response(&signals.emitter, code, results::results(outcome)).await);
        }
        if let Err(error) = self.connection.object_server().remove::<Request, _>(&self.path).await {
            tracing::debug!(%error, "a request's object was gone already");
        }
    }
}

/// Returns when the client is not on the bus any more.
async fn vanished(connection: &Connection, owner: &UniqueName<'static>) {
    let watching = async {
        let bus = DBusProxy::new(connection).await?;
        let mut changes = bus.receive_name_owner_changed_with_args(&[(0, owner.as_str())]).await?;
        // It may have gone before we listened.
        if !bus.name_has_owner(BusName::Unique(owner.clone())).await? {
            return Ok(());
        }
        while let Some(change) = changes.next().await {
            if change.args()?.new_owner().is_none() {
                return Ok(());
            }
        }
        Ok::<(), zbus::Error>(())
    };
    if let Err(error) = watching.await {
        tracing::warn!(%error, "cannot watch for the client's end");
        std::future::pending::<()>().await;
    }
}

fn log(sent: zbus::Result<()>) {
    if let Err(error) = sent {
        tracing::warn!(%error, "a signal could not be sent");
    }
}
