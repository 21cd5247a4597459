//! Enrolment against a small relay on the loopback: honest, lying, and absent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::sync::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use unifyit_protocol::{
    grant::SiteCertificate,
    ids::{DeviceId, OrganizationId, SiteId, TokenId},
    signing::Signer25519,
};

const NOW: u64 = 1_800_000_000_000;

/// What the relay says instead of the truth.
#[derive(Clone, Copy, PartialEq)]
enum Lie {
    None,
    OtherSite,
    OtherAuthority,
    OtherFingerprint,
    OtherCa,
    Refuses,
    Garbage,
}

struct Site {
    organization: OrganizationId,
    site: SiteId,
    authority: Signer25519,
    ca: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

fn site() -> Site {
    tls::install_provider();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap().der().clone();
    let issuer = Issuer::from_ca_cert_der(&ca, key).unwrap();
    Site {
        organization: OrganizationId::generate(),
        site: SiteId::generate(),
        authority: Signer25519::from_seed(&[4; 32]),
        ca,
        issuer,
    }
}

impl Site {
    fn server(&self, usage: ExtendedKeyUsagePurpose) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["relay.example".into()]).unwrap();
        params.extended_key_usages = vec![usage];
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![leaf.der().clone(), self.ca.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()
    }

    fn token(&self, address: &str, kind: Option<TokenKind>) -> String {
        let pinned = TokenKind::Agent {
            relay_https: vec![address.into()],
            ca_fingerprint: fingerprint(&self.ca),
        };
        let token = InstallToken {
            id: TokenId::generate(),
            organization: self.organization,
            site: self.site,
            authority: self.authority.public(),
            kind: kind.unwrap_or(pinned),
            expires_ms: NOW + 1000,
            uses: 1,
        };
        TokenText::new(self.authority.sign(&token, None).unwrap()).to_string()
    }

    fn answer(&self, ask: &EnrollAgent, lie: Lie) -> EnrollAgentAnswer {
        if lie == Lie::Refuses {
            return EnrollAgentAnswer::Refused(TokenRefusal::UsedUp);
        }
        let csr = CertificateSigningRequestDer::from(ask.csr.as_slice());
        let request = CertificateSigningRequestParams::from_der(&csr).unwrap();
        let leaf = CertificateParams::default().signed_by(&request.public_key, &self.issuer);
        let mut word = SiteCertificate {
            organization: self.organization,
            site: self.site,
            ca_fingerprint: fingerprint(&self.ca),
            issued_ms: NOW,
        };
        if lie == Lie::OtherFingerprint {
            word.ca_fingerprint = [9; 32];
        }
        let signer = match lie {
            Lie::OtherAuthority => Signer25519::from_seed(&[5; 32]),
            _ => Signer25519::from_seed(&[4; 32]),
        };
        EnrollAgentAnswer::Accepted(Box::new(AgentEnrolment {
            device: DeviceId::generate(),
            organization: self.organization,
            site: if lie == Lie::OtherSite { SiteId::generate() } else { self.site },
            certificate: leaf.unwrap().der().to_vec(),
            ca: if lie == Lie::OtherCa { vec![1, 2, 3] } else { self.ca.to_vec() },
            site_certificate: signer.sign(&word, None).unwrap(),
            mqtt: vec!["127.0.0.1:8883".into()],
            config: DeviceConfig::default(),
        }))
    }

    /// Serves one enrolment; returns the address.
    async fn serve(self: Arc<Self>, lie: Lie, usage: ExtendedKeyUsagePurpose) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let acceptor = TlsAcceptor::from(Arc::new(self.server(usage)));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
                let mut text = Vec::new();
                let body = loop {
                    let mut piece = [0; 4096];
                    let n = stream.read(&mut piece).await.unwrap_or(0);
                    text.extend_from_slice(&piece[..n]);
                    let Some(at) = text.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
                    let head = String::from_utf8_lossy(&text[..at]).to_lowercase();
                    let length = head.split("content-length: ").nth(1).unwrap();
                    let length: usize = length.lines().next().unwrap().parse().unwrap();
                    if text.len() == at + 4 + length {
                        break text[at + 4..].to_vec();
                    }
                };
                let ask: EnrollAgent = codec::decode(&body).unwrap();
                let answer = match lie {
                    Lie::Garbage => vec![0xff; 40],
                    _ => codec::encode(&self.answer(&ask, lie)).unwrap(),
                };
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
                stream.write_all(&[head.as_bytes(), &answer].concat()).await.unwrap();
                stream.flush().await.unwrap();
                drop(stream.shutdown().await);
            }
        });
        address
    }
}

async fn attempt(lie: Lie) -> Result<Enrolled, EnrollError> {
    let dir = tempfile::tempdir().unwrap();
    let site = Arc::new(site());
    let address = Arc::clone(&site).serve(lie, ExtendedKeyUsagePurpose::ServerAuth).await;
    let result = enroll(dir.path(), &site.token(&address, None), false, NOW).await;
    assert_eq!(Identity::exists(dir.path()), result.is_ok(), "kept only what holds");
    result
}

#[tokio::test]
async fn an_honest_relay_gives_an_identity_that_is_kept_and_not_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let site = Arc::new(site());
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let address = Arc::clone(&site).serve(Lie::None, usage).await;
    let token = site.token(&address, None);
    let enrolled = enroll(dir.path(), &token, false, NOW).await.unwrap();
    let (kept, key) = Identity::load(dir.path()).unwrap();
    assert_eq!(kept, enrolled.identity);
    assert_eq!(key, enrolled.key);
    assert_eq!(kept.authority, site.authority.public());
    let again = enroll(dir.path(), &token, false, NOW).await.unwrap_err();
    assert!(again.to_string().contains("--force"), "{again}");
    let anew = enroll(dir.path(), &token, true, NOW).await.unwrap();
    assert_ne!(anew.identity.device, kept.device);
}

#[tokio::test]
async fn a_relay_whose_papers_do_not_hold_is_not_believed() {
    for lie in
        [Lie::OtherSite, Lie::OtherAuthority, Lie::OtherFingerprint, Lie::OtherCa, Lie::Garbage]
    {
        let error = attempt(lie).await.unwrap_err();
        assert!(matches!(error, EnrollError::Untrusted(_)), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_its_own_sentence() {
    let error = attempt(Lie::Refuses).await.unwrap_err();
    assert_eq!(error.to_string(), TokenRefusal::UsedUp.to_string());
}

#[tokio::test]
async fn a_server_that_only_has_a_clients_certificate_is_not_the_relay() {
    let dir = tempfile::tempdir().unwrap();
    let site = Arc::new(site());
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    let address = Arc::clone(&site).serve(Lie::None, usage).await;
    let error = enroll(dir.path(), &site.token(&address, None), false, NOW).await.unwrap_err();
    assert!(error.to_string().contains("did not prove"), "{error}");
}

#[tokio::test]
async fn a_relay_with_another_ca_than_the_pinned_one_is_not_the_relay() {
    let dir = tempfile::tempdir().unwrap();
    let (genuine, other) = (site(), Arc::new(site()));
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let address = Arc::clone(&other).serve(Lie::None, usage).await;
    let error = enroll(dir.path(), &genuine.token(&address, None), false, NOW).await.unwrap_err();
    assert!(error.to_string().contains("did not prove"), "{error}");
}

#[tokio::test]
async fn tokens_that_cannot_serve_are_refused_before_anybody_is_asked() {
    let (dir, site) = (tempfile::tempdir().unwrap(), site());
    let seen: Mutex<Vec<String>> = Mutex::default();
    let refuse = async |text: &str, now| {
        let error = enroll(dir.path(), text, false, now).await.unwrap_err();
        seen.lock().unwrap().push(error.to_string());
        error
    };
    let token = site.token("127.0.0.1:1", None);
    // By this computer's clock it has expired, which may be the clock's fault.
    let error = refuse(&token, NOW + 1000).await;
    assert!(matches!(error, EnrollError::Unreachable(_)), "{error}");
    let half = &token[..token.len() / 2];
    assert!(matches!(refuse(half, NOW).await, EnrollError::Token(TokenRefusal::Tampered)));
    let relay = TokenKind::Relay { cloud_addresses: vec![], cloud_peer: String::new() };
    let relay = site.token("", Some(relay));
    assert!(matches!(refuse(&relay, NOW).await, EnrollError::Token(TokenRefusal::WrongKind)));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = site.token(&closed.to_string(), None);
    let error = refuse(&nobody, NOW).await;
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
}

#[test]
fn renewal_is_due_after_two_thirds_of_the_certificates_life() {
    tls::install_provider();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::default();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    let (from, to) = tls::validity(&der).unwrap();
    let at = |share: f64| {
        let seconds = from as f64 + (to - from) as f64 * share;
        (seconds * 1000.0) as u64
    };
    assert!(matches!(renewal_due(&der, at(0.5)), Renewal::NotBefore(_)));
    assert_eq!(renewal_due(&der, at(0.7)), Renewal::Due);
    assert_eq!(renewal_due(&der, at(1.001)), Renewal::Overdue);
    let long_before = u64::try_from(from).unwrap() * 1000 - 3 * 86_400_000;
    assert_eq!(renewal_due(&der, long_before), Renewal::Due, "dated by a clock that was ahead");
    assert_eq!(renewal_due(b"junk", 0), Renewal::Overdue);
}
