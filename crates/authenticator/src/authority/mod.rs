//! The client of an authority: metadata, ref tokens, and the OAuth endpoints.

pub mod access_tokens;
pub mod address;
pub mod device;
pub mod error;
pub mod http;
pub mod metadata;
pub mod oauth;
pub mod ref_tokens;
pub mod summary_tokens;

use std::sync::Arc;

use flatpass_token::UnixTime;
use reqwest::StatusCode;
use tokio::sync::Mutex;

use self::access_tokens::{DeviceSecret, MadeSecret};
use self::address::{AuthorityUrl, RepoUrl};
use self::device::{DeviceAuthorization, Poll};
use self::error::AuthorityError;
use self::http::{Http, HttpConfig};
use self::metadata::Metadata;
use self::oauth::{CodeProof, TokenPair};
use self::ref_tokens::{MAX_REFS, Purpose, RefTokens, WantedRef};
use self::summary_tokens::SummaryToken;
use crate::secret::SecretText;

/// How long metadata is kept, in seconds.
const METADATA_SECONDS: i64 = 600;

/// In whose name something is fetched.
#[derive(Debug, Clone, Copy)]
pub enum Reader<'a> {
    /// Nobody's.
    Anybody,
    /// An account's, with an access token for the API.
    Account(&'a SecretText),
    /// A device's, with its secret.
    Device(&'a DeviceSecret),
}

/// One authority, as seen from here.
#[derive(Debug)]
pub struct Authority {
    url: AuthorityUrl,
    http: Http,
    metadata: Mutex<Option<(UnixTime, Arc<Metadata>)>>,
}

impl Authority {
    /// A client for the authority at `url`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`AuthorityError::Tls`] if this machine has no trusted roots.
    pub fn new(url: AuthorityUrl, config: &HttpConfig) -> Result<Self, AuthorityError> {
        Ok(Self { http: Http::new(&url, config)?, url, metadata: Mutex::new(None) })
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> &AuthorityUrl {
        &self.url
    }

    /// The metadata (RFC 8414), fetched when the former is older than ten minutes.
    ///
    /// # Errors
    /// [`AuthorityError::NotAnAuthority`] if there is none at the address, and what [`Metadata::read`] says.
    pub async fn metadata(&self, now: UnixTime) -> Result<Arc<Metadata>, AuthorityError> {
        let mut kept = self.metadata.lock().await;
        if let Some((fetched, metadata)) = kept.as_ref()
            && (0..METADATA_SECONDS).contains(&(now.0 - fetched.0))
        {
            return Ok(Arc::clone(metadata));
        }
        let address = self.url.join(".well-known/oauth-authorization-server");
        let answer = self.http.send(self.http.client().get(address)).await?;
        if answer.status != StatusCode::OK || !answer.is_json {
            return Err(AuthorityError::NotAnAuthority {
                url: self.url.to_string(),
                status: answer.status.as_u16(),
            });
        }
        let metadata = Arc::new(Metadata::read(&self.url, &answer.body)?);
        *kept = Some((now, Arc::clone(&metadata)));
        Ok(metadata)
    }

    /// Asks for tokens for any number of refs of one repo, a thousand in each call.
    ///
    /// # Errors
    /// See [`ref_tokens::ask`].
    pub async fn ref_tokens(
        &self,
        access: Option<&SecretText>,
        repo: &RepoUrl,
        refs: &[WantedRef],
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<RefTokens, AuthorityError> {
        let metadata = self.metadata(now).await?;
        let mut all = RefTokens::default();
        for some in refs.chunks(MAX_REFS) {
            let answer =
                ref_tokens::ask(&self.http, &self.url, &metadata, access, repo, some, purpose).await?;
            all.granted.extend(answer.granted);
            all.open.extend(answer.open);
            all.denied.extend(answer.denied);
            all.registry = answer.registry;
        }
        Ok(all)
    }

    /// Asks for a token for the index of a repo.
    ///
    /// # Errors
    /// See [`summary_tokens::ask`].
    pub async fn summary_token(
        &self,
        access: Option<&SecretText>,
        repo: &RepoUrl,
        now: UnixTime,
    ) -> Result<SummaryToken, AuthorityError> {
        let metadata = self.metadata(now).await?;
        summary_tokens::ask(&self.http, &self.url, &metadata, access, repo).await
    }

    /// Whether the authority lists this repo as its own.
    ///
    /// # Errors
    /// Every error but [`AuthorityError::UnknownRepo`], which is the answer `false`.
    pub async fn knows_repo(&self, repo: &RepoUrl, now: UnixTime) -> Result<bool, AuthorityError> {
        let metadata = self.metadata(now).await?;
        match ref_tokens::ask(&self.http, &self.url, &metadata, None, repo, &[], Purpose::Origin).await {
            Ok(_) => Ok(true),
            Err(AuthorityError::UnknownRepo { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Exchanges an authorization code.
    ///
    /// # Errors
    /// See [`oauth::exchange_code`].
    pub async fn exchange_code(&self, proof: &CodeProof, now: UnixTime) -> Result<TokenPair, AuthorityError> {
        let metadata = self.metadata(now).await?;
        oauth::exchange_code(&self.http, &self.url, &metadata, proof).await
    }

    /// Exchanges a refresh token.
    ///
    /// # Errors
    /// See [`oauth::refresh`].
    pub async fn refresh(&self, refresh: &SecretText, now: UnixTime) -> Result<TokenPair, AuthorityError> {
        let metadata = self.metadata(now).await?;
        oauth::refresh(&self.http, &self.url, &metadata, refresh).await
    }

    /// Revokes a refresh token.
    ///
    /// # Errors
    /// See [`oauth::revoke`].
    pub async fn revoke(&self, refresh: &SecretText, now: UnixTime) -> Result<(), AuthorityError> {
        let metadata = self.metadata(now).await?;
        oauth::revoke(&self.http, &metadata, refresh).await
    }

    /// Asks for an access token for a robot.
    ///
    /// # Errors
    /// See [`oauth::client_credentials`].
    pub async fn client_credentials(
        &self,
        id: &str,
        secret: &SecretText,
        now: UnixTime,
    ) -> Result<TokenPair, AuthorityError> {
        let metadata = self.metadata(now).await?;
        oauth::client_credentials(&self.http, &self.url, &metadata, id, secret).await
    }

    /// Begins the device grant.
    ///
    /// # Errors
    /// See [`device::authorize`].
    pub async fn device_authorization(
        &self,
        device_name: &str,
        now: UnixTime,
    ) -> Result<DeviceAuthorization, AuthorityError> {
        let metadata = self.metadata(now).await?;
        device::authorize(&self.http, &self.url, &metadata, device_name).await
    }

    /// Asks once whether the person has answered.
    ///
    /// # Errors
    /// See [`device::poll`].
    pub async fn device_poll(&self, code: &SecretText, now: UnixTime) -> Result<Poll, AuthorityError> {
        let metadata = self.metadata(now).await?;
        device::poll(&self.http, &self.url, &metadata, code).await
    }

    /// Makes a secret for this device and one repo.
    ///
    /// # Errors
    /// See [`access_tokens::make`].
    pub async fn make_device_secret(
        &self,
        access: &SecretText,
        repo: &RepoUrl,
        name: &str,
        now: UnixTime,
    ) -> Result<MadeSecret, AuthorityError> {
        let metadata = self.metadata(now).await?;
        access_tokens::make(&self.http, &self.url, &metadata, access, repo, name).await
    }

    /// Replaces a device's secret. The former one stays good for at most an hour.
    ///
    /// # Errors
    /// See [`access_tokens::rotate`].
    pub async fn rotate_device_secret(
        &self,
        secret: &DeviceSecret,
        repo: &RepoUrl,
        now: UnixTime,
    ) -> Result<MadeSecret, AuthorityError> {
        let metadata = self.metadata(now).await?;
        access_tokens::rotate(&self.http, &self.url, &metadata, secret, repo).await
    }

    /// Ends a device's secret.
    ///
    /// # Errors
    /// See [`access_tokens::revoke`].
    pub async fn revoke_device_secret(
        &self,
        secret: &DeviceSecret,
        now: UnixTime,
    ) -> Result<(), AuthorityError> {
        let metadata = self.metadata(now).await?;
        access_tokens::revoke(&self.http, &self.url, &metadata, secret).await
    }

    /// Fetches something of the authority's own.
    ///
    /// # Errors
    /// All transport errors. A status that is no success gives `None`.
    pub async fn fetch(&self, below: &str, reader: Reader<'_>) -> Result<Option<Vec<u8>>, AuthorityError> {
        let request = self.http.client().get(self.url.join(below));
        let request = match reader {
            Reader::Anybody => request,
            Reader::Account(access) => request.bearer_auth(access.expose()),
            Reader::Device(secret) => secret.identify(request),
        };
        let answer = self.http.send(request).await?;
        Ok(answer.status.is_success().then_some(answer.body))
    }
}
