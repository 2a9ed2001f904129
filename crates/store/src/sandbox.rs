//! The ledger of the built-in sandbox provider: what a real payment provider would keep on its own side. It knows nothing of
//! accounts and entitlements; the server carries its decisions to [`Store::settle_order`].

use flatpass_token::UnixTime;
use sqlx::Row as _;

use crate::backend::Row;
use crate::money::Money;
use crate::{Order, OrderId, PaymentOutcome, Random, Store, StoreError, id, optional_time, time};

/// Where a sandbox payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxState {
    /// Waiting for the person.
    Open,
    /// Decided.
    Decided(PaymentOutcome),
}

/// A payment at the sandbox provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxPayment {
    /// The provider's own identifier: `pay_…`.
    pub reference: String,
    /// The order it pays.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// For what, to be read by a person.
    pub title: String,
    /// Where it stands.
    pub state: SandboxState,
    /// When it began.
    pub created_at: UnixTime,
    /// When it was decided.
    pub decided_at: Option<UnixTime>,
}

impl SandboxPayment {
    /// The outcome and the identifier of the event that reports it, the same each time it is asked for; `None` while open.
    pub fn event(&self) -> Option<(PaymentOutcome, String)> {
        match self.state {
            SandboxState::Open => None,
            SandboxState::Decided(outcome) => {
                Some((outcome, format!("evt_{}_{}", self.reference, outcome.as_str())))
            }
        }
    }
}

fn payment(row: &Row) -> Result<SandboxPayment, StoreError> {
    let state = match row.try_get::<String, _>("state")?.as_str() {
        "open" => SandboxState::Open,
        "paid" => SandboxState::Decided(PaymentOutcome::Paid),
        "declined" => SandboxState::Decided(PaymentOutcome::Declined),
        "cancelled" => SandboxState::Decided(PaymentOutcome::Cancelled),
        "refunded" => SandboxState::Decided(PaymentOutcome::Refunded),
        _ => return Err(StoreError::Corrupt("sandbox_payments.state")),
    };
    Ok(SandboxPayment {
        reference: row.try_get("reference")?,
        order_id: OrderId(row.try_get("order_id")?),
        amount: Money { minor: row.try_get("amount_minor")?, currency: row.try_get("currency")? },
        title: row.try_get("title")?,
        state,
        created_at: time(row, "created_at")?,
        decided_at: optional_time(row, "decided_at")?,
    })
}

impl Store {
    /// Begins the payment of an order, or gives the one that was begun for it: the order's id is the idempotency key.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn create_sandbox_payment(
        &self,
        order: &Order,
        now: UnixTime,
        rng: Random<'_>,
    ) -> Result<SandboxPayment, StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO sandbox_payments (reference, order_id, amount_minor, currency, title, state, created_at)
             VALUES ($1, $2, $3, $4, $5, 'open', $6) ON CONFLICT (order_id) DO NOTHING",
        )
        .bind(id::random("pay_", rng))
        .bind(order.id.as_str())
        .bind(order.price.minor)
        .bind(&order.price.currency)
        .bind(&order.title)
        .bind(now.0)
        .execute(&mut *transaction)
        .await?;
        let row = sqlx::query("SELECT * FROM sandbox_payments WHERE order_id = $1")
            .bind(order.id.as_str())
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        payment(&row)
    }

    /// The payment with this reference.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sandbox_payment(&self, reference: &str) -> Result<Option<SandboxPayment>, StoreError> {
        let row = sqlx::query("SELECT * FROM sandbox_payments WHERE reference = $1")
            .bind(reference)
            .fetch_optional(self.read())
            .await?;
        row.as_ref().map(payment).transpose()
    }

    /// Decides an open payment, or refunds a paid one. Anything else changes nothing: the first decision stands. Gives the
    /// payment as it stands then; `None` when there is none of this reference.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn decide_sandbox_payment(
        &self,
        reference: &str,
        outcome: PaymentOutcome,
        now: UnixTime,
    ) -> Result<Option<SandboxPayment>, StoreError> {
        let from = if outcome == PaymentOutcome::Refunded { "paid" } else { "open" };
        let mut transaction = self.begin().await?;
        sqlx::query(
            "UPDATE sandbox_payments SET state = $1, decided_at = $2 WHERE reference = $3 AND state = $4",
        )
        .bind(outcome.as_str())
        .bind(now.0)
        .bind(reference)
        .bind(from)
        .execute(&mut *transaction)
        .await?;
        let row = sqlx::query("SELECT * FROM sandbox_payments WHERE reference = $1")
            .bind(reference)
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await?;
        row.as_ref().map(payment).transpose()
    }
}
