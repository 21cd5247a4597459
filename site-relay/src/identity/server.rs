//! The relay's own server certificate: in memory only, made at each start,
//! replaced before it ends, whenever the machine's addresses change, and whenever
//! the site's time is set so that its dates are not the usual ones any more. It is
//! dated far back, for agents whose own clock is behind.

use super::{IdentityError, ca, ca::SiteCa, names::certificate_names};
use crate::{clock::SiteClock, config::Config};
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
    clock: SiteClock,
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
    pub fn new(ca: &SiteCa, config: &Config, clock: SiteClock) -> Result<Self, IdentityError> {
        Ok(Self { present: RwLock::new(issue(ca, config, clock.now())?), clock })
    }

    /// The site's time, by which certificates are judged.
    #[must_use]
    pub fn clock(&self) -> SiteClock {
        self.clock.clone()
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
        let life = i64::from(config.certificates.server_days) * 86_400;
        // More than its life is left where the time was set back.
        let usual = left > life / 3 && left <= life + 86_400;
        if usual && names == certificate_names(&config.names) {
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
        let mut steps = self.clock.steps();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
                Ok(()) = steps.changed() => drop(steps.borrow_and_update()),
            }
            match self.renew_if_due(&identity.keys.ca, &config, self.clock.now()) {
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
