//! How things are written for people.

use flatpass_store::OrderState;
use flatpass_token::UnixTime;
use time::OffsetDateTime;
use time::macros::format_description;

/// A date such as `2026-11-23 10:15 UTC`.
pub(crate) fn moment(time: UnixTime) -> String {
    OffsetDateTime::from_unix_timestamp(time.0)
        .ok()
        .and_then(|time| time.format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC")).ok())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// An order's state.
pub(crate) fn order_state(state: OrderState) -> &'static str {
    match state {
        OrderState::Pending => "waiting for the payment",
        OrderState::Paid => "paid",
        OrderState::Declined => "the payment was declined",
        OrderState::Cancelled => "cancelled",
        OrderState::RefundDue => "paid twice; the money is given back",
        OrderState::Refunded => "refunded",
    }
}
