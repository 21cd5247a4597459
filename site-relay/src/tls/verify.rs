//! Which client certificates are taken: those of the site's authority, with a
//! grace around their lifetime.
//!
//! A certificate's end never disables local policy: during a long outage of the
//! relay, or when the relay's clock jumps after a power cut, agents could not
//! renew and would be locked out of their own site. What ended less than the
//! grace ago is therefore taken, and so is what is not valid yet, because only
//! this very authority can have issued it, so it is our clock that is wrong. And an
//! end binds only where two clocks agree that it is past: this machine's and, as
//! heard in this run, the cloud's. One clock alone may be years ahead.
//! Revocation does not rest on lifetimes: it is asked at each connection.

use crate::{clock::SiteClock, identity::ca, seldom::Seldom};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use std::{sync::Arc, time::Duration};

/// Webpki's verification with a grace around the lifetime.
#[derive(Debug)]
pub struct GraceVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    grace_s: u64,
    clock: SiteClock,
    said: Seldom<()>,
}

impl GraceVerifier {
    /// Wraps a verifier.
    #[must_use]
    pub fn new(inner: Arc<dyn ClientCertVerifier>, grace_days: u32, clock: SiteClock) -> Self {
        let (grace_s, said) = (u64::from(grace_days) * 86_400, Seldom::default());
        Self { inner, grace_s, clock, said }
    }

    /// The moment inside a certificate's lifetime that stands for `now`, when
    /// the grace covers the distance.
    fn excused(&self, certificate: &[u8], now: u64, error: &Error) -> Option<u64> {
        let sure = self.clock.ahead_ms().is_some();
        let now = now.min(self.clock.now_ms() / 1000);
        let (from, to) = ca::validity(certificate)?;
        let (from, to) = (u64::try_from(from).ok()?, u64::try_from(to).ok()?);
        match error {
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => (!sure || now.saturating_sub(to) <= self.grace_s).then_some(to),
            Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => Some(from),
            _ => None,
        }
    }
}

impl ClientCertVerifier for GraceVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let error = match self.inner.verify_client_cert(end_entity, intermediates, now) {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        let Some(then) = self.excused(end_entity, now.as_secs(), &error) else {
            return Err(error);
        };
        if let Some(times) = self.said.due(()) {
            tracing::warn!(%error, times, "a certificate outside its lifetime is taken by grace");
        }
        let then = UnixTime::since_unix_epoch(Duration::from_secs(then));
        self.inner.verify_client_cert(end_entity, intermediates, then)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::{
        clock::tests::Set,
        identity::{Keys, folder::StateFolder},
    };
    use rustls::{RootCertStore, server::WebPkiClientVerifier};
    use time::OffsetDateTime;
    use unifyit_protocol::ids::DeviceId;

    fn verifier(keys: &Keys, grace_days: u32) -> GraceVerifier {
        by(keys, grace_days, SiteClock::default())
    }

    /// A verifier whose machine and cloud show that many days from now.
    fn at(keys: &Keys, machine: i64, cloud: Option<i64>) -> (GraceVerifier, UnixTime) {
        let ms = |day| days_from_now(day).as_secs() * 1000;
        let set = Set::default();
        set.own.store(ms(machine), std::sync::atomic::Ordering::Relaxed);
        let clock = SiteClock::new(Box::new(set));
        if let Some(cloud) = cloud {
            clock.learn(ms(cloud), 0);
        }
        (by(keys, 30, clock), days_from_now(machine))
    }

    fn by(keys: &Keys, grace_days: u32, clock: SiteClock) -> GraceVerifier {
        let mut roots = RootCertStore::empty();
        roots.add(keys.ca.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        GraceVerifier::new(inner.build().unwrap(), grace_days, clock)
    }

    fn keys() -> (tempfile::TempDir, Keys) {
        let root = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(root.path()).unwrap();
        let keys = Keys::load_or_make(&folder, OffsetDateTime::now_utc()).unwrap();
        (root, keys)
    }

    fn certificate(keys: &Keys) -> CertificateDer<'static> {
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        keys.ca
            .issue_agent(request.der(), DeviceId::generate(), 90, OffsetDateTime::now_utc())
            .unwrap()
    }

    fn days_from_now(days: i64) -> UnixTime {
        let at = OffsetDateTime::now_utc().unix_timestamp() + days * 86_400;
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap()))
    }

    #[test]
    fn a_certificate_is_taken_in_its_lifetime_and_its_grace_only() {
        let (_root, keys) = keys();
        let certificate = certificate(&keys);
        for (day, taken) in [(0, true), (89, true), (91, true), (119, true), (121, false)] {
            let (verifier, now) = at(&keys, day, Some(day));
            let answer = verifier.verify_client_cert(&certificate, &[], now);
            assert_eq!(answer.is_ok(), taken, "day {day}: {answer:?}");
        }
    }

    #[test]
    fn one_clock_that_is_years_ahead_locks_nobody_out() {
        let (_root, keys) = keys();
        let certificate = certificate(&keys);
        for (machine, cloud) in [(3650, None), (3650, Some(0)), (0, Some(3650))] {
            let (verifier, now) = at(&keys, machine, cloud);
            let answer = verifier.verify_client_cert(&certificate, &[], now);
            assert!(answer.is_ok(), "machine {machine}, cloud {cloud:?}: {answer:?}");
        }
    }

    #[test]
    fn a_clock_that_jumped_back_locks_nobody_out() {
        let (_root, keys) = keys();
        let verifier = verifier(&keys, 30);
        assert!(verifier.verify_client_cert(&certificate(&keys), &[], days_from_now(-900)).is_ok());
    }

    #[test]
    fn grace_does_not_cover_another_authority() {
        let ((_a, ours), (_b, theirs)) = (keys(), keys());
        for day in [0, 91, -900] {
            let answer = verifier(&ours, 30).verify_client_cert(
                &certificate(&theirs),
                &[],
                days_from_now(day),
            );
            assert!(answer.is_err(), "day {day}");
        }
    }
}
