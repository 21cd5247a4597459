//! Enrolment: of this relay at the cloud ([`cloud`], client, libp2p), and of
//! agents at this relay ([`agents`], server, HTTPS). The second needs no cloud.

pub mod agents;
pub mod cloud;
mod rate;

use serde::{Deserialize, Serialize};
use unifyit_protocol::{
    enroll::RelayEnrolment,
    ids::{OrganizationId, SiteId, TokenId},
    signing::PublicKey,
    token::{InstallToken, TokenKind, TokenRefusal, TokenText},
};

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

/// What an agent's token is checked against.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    authority: &'a PublicKey,
    organization: OrganizationId,
    site: SiteId,
    ca_fingerprint: &'a [u8; 32],
}

/// Checks an agent's token as the relay of a site: all but uses and revocation.
/// With the refusal comes the id that the token claims, for the audit trail.
fn judge(
    text: &str,
    place: Place<'_>,
    now_ms: u64,
) -> Result<InstallToken, (Option<TokenId>, TokenRefusal)> {
    let text = TokenText::parse(text).map_err(|refusal| (None, refusal))?;
    let claims = text.claims().map_err(|refusal| (None, refusal))?;
    let refuse = |refusal| Err((Some(claims.id), refusal));
    // A token that its own authority signed is whole; when that authority is
    // not ours, it is simply for somewhere else.
    if claims.authority != *place.authority {
        return refuse(TokenRefusal::WrongSite);
    }
    let token = text.verify(place.authority, now_ms).map_err(|r| (Some(claims.id), r))?;
    let TokenKind::Agent { ca_fingerprint, .. } = &token.kind else {
        return refuse(TokenRefusal::WrongKind);
    };
    let ours = token.organization == place.organization && token.site == place.site;
    if !ours || ca_fingerprint != place.ca_fingerprint {
        return refuse(TokenRefusal::WrongSite);
    }
    Ok(token)
}

#[cfg(test)]
mod tests;
