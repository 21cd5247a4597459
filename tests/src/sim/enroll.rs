//! How a simulated device joins: as an agent does, over HTTPS pinned by the
//! token's fingerprint, with a key of its own and a certificate request.

use anyhow::{Context, Result, bail};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use unifyit_protocol::{
    codec,
    config::DeviceConfig,
    enroll::{AGENT_PATH, EnrollAgent, EnrollAgentAnswer},
    ids::{DeviceId, OrganizationId, SiteId},
    signing::PublicKey,
    token::{TokenKind, TokenText},
};

/// Everything that makes a device one of its site.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub device: DeviceId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its site.
    pub site: SiteId,
    /// The organization's authority.
    pub authority: PublicKey,
    /// Host name.
    pub hostname: String,
    /// Grows its metrics and inventory.
    pub seed: u64,
    /// Client certificate in DER.
    pub certificate: Vec<u8>,
    /// Site CA's certificate in DER.
    pub ca: Vec<u8>,
    /// Private key in PKCS#8.
    pub key: Vec<u8>,
    /// Where the relay's MQTT front is.
    pub mqtt: Vec<String>,
    /// First settings.
    pub config: DeviceConfig,
}

impl Identity {
    /// TLS settings for the MQTT front: the site's CA and our certificate.
    ///
    /// # Errors
    /// When a certificate or the key is damaged.
    pub fn tls(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.ca.clone()))?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from(self.certificate.clone())],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone())),
            )?;
        // Thousands of devices in one process: no room for tickets.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// Enrols devices with one install token.
#[derive(Debug, Clone)]
pub struct Enroller {
    text: String,
    authority: PublicKey,
    addresses: Vec<String>,
    http: reqwest::Client,
}

impl Enroller {
    /// Takes an agent token apart and pins the relay that it names.
    ///
    /// # Errors
    /// When the text is no agent token.
    pub fn new(token: &str) -> Result<Self> {
        let claims = TokenText::parse(token)?.claims()?;
        let TokenKind::Agent { relay_https, ca_fingerprint } = claims.kind else {
            bail!("this is a relay's token; make one for agents");
        };
        let tls = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { ca: ca_fingerprint }))
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .timeout(Duration::from_secs(60))
            .build()?;
        Ok(Self {
            text: token.trim().to_owned(),
            authority: claims.authority,
            addresses: relay_https,
            http,
        })
    }

    /// The same pins and addresses, with another token's text: for tests of what
    /// a relay does with a token that is not its own.
    #[must_use]
    pub fn presenting(mut self, token: &str) -> Self {
        token.trim().clone_into(&mut self.text);
        self
    }

    /// Enrols one device. A relay that limits enrolments is asked again later.
    ///
    /// # Errors
    /// The relay's refusal in its own words, or that it cannot be reached.
    pub async fn enroll(&self, hostname: &str, seed: u64) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        // The relay names the certificate itself; it takes no long requests.
        let name: String = hostname.chars().take(64).collect();
        params.distinguished_name.push(DnType::CommonName, name);
        let request = EnrollAgent {
            token: self.text.clone(),
            csr: params.serialize_request(&key)?.der().to_vec(),
            hostname: hostname.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machine: format!("sim-{seed:016x}"),
        };
        let body = codec::encode(&request)?;
        let answer = match self.ask(&body).await? {
            EnrollAgentAnswer::Accepted(answer) => answer,
            EnrollAgentAnswer::Refused(why) => return Err(why.into()),
            EnrollAgentAnswer::Failed(why) => bail!("{why}"),
        };
        let certified = answer.site_certificate.verify(&self.authority)?;
        if certified.site != answer.site || certified.ca_fingerprint != sha256(&answer.ca) {
            bail!("the relay's CA is not the one that the organization certified");
        }
        Ok(Identity {
            device: answer.device,
            organization: answer.organization,
            site: answer.site,
            authority: self.authority,
            hostname: hostname.to_owned(),
            seed,
            certificate: answer.certificate,
            ca: answer.ca,
            key: key.serialize_der(),
            mqtt: answer.mqtt,
            config: answer.config,
        })
    }

    async fn ask(&self, body: &[u8]) -> Result<EnrollAgentAnswer> {
        let mut last = anyhow::anyhow!("the token names no address of the relay");
        for _ in 0..30 {
            let mut limited = false;
            for address in &self.addresses {
                match self.ask_at(address, body).await {
                    Ok(Some(answer)) => return Ok(answer),
                    Ok(None) => limited = true,
                    Err(error) => last = error,
                }
            }
            if !limited {
                return Err(last);
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        Err(last.context("the relay kept limiting enrolments"))
    }

    /// `None`: the relay asks for patience.
    async fn ask_at(&self, address: &str, body: &[u8]) -> Result<Option<EnrollAgentAnswer>> {
        let response = self
            .http
            .post(format!("https://{address}{AGENT_PATH}"))
            .header("content-type", "application/cbor")
            .body(body.to_vec())
            .send()
            .await
            .with_context(|| format!("cannot reach the relay at {address}"))?;
        let status = response.status();
        if status.as_u16() == 429 || status.as_u16() == 503 {
            return Ok(None);
        }
        let bytes = response.bytes().await?;
        codec::decode(&bytes).map(Some).map_err(|error| {
            anyhow::anyhow!(
                "the relay answered {status}: {} ({error})",
                String::from_utf8_lossy(&bytes[..bytes.len().min(300)])
            )
        })
    }
}

/// The provider that the whole product uses.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs_digest(bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

fn aws_lc_rs_digest(bytes: &[u8]) -> ::aws_lc_rs::digest::Digest {
    ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, bytes)
}

/// Trusts exactly the CA whose fingerprint the token holds, as long as it is
/// part of the presented chain and signed the presented certificate.
#[derive(Debug)]
struct Pinned {
    ca: [u8; 32],
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca =
            intermediates.iter().find(|certificate| sha256(certificate) == self.ca).ok_or_else(
                || rustls::Error::General("the relay does not show the pinned CA".into()),
            )?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
