//! An OCI remote's request: whose way it goes, a store's or the registry's own.

use url::Url;

use super::address::RegistryUrl;
use super::credential::Credential;
use super::prompt::Prompt;
use super::refusal::RegistryRefusal;
use super::rules::Rules;
use super::walk::{AskedImage, OfRemote, RegistryAsk};
use crate::authority::address::{AuthorityUrl, RemoteKind, RepoUrl, RepoUrlError, host_and_port};
use crate::authority::error::{AuthorityError, shown};
use crate::authority::ref_tokens::Purpose;
use crate::secret::SecretText;
use crate::session::Sessions;
use crate::session::ask::{Ask, AskedRef, Tokens};
use crate::session::cache::UsedAt;
use crate::session::flow::Interaction;
use crate::session::refusal::{Ended, Refusal};

/// What the remote's configuration says beside its address, as the strings that Flatpak hands over.
#[derive(Debug, Clone, Default)]
pub struct RemoteOptions {
    /// `url`: the store.
    pub store: Option<AuthorityUrl>,
    /// `auth`: credentials, in base64.
    pub auth: Option<SecretText>,
    /// `auth-registry`: the host and port of the registry that `auth` is for.
    pub auth_registry: Option<String>,
    /// `remember`: whether what a person types is remembered.
    pub remember: bool,
}

/// A whole request.
#[derive(Debug, Clone)]
pub struct RemoteAsk {
    /// The remote's name, fit to be shown.
    pub remote: String,
    /// Its address as Flatpak hands it over.
    pub remote_uri: String,
    /// Its options.
    pub options: RemoteOptions,
    /// The registry that Flatpak will send the tokens to.
    pub registry: RegistryUrl,
    /// Its refs, each with the image that it is, if Flatpak says so.
    pub refs: Vec<(AskedRef, Option<AskedImage>)>,
    /// Whether a person may be asked, or shown a web page.
    pub interactive: bool,
}

impl Sessions {
    /// Gets a token for every ref of an OCI remote.
    ///
    /// The store that the remote names answers, or else one that is found where a Flatpass store would have the
    /// remote's address: nothing but a question for its public metadata is sent there. Where there is none, the registry's own challenge leads
    /// the way.
    ///
    /// # Errors
    /// [`Ended`]: then there is no token for any ref.
    pub async fn oci_tokens(
        &self,
        ask: &RemoteAsk,
        client: &(impl Interaction + Prompt),
    ) -> Result<Tokens, Ended> {
        let rules = self.environment().registries_conf.read().map_err(RegistryRefusal::Rules)?;
        ask.is_allowed(&rules)?;
        let address = RepoUrl::of_remote(&ask.remote_uri).map(|(_, address)| address);
        if let Some(store) = &ask.options.store {
            let address = address.map_err(|error| ask.unusable(error))?;
            let repo = self.real_repo(store, address).await?;
            return self.tokens_of_store(store, ask, repo, client).await;
        }
        if let Some((store, repo)) = self.find_store(&address).await? {
            match Box::pin(self.tokens_of_store(&store, ask, repo, client)).await {
                Err(Ended::Refused(Refusal::Authority(AuthorityError::UnknownRepo { .. }))) => {
                    tracing::debug!(%store, "the store at the remote's address does not know it");
                }
                answer => return answer,
            }
        }
        if address == Err(RepoUrlError::Malformed) {
            return Err(ask.unusable(RepoUrlError::Malformed).into());
        }
        self.registries().tokens(&ask.for_registry(rules)?, client).await
    }

    async fn tokens_of_store(
        &self,
        store: &AuthorityUrl,
        ask: &RemoteAsk,
        repo: RepoUrl,
        client: &impl Interaction,
    ) -> Result<Tokens, Ended> {
        if !ask.registry.is_guarded() {
            return Err(RegistryRefusal::Insecure { host: ask.registry.host() }.into());
        }
        let refs = ask.refs.iter().map(|(asked, _)| asked.clone()).collect();
        let used_at = UsedAt { repo, registry: Some(ask.registry.clone()) };
        let ask = Ask { used_at, refs, purpose: Purpose::Origin, interactive: ask.interactive };
        self.with(store)?.tokens(&ask, client).await
    }

    /// The store at the remote's own address, if there is one, and the repo there.
    async fn find_store(
        &self,
        address: &Result<RepoUrl, RepoUrlError>,
    ) -> Result<Option<(AuthorityUrl, RepoUrl)>, Refusal> {
        let Ok(repo) = address else { return Ok(None) };
        let Some(store) = repo.likely_store() else { return Ok(None) };
        match self.with(&store)?.authority().metadata(self.environment().now()).await {
            Ok(_) => Ok(Some((store, repo.clone()))),
            // Something else is there, and that is nothing bad.
            Err(
                AuthorityError::NotAnAuthority { .. }
                | AuthorityError::WrongIssuer { .. }
                | AuthorityError::ForeignEndpoint { .. }
                | AuthorityError::RedirectedElsewhere { .. }
                | AuthorityError::Malformed { .. }
                | AuthorityError::TooLarge { .. }
                | AuthorityError::Refused { .. },
            ) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl RemoteAsk {
    fn unusable(&self, error: RepoUrlError) -> Refusal {
        Refusal::RepoUrl { remote: self.remote.clone(), error }
    }

    /// Whether the person lets images come from there.
    fn is_allowed(&self, rules: &Rules) -> Result<(), RegistryRefusal> {
        if self.refs.is_empty() {
            rules.allow(&self.registry, None)?;
        }
        for (_, image) in &self.refs {
            rules.allow(&self.registry, image.as_ref().map(|image| (&image.repository, &image.digest)))?;
        }
        Ok(())
    }

    fn for_registry(&self, rules: Rules) -> Result<RegistryAsk, RegistryRefusal> {
        let image = |(asked, image): &(AskedRef, Option<AskedImage>)| {
            image.clone().ok_or_else(|| RegistryRefusal::NoImage { name: shown(asked.name()) })
        };
        Ok(RegistryAsk {
            registry: self.registry.clone(),
            images: self.refs.iter().map(image).collect::<Result<_, _>>()?,
            of_remote: self.own_credentials(),
            remember: self.options.remember,
            rules,
            interactive: self.interactive,
        })
    }

    /// The remote's own credentials. Whoever wrote `auth` meant one registry: the one that the option `auth-registry` names, else the
    /// remote's own host and port. An index cannot move them to another.
    fn own_credentials(&self) -> OfRemote {
        let Some(auth) = &self.options.auth else { return OfRemote::None };
        let Some(credential) = Credential::from_auth(auth.expose()) else { return OfRemote::Unreadable };
        let (belongs, host) = match &self.options.auth_registry {
            Some(named) => (self.registry.is_called(named.trim()), shown(named)),
            None => {
                let (_, address) = RemoteKind::of(&self.remote_uri);
                let url = Url::parse(address).ok();
                let host = url.as_ref().and_then(host_and_port).unwrap_or_default();
                (url.is_some_and(|url| self.registry.is_origin_of(&url)), host)
            }
        };
        if belongs { OfRemote::Here(credential) } else { OfRemote::For(host) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_auth_is_for_the_remotes_own_host_or_the_one_that_is_named_beside_it() {
        let of = |remote_uri: &str, registry: &str, named: Option<&str>| {
            let ask = RemoteAsk {
                remote: "shop".to_owned(),
                remote_uri: remote_uri.to_owned(),
                options: RemoteOptions {
                    auth: Some(SecretText::new("dXNlcjpwdw==".to_owned())),
                    auth_registry: named.map(str::to_owned),
                    ..RemoteOptions::default()
                },
                registry: RegistryUrl::parse(registry).expect("valid"),
                refs: Vec::new(),
                interactive: false,
            };
            ask.own_credentials()
        };
        let is_here = |found: OfRemote| matches!(found, OfRemote::Here(_));
        let index = "oci+https://index.example/apps";
        assert!(is_here(of(index, "https://index.example/", None)));
        assert!(is_here(of(index, "https://registry.example/", Some("registry.example"))));
        assert_eq!(of(index, "https://evil.example/", None), OfRemote::For("index.example".to_owned()));
        assert_eq!(of(index, "https://index.example:444/", None), OfRemote::For("index.example".to_owned()));
        assert_eq!(
            of(index, "https://index.example/", Some("registry.example")),
            OfRemote::For("registry.example".to_owned())
        );
        assert!(!is_here(of("oci+https://evil.example/@index.example", "https://index.example/", None)));
    }
}
