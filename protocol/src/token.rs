//! Install tokens: the one line that brings a relay or an agent in.
//!
//! Text form: `UIT1.` and the signed [`InstallToken`] in CBOR, base64url without
//! padding. Everything that a newcomer needs
//! in order to trust the right peer is inside: addresses, pins and the
//! authority's key.

use crate::{
    ProtocolError,
    ids::{OrganizationId, SiteId, TokenId},
    signing::{PublicKey, Purpose, Signable, Signed},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest token text accepted, in bytes.
pub const MAX_TOKEN_TEXT: usize = 4096;
const PREFIX: &str = "UIT1.";

/// Who a token lets in, and by which door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenKind {
    /// A relay, which dials the cloud.
    Relay {
        /// Multiaddresses of the cloud, without the trailing peer id.
        cloud_addresses: Vec<String>,
        /// The cloud's peer id in base58: the pin.
        cloud_peer: String,
    },
    /// An agent, which dials its relay.
    Agent {
        /// `host:port` of the relay's enrolment and blob HTTPS, in order of preference.
        relay_https: Vec<String>,
        /// SHA-256 of the site CA's certificate in DER: the pin.
        #[serde(with = "serde_bytes")]
        ca_fingerprint: [u8; 32],
    },
}

/// What the authority signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallToken {
    /// Identity, by which it is counted and revoked.
    pub id: TokenId,
    /// The organization joined.
    pub organization: OrganizationId,
    /// The site joined.
    pub site: SiteId,
    /// The organization's authority: learnt and pinned by the newcomer.
    pub authority: PublicKey,
    /// Who it lets in.
    pub kind: TokenKind,
    /// Not valid from then on, Unix milliseconds.
    pub expires_ms: u64,
    /// How many may join with it.
    pub uses: u32,
}

impl Signable for InstallToken {
    const PURPOSE: Purpose = Purpose::Token;
}

/// Why a token was refused; the texts are shown to whoever runs the installer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum TokenRefusal {
    /// Damaged text or a signature that does not hold.
    #[error(
        "The install token was changed or cut off. Copy the whole line again from the console."
    )]
    Tampered,
    /// Past its expiry.
    #[error("The install token has expired. Make a new one in the console (Sites > Install).")]
    Expired,
    /// All uses spent.
    #[error("The install token has been used up. Make a new one in the console (Sites > Install).")]
    UsedUp,
    /// For another site.
    #[error(
        "The install token belongs to another site. Use a token of the site that this relay serves."
    )]
    WrongSite,
    /// For a relay where an agent enrols, or the other way round.
    #[error(
        "The install token is of the other kind: relay tokens enrol relays, agent tokens enrol agents."
    )]
    WrongKind,
    /// Revoked by a technician.
    #[error("The install token was revoked. Ask whoever gave it to you for a new one.")]
    Revoked,
}

/// A token in its text form, taken apart but not yet verified.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(Signed<InstallToken>);

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

impl TokenText {
    /// Wraps a signed token.
    #[must_use]
    pub fn new(signed: Signed<InstallToken>) -> Self {
        Self(signed)
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`TokenRefusal::Tampered`] when the text is no token.
    pub fn parse(text: &str) -> Result<Self, TokenRefusal> {
        let text = text.trim();
        if text.len() > MAX_TOKEN_TEXT {
            return Err(TokenRefusal::Tampered);
        }
        let body = text.strip_prefix(PREFIX).ok_or(TokenRefusal::Tampered)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenRefusal::Tampered)?;
        crate::codec::decode_within(&bytes, MAX_TOKEN_TEXT)
            .map(Self)
            .map_err(|_| TokenRefusal::Tampered)
    }

    /// What the token claims, without any check: enough for a newcomer, which
    /// has nothing to check against yet, to find and pin its peer.
    ///
    /// # Errors
    /// [`TokenRefusal::Tampered`] when the claims do not decode, or are not
    /// signed by the very authority they name.
    pub fn claims(&self) -> Result<InstallToken, TokenRefusal> {
        let claims = self.0.peek().map_err(|_| TokenRefusal::Tampered)?;
        self.0.verify(&claims.authority).map_err(|_| TokenRefusal::Tampered)
    }

    /// Checks a token as the peer that knows the authority: signature, then
    /// expiry. Kind, site, uses and revocation are the caller's.
    ///
    /// # Errors
    /// The refusal to show.
    pub fn verify(&self, authority: &PublicKey, now_ms: u64) -> Result<InstallToken, TokenRefusal> {
        let token = self.0.verify(authority).map_err(|_: ProtocolError| TokenRefusal::Tampered)?;
        if now_ms >= token.expires_ms {
            return Err(TokenRefusal::Expired);
        }
        Ok(token)
    }
}

impl fmt::Display for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = crate::codec::encode(&self.0).map_err(|_| fmt::Error)?;
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}
