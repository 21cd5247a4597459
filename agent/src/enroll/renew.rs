//! Renewal of the agent's certificate, well before it ends.
//!
//! The same key is certified again over HTTPS, shown with the present
//! certificate. An expired one is shown all the same: the relay may allow a
//! grace for computers that were switched off for long.

use super::{
    EnrollError, ask_each, new_key, request_for,
    tls::{Trusting, fingerprint, validity},
};
use crate::{
    VERSION,
    identity::{Identity, PrivateKey, instance, machine_name},
    platform,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::{path::Path, sync::Arc};
use unifyit_protocol::{
    codec,
    enroll::{IDENTITY_PATH, OwnIdentity, RENEW_PATH, RenewAgent},
};

/// A certificate that begins later than this is dated by a clock that was wrong.
const AHEAD_MS: u64 = 2 * 86_400_000;

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Nothing to do before this moment, Unix milliseconds.
    NotBefore(u64),
    /// Two thirds of its life are over.
    Due,
    /// It has ended.
    Overdue,
}

/// How a certificate stands at a moment.
#[must_use]
pub fn renewal_due(certificate: &[u8], now_ms: u64) -> Renewal {
    let Some((from, to)) = validity(certificate) else { return Renewal::Overdue };
    let ms = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    let (from, to) = (ms(from), ms(to));
    let due = from + (to.saturating_sub(from)) / 3 * 2;
    if from > now_ms.saturating_add(AHEAD_MS) {
        // It was issued while the site's time was ahead, and would not be renewed
        // until long after its time.
        Renewal::Due
    } else if now_ms >= to {
        Renewal::Overdue
    } else if now_ms >= due {
        Renewal::Due
    } else {
        Renewal::NotBefore(due)
    }
}

/// Gets a fresh certificate and keeps it.
///
/// # Errors
/// [`EnrollError`]; the present certificate stays in force.
pub async fn renew(
    state: &Path,
    identity: &Identity,
    key: &PrivateKey,
    addresses: &[String],
) -> Result<Identity, EnrollError> {
    let inside = |e: String| EnrollError::Inside(e);
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(
        &PrivatePkcs8KeyDer::from(key.as_slice()),
        &PKCS_ECDSA_P256_SHA256,
    )
    .map_err(|e| inside(e.to_string()))?;
    let ask = codec::encode(&RenewAgent { csr: request_for(&pair)? })
        .map_err(|e| inside(e.to_string()))?;
    let renewed = ask_as(identity, key, addresses, RENEW_PATH, &ask).await?;
    if renewed.device != identity.device {
        return Err(EnrollError::Untrusted("the renewed certificate is for somebody else"));
    }
    renewed.save_public(state)?;
    Ok(renewed)
}

/// Gets an identity of its own for a computer that shares its present one with
/// another. Nothing is kept yet: what runs under the present one has to end first.
///
/// # Errors
/// [`EnrollError`]; the present identity stays in force.
pub async fn own_identity(
    state: &Path,
    identity: &Identity,
    key: &PrivateKey,
    addresses: &[String],
) -> Result<(Identity, PrivateKey), EnrollError> {
    let (own_key, csr) = new_key()?;
    let ask = OwnIdentity {
        csr,
        instance: instance(),
        hostname: platform::hostname(),
        version: VERSION.into(),
        machine: machine_name(state)?,
    };
    let ask = codec::encode(&ask).map_err(|e| EnrollError::Inside(e.to_string()))?;
    let own = ask_as(identity, key, addresses, IDENTITY_PATH, &ask).await?;
    if own.device == identity.device {
        return Err(EnrollError::Untrusted("the identity given is the one that is shared"));
    }
    Ok((own, own_key))
}

/// Asks the relay under the present identity, and gives the identity that follows
/// from its answer.
async fn ask_as(
    identity: &Identity,
    key: &PrivateKey,
    addresses: &[String],
    path: &str,
    ask: &[u8],
) -> Result<Identity, EnrollError> {
    let ca_fingerprint = fingerprint(&identity.ca);
    let trusting = Trusting {
        ca_fingerprint,
        ca: Some(&identity.ca),
        client: Some((&identity.certificate, key)),
    };
    let tls = Arc::new(trusting.config().map_err(|e| EnrollError::Inside(e.to_string()))?);
    let answer = ask_each(addresses, &tls, path, ask).await?;
    let same_place = answer.organization == identity.organization && answer.site == identity.site;
    if !same_place || fingerprint(&answer.ca) != ca_fingerprint {
        return Err(EnrollError::Untrusted("the certificate is for another site"));
    }
    let mut after = identity.clone();
    after.device = answer.device;
    after.certificate = answer.certificate;
    if !answer.mqtt.is_empty() {
        after.mqtt = answer.mqtt;
    }
    Ok(after)
}
