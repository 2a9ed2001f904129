//! `org.freedesktop.Flatpak.Authenticator`: the object that Flatpak calls, and that callers of `RequestSummaryToken`
//! call.

use std::collections::HashMap;
use std::sync::Arc;

use flatpass_oci::{Digest, RepositoryName};
use tokio::sync::{Semaphore, watch};
use zbus::message::Header;
use zbus::names::UniqueName;
use zbus::object_server::ResponseDispatchNotifier;
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};
use zbus::{Connection, fdo, interface};

use super::INTERFACE_VERSION;
use super::handle::request_path;
use super::request::{Asked, Pending};
use crate::authority::address::{AuthorityUrl, RemoteKind, RepoUrl};
use crate::authority::error::shown;
use crate::authority::ref_tokens::Purpose;
use crate::peers::uses::Destination;
use crate::registry::address::RegistryUrl;
use crate::registry::refusal::RegistryRefusal;
use crate::registry::remote::{RemoteAsk, RemoteOptions};
use crate::registry::walk::AskedImage;
use crate::secret::SecretText;
use crate::session::Sessions;
use crate::session::ask::{Ask, AskedRef, MAX_REFS};
use crate::session::cache::UsedAt;
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
        asked: Result<Asked, Refusal>,
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

/// Reads the arguments of `RequestRefTokens`. The option `for` (s) `peers`, which Flatpak does not send, asks for tokens for
/// peers alone.
fn read_refs(
    authenticator_options: &Options,
    remote: &str,
    remote_uri: &str,
    refs: &[RefArgument],
    options: &Options,
) -> Result<Asked, Refusal> {
    if refs.len() > MAX_REFS {
        return Err(Refusal::TooManyRefs { count: refs.len() });
    }
    if RemoteKind::of(remote_uri).0 == RemoteKind::Oci {
        let ask = read_oci(authenticator_options, remote, remote_uri, refs, options)?;
        return Ok(Asked::Oci(Box::new(ask)));
    }
    let mut destination = Destination::of(remote_uri);
    if text(options, "for") == Some("peers") {
        destination.purpose = Purpose::Peers;
    }
    let (store, repo) = read_remote(authenticator_options, remote, &destination.repo)?;
    let refs = refs.iter().map(read_ref).collect::<Result<Vec<_>, _>>()?;
    let used_at = UsedAt { repo, registry: None };
    let interactive = !is_set(options, "no-interaction");
    let ask = Ask { used_at, refs, purpose: destination.purpose, interactive };
    Ok(Asked::Refs(store, ask, destination))
}

fn read_ref((name, commit, token_type, _summary): &RefArgument) -> Result<AskedRef, Refusal> {
    AskedRef::new(name, commit, *token_type)
}

/// Reads the arguments of `RequestRefTokens` for a remote whose images are in a registry.
fn read_oci(
    authenticator_options: &Options,
    remote: &str,
    remote_uri: &str,
    refs: &[RefArgument],
    options: &Options,
) -> Result<RemoteAsk, Refusal> {
    let remote = shown(remote);
    let registry = text(options, "xa.oci-registry-uri").and_then(|uri| RegistryUrl::parse(uri).ok());
    let registry = registry.ok_or_else(|| RegistryRefusal::Address { remote: remote.clone() })?;
    let refs = refs
        .iter()
        .map(|argument| {
            let asked = read_ref(argument)?;
            let image = read_image(argument, asked.is_fresh());
            Ok((asked, image))
        })
        .collect::<Result<Vec<_>, Refusal>>()?;
    let own = |name: &str| text(authenticator_options, name).map(str::to_owned);
    let options_of_remote = RemoteOptions {
        store: read_store(authenticator_options, &remote)?,
        auth: own("auth").map(SecretText::new),
        auth_registry: own("auth-registry"),
        remember: own("remember").is_some_and(|word| matches!(word.as_str(), "true" | "yes" | "1")),
    };
    Ok(RemoteAsk {
        remote,
        remote_uri: remote_uri.to_owned(),
        options: options_of_remote,
        registry,
        refs,
        interactive: !is_set(options, "no-interaction"),
    })
}

/// The image that a ref is: Flatpak takes the manifest's digest for the commit.
fn read_image((name, commit, _, summary): &RefArgument, fresh: bool) -> Option<AskedImage> {
    Some(AskedImage {
        name: name.clone(),
        repository: RepositoryName::parse(text(summary, "summary.xa.oci-repository")?).ok()?,
        digest: Digest::from_hex(commit)?,
        fresh,
    })
}

/// Reads the arguments of `RequestSummaryToken`.
fn read_summary(
    authenticator_options: &Options,
    remote: &str,
    remote_uri: &str,
    options: &Options,
) -> Result<Asked, Refusal> {
    let (store, repo) = read_remote(authenticator_options, remote, remote_uri)?;
    let interactive = !is_set(options, "no-interaction");
    Ok(Asked::Summary(store, SummaryAsk { repo, interactive, fresh: is_set(options, "fresh") }))
}

/// Whose remote it is, and where it leads.
fn read_remote(
    authenticator_options: &Options,
    remote: &str,
    remote_uri: &str,
) -> Result<(AuthorityUrl, RepoUrl), Refusal> {
    let remote = shown(remote);
    let store = read_store(authenticator_options, &remote)?
        .ok_or_else(|| Refusal::NoAuthority { remote: remote.clone() })?;
    let (_, repo) = RepoUrl::of_remote(remote_uri).map_err(|error| Refusal::RepoUrl { remote, error })?;
    Ok((store, repo))
}

/// The store that the remote names, if it names one.
fn read_store(authenticator_options: &Options, remote: &str) -> Result<Option<AuthorityUrl>, Refusal> {
    let parse = |url| {
        AuthorityUrl::parse(url).map_err(|error| Refusal::AuthorityUrl { remote: remote.to_owned(), error })
    };
    text(authenticator_options, "url").map(parse).transpose()
}

/// An option that is there, a string, and not empty.
fn text<'a>(options: &'a Options, name: &str) -> Option<&'a str> {
    match options.get(name).map(|value| &**value) {
        Some(Value::Str(text)) if !text.is_empty() => Some(text.as_str()),
        _ => None,
    }
}

/// Whether an option is there and true.
fn is_set(options: &Options, name: &str) -> bool {
    matches!(options.get(name).map(|value| &**value), Some(Value::Bool(true)))
}
