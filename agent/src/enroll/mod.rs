//! Enrolment: from an install token to an identity, and its renewal.
//!
//! The token tells where the relay is, which CA it must show and whose authority
//! stands behind it. The agent makes its key here and never shows it; the relay
//! certifies it. Before anything is kept, the agent checks that the authority of
//! the token vouches for that very CA.

pub mod https;
mod renew;
#[cfg(test)]
mod tests;
pub mod tls;

pub use renew::{Renewal, own_identity, renew, renewal_due};

use crate::{
    VERSION,
    identity::{Identity, IdentityError, PrivateKey, machine_name},
    platform,
};
use http::Method;
use https::{HttpsError, request};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use std::{path::Path, sync::Arc};
use thiserror::Error;
use tls::{Trusting, fingerprint};
use unifyit_protocol::{
    codec,
    config::DeviceConfig,
    enroll::{AGENT_PATH, AgentEnrolment, EnrollAgent, EnrollAgentAnswer},
    token::{InstallToken, TokenKind, TokenRefusal, TokenText},
};
use zeroize::Zeroizing;

/// Why enrolment or renewal did not succeed; the texts are for whoever runs it.
#[derive(Debug, Error)]
pub enum EnrollError {
    /// The folder holds an identity.
    #[error(
        "This computer is already enrolled as device {0}. To enrol it anew, add --force; the \
         console will then show it as another device unless the relay recognises the computer."
    )]
    Already(String),
    /// The token is not acceptable.
    #[error("{0}")]
    Token(#[from] TokenRefusal),
    /// No address of the token answered.
    #[error(
        "The relay could not be reached. Check that this computer is on the site's network and \
         that nothing blocks the port. Tried: {0}."
    )]
    Unreachable(String),
    /// The relay said no, in its own words.
    #[error("The relay refused: {0}")]
    Refused(String),
    /// The relay's papers do not hold.
    #[error(
        "The relay's answer cannot be trusted: {0}. Nothing was kept. Tell whoever manages the \
         relay."
    )]
    Untrusted(&'static str),
    /// The agent's files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Anything inside the agent.
    #[error("The enrolment request could not be made: {0}.")]
    Inside(String),
}

/// What enrolment gave.
#[derive(Debug)]
pub struct Enrolled {
    /// Who the device is.
    pub identity: Identity,
    /// Its private key.
    pub key: PrivateKey,
    /// First settings.
    pub config: DeviceConfig,
}

/// Enrols this computer and keeps the identity in `state`.
///
/// # Errors
/// [`EnrollError`], a sentence each.
pub async fn enroll(
    state: &Path,
    token_text: &str,
    force: bool,
    now_ms: u64,
) -> Result<Enrolled, EnrollError> {
    if !force && Identity::exists(state) {
        let device = Identity::load(state).map_or_else(
            |_| "unknown (its files cannot be read)".to_owned(),
            |(identity, _)| identity.device.to_string(),
        );
        return Err(EnrollError::Already(device));
    }
    let token = TokenText::parse(token_text)?.claims()?;
    let TokenKind::Agent { relay_https, ca_fingerprint } = &token.kind else {
        return Err(TokenRefusal::WrongKind.into());
    };
    // Whether the token is still good is for the relay to say: a computer's clock
    // may be wrong before it has anybody to ask.
    platform::create_private_dir(state).map_err(|e| IdentityError::Io(state.into(), e))?;
    let (key, csr) = new_key()?;
    let ask = EnrollAgent {
        token: token_text.trim().to_owned(),
        csr,
        hostname: platform::hostname(),
        version: VERSION.into(),
        machine: machine_name(state)?,
    };
    let ask = codec::encode(&ask).map_err(|e| EnrollError::Inside(e.to_string()))?;
    // A computer that still has its key proves by it that it is the device it was;
    // another site's relay would refuse the certificate, so it is not shown there.
    let before = match Identity::load(state) {
        // Whether this is the device it was is not known: it may not become another.
        Err(error @ IdentityError::Machine(_)) => return Err(error.into()),
        other => other.ok(),
    };
    let before = before.filter(|(identity, _)| fingerprint(&identity.ca) == *ca_fingerprint);
    let ask_with = async |client: Option<(&[u8], &PrivateKey)>| {
        let trusting = Trusting { ca_fingerprint: *ca_fingerprint, ca: None, client };
        let tls = trusting.config().map_err(|e| EnrollError::Inside(e.to_string()))?;
        ask_each(relay_https, &Arc::new(tls), AGENT_PATH, &ask).await
    };
    let shown = before.as_ref().map(|(identity, key)| (identity.certificate.as_slice(), key));
    let enrolment = match ask_with(shown).await {
        // The relay breaks off when the certificate ended long ago.
        Err(EnrollError::Unreachable(_)) if shown.is_some_and(|(of, _)| ended(of, now_ms)) => {
            ask_with(None).await?
        }
        other => other?,
    };
    let config = enrolment.config.clone();
    let identity = checked(enrolment, &token, *ca_fingerprint, now_ms)?;
    identity.save(state, &key)?;
    Ok(Enrolled { identity, key, config })
}

fn ended(certificate: &[u8], now_ms: u64) -> bool {
    renewal_due(certificate, now_ms) == Renewal::Overdue
}

fn new_key() -> Result<(PrivateKey, Vec<u8>), EnrollError> {
    let inside = |e: rcgen::Error| EnrollError::Inside(e.to_string());
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(inside)?;
    let csr = request_for(&pair)?;
    Ok((Zeroizing::new(pair.serialize_der()), csr))
}

/// A certificate request. The relay decides what stands in the certificate; the
/// request only proves possession of the key.
fn request_for(pair: &KeyPair) -> Result<Vec<u8>, EnrollError> {
    let inside = |e: rcgen::Error| EnrollError::Inside(e.to_string());
    let request = CertificateParams::default().serialize_request(pair).map_err(inside)?;
    Ok(request.der().to_vec())
}

/// Asks each address in turn until one answers.
async fn ask_each(
    addresses: &[String],
    tls: &Arc<rustls::ClientConfig>,
    path: &str,
    ask: &[u8],
) -> Result<AgentEnrolment, EnrollError> {
    let mut tried = Vec::new();
    for address in addresses {
        let sent = request(address, Arc::clone(tls), Method::POST, path, ask.to_vec()).await;
        let body = match sent.and_then(|answer| answer.accepted(address)) {
            Ok(body) => body,
            Err(HttpsError::Status(_, _, text)) if !text.is_empty() => {
                return Err(EnrollError::Refused(text));
            }
            Err(error) => {
                tried.push(error.to_string());
                continue;
            }
        };
        return match codec::decode(&body) {
            Ok(EnrollAgentAnswer::Accepted(enrolment)) => Ok(*enrolment),
            Ok(EnrollAgentAnswer::Refused(refusal)) => Err(refusal.into()),
            Ok(EnrollAgentAnswer::Failed(sentence)) => Err(EnrollError::Refused(sentence)),
            Err(_) => Err(EnrollError::Untrusted("it is not an enrolment answer")),
        };
    }
    let tried = if tried.is_empty() { "no address".into() } else { tried.join("; ") };
    Err(EnrollError::Unreachable(tried))
}

/// Believes an enrolment only when the token's authority vouches for its CA.
fn checked(
    enrolment: AgentEnrolment,
    token: &InstallToken,
    pinned: [u8; 32],
    now_ms: u64,
) -> Result<Identity, EnrollError> {
    let untrusted = |why| Err(EnrollError::Untrusted(why));
    if enrolment.organization != token.organization || enrolment.site != token.site {
        return untrusted("it is for another site than the install token");
    }
    let Ok(word) = enrolment.site_certificate.verify(&token.authority) else {
        return untrusted("the organization's authority does not vouch for the site's CA");
    };
    if word.organization != token.organization || word.site != token.site {
        return untrusted("the authority vouches for another site's CA");
    }
    if word.ca_fingerprint != pinned || fingerprint(&enrolment.ca) != pinned {
        return untrusted("the site's CA is not the one that the install token pins");
    }
    if enrolment.mqtt.is_empty() {
        return untrusted("it names no MQTT address");
    }
    let TokenKind::Agent { relay_https, .. } = &token.kind else {
        return untrusted("the install token is not for an agent");
    };
    Ok(Identity {
        device: enrolment.device,
        organization: token.organization,
        site: token.site,
        authority: token.authority,
        certificate: enrolment.certificate,
        ca: enrolment.ca,
        mqtt: enrolment.mqtt,
        https: relay_https.clone(),
        enrolled_ms: now_ms,
    })
}
