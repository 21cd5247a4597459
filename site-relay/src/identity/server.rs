//! The relay's own server certificate: in memory only, made at each start,
//! replaced before it ends and whenever the machine's addresses change.

use super::{IdentityError, ca, ca::SiteCa, names::certificate_names};
use crate::config::Config;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// How often addresses and remaining lifetime are looked at.
const LOOK: Duration = Duration::from_secs(600);

/// Hands the present certificate to each handshake.
pub struct ServerCertificate {
    present: RwLock<(Vec<String>, Arc<CertifiedKey>)>,
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerCertificate")
    }
}

impl ServerCertificate {
    /// Issues the first certificate.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`].
    pub fn new(ca: &SiteCa, config: &Config, now: OffsetDateTime) -> Result<Self, IdentityError> {
        Ok(Self { present: RwLock::new(issue(ca, config, now)?) })
    }

    /// Replaces the certificate when a third of its life or less is left, or
    /// when it does not cover what the machine is called. Says whether it did.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`]; the present one stays in use.
    pub fn renew_if_due(
        &self,
        ca: &SiteCa,
        config: &Config,
        now: OffsetDateTime,
    ) -> Result<bool, IdentityError> {
        let (names, key) = self.present.read().unwrap_or_else(PoisonError::into_inner).clone();
        let left = key
            .cert
            .first()
            .and_then(|c| ca::validity(c))
            .map_or(0, |(_, end)| end - now.unix_timestamp());
        let due = i64::from(config.certificates.server_days) * 86_400 / 3;
        if left > due && names == certificate_names(&config.names) {
            return Ok(false);
        }
        let fresh = issue(ca, config, now)?;
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }

    /// Looks again and again until cancelled.
    pub async fn keep_fresh(
        self: Arc<Self>,
        identity: Arc<super::Identity>,
        config: Arc<Config>,
        cancel: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            match self.renew_if_due(&identity.keys.ca, &config, OffsetDateTime::now_utc()) {
                Ok(true) => tracing::info!("the relay's own certificate was renewed"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "the relay's own certificate was not renewed")
                }
            }
        }
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.present.read().unwrap_or_else(PoisonError::into_inner).1.clone())
    }
}

fn issue(
    ca: &SiteCa,
    config: &Config,
    now: OffsetDateTime,
) -> Result<(Vec<String>, Arc<CertifiedKey>), IdentityError> {
    let names = certificate_names(&config.names);
    let key = ca.issue_server(&names, config.certificates.server_days, now)?;
    Ok((names, Arc::new(key)))
}
