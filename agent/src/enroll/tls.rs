//! TLS to the relay: who is trusted, and how the agent shows who it is.
//!
//! The relay's certificate must come from the site's own CA, which is pinned: by
//! fingerprint before enrolment, by the certificate itself after. The name in it
//! is not compared, because a relay is reached by addresses that change; being
//! certified for a server by this one CA is the proof. Nor does a date keep the
//! agent away: the relay makes the key of its certificate anew at each start and
//! keeps it in memory only, beside the CA's own, so a date says nothing that the
//! pin does not, while a clock that is wrong on either side would cut the site off
//! (G9), from the very relay that could tell the time.

use ::aws_lc_rs::digest::{SHA256, digest};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use std::{sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// Makes aws-lc-rs the one provider of the process. To be called first in `main`.
pub fn install_provider() {
    // An error means that one is installed, which is what is wanted.
    drop(aws_lc_rs::default_provider().install_default());
}

/// SHA-256 of a certificate in DER.
#[must_use]
pub fn fingerprint(der: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, der).as_ref());
    out
}

/// From when to when a certificate holds, Unix seconds.
#[must_use]
pub fn validity(der: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// Trusts servers that the site's CA certified.
#[derive(Debug)]
struct SiteVerifier {
    ca_fingerprint: [u8; 32],
    /// The CA's certificate, when it is known already.
    ca: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for SiteVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = self.ca.iter().chain(intermediates);
        let ca = pinned
            .into_iter()
            .find(|c| fingerprint(c) == self.ca_fingerprint)
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let now = within(end_entity, now);
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The moment of a certificate's life that is nearest to `now`.
fn within(der: &[u8], now: UnixTime) -> UnixTime {
    let ends = validity(der).and_then(|(from, to)| {
        Some((u64::try_from(from.max(0)).ok()?, u64::try_from(to.max(0)).ok()?))
    });
    match ends {
        Some((from, to)) if from <= to && !(from..=to).contains(&now.as_secs()) => {
            tracing::warn!(
                "by this computer's clock the relay's certificate is out of date; \
                that is no reason to stay away from a relay that its own authority certified"
            );
            UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().clamp(from, to)))
        }
        _ => now,
    }
}

/// Whom to trust and what to show.
#[derive(Debug, Clone)]
pub struct Trusting<'a> {
    /// SHA-256 of the site CA's certificate.
    pub ca_fingerprint: [u8; 32],
    /// That certificate, once it is known.
    pub ca: Option<&'a [u8]>,
    /// The agent's certificate and private key, once it has them.
    pub client: Option<(&'a [u8], &'a Zeroizing<Vec<u8>>)>,
}

impl Trusting<'_> {
    /// The TLS settings.
    ///
    /// # Errors
    /// When the agent's own certificate or key cannot be used.
    pub fn config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = SiteVerifier {
            ca_fingerprint: self.ca_fingerprint,
            ca: self.ca.map(|der| CertificateDer::from(der.to_vec())),
            provider: Arc::clone(&provider),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let Some((certificate, key)) = self.client else {
            return Ok(builder.with_no_client_auth());
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
        builder.with_client_auth_cert(vec![CertificateDer::from(certificate.to_vec())], key)
    }
}
