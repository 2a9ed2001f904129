//! The client of an authority: metadata, ref tokens, and the OAuth endpoints.

pub mod address;
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

use self::address::{AuthorityUrl, RepoUrl};
use self::error::AuthorityError;
use self::http::{Http, HttpConfig};
use self::metadata::Metadata;
use self::oauth::{CodeProof, TokenPair};
use self::ref_tokens::{MAX_REFS, RefTokens, WantedRef};
use self::summary_tokens::SummaryToken;
use crate::secret::SecretText;

/// How long metadata is kept, in seconds.
const METADATA_SECONDS: i64 = 600;

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
        now: UnixTime,
    ) -> Result<RefTokens, AuthorityError> {
        let metadata = self.metadata(now).await?;
        let mut all = RefTokens::default();
        for some in refs.chunks(MAX_REFS) {
            let answer = ref_tokens::ask(&self.http, &self.url, &metadata, access, repo, some).await?;
            all.granted.extend(answer.granted);
            all.open.extend(answer.open);
            all.denied.extend(answer.denied);
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
        match ref_tokens::ask(&self.http, &self.url, &metadata, None, repo, &[]).await {
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
}
