//! Why somebody has an entitlement.

use crate::StoreError;

/// The kind of reason for an entitlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// An order was paid.
    Order,
    /// A code was redeemed.
    Code,
    /// The operator gave it.
    Grant,
}

impl SourceKind {
    /// `order`, `code` or `grant`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Code => "code",
            Self::Grant => "grant",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "order" => Ok(Self::Order),
            "code" => Ok(Self::Code),
            "grant" => Ok(Self::Grant),
            _ => Err(StoreError::Corrupt("entitlements.source_kind")),
        }
    }
}

/// Why somebody has an entitlement.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// The kind of reason.
    pub kind: SourceKind,
    /// The order's or code's id, or a note of the operator. One order or code gives at most one entitlement.
    pub id: String,
}
