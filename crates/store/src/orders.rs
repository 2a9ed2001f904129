//! Orders: one purchase each, from the click to the money and perhaps back.
//!
//! ```text
//! pending ──> paid ──> refunded          declined, cancelled ──> paid      (the provider's last word counts)
//!    │  └───> refund_due ──> refunded    paid ──> refund_due               (the operator took the app back)
//!    └──> declined, cancelled
//! ```
//! A provider's messages may come twice, late or in any order, so the machine is: *refunded* is final; *paid* is left only by
//! a refund; money for an app that the account has already paid for is *refund_due* and gives nothing. An account has an
//! entitlement from an order exactly as long as the order is paid.

use flatpass_token::UnixTime;
use sqlx::Row as _;

use crate::apps::AppPattern;
use crate::backend::{Connection, Row, Transaction};
use crate::entitlements::{self, Holder, NewEntitlement, Source, SourceKind, What};
use crate::money::Money;
use crate::{AccountId, OrderId, Random, Store, StoreError, offers, time};

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Begun, and the provider has not decided.
    Pending,
    /// The money came, and the account has the app.
    Paid,
    /// The provider refused.
    Declined,
    /// The person, or a newer order in its place, gave it up.
    Cancelled,
    /// The money came, but the account does not have the app through this order; it must be given back.
    RefundDue,
    /// The money went back.
    Refunded,
}

impl OrderState {
    /// The name in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
            Self::RefundDue => "refund_due",
            Self::Refunded => "refunded",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::Pending, Self::Paid, Self::Declined, Self::Cancelled, Self::RefundDue, Self::Refunded]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(StoreError::Corrupt("orders.state"))
    }
}

/// What a payment provider says about an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PaymentOutcome {
    /// The money came.
    Paid,
    /// The payment was refused.
    Declined,
    /// The person gave up.
    Cancelled,
    /// The money went back.
    Refunded,
}

impl PaymentOutcome {
    /// The name in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
            Self::Refunded => "refunded",
        }
    }
}

/// One purchase of one app by one account.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Order {
    /// Its identifier.
    pub id: OrderId,
    /// Who buys.
    pub account_id: AccountId,
    /// In which repo.
    pub repo: String,
    /// What.
    pub app_id: String,
    /// What it was called then.
    pub title: String,
    /// For how much, fixed when the order began.
    pub price: Money,
    /// The payment provider's name.
    pub provider: String,
    /// What the provider calls this order.
    pub provider_reference: Option<String>,
    /// Where it stands.
    pub state: OrderState,
    /// When it began.
    pub created_at: UnixTime,
    /// When its state last changed.
    pub updated_at: UnixTime,
}

/// Why an order could not begin or be settled.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The account may download the app already.
    #[error("this account has the app already")]
    AlreadyOwned,
    /// The app is not offered in this repo.
    #[error("this app is not for sale")]
    NotForSale,
    /// No such account, or it is disabled.
    #[error("there is no such account")]
    NoAccount,
    /// No such order.
    #[error("there is no such order")]
    Unknown,
    /// The order has another provider reference already, or the reference belongs to another order.
    #[error("this order is known to its provider under another reference")]
    ReferenceConflict,
    /// An event with this id came before and said something else. It is forged, or the provider is broken; nothing was done.
    #[error("an event with this id was received before with another content")]
    EventConflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for OrderError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

fn order(row: &Row) -> Result<Order, StoreError> {
    Ok(Order {
        id: OrderId(row.try_get("id")?),
        account_id: AccountId(row.try_get("account_id")?),
        repo: row.try_get("repo")?,
        app_id: row.try_get("app_id")?,
        title: row.try_get("title")?,
        price: Money { minor: row.try_get("price_minor")?, currency: row.try_get("currency")? },
        provider: row.try_get("provider")?,
        provider_reference: row.try_get("provider_reference")?,
        state: OrderState::parse(&row.try_get::<String, _>("state")?)?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

async fn find(connection: &mut Connection, id: &OrderId) -> Result<Order, OrderError> {
    let row = sqlx::query("SELECT * FROM orders WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await?
        .ok_or(OrderError::Unknown)?;
    Ok(order(&row)?)
}

async fn set_state(
    connection: &mut Connection,
    id: &OrderId,
    state: OrderState,
    now: UnixTime,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE orders SET state = $1, updated_at = $2 WHERE id = $3")
        .bind(state.as_str())
        .bind(now.0)
        .bind(id.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// Begins the purchase of an app, or gives the pending order if the account began it before at the same price and with the
    /// same provider. A pending order at an old price is cancelled and a new one begun.
    ///
    /// # Errors
    /// [`OrderError::NotForSale`], [`OrderError::AlreadyOwned`], [`OrderError::NoAccount`].
    pub async fn begin_order(
        &self,
        account_id: &AccountId,
        repo: &str,
        app_id: &str,
        provider: &str,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Order, OrderError> {
        let mut transaction = self.begin().await?;
        sqlx::query("SELECT 1 FROM accounts WHERE id = $1 AND disabled_at IS NULL")
            .bind(account_id.as_str())
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(OrderError::NoAccount)?;
        let offer = offers::find(&mut transaction, repo, app_id).await?.ok_or(OrderError::NotForSale)?;
        let has = entitlements::in_force(&mut *transaction, account_id, Some(repo), now).await?;
        if has.iter().any(|entitlement| entitlement.is_as_good_as_bought(app_id, now)) {
            return Err(OrderError::AlreadyOwned);
        }
        let pending = sqlx::query(
            "SELECT * FROM orders WHERE account_id = $1 AND repo = $2 AND app_id = $3 AND state = 'pending'",
        )
        .bind(account_id.as_str())
        .bind(repo)
        .bind(app_id)
        .fetch_optional(&mut *transaction)
        .await?;
        if let Some(row) = pending {
            let pending = order(&row)?;
            if pending.price == offer.price && pending.provider == provider {
                return Ok(pending);
            }
            set_state(&mut transaction, &pending.id, OrderState::Cancelled, now).await?;
        }
        let row = sqlx::query(
            "INSERT INTO orders
               (id, account_id, repo, app_id, title, price_minor, currency, provider, state, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'pending', $9, $10) RETURNING *",
        )
        .bind(OrderId::random(rng).0)
        .bind(account_id.as_str())
        .bind(repo)
        .bind(app_id)
        .bind(offer.title)
        .bind(offer.price.minor)
        .bind(offer.price.currency)
        .bind(provider)
        .bind(now.0)
        .bind(now.0)
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(order(&row)?)
    }

    /// The order with this identifier. Whose it is is for the caller to compare.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn order(&self, id: &OrderId) -> Result<Option<Order>, StoreError> {
        let row = sqlx::query("SELECT * FROM orders WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(self.read())
            .await?;
        row.as_ref().map(order).transpose()
    }

    /// The orders of an account, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn orders(&self, account_id: &AccountId) -> Result<Vec<Order>, StoreError> {
        let rows = sqlx::query("SELECT * FROM orders WHERE account_id = $1 ORDER BY created_at DESC, id")
            .bind(account_id.as_str())
            .fetch_all(self.read())
            .await?;
        rows.iter().map(order).collect()
    }

    /// The orders that wait for their provider, the oldest first: to be asked about after a restart or a lost message.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn pending_orders(&self) -> Result<Vec<Order>, StoreError> {
        let rows = sqlx::query("SELECT * FROM orders WHERE state = 'pending' ORDER BY created_at, id")
            .fetch_all(self.read())
            .await?;
        rows.iter().map(order).collect()
    }

    /// Records what the provider calls the order. Recording the same again changes nothing.
    ///
    /// # Errors
    /// [`OrderError::Unknown`], [`OrderError::ReferenceConflict`].
    pub async fn set_provider_reference(&self, id: &OrderId, reference: &str) -> Result<(), OrderError> {
        let mut transaction = self.begin().await?;
        match find(&mut transaction, id).await?.provider_reference {
            Some(known) if known == reference => return Ok(()),
            Some(_) => return Err(OrderError::ReferenceConflict),
            None => {}
        }
        sqlx::query("UPDATE orders SET provider_reference = $1 WHERE id = $2")
            .bind(reference)
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(|error| match StoreError::is_conflict(&error) {
                true => OrderError::ReferenceConflict,
                false => error.into(),
            })?;
        Ok(transaction.commit().await?)
    }

    /// Acts on what the provider says about an order, in one transaction: the event's id is recorded, the order moves, the
    /// entitlement begins or ends. When this returns, all of it is on the disk. An event that came before changes nothing and
    /// gives the order as it stands; so does an outcome that the order's state does not admit (see the module's text).
    ///
    /// # Errors
    /// [`OrderError::Unknown`], [`OrderError::EventConflict`].
    pub async fn settle_order(
        &self,
        id: &OrderId,
        outcome: PaymentOutcome,
        event_id: &str,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<Order, OrderError> {
        let mut transaction = self.begin().await?;
        let before = find(&mut transaction, id).await?;
        if !record_event(&mut transaction, &before, outcome, event_id, now).await? {
            return Ok(before);
        }
        let state = match (before.state, outcome) {
            (OrderState::Pending | OrderState::Declined | OrderState::Cancelled, PaymentOutcome::Paid) => {
                pay(&mut transaction, &before, now, rng).await?
            }
            (OrderState::Pending, PaymentOutcome::Declined) => OrderState::Declined,
            (OrderState::Pending, PaymentOutcome::Cancelled) => OrderState::Cancelled,
            (_, PaymentOutcome::Refunded) => {
                entitlements::end_of_order(&mut transaction, id.as_str(), now).await?;
                OrderState::Refunded
            }
            (unchanged, _) => unchanged,
        };
        if state != before.state {
            set_state(&mut transaction, id, state, now).await?;
        }
        let after = find(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(after)
    }
}

/// Records the event; `false` when it is here already with the same content.
async fn record_event(
    transaction: &mut Transaction,
    order: &Order,
    outcome: PaymentOutcome,
    event_id: &str,
    now: UnixTime,
) -> Result<bool, OrderError> {
    let recorded = sqlx::query(
        "INSERT INTO payment_events (provider, event_id, order_id, outcome, received_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (provider, event_id) DO NOTHING",
    )
    .bind(&order.provider)
    .bind(event_id)
    .bind(order.id.as_str())
    .bind(outcome.as_str())
    .bind(now.0)
    .execute(&mut **transaction)
    .await?;
    if recorded.rows_affected() == 1 {
        return Ok(true);
    }
    let row =
        sqlx::query("SELECT order_id, outcome FROM payment_events WHERE provider = $1 AND event_id = $2")
            .bind(&order.provider)
            .bind(event_id)
            .fetch_one(&mut **transaction)
            .await?;
    let same = row.try_get::<String, _>("order_id")? == order.id.0
        && row.try_get::<String, _>("outcome")? == outcome.as_str();
    if same { Ok(false) } else { Err(OrderError::EventConflict) }
}

/// The money came: gives the app, unless the account paid for it before. Says what the order becomes.
async fn pay(
    transaction: &mut Transaction,
    order: &Order,
    now: UnixTime,
    rng: Random<'_>,
) -> Result<OrderState, OrderError> {
    let paid_before = sqlx::query(
        "SELECT 1 FROM orders WHERE account_id = $1 AND repo = $2 AND app_id = $3 AND state = 'paid' AND id <> $4",
    )
    .bind(order.account_id.as_str())
    .bind(&order.repo)
    .bind(&order.app_id)
    .bind(order.id.as_str())
    .fetch_optional(&mut **transaction)
    .await?
    .is_some();
    if paid_before {
        return Ok(OrderState::RefundDue);
    }
    // Late money for an order that was given up: another one must not go on asking for it.
    sqlx::query(
        "UPDATE orders SET state = 'cancelled', updated_at = $1
         WHERE account_id = $2 AND repo = $3 AND app_id = $4 AND state = 'pending' AND id <> $5",
    )
    .bind(now.0)
    .bind(order.account_id.as_str())
    .bind(&order.repo)
    .bind(&order.app_id)
    .bind(order.id.as_str())
    .execute(&mut **transaction)
    .await?;
    let new = NewEntitlement {
        holder: Holder::Account(order.account_id.clone()),
        what: What::Apps {
            repo: order.repo.clone(),
            app: AppPattern::App(order.app_id.clone()),
            branch: None,
        },
        verbs: NewEntitlement::USUAL.to_vec(),
        starts_at: now,
        ends_at: None,
        upgrades_until: None,
        source: Source { kind: SourceKind::Order, id: order.id.0.clone() },
    };
    entitlements::insert(transaction, new, now, rng).await?;
    Ok(OrderState::Paid)
}
