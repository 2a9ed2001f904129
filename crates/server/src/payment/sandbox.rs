//! The built-in provider that takes no money. Its ledger is a table of its own, as a real provider's would be elsewhere.

use flatpass_store::{Order, Store};
use flatpass_token::UnixTime;

use super::{Boxed, Event, PaymentProvider, Started};
use crate::app::Rng;
use crate::web::query_value;

pub(crate) struct Sandbox {
    ledger: Store,
}

impl Sandbox {
    pub(crate) fn new(ledger: Store) -> Self {
        Self { ledger }
    }
}

impl PaymentProvider for Sandbox {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    fn start<'a>(&'a self, order: &'a Order, back: &'a str, now: UnixTime) -> Boxed<'a, Started> {
        Box::pin(async move {
            let payment = self.ledger.create_sandbox_payment(order, now, Rng::system().as_random()).await?;
            let url = format!("/sandbox/pay/{}?next={}", payment.reference, query_value(back));
            Ok(Started { reference: payment.reference, url })
        })
    }

    fn look_up<'a>(&'a self, reference: &'a str) -> Boxed<'a, Option<Event>> {
        Box::pin(async move {
            let payment = self.ledger.sandbox_payment(reference).await?;
            Ok(payment.and_then(|payment| payment.event()).map(|(outcome, id)| Event { id, outcome }))
        })
    }
}
