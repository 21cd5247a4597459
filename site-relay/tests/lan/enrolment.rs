//! Agents enrol and renew over HTTPS, with a store of the real kind and no cloud.

use crate::{
    client::tls,
    site::{Gatekeeper, PATIENCE, authority, config, enrolled},
};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore, pki_types::PrivateKeyDer};
use std::{net::SocketAddr, sync::Arc, time::Instant};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    codec,
    enroll::{AGENT_PATH, AgentEnrolment, EnrollAgent, EnrollAgentAnswer, RENEW_PATH, RenewAgent},
    ids::{OrganizationId, SiteId, TokenId},
    signing::Signer25519,
    token::{InstallToken, TokenKind, TokenRefusal, TokenText},
};
use unifyit_relay::{
    broker::Admission,
    clock::SiteClock,
    enroll::agents::AgentEnroller,
    http::agents::AgentHttps,
    identity::{Identity, ca, folder::StateFolder, server::ServerCertificate},
    store::StoreHandle,
    telemetry::Telemetry,
};

struct Door {
    address: SocketAddr,
    identity: Arc<Identity>,
    gatekeeper: Arc<Gatekeeper>,
    cancel: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Door {
    async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    async fn open_with(change: impl FnOnce(&mut unifyit_relay::config::Config)) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let identity = Arc::new(enrolled(&state));
        let mut config = config(folder.path());
        change(&mut config);
        let telemetry = Telemetry::new();
        let certificate = ServerCertificate::new(&identity.keys.ca, &config, SiteClock::default());
        let certificate = Arc::new(certificate.unwrap());
        let https = AgentHttps::bind(&config, &identity, certificate, &telemetry).await.unwrap();
        let store = StoreHandle::open(folder.path()).unwrap();
        let gatekeeper = Arc::new(Gatekeeper::default());
        let enroller = Arc::new(AgentEnroller::new(
            Arc::clone(&identity),
            store,
            Arc::clone(&gatekeeper) as Arc<dyn Admission>,
            vec!["127.0.0.1:8883".into()],
            &config,
            &telemetry,
        ));
        let (address, cancel) = (https.address().unwrap(), CancellationToken::new());
        tokio::spawn(https.serve(enroller.router(), cancel.clone()));
        Self { address, identity, gatekeeper, cancel, _folder: folder }
    }

    fn claims(&self) -> InstallToken {
        let enrolment = &self.identity.record.enrolment;
        InstallToken {
            id: TokenId::generate(),
            organization: enrolment.organization,
            site: enrolment.site,
            authority: authority().public(),
            kind: TokenKind::Agent {
                relay_https: vec![self.address.to_string()],
                ca_fingerprint: self.identity.ca_fingerprint(),
            },
            expires_ms: u64::MAX,
            uses: 2,
        }
    }

    fn tls(&self, device: Option<(&AgentEnrolment, &KeyPair)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.identity.keys.ca.certificate().clone()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        Arc::new(match device {
            None => builder.with_no_client_auth(),
            Some((enrolment, key)) => builder
                .with_client_auth_cert(
                    vec![enrolment.certificate.clone().into()],
                    PrivateKeyDer::Pkcs8(key.serialize_der().into()),
                )
                .unwrap(),
        })
    }

    async fn post(
        &self,
        config: Arc<ClientConfig>,
        path: &str,
        body: Vec<u8>,
    ) -> (StatusCode, Bytes) {
        let stream = tls(self.address, config).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", "relay")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    async fn enroll_text(&self, token: &str, key: &KeyPair) -> EnrollAgentAnswer {
        let request = EnrollAgent {
            token: token.to_owned(),
            csr: csr(key),
            hostname: "pc\u{1b}[31m".into(),
            version: "1".into(),
            machine: String::new(),
        };
        let body = codec::encode(&request).unwrap();
        let (status, answer) = self.post(self.tls(None), AGENT_PATH, body).await;
        assert_eq!(status, StatusCode::OK, "{answer:?}");
        codec::decode(&answer).unwrap()
    }

    async fn enroll(&self, token: &InstallToken) -> EnrollAgentAnswer {
        self.enroll_text(&text(token, &authority()), &KeyPair::generate().unwrap()).await
    }
}

fn text(token: &InstallToken, signer: &Signer25519) -> String {
    TokenText::new(signer.sign(token, None).unwrap()).to_string()
}

fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

fn accepted(answer: EnrollAgentAnswer) -> AgentEnrolment {
    match answer {
        EnrollAgentAnswer::Accepted(enrolment) => *enrolment,
        other => panic!("not accepted: {other:?}"),
    }
}

#[tokio::test]
async fn an_agent_gets_a_certificate_for_its_own_key_and_renews_it() {
    let door = Door::open().await;
    let key = KeyPair::generate().unwrap();
    let enrolment = accepted(door.enroll_text(&text(&door.claims(), &authority()), &key).await);
    assert_eq!(ca::device_of(&enrolment.certificate), Some(enrolment.device));
    assert_eq!(ca::sha256(&enrolment.ca), door.identity.ca_fingerprint());
    let site = enrolment.site_certificate.verify(&authority().public()).unwrap();
    assert_eq!(site.ca_fingerprint, door.identity.ca_fingerprint());
    assert_eq!(enrolment.mqtt, ["127.0.0.1:8883"]);
    let body = codec::encode(&RenewAgent { csr: csr(&key) }).unwrap();
    let with_certificate = door.tls(Some((&enrolment, &key)));
    let (_, answer) = door.post(with_certificate.clone(), RENEW_PATH, body.clone()).await;
    let renewed = accepted(codec::decode(&answer).unwrap());
    assert_eq!(renewed.device, enrolment.device);
    assert_ne!(renewed.certificate, enrolment.certificate);
    let (_, answer) = door.post(door.tls(None), RENEW_PATH, body.clone()).await;
    assert!(
        matches!(codec::decode(&answer), Ok(EnrollAgentAnswer::Failed(words)) if words.contains("present certificate"))
    );
    door.gatekeeper.0.lock().unwrap().insert(enrolment.device);
    let (_, answer) = door.post(with_certificate, RENEW_PATH, body).await;
    assert!(
        matches!(codec::decode(&answer), Ok(EnrollAgentAnswer::Failed(words)) if words.contains("removed"))
    );
}

#[tokio::test]
async fn each_bad_token_is_refused_by_its_name() {
    let door = Door::open().await;
    let good = door.claims();
    let relay = TokenKind::Relay { cloud_addresses: Vec::new(), cloud_peer: String::new() };
    let other_ca = TokenKind::Agent { relay_https: Vec::new(), ca_fingerprint: [9; 32] };
    for (token, refusal) in [
        (InstallToken { expires_ms: 1, ..good.clone() }, TokenRefusal::Expired),
        (InstallToken { site: SiteId::generate(), ..good.clone() }, TokenRefusal::WrongSite),
        (
            InstallToken { organization: OrganizationId::generate(), ..good.clone() },
            TokenRefusal::WrongSite,
        ),
        (InstallToken { kind: relay, ..good.clone() }, TokenRefusal::WrongKind),
        (InstallToken { kind: other_ca, ..good.clone() }, TokenRefusal::WrongSite),
    ] {
        assert_eq!(door.enroll(&token).await, EnrollAgentAnswer::Refused(refusal), "{token:?}");
    }
    let key = KeyPair::generate().unwrap();
    let mut flipped = text(&good, &authority()).into_bytes();
    let at = flipped.len() - 30;
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    for tampered in [String::from_utf8(flipped).unwrap(), "UIT1.".into(), String::new()] {
        let answer = door.enroll_text(&tampered, &key).await;
        assert_eq!(answer, EnrollAgentAnswer::Refused(TokenRefusal::Tampered));
    }
    // Signed by somebody else in our authority's name, and in his own.
    let impostor = Signer25519::from_seed(&[8; 32]);
    let forged = door.enroll_text(&text(&good, &impostor), &key).await;
    assert_eq!(forged, EnrollAgentAnswer::Refused(TokenRefusal::Tampered));
    let own = InstallToken { authority: impostor.public(), ..good };
    let foreign = door.enroll_text(&text(&own, &impostor), &key).await;
    assert_eq!(foreign, EnrollAgentAnswer::Refused(TokenRefusal::WrongSite));
}

#[tokio::test]
async fn a_token_is_used_up_and_a_bad_request_spends_nothing() {
    let door = Door::open().await;
    let token = door.claims();
    let bad = EnrollAgent {
        token: text(&token, &authority()),
        csr: vec![1, 2, 3],
        hostname: String::new(),
        version: String::new(),
        machine: String::new(),
    };
    let (_, answer) = door.post(door.tls(None), AGENT_PATH, codec::encode(&bad).unwrap()).await;
    assert!(matches!(codec::decode(&answer), Ok(EnrollAgentAnswer::Failed(_))));
    let first = accepted(door.enroll(&token).await);
    let second = accepted(door.enroll(&token).await);
    assert_ne!(first.device, second.device);
    let third = door.enroll(&token).await;
    assert_eq!(third, EnrollAgentAnswer::Refused(TokenRefusal::UsedUp));
}

#[tokio::test]
async fn nonsense_and_too_much_are_refused_with_a_sentence() {
    let door = Door::open_with(|config| config.https.enrolments_per_minute = 3).await;
    let (status, words) = door.post(door.tls(None), AGENT_PATH, b"nonsense".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(words.ends_with(b"."), "{words:?}");
    let (status, _) = door.post(door.tls(None), AGENT_PATH, vec![0; 100_000]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = door.post(door.tls(None), "/elsewhere", Vec::new()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for _ in 0..2 {
        door.post(door.tls(None), AGENT_PATH, Vec::new()).await;
    }
    let (status, _) = door.post(door.tls(None), AGENT_PATH, Vec::new()).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn silent_connections_are_closed_and_do_not_keep_others_out() {
    let door = Door::open_with(|config| {
        config.https.handshake_s = 1;
        config.https.max_half_open_per_ip = 8;
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(door.address).await.unwrap());
    }
    let started = Instant::now();
    let token = door.claims();
    let config = door.tls(None);
    while tls(door.address, config.clone()).await.is_err() {
        assert!(started.elapsed() < PATIENCE, "nobody is let in");
    }
    accepted(door.enroll(&token).await);
    for stream in &mut silent {
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it to be closed").ok();
    }
}

#[tokio::test]
async fn a_certificate_of_another_site_is_no_certificate_here() {
    let (door, other) = (Door::open().await, Door::open().await);
    let key = KeyPair::generate().unwrap();
    let enrolment = accepted(other.enroll_text(&text(&other.claims(), &authority()), &key).await);
    let mut config = ClientConfig::clone(&door.tls(Some((&enrolment, &key))));
    config.resumption = rustls::client::Resumption::disabled();
    let outcome = async {
        let stream = tls(door.address, Arc::new(config)).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = Request::post(RENEW_PATH).body(Full::new(Bytes::new())).unwrap();
        sender.send_request(request).await.ok()
    };
    assert!(timeout(PATIENCE, outcome).await.unwrap().is_none());
}
