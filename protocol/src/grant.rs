//! What the organization's authority lets a relay do, and the check of a
//! signature chain: authority, or authority → relay by a grant.

use crate::{
    ProtocolError,
    ids::{GrantId, OrganizationId, SiteId},
    signing::{MAX_SIGNATURES, PublicKey, Purpose, Signable, Signed},
};
use serde::{Deserialize, Serialize};

/// What a relay may sign for its own site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Scripts approved for local use, remediation, schedules.
    Execute,
    /// Terminals opened by on-site staff.
    Terminal,
    /// Patches of an approved policy.
    Patch,
    /// A scope of a later version: grants nothing here.
    #[serde(other)]
    Unknown,
}

/// Lets a relay sign local work while the WAN is down. Signed by the authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Identity of the grant.
    pub id: GrantId,
    /// The organization whose authority grants.
    pub organization: OrganizationId,
    /// The relay's Ed25519 key, the one its peer id is made of.
    pub relay_key: PublicKey,
    /// The only site for which it holds.
    pub site: SiteId,
    /// What may be signed.
    #[serde(deserialize_with = "crate::codec::at_most::<64, _, _>")]
    pub scopes: Vec<Scope>,
    /// Not valid before, Unix milliseconds.
    pub not_before_ms: u64,
    /// Not valid from then on, Unix milliseconds.
    pub expires_ms: u64,
}

impl Signable for Grant {
    const PURPOSE: Purpose = Purpose::Grant;
}

/// The authority's word that a certificate authority is a site's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteCertificate {
    /// The organization.
    pub organization: OrganizationId,
    /// The site.
    pub site: SiteId,
    /// SHA-256 of the site CA's certificate in DER.
    #[serde(with = "serde_bytes")]
    pub ca_fingerprint: [u8; 32],
    /// When it was certified, Unix milliseconds.
    pub issued_ms: u64,
}

impl Signable for SiteCertificate {
    const PURPOSE: Purpose = Purpose::SiteCertificate;
}

/// What a verifier trusts and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// The organization's authority, pinned at enrolment.
    pub authority: &'a PublicKey,
    /// The verifier's organization.
    pub organization: OrganizationId,
    /// The verifier's site.
    pub site: SiteId,
    /// The verifier's clock, Unix milliseconds.
    pub now_ms: u64,
}

/// Checks that at least one signature comes from the authority, or from a relay
/// that the authority granted `scope` for this organization and site at this
/// time, then decodes the payload. Any broken signature in the list spoils it.
///
/// # Errors
/// [`ProtocolError::Signature`] says which link of the chain does not hold.
pub fn authorize<T: Signable>(
    signed: &Signed<T>,
    trust: Trust<'_>,
    scope: Scope,
) -> Result<T, ProtocolError> {
    if signed.signatures.is_empty() || signed.signatures.len() > MAX_SIGNATURES {
        return Err(ProtocolError::Signature("it carries no signature, or more than eight"));
    }
    let mut authorized = false;
    for by in &signed.signatures {
        signed.check(by)?;
        if by.key == *trust.authority {
            authorized = true;
        } else if let Some(grant) = &by.grant {
            let grant = grant.verify(trust.authority)?;
            check_grant(&grant, &by.key, trust, scope)?;
            authorized = true;
        }
    }
    if !authorized {
        return Err(ProtocolError::Signature("no signer has a right in this organization"));
    }
    signed.peek()
}

fn check_grant(
    grant: &Grant,
    signer: &PublicKey,
    trust: Trust<'_>,
    scope: Scope,
) -> Result<(), ProtocolError> {
    let refuse = |why| Err(ProtocolError::Signature(why));
    if grant.relay_key != *signer {
        return refuse("the grant is for another relay");
    }
    if grant.organization != trust.organization || grant.site != trust.site {
        return refuse("the grant is for another site");
    }
    if trust.now_ms < grant.not_before_ms || trust.now_ms >= grant.expires_ms {
        return refuse("the grant is not valid at this time");
    }
    if !grant.scopes.contains(&scope) {
        return refuse("the grant does not cover this action");
    }
    Ok(())
}
