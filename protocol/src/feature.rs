//! What a feature of agent, relay and cloud says in words of its own.
//!
//! The lists of messages ([`Report`](crate::report::Report),
//! [`UpRecord`](crate::link::UpRecord)) are what every version speaks. A feature that
//! comes later brings its messages in a file of its own, and they travel as the body of
//! a [`FeatureReport`]: whoever has such a feature reads it, a relay that has none passes
//! it on, and a cloud that has none skips and counts it.

use crate::{ProtocolError, ids::DeviceId};
use serde::{Deserialize, Serialize};

/// Longest name of a feature in bytes.
pub const MAX_NAME: usize = 64;
/// Longest message of a feature in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// A feature's message, on its way up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureReport {
    /// The feature: its folder's name in the cloud. Small letters and `_`.
    pub feature: String,
    /// When it was so, Unix milliseconds of the site's time.
    pub at_ms: u64,
    /// The message in an envelope of its own ([`crate::envelope`]).
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// A feature's message, as the cloud gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteReport {
    /// The device of which it speaks; none when it is the site's.
    pub device: Option<DeviceId>,
    /// The message.
    pub report: FeatureReport,
}

impl FeatureReport {
    /// Checks its bounds. What is in the body is checked by whoever reads it.
    ///
    /// # Errors
    /// [`ProtocolError::Invalid`] when it has no fit name or is too long.
    pub fn check(&self) -> Result<(), ProtocolError> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        if self.feature.is_empty() || !self.feature.bytes().all(letter) {
            return Err(ProtocolError::Invalid("a feature's name has small letters and _ only"));
        }
        if self.feature.len() > MAX_NAME || self.body.len() > MAX_BODY {
            return Err(ProtocolError::Invalid("a feature's message is longer than is accepted"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(feature: &str, bytes: usize) -> Result<(), ProtocolError> {
        FeatureReport { feature: feature.to_owned(), at_ms: 1, body: vec![0; bytes] }.check()
    }

    #[test]
    fn names_are_words_and_messages_bounded() {
        assert!(of("package_sources", MAX_BODY).is_ok() && of(&"x".repeat(MAX_NAME), 0).is_ok());
        assert!(of("", 0).is_err() && of(&"x".repeat(MAX_NAME + 1), 0).is_err());
        assert!(of("x", MAX_BODY + 1).is_err());
        for name in ["Up", "a b", "a/b", "é", "a1", "../x"] {
            assert!(of(name, 0).is_err(), "{name}");
        }
    }
}
