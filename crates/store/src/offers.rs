//! Offers: what an app costs.

use flatpass_token::UnixTime;
use sqlx::Row as _;

use crate::apps::{AppPatternError, is_app_id};
use crate::backend::{Connection, Row};
use crate::money::Money;
use crate::{Store, StoreError, mark_changed, repos, shortened, time};

/// What an app costs and is called.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Offer {
    /// The price; paid once.
    pub price: Money,
    /// What a person reads on the page; empty means the app's id.
    pub title: String,
}

/// An offer with what it is for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StoredOffer {
    /// The repo.
    pub repo: String,
    /// The app.
    pub app_id: String,
    /// What a person reads: never empty.
    pub title: String,
    /// The price; paid once.
    pub price: Money,
    /// When the app was first offered.
    pub created_at: UnixTime,
    /// When the price or title last changed.
    pub updated_at: UnixTime,
}

fn stored_offer(row: &Row) -> Result<StoredOffer, sqlx::Error> {
    Ok(StoredOffer {
        repo: row.try_get("repo")?,
        app_id: row.try_get("app_id")?,
        title: row.try_get("title")?,
        price: Money { minor: row.try_get("price_minor")?, currency: row.try_get("currency")? },
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

/// The offer of one app, inside a transaction.
pub(crate) async fn find(
    connection: &mut Connection,
    repo: &str,
    app_id: &str,
) -> Result<Option<StoredOffer>, sqlx::Error> {
    let row = sqlx::query("SELECT * FROM offers WHERE repo = $1 AND app_id = $2")
        .bind(repo)
        .bind(app_id)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(stored_offer).transpose()
}

impl Store {
    /// Offers an app, or changes its price and title. Orders in progress keep the price they began with.
    ///
    /// # Errors
    /// [`StoreError::NoRepo`], [`StoreError::AppPattern`] for what is not an application id, [`StoreError::Money`].
    pub async fn set_offer(
        &self,
        repo: &str,
        app_id: &str,
        offer: Offer,
        now: UnixTime,
    ) -> Result<StoredOffer, StoreError> {
        if !is_app_id(app_id) {
            return Err(AppPatternError(app_id.to_owned()).into());
        }
        offer.price.check_price()?;
        let title = shortened(offer.title.trim(), 100);
        let title = if title.is_empty() { app_id.to_owned() } else { title };
        let mut transaction = self.begin().await?;
        repos::must_exist(&mut transaction, repo).await?;
        let row = sqlx::query(
            "INSERT INTO offers (repo, app_id, title, price_minor, currency, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (repo, app_id) DO UPDATE SET title = excluded.title, price_minor = excluded.price_minor,
               currency = excluded.currency, updated_at = excluded.updated_at
             RETURNING *",
        )
        .bind(repo)
        .bind(app_id)
        .bind(title)
        .bind(offer.price.minor)
        .bind(offer.price.currency)
        .bind(now.0)
        .bind(now.0)
        .fetch_one(&mut *transaction)
        .await?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok(stored_offer(&row)?)
    }

    /// The offers of a repo, by app id.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn offers(&self, repo: &str) -> Result<Vec<StoredOffer>, StoreError> {
        let rows = sqlx::query("SELECT * FROM offers WHERE repo = $1 ORDER BY app_id")
            .bind(repo)
            .fetch_all(self.read())
            .await?;
        Ok(rows.iter().map(stored_offer).collect::<Result<_, _>>()?)
    }

    /// The offer of one app.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn offer(&self, repo: &str, app_id: &str) -> Result<Option<StoredOffer>, StoreError> {
        let row = sqlx::query("SELECT * FROM offers WHERE repo = $1 AND app_id = $2")
            .bind(repo)
            .bind(app_id)
            .fetch_optional(self.read())
            .await?;
        Ok(row.as_ref().map(stored_offer).transpose()?)
    }

    /// Takes an app out of the offers; who owns it keeps it. `false` when it was not offered.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn remove_offer(&self, repo: &str, app_id: &str) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let removed = sqlx::query("DELETE FROM offers WHERE repo = $1 AND app_id = $2")
            .bind(repo)
            .bind(app_id)
            .execute(&mut *transaction)
            .await?;
        mark_changed(&mut transaction).await?;
        transaction.commit().await?;
        Ok(removed.rows_affected() > 0)
    }
}
