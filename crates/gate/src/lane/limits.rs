//! What one connection may take up.

use std::time::Duration;

/// Limits of one connection. The number of connections is for who accepts them to limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head, request line included; more is answered 431.
    pub head_bytes: usize,
    /// Header fields of a request; more is answered 431. At most 128 count.
    pub header_fields: usize,
    /// How long a head may take from its first byte to its last.
    pub head_read: Duration,
    /// How long a connection may wait between requests.
    pub idle: Duration,
    /// How long the other side may take no byte of an answer.
    pub write_stall: Duration,
}

impl Default for Limits {
    /// 16 KiB, 64 fields, 10 seconds for a head, 75 idle, 30 without progress of an answer.
    fn default() -> Self {
        Self {
            head_bytes: 16 << 10,
            header_fields: 64,
            head_read: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write_stall: Duration::from_secs(30),
        }
    }
}
