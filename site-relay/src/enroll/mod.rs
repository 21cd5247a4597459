//! Enrolment: of this relay at the cloud (client, libp2p), and of agents at
//! this relay (server, HTTPS).

use serde::{Deserialize, Serialize};
use unifyit_protocol::enroll::RelayEnrolment;

/// What is kept of the relay's enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayRecord {
    /// The cloud's answer.
    pub enrolment: RelayEnrolment,
    /// Multiaddresses of the cloud, without the trailing peer id.
    pub cloud_addresses: Vec<String>,
    /// The cloud's peer id in base58: the pin.
    pub cloud_peer: String,
    /// Argon2id hash of the local UI's PIN set at enrolment; empty when none was.
    pub ui_pin_hash: String,
    /// Unix milliseconds.
    pub enrolled_ms: u64,
}
