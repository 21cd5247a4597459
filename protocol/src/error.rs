//! What can be wrong with bytes that somebody sent us.

use thiserror::Error;

/// Why bytes, text or a signature from a wire were refused.
///
/// The texts are fit for a log line or a `doctor` report; none repeats the
/// offending bytes, which may be hostile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// Longer than the limit that the reader allows.
    #[error("the message is {actual} bytes long; at most {limit} are accepted")]
    TooLarge {
        /// Length found, in bytes.
        actual: usize,
        /// Length allowed, in bytes.
        limit: usize,
    },
    /// Not CBOR, or CBOR of another shape.
    #[error("the message cannot be read: {0}")]
    Malformed(String),
    /// A version that this build does not speak.
    #[error("the message has version {found}; this build reads {oldest} to {newest}")]
    Version {
        /// Version found.
        found: u16,
        /// Oldest version read.
        oldest: u16,
        /// Newest version read.
        newest: u16,
    },
    /// A signature that is missing, by another key, or over other bytes.
    #[error("the signature does not hold: {0}")]
    Signature(&'static str),
    /// A value that is well formed and not allowed.
    #[error("the message is not acceptable: {0}")]
    Invalid(&'static str),
}
