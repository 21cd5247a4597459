//! When agents start, as they say it themselves.

use crate::envelope::messages;
use serde::{Deserialize, Serialize};

/// Whose words these are.
pub const FEATURE: &str = "starts";

messages! {
    /// What is said.
    pub enum Said {
        /// The agent started.
        1 => Started(Started),
    }
}

/// A start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Version of the agent.
    pub version: String,
}
