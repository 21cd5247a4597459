//! Who this relay is: its libp2p key (the very key that grants name), its
//! site's certificate authority, and its enrolment.

use crate::enroll::RelayRecord;
use libp2p::identity::Keypair;

/// All that makes an enrolled relay one. Built once at start.
#[derive(Debug)]
pub struct Identity {
    /// The Ed25519 key of the peer id; the same key signs local work.
    pub keypair: Keypair,
    /// SHA-256 of the site CA's certificate in DER.
    pub ca_fingerprint: [u8; 32],
    /// What the cloud gave at enrolment.
    pub record: RelayRecord,
}
