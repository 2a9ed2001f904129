//! The built-in provider that takes no money. Its ledger is a table of its own, as a real provider's would be elsewhere, and it
//! reports what was decided by signed messages, as a real provider does.

use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use flatpass_store::{Order, OrderId, PaymentOutcome, SandboxPayment, Store};
use flatpass_token::UnixTime;
use serde::{Deserialize, Serialize};

use super::{Boxed, Event, EventError, PaymentProvider, Report, Started};
use crate::app::Rng;
use crate::web::query_value;

/// How old or how far ahead a message's time may be, in seconds: longer than any delivery takes, shorter than any replay needs.
const TOLERANCE_SECONDS: u64 = 300;

/// The body of a message.
#[derive(Serialize, Deserialize)]
struct Message {
    id: String,
    order: String,
    outcome: String,
}

pub(crate) struct Sandbox {
    ledger: Store,
    key: hmac::Key,
}

impl Sandbox {
    /// `secret_key` is the store's key file; messages are signed with a key that is derived from it.
    pub(crate) fn new(ledger: Store, secret_key: &Path) -> std::io::Result<Self> {
        let mut secret = Vec::new();
        std::fs::File::open(secret_key)?.take(4096).read_to_end(&mut secret)?;
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.trim_ascii());
        let derived = hmac::sign(&root, b"flatpass sandbox events");
        Ok(Self { ledger, key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()) })
    }

    fn signature_of(&self, at: i64, body: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(at.to_string().as_bytes());
        context.update(b".");
        context.update(body);
        context.sign()
    }

    fn message(&self, payment: &SandboxPayment, now: UnixTime) -> Option<Report> {
        let (outcome, id) = payment.event()?;
        let message = Message { id, order: payment.order_id.0.clone(), outcome: outcome.as_str().to_owned() };
        let body = serde_json::to_vec(&message).ok()?;
        let signature = format!("t={},v1={}", now.0, BASE64.encode(self.signature_of(now.0, &body)));
        Some(Report { signature, body })
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
            let event = |payment: SandboxPayment| {
                payment.event().map(|(outcome, id)| (payment.order_id, outcome, id))
            };
            Ok(payment.and_then(event).map(|(order, outcome, id)| Event { id, order, outcome }))
        })
    }

    fn verify(&self, signature: &str, body: &[u8], now: UnixTime) -> Result<Event, EventError> {
        let (at, mac) = signature
            .split_once(',')
            .and_then(|(at, mac)| Some((at.strip_prefix("t=")?, mac.strip_prefix("v1=")?)))
            .ok_or(EventError::Signature)?;
        let at: i64 = at.parse().map_err(|_| EventError::Signature)?;
        let mac = BASE64.decode(mac).map_err(|_| EventError::Signature)?;
        let mut signed = at.to_string().into_bytes();
        signed.push(b'.');
        signed.extend_from_slice(body);
        hmac::verify(&self.key, &signed, &mac).map_err(|_| EventError::Signature)?;
        if at.abs_diff(now.0) > TOLERANCE_SECONDS {
            return Err(EventError::TooOld);
        }
        let message: Message = serde_json::from_slice(body).map_err(|_| EventError::Content)?;
        let outcomes = [
            PaymentOutcome::Paid,
            PaymentOutcome::Declined,
            PaymentOutcome::Cancelled,
            PaymentOutcome::Refunded,
        ];
        let outcome = outcomes
            .into_iter()
            .find(|outcome| outcome.as_str() == message.outcome)
            .ok_or(EventError::Content)?;
        Ok(Event { id: message.id, order: OrderId(message.order), outcome })
    }

    fn decide<'a>(
        &'a self,
        reference: &'a str,
        outcome: PaymentOutcome,
        now: UnixTime,
    ) -> Boxed<'a, Option<Report>> {
        Box::pin(async move {
            let payment = self.ledger.decide_sandbox_payment(reference, outcome, now).await?;
            Ok(payment.and_then(|payment| self.message(&payment, now)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(folder: &Path) -> Sandbox {
        let file = folder.join("secret.key");
        let sealer = flatpass_store::Sealer::create_key_file(&file, Rng::system().as_random()).unwrap();
        let url = format!("sqlite:{}", folder.join("flatpass.db").display());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(Store::open(&url, sealer)).unwrap();
        Sandbox::new(store, &file).unwrap()
    }

    #[test]
    fn only_a_fresh_message_with_the_right_signature_is_believed() {
        let folder = std::env::temp_dir().join(format!("flatpass-sandbox-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let sandbox = sandbox(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        let now = UnixTime(1_700_000_000);
        let body = br#"{"id":"evt_1","order":"ord_1","outcome":"paid"}"#;
        let sign =
            |at: i64, body: &[u8]| format!("t={at},v1={}", BASE64.encode(sandbox.signature_of(at, body)));
        let good = sandbox.verify(&sign(now.0, body), body, now).unwrap();
        assert_eq!((good.id.as_str(), good.outcome), ("evt_1", PaymentOutcome::Paid));
        assert!(sandbox.verify(&sign(now.0 - 300, body), body, now).is_ok());
        for old in [now.0 - 301, now.0 + 301, i64::MIN, i64::MAX] {
            assert_eq!(sandbox.verify(&sign(old, body), body, now), Err(EventError::TooOld));
        }
        let other = body.map(|byte| if byte == b'1' { b'2' } else { byte });
        assert_eq!(sandbox.verify(&sign(now.0, body), &other, now), Err(EventError::Signature));
        // The time is signed too: an old message does not become fresh by another number.
        let stale = sign(now.0 - 400, body).replace(&(now.0 - 400).to_string(), &now.0.to_string());
        assert_eq!(sandbox.verify(&stale, body, now), Err(EventError::Signature));
        for bad in ["", "t=1", "t=x,v1=y", "v1=,t=", "t=1700000000,v1=", "t=1700000000,v1=AAAA"] {
            assert_eq!(sandbox.verify(bad, body, now), Err(EventError::Signature), "{bad}");
        }
        for bad in ["", "{}", "[]", r#"{"id":"e","order":"o","outcome":"stolen"}"#] {
            assert_eq!(
                sandbox.verify(&sign(now.0, bad.as_bytes()), bad.as_bytes(), now),
                Err(EventError::Content)
            );
        }
    }
}
