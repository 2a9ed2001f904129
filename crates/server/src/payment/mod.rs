//! Payment: the trait that a provider implements, and the walk of an order from its beginning to its settlement.
//!
//! The store's order is written before the provider is asked, and the provider's word is fetched, not believed from a browser.
//! So after a crash at any moment the pending order is looked up again and settled, once.

mod sandbox;

use std::future::Future;
use std::pin::Pin;

use flatpass_store::{AccountId, Order, OrderError, OrderId, OrderState, PaymentOutcome, Store, StoreError};
use flatpass_token::UnixTime;

use crate::app::{App, Rng};
use crate::config::{Config, ProviderName};

/// A future in a box, so that a provider can be chosen when the program starts.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A payment that waits for the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Started {
    /// What the provider calls it.
    pub(crate) reference: String,
    /// Where the person pays.
    pub(crate) url: String,
}

/// What a provider decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The same each time it is reported, in a message or when it is looked up.
    pub(crate) id: String,
    /// About which order.
    pub(crate) order: OrderId,
    pub(crate) outcome: PaymentOutcome,
}

/// A message as a provider sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) signature: String,
    pub(crate) body: Vec<u8>,
}

/// Why a provider's message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventError {
    /// Not signed by the provider, or changed on the way.
    #[error("the signature is missing or wrong")]
    Signature,
    /// Signed too long ago, or with a clock that is far ahead.
    #[error("the message is too old")]
    TooOld,
    /// Signed, but not a message that means anything here.
    #[error("the message cannot be read")]
    Content,
}

/// Somebody who takes money.
pub(crate) trait PaymentProvider: Send + Sync {
    /// Its name in the configuration and in orders.
    fn name(&self) -> &'static str;

    /// Begins to take the money for an order, or gives what was begun for it: the order's id is the idempotency key.
    /// Afterwards the person is sent to `back`, a path of this site.
    fn start<'a>(&'a self, order: &'a Order, back: &'a str, now: UnixTime) -> Boxed<'a, Started>;

    /// What was decided about a payment; `None` while it is open.
    fn look_up<'a>(&'a self, reference: &'a str) -> Boxed<'a, Option<Event>>;

    /// Checks a message that claims to come from the provider: `signature` is its header, `body` the raw bytes as they came.
    fn verify(&self, signature: &str, body: &[u8], now: UnixTime) -> Result<Event, EventError>;

    /// Decides a payment here, and gives the message about it. Only the sandbox does: with a real provider, people decide on its
    /// own pages.
    fn decide<'a>(
        &'a self,
        _reference: &'a str,
        _outcome: PaymentOutcome,
        _now: UnixTime,
    ) -> Boxed<'a, Option<Report>> {
        Box::pin(async { Ok(None) })
    }
}

/// The provider that the configuration names.
pub(crate) fn provider(config: &Config, store: &Store) -> std::io::Result<Box<dyn PaymentProvider>> {
    Ok(match config.payment.provider {
        ProviderName::Sandbox => Box::new(sandbox::Sandbox::new(store.clone(), &config.secret_key)?),
    })
}

/// What came of the wish to buy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// The account has the app.
    Owned,
    /// The person pays at this URL.
    Pay(String),
}

/// Begins an order, or goes on with the one that is pending.
pub(crate) async fn begin(
    app: &App,
    account: &AccountId,
    repo: &str,
    app_id: &str,
    back: &str,
) -> Result<Begun, OrderError> {
    let provider = app.payment.as_ref();
    for _ in 0..2 {
        let order = match app
            .store
            .begin_order(account, repo, app_id, provider.name(), app.now(), Rng::system().as_random())
            .await
        {
            Ok(order) => order,
            Err(OrderError::AlreadyOwned) => return Ok(Begun::Owned),
            Err(error) => return Err(error),
        };
        // A pending order may have been decided while nobody listened.
        match settle(app, order).await? {
            order if order.state == OrderState::Pending => {
                let started = provider.start(&order, back, app.now()).await?;
                app.store.set_provider_reference(&order.id, &started.reference).await?;
                return Ok(Begun::Pay(started.url));
            }
            order if order.state == OrderState::Paid => return Ok(Begun::Owned),
            _ => {}
        }
    }
    Err(OrderError::NotForSale)
}

/// Asks the provider about a pending order and takes up what it decided.
pub(crate) async fn settle(app: &App, order: Order) -> Result<Order, OrderError> {
    if order.state != OrderState::Pending {
        return Ok(order);
    }
    let Some(reference) = &order.provider_reference else { return Ok(order) };
    match app.payment.look_up(reference).await? {
        Some(event) => {
            app.store
                .settle_order(&order.id, event.outcome, &event.id, app.now(), Rng::system().as_random())
                .await
        }
        None => Ok(order),
    }
}

/// Why a message had no effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// Takes up a provider's message. One that came before, or that comes too late to matter, changes nothing and is accepted, so
/// that the provider stops sending it.
pub(crate) async fn receive(app: &App, signature: &str, body: &[u8]) -> Result<Order, ReceiveError> {
    let event = app.payment.verify(signature, body, app.now())?;
    let order = app
        .store
        .settle_order(&event.order, event.outcome, &event.id, app.now(), Rng::system().as_random())
        .await?;
    Ok(order)
}

/// Settles whatever was decided without our hearing of it: after a start, and now and then.
pub(crate) async fn settle_all(app: &App) {
    let pending = match app.store.pending_orders().await {
        Ok(pending) => pending,
        Err(error) => {
            tracing::error!(%error, "pending orders cannot be read");
            return;
        }
    };
    for order in pending {
        let id = order.id.clone();
        if let Err(error) = settle(app, order).await {
            tracing::error!(order = %id, %error, "an order could not be settled");
        }
    }
}
