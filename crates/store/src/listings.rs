//! Which private repos have an index per person, and the OpenPGP keys that sign these indexes.
//!
//! The key is sealed in the database and not left in a file of the operator's: several servers that share the database then sign alike,
//! and a backup of the database and its key file is whole.

use std::fmt;

use flatpass_token::UnixTime;
use sqlx::Row as _;
use zeroize::Zeroizing;

use crate::repos::must_exist;
use crate::{Random, Store, StoreError, mark_changed};

/// That a repo's index is made per person.
#[derive(Clone, PartialEq, Eq)]
pub struct RepoListing {
    /// The exported OpenPGP secret key that signs it, as it was given.
    pub signing_key: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for RepoListing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RepoListing").field("signed", &self.signing_key.is_some()).finish()
    }
}

/// What a sealed key is bound to: it does not open in another repo's row.
fn context(repo: &str) -> String {
    format!("listing-key:{repo}")
}

impl Store {
    /// From now on the repo's index is made per person, signed with that key if there is one; with `None` everybody gets the
    /// operator's own again.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`].
    pub async fn set_repo_listing(
        &self,
        repo: &str,
        listing: Option<&RepoListing>,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        must_exist(&mut transaction, repo).await?;
        sqlx::query("DELETE FROM repo_listings WHERE repo = $1")
            .bind(repo)
            .execute(&mut *transaction)
            .await?;
        if let Some(listing) = listing {
            let key = listing.signing_key.as_ref();
            let sealed = key.map(|key| self.inner.sealer.seal(&context(repo), key, rng)).transpose()?;
            sqlx::query("INSERT INTO repo_listings (repo, sealed_key, created_at) VALUES ($1, $2, $3)")
                .bind(repo)
                .bind(sealed)
                .bind(now.0)
                .execute(&mut *transaction)
                .await?;
        }
        mark_changed(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// How the repo's index is made; `None` when everybody gets the operator's own.
    ///
    /// # Errors
    /// [`StoreError::Database`], or [`StoreError::Seal`] when the key was sealed with another key file.
    pub async fn repo_listing(&self, repo: &str) -> Result<Option<RepoListing>, StoreError> {
        let row = sqlx::query("SELECT sealed_key FROM repo_listings WHERE repo = $1")
            .bind(repo)
            .fetch_optional(self.read())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let sealed: Option<String> = row.try_get("sealed_key")?;
        let open = |sealed: String| self.inner.sealer.open(&context(repo), &sealed);
        Ok(Some(RepoListing { signing_key: sealed.map(open).transpose()? }))
    }
}
