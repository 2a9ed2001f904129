//! The walk from a registry's challenge to a token: anonymous, with what is stored for the registry's host, or with
//! what a person types.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use flatpass_oci::client::{Asked, Realm, RegistryError};
use flatpass_oci::{Digest, RepositoryName};
use futures_util::StreamExt as _;

use super::Registries;
use super::address::RegistryUrl;
use super::attempts::Attempts;
use super::credential::Credential;
use super::files::Candidate;
use super::login::{Closed, REMEMBERED, TYPED, Tried, no};
use super::probe::Door;
use super::prompt::Prompt;
use super::realm::{may_be_asked, may_have_credentials};
use super::refusal::RegistryRefusal;
use super::rules::Rules;
use crate::authority::error::shown;
use crate::session::ask::Tokens;
use crate::session::refusal::{Ended, Refusal};

/// Repositories that are asked about at once.
const AT_ONCE: usize = 8;
/// The most repositories of one request.
const MAX_REPOSITORIES: usize = 2000;
/// The most passwords that a person is asked for in one request.
const MAX_PROMPTS: usize = 5;

/// An image that Flatpak wants a token for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedImage {
    /// The ref as Flatpak writes it.
    pub name: String,
    /// The repository that it is in.
    pub repository: RepositoryName,
    /// Its manifest.
    pub digest: Digest,
    /// What we gave for it was refused: an answer from memory would be refused again.
    pub fresh: bool,
}

/// The remote's own credentials (its option `auth`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfRemote {
    /// It has none.
    None,
    /// These, and they belong to this registry.
    Here(Credential),
    /// It has some, and they belong to another host.
    For(String),
    /// They cannot be read.
    Unreadable,
}

/// A whole request.
#[derive(Debug, Clone)]
pub struct RegistryAsk {
    /// The registry that Flatpak will send the tokens to.
    pub registry: RegistryUrl,
    /// Images in it.
    pub images: Vec<AskedImage>,
    /// The remote's own credentials.
    pub of_remote: OfRemote,
    /// Whether what a person types is to be remembered, in any case.
    pub remember: bool,
    /// What the person has told container tools of registries.
    pub rules: Rules,
    /// Whether a person may be asked.
    pub interactive: bool,
}

/// How one repository answered.
enum Found<'a> {
    Token(String),
    Closed(Closed<'a>),
}

/// One repository that is being opened.
type Opening<'a> =
    Pin<Box<dyn Future<Output = (&'a AskedImage, Result<Found<'a>, RegistryRefusal>)> + Send + 'a>>;

impl Registries {
    /// Gets a token for every image.
    ///
    /// # Errors
    /// [`Ended`]: then there is no token for any of them.
    pub async fn tokens(&self, ask: &RegistryAsk, client: &impl Prompt) -> Result<Tokens, Ended> {
        let mut images: BTreeMap<&RepositoryName, Vec<&AskedImage>> = BTreeMap::new();
        for image in &ask.images {
            images.entry(&image.repository).or_default().push(image);
        }
        if images.len() > MAX_REPOSITORIES {
            return Err(RegistryRefusal::TooMany { count: images.len() }.into());
        }
        let attempts = Attempts::default();
        let mut opening: Vec<Opening<'_>> = Vec::new();
        for images in images.values() {
            let Some(image) = images.first().copied() else { continue };
            let fresh = images.iter().any(|image| image.fresh);
            let attempts = &attempts;
            opening.push(Box::pin(async move { (image, self.open(ask, image, fresh, attempts).await) }));
        }
        let mut found: Vec<_> = futures_util::stream::iter(opening).buffer_unordered(AT_ONCE).collect().await;
        found.sort_by(|(one, _), (other, _)| one.repository.cmp(&other.repository));
        let mut tokens: BTreeMap<&RepositoryName, String> = BTreeMap::new();
        let mut closed = Vec::new();
        for (image, found) in found {
            match found.map_err(|refusal| ask.explained(image, refusal))? {
                Found::Token(token) => {
                    tokens.insert(&image.repository, token);
                }
                Found::Closed(one) => closed.push(one),
            }
        }
        if !closed.is_empty() {
            for (repository, token) in self.open_by_hand(ask, closed, client).await? {
                tokens.insert(repository, token);
            }
        }
        let mut answer = Tokens::new();
        for image in &ask.images {
            let Some(token) = tokens.get(&image.repository) else { continue };
            let refs = answer.entry(token.clone()).or_default();
            if !refs.contains(&image.name) {
                refs.push(image.name.clone());
            }
        }
        Ok(answer)
    }

    /// Opens one repository without asking anybody.
    async fn open<'a>(
        &self,
        ask: &RegistryAsk,
        image: &'a AskedImage,
        fresh: bool,
        attempts: &Attempts,
    ) -> Result<Found<'a>, RegistryRefusal> {
        let registry = &ask.registry;
        let now = self.environment.now();
        {
            let mut cache = self.cache();
            if fresh {
                cache.forget(registry, &image.repository);
            }
            if let Some(token) = cache.get(registry, &image.repository, now) {
                return Ok(Found::Token(token.to_owned()));
            }
        }
        let probe = &self.clients()?.probe;
        let (realm, service) = match probe.look(registry, &image.repository, &image.digest, None).await? {
            Door::Open => {
                self.cache().put(registry, &image.repository, "", None, now);
                return Ok(Found::Token(String::new()));
            }
            Door::Asks(Asked::Token { realm, service }) => (realm, service),
            Door::Asks(Asked::Basic) => {
                return Err(RegistryRefusal::BasicOnly { host: registry.host() });
            }
            other => return Err(no(registry, image, &other)),
        };
        may_be_asked(registry, &realm)?;
        let mut closed = Closed { image, realm, service, tried: None };
        if let Some(token) = self.log_in(registry, &mut closed, None).await? {
            return Ok(Found::Token(token));
        }
        if !may_have_credentials(registry, &closed.realm) {
            return Err(RegistryRefusal::RealmElsewhere {
                host: registry.host(),
                realm: closed.realm.host(),
            });
        }
        if let OfRemote::Here(credential) = &ask.of_remote {
            let login = (credential, "the remote\u{2019}s option auth");
            if let Some(token) = self.try_login(registry, &mut closed, login, attempts).await? {
                return Ok(Found::Token(token));
            }
        }
        let files = self.environment.auth_files.iter();
        let of_files = files.flat_map(|file| {
            let candidates = file.candidates(registry, image.repository.as_str());
            candidates.into_iter().map(|candidate| (candidate, Some(&file.path)))
        });
        let of_helpers = ask.rules.helpers(registry).map(|helper| (Candidate::Helper(helper), None));
        for (candidate, path) in of_files.chain(of_helpers) {
            let path = path.map(|path| path.display().to_string()).unwrap_or_default();
            let (credential, origin) = match candidate {
                Candidate::Token(token) => {
                    if self.is_enough(registry, &mut closed, &token, &path).await? {
                        return Ok(Found::Token(token.expose().to_owned()));
                    }
                    continue;
                }
                Candidate::Here(credential) => (Some(credential), path),
                Candidate::Helper(helper) => (attempts.helper(&helper).await, helper.program().to_owned()),
            };
            let Some(credential) = credential else { continue };
            let login = (&credential, origin.as_str());
            if let Some(token) = self.try_login(registry, &mut closed, login, attempts).await? {
                return Ok(Found::Token(token));
            }
        }
        let remembered = self.remembered();
        let load = Box::pin(remembered.load(registry, ask.interactive && self.environment.attended));
        match attempts.remembered(load).await {
            Ok(Some(credential)) => {
                let login = (credential, REMEMBERED);
                if let Some(token) = self.try_login(registry, &mut closed, login, attempts).await? {
                    return Ok(Found::Token(token));
                }
            }
            Ok(None) => {}
            Err(error) => closed.tried = Some(Tried::Unreadable(error.clone())),
        }
        Ok(Found::Closed(closed))
    }

    /// Asks the person for the first repository that is closed, until the answer opens it; the others must open to the
    /// same.
    async fn open_by_hand<'a>(
        &self,
        ask: &RegistryAsk,
        mut closed: Vec<Closed<'a>>,
        client: &impl Prompt,
    ) -> Result<Vec<(&'a RepositoryName, String)>, Ended> {
        let registry = &ask.registry;
        let Some(first) = closed.first_mut() else { return Ok(Vec::new()) };
        if !ask.interactive || !self.environment.attended {
            return Err(quiet_refusal(ask, first).into());
        }
        let realm = realm_text(registry, &first.realm);
        for _ in 0..MAX_PROMPTS {
            let previous = first.tried.as_ref().map(|tried| previous_error(first, tried));
            let Some(typed) = client.password(&realm, previous.as_deref()).await else {
                return Err(Ended::Cancelled);
            };
            let Some(credential) = Credential::password(&typed.user, typed.password) else {
                let words = "it has characters that cannot be sent".to_owned();
                first.tried = Some(Tried::Wrong { origin: TYPED.to_owned(), words });
                continue;
            };
            let Some(token) = self.log_in(registry, first, Some((&credential, TYPED))).await? else {
                continue;
            };
            let mut opened = vec![(&first.image.repository, token)];
            for other in &mut closed[1..] {
                let Some(token) = self.log_in(registry, other, Some((&credential, TYPED))).await? else {
                    return Err(quiet_refusal(ask, other).into());
                };
                opened.push((&other.image.repository, token));
            }
            if (typed.remember || ask.remember)
                && let Err(error) =
                    self.remembered().store(registry, &credential, self.environment.now()).await
            {
                tracing::warn!(%error, "the sign-in at a registry is not remembered");
            }
            return Ok(opened);
        }
        Err(RegistryRefusal::TooManyTries { host: registry.host() }.into())
    }
}

impl RegistryAsk {
    /// A registry that cannot be reached may have a mirror, which is of no use to Flatpak.
    fn explained(&self, image: &AskedImage, refusal: RegistryRefusal) -> RegistryRefusal {
        let rule = self.rules.of(&self.registry, Some((&image.repository, &image.digest)));
        let elsewhere = rule.and_then(|rule| Some((rule, rule.elsewhere.first()?)));
        match (refusal, elsewhere) {
            (
                RegistryRefusal::Failed(
                    error @ (RegistryError::Unreachable { .. } | RegistryError::Timeout { .. }),
                ),
                Some((rule, elsewhere)),
            ) => RegistryRefusal::Elsewhere {
                error,
                elsewhere: shown(elsewhere),
                path: rule.path.display().to_string(),
            },
            (refusal, _) => refusal,
        }
    }
}

/// What is shown to the person who is asked.
fn realm_text(registry: &RegistryUrl, realm: &Realm) -> String {
    let host = registry.host();
    let signs_in =
        if realm.host() == host { String::new() } else { format!(", which signs in at {}", realm.host()) };
    format!(
        "{host}{signs_in}; to be asked only once: flatpass-authenticator registry login {}",
        registry.as_argument()
    )
}

/// Why the person is asked again.
fn previous_error(closed: &Closed<'_>, tried: &Tried) -> String {
    match tried {
        Tried::Wrong { origin, words } if origin == TYPED => {
            format!("{} does not accept that: {}", closed.realm.host(), shown(words))
        }
        Tried::Wrong { origin, words } => {
            format!("{} does not accept {}: {}", closed.realm.host(), shown(origin), shown(words))
        }
        Tried::TooLittle { account } => format!("{account} may not download {}.", closed.image.name),
        Tried::Unreadable(error) => error.to_string(),
    }
}

/// The refusal for a repository that is closed, when nobody may be asked.
fn quiet_refusal(ask: &RegistryAsk, closed: &Closed<'_>) -> Refusal {
    let host = ask.registry.as_argument();
    let name = closed.image.name.clone();
    let said = match (&closed.tried, &ask.of_remote) {
        (Some(Tried::TooLittle { account }), _) => {
            return RegistryRefusal::MayNot { account: account.clone(), host, name }.into();
        }
        (Some(Tried::Unreadable(error)), _) => return error.clone().into(),
        (Some(Tried::Wrong { origin, words }), _) => {
            let (realm, origin, words) = (closed.realm.host(), shown(origin), shown(words));
            format!("{realm} does not accept {origin}: {}", words.trim_end_matches('.')) + "."
        }
        (None, OfRemote::For(other)) => format!(
            "The registry {host} wants to know who downloads {name}. The remote\u{2019}s option auth is for {other}, where its list of \
             apps is, and is not sent to another host; if it is meant for {host}, set the remote\u{2019}s option auth-registry to that."
        ),
        (None, OfRemote::Unreadable) => {
            format!(
                "The registry {host} wants to know who downloads {name}, and the remote\u{2019}s option auth cannot be read."
            )
        }
        (None, _) => format!("The registry {host} wants to know who downloads {name}."),
    };
    RegistryRefusal::SignInFirst { host, said }.into()
}
