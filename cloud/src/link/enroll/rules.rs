//! The decisions of an enrolment, without I/O.

use super::Refusal;
use crate::link::address::is_address;
use libp2p::{PeerId, identity};
use unifyit_protocol::{
    enroll::EnrollRelay,
    signing::PublicKey,
    token::{InstallToken, TokenKind, TokenRefusal, TokenText},
};

/// Shown to a revoked relay that asks again.
pub(super) const REVOKED: &str = "This relay was revoked in the console and stays out. To enrol the \
    box anew, delete the relay's state folder, make a new install token and run the install line.";
/// Shown when an enrolled relay comes with another certificate authority.
pub(super) const OTHER_CA: &str = "This relay is enrolled already, with another site certificate. \
    Revoke it in the console, delete the relay's state folder and enrol it anew.";
/// Shown to a box that would be a site's second relay.
pub(super) fn site_taken(hostname: &str) -> String {
    format!(
        "The site has a relay already ({hostname}). Revoke it in the console first, then run the \
         install line again."
    )
}

/// A token's row as it stands.
#[derive(Debug, Clone)]
pub(super) struct TokenRow {
    pub(super) kind: String,
    pub(super) uses: i32,
    pub(super) used: i32,
    pub(super) revoked: bool,
}

/// Whether a token lets a relay in: true signature, right kind, not revoked, not
/// expired, not used up, in this order.
pub(super) fn judge(
    text: &TokenText,
    authority: &PublicKey,
    row: &TokenRow,
    now_ms: u64,
) -> Result<InstallToken, TokenRefusal> {
    let verified = text.verify(authority, now_ms);
    if verified == Err(TokenRefusal::Tampered) {
        return Err(TokenRefusal::Tampered);
    }
    let kind = text.claims()?.kind;
    if row.kind != "relay" || !matches!(kind, TokenKind::Relay { .. }) {
        return Err(TokenRefusal::WrongKind);
    }
    if row.revoked {
        return Err(TokenRefusal::Revoked);
    }
    let token = verified?;
    if row.used >= row.uses {
        return Err(TokenRefusal::UsedUp);
    }
    Ok(token)
}

/// The Ed25519 key that a peer id is made of.
pub(super) fn key_of(peer: &PeerId) -> Result<PublicKey, Refusal> {
    let said = || Refusal::Said("The relay's key is not an Ed25519 key.".into());
    let multihash = peer.as_ref();
    // Ed25519 keys are short enough to stand in the peer id as they are.
    if multihash.code() != 0 {
        return Err(said());
    }
    let key = identity::PublicKey::try_decode_protobuf(multihash.digest()).map_err(|_| said())?;
    key.try_into_ed25519().map(|key| PublicKey(key.to_bytes())).map_err(|_| said())
}

/// The request with its texts bounded and fit for the database.
pub(super) fn bounded(mut request: EnrollRelay) -> Result<EnrollRelay, Refusal> {
    let said = |text: &str| Err(Refusal::Said(text.into()));
    let plain = |text: &str| !text.chars().any(char::is_control);
    if request.hostname.len() > 255 || !plain(&request.hostname) {
        return said("The relay's host name is longer than 255 bytes or not plain text.");
    }
    if request.version.len() > 64 || !plain(&request.version) {
        return said("The relay's version is longer than 64 bytes or not plain text.");
    }
    if request.lan_https.len() > 16 || !request.lan_https.iter().all(|at| is_address(at)) {
        return said("The relay names more than 16 addresses, or one that is no address.");
    }
    let pin = &request.ui_pin_hash;
    if !pin.is_empty() && (pin.len() > 255 || !plain(pin) || !pin.starts_with("$argon2id$")) {
        return said("The PIN's hash is not an Argon2id hash.");
    }
    if request.hostname.trim().is_empty() {
        request.hostname = "relay".into();
    }
    Ok(request)
}
