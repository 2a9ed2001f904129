//! `org.freedesktop.Flatpak.Authenticator`: the object that Flatpak calls, and that callers of `RequestSummaryToken`
//! call.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use zbus::message::Header;
use zbus::names::UniqueName;
use zbus::object_server::ResponseDispatchNotifier;
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};
use zbus::{Connection, fdo, interface};

use super::INTERFACE_VERSION;
use super::handle::request_path;
use super::request::{Asked, Pending};
use crate::authority::address::{AuthorityUrl, RepoUrl};
use crate::session::Sessions;
use crate::session::ask::{Ask, AskedRef, MAX_REFS};
use crate::session::refusal::Refusal;
use crate::session::summary::SummaryAsk;

/// The most requests at once, of all clients together.
const MAX_REQUESTS: usize = 128;

/// A ref as Flatpak writes it: name, commit, token type, and metadata of the summary.
type RefArgument = (String, String, i32, HashMap<String, OwnedValue>);

/// A dictionary of options, `a{sv}`.
type Options = HashMap<String, OwnedValue>;

/// The authenticator's object.
#[derive(Debug)]
pub struct Authenticator {
    sessions: Arc<Sessions>,
    slots: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

impl Authenticator {
    /// The object, and the slots that its requests take: when all are free again, no request is under way.
    #[must_use]
    pub fn new(sessions: Arc<Sessions>, stopping: watch::Receiver<bool>) -> (Self, Slots) {
        let slots = Arc::new(Semaphore::new(MAX_REQUESTS));
        (Self { sessions, slots: Arc::clone(&slots), stopping }, Slots(slots))
    }

    /// Makes the request's object and begins to work on it, once the caller has been told its path.
    async fn begin(
        &self,
        handle_token: &str,
        asked: Result<(AuthorityUrl, Asked), Refusal>,
        header: &Header<'_>,
        connection: &Connection,
    ) -> fdo::Result<ResponseDispatchNotifier<OwnedObjectPath>> {
        let sender: UniqueName<'static> = header
            .sender()
            .map(|sender| sender.to_owned())
            .ok_or_else(|| fdo::Error::InvalidArgs("The call has no sender.".to_owned()))?;
        let path = request_path(&sender, handle_token).ok_or_else(|| {
            fdo::Error::InvalidArgs("A handle token is made of letters, digits and underscores.".to_owned())
        })?;
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            fdo::Error::LimitsExceeded("Too many requests at once. Try again in a moment.".to_owned())
        })?;
        let pending = Pending::new(connection, path.clone(), sender).await?;
        let (answer, answered) = ResponseDispatchNotifier::new(path);
        let (sessions, stopping) = (Arc::clone(&self.sessions), self.stopping.clone());
        tokio::spawn(async move {
            let _slot = slot;
            answered.await;
            pending.run(sessions, asked, stopping).await;
        });
        Ok(answer)
    }
}

/// The requests under way.
#[derive(Debug)]
pub struct Slots(Arc<Semaphore>);

impl Slots {
    /// Waits until no request is under way.
    pub async fn all_free(&self) {
        let all = u32::try_from(MAX_REQUESTS).unwrap_or(u32::MAX);
        let _closed = self.0.acquire_many(all).await;
    }
}

#[interface(name = "org.freedesktop.Flatpak.Authenticator")]
impl Authenticator {
    /// Begins a request for tokens for refs of a remote. Its answer is the `Response` signal of the request object.
    #[expect(clippy::too_many_arguments, reason = "the interface is Flatpak's")]
    #[zbus(out_args("handle"))]
    async fn request_ref_tokens(
        &self,
        handle_token: String,
        authenticator_options: Options,
        remote: String,
        remote_uri: String,
        refs: Vec<RefArgument>,
        options: Options,
        parent_window: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<ResponseDispatchNotifier<OwnedObjectPath>> {
        // Pages open in a browser, which has windows of its own.
        drop(parent_window);
        let asked = read_refs(&authenticator_options, &remote, &remote_uri, &refs, &options);
        self.begin(&handle_token, asked, &header, connection).await
    }

    /// Begins a request for a token for the index of a remote. Its answer is the `Response` signal of the request
    /// object.
    #[expect(clippy::too_many_arguments, reason = "the interface is the one that was proposed for Flatpak")]
    #[zbus(out_args("handle"))]
    async fn request_summary_token(
        &self,
        handle_token: String,
        authenticator_options: Options,
        remote: String,
        remote_uri: String,
        options: Options,
        parent_window: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<ResponseDispatchNotifier<OwnedObjectPath>> {
        drop(parent_window);
        let asked = read_summary(&authenticator_options, &remote, &remote_uri, &options);
        self.begin(&handle_token, asked, &header, connection).await
    }

    /// The version of this interface.
    #[zbus(property(emits_changed_signal = "const"), name = "version")]
    async fn version(&self) -> u32 {
        INTERFACE_VERSION
    }
}

/// Reads the arguments of `RequestRefTokens`.
fn read_refs(
    authenticator_options: &Options,
    remote: &str,
    remote_uri: &str,
    refs: &[RefArgument],
    options: &Options,
) -> Result<(AuthorityUrl, Asked), Refusal> {
    let (url, repo) = read_remote(authenticator_options, remote, remote_uri)?;
    if refs.len() > MAX_REFS {
        return Err(Refusal::TooManyRefs { count: refs.len() });
    }
    let refs = refs
        .iter()
        .map(|(name, commit, token_type, _summary)| AskedRef::new(name, commit, *token_type))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((url, Asked::Refs(Ask { repo, refs, interactive: !is_set(options, "no-interaction") })))
}

/// Reads the arguments of `RequestSummaryToken`.
fn read_summary(
    authenticator_options: &Options,
    remote: &str,
    remote_uri: &str,
    options: &Options,
) -> Result<(AuthorityUrl, Asked), Refusal> {
    let (url, repo) = read_remote(authenticator_options, remote, remote_uri)?;
    let interactive = !is_set(options, "no-interaction");
    Ok((url, Asked::Summary(SummaryAsk { repo, interactive, fresh: is_set(options, "fresh") })))
}

/// Whose remote it is, and where it leads.
fn read_remote(
    authenticator_options: &Options,
    remote: &str,
    remote_uri: &str,
) -> Result<(AuthorityUrl, RepoUrl), Refusal> {
    let remote = crate::authority::error::shown(remote);
    let url = match authenticator_options.get("url").map(|value| &**value) {
        Some(Value::Str(url)) if !url.is_empty() => AuthorityUrl::parse(url)
            .map_err(|error| Refusal::AuthorityUrl { remote: remote.clone(), error })?,
        _ => return Err(Refusal::NoAuthority { remote }),
    };
    let repo = RepoUrl::parse(remote_uri).map_err(|error| Refusal::RepoUrl { remote, error })?;
    Ok((url, repo))
}

/// Whether an option is there and true.
fn is_set(options: &Options, name: &str) -> bool {
    matches!(options.get(name).map(|value| &**value), Some(Value::Bool(true)))
}
