//! A site without a cloud: keys, front, and a stand-in for ingest that records
//! every event.

use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::{
    collections::HashSet,
    fmt::Debug,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    enroll::RelayEnrolment,
    grant::{Grant, Scope, SiteCertificate},
    ids::{DeviceId, GrantId, OrganizationId, RelayId, SiteId},
    signing::Signer25519,
    topics,
};
use unifyit_relay::{
    broker::{Admission, Broker, BrokerEvent, BrokerHandle, Named},
    clock::SiteClock,
    config::Config,
    enroll::RelayRecord,
    identity::{
        Identity, Keys, ca::Proof, folder::StateFolder, server::ServerCertificate, write_record,
    },
    telemetry::Telemetry,
};

/// Longest wait for anything in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Names a state folder to share with a site in another process.
pub(crate) const STATE: &str = "UNIFYIT_TEST_STATE";

/// Waits until `check` gives something, and fails with `what` when it does not.
pub(crate) async fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Lets everybody in who is not on the list.
#[derive(Debug, Default)]
pub(crate) struct Gatekeeper(
    pub(crate) Mutex<HashSet<DeviceId>>,
    /// Whoever comes is to get an identity of its own.
    pub(crate) AtomicBool,
);

impl Admission for Gatekeeper {
    fn admit(&self, device: DeviceId, _proof: &Proof) -> bool {
        !self.0.lock().unwrap().contains(&device)
    }

    fn is_guest(&self, _: DeviceId, _: Named) -> bool {
        self.1.load(Ordering::Relaxed)
    }
}

/// The authority of the test's organization.
pub(crate) fn authority() -> Signer25519 {
    Signer25519::from_seed(&[7; 32])
}

/// An enrolled relay's identity in a folder.
pub(crate) fn enrolled(folder: &StateFolder) -> Identity {
    let now = OffsetDateTime::now_utc();
    let keys = Keys::load_or_make(folder, now).unwrap();
    let (organization, site) = (OrganizationId::generate(), SiteId::generate());
    let grant = Grant {
        id: GrantId::generate(),
        organization,
        relay_key: keys.signer().public(),
        site,
        scopes: vec![Scope::Execute],
        not_before_ms: 0,
        expires_ms: u64::MAX,
    };
    let site_certificate =
        SiteCertificate { organization, site, ca_fingerprint: keys.ca.fingerprint(), issued_ms: 0 };
    let record = RelayRecord {
        enrolment: RelayEnrolment {
            relay: RelayId::generate(),
            organization,
            site,
            authority: authority().public(),
            grant: authority().sign(&grant, None).unwrap(),
            site_certificate: authority().sign(&site_certificate, None).unwrap(),
        },
        cloud_addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
        cloud_peer: keys.peer_id().to_base58(),
        ui_pin_hash: String::new(),
        enrolled_ms: 0,
    };
    write_record(folder, &record).unwrap();
    Identity { keys, record }
}

/// Settings for a test: every port is the system's choice.
pub(crate) fn config(state: &std::path::Path) -> Config {
    let mut config = Config { state: state.into(), ..Config::default() };
    let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
    config.listen.mqtt = anywhere;
    config.listen.https = anywhere;
    config.listen.ui = anywhere;
    config.listen.admin = anywhere;
    config.listen.cache = anywhere;
    config
}

/// A certificate and its key, also as files for other programs.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: KeyPair,
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl Device {
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }
}

/// The running front.
pub(crate) struct Site {
    pub(crate) identity: Arc<Identity>,
    pub(crate) address: SocketAddr,
    pub(crate) handle: BrokerHandle,
    pub(crate) gatekeeper: Arc<Gatekeeper>,
    pub(crate) telemetry: Telemetry,
    pub(crate) ca_file: PathBuf,
    pub(crate) events: Arc<Mutex<Vec<BrokerEvent>>>,
    /// Whether the stand-in for ingest takes events.
    pub(crate) ingest: watch::Sender<bool>,
    pub(crate) cancel: CancellationToken,
    folder: tempfile::TempDir,
}

impl Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let shared = std::env::var_os(STATE).map(PathBuf::from);
        let state = shared.unwrap_or_else(|| folder.path().join("state"));
        let state = StateFolder::open(&state).unwrap();
        let identity = Arc::new(enrolled(&state));
        let mut config = config(state.path());
        change(&mut config);
        let certificate = ServerCertificate::new(&identity.keys.ca, &config, SiteClock::default());
        let certificate = Arc::new(certificate.unwrap());
        let gatekeeper = Arc::new(Gatekeeper::default());
        let telemetry = Telemetry::new();
        let admission = Arc::clone(&gatekeeper) as Arc<dyn Admission>;
        let (broker, receiver) =
            Broker::bind(&config, &identity, certificate, admission, &telemetry).await.unwrap();
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, pem("CERTIFICATE", identity.keys.ca.certificate())).unwrap();
        let (address, handle) = (broker.address().unwrap(), broker.handle());
        let cancel = CancellationToken::new();
        tokio::spawn(broker.serve(cancel.clone()));
        let events = Arc::<Mutex<Vec<BrokerEvent>>>::default();
        let (ingest, open) = watch::channel(true);
        tokio::spawn(ingest_stand_in(receiver, open, Arc::clone(&events), handle.clone()));
        Self {
            identity,
            address,
            handle,
            gatekeeper,
            telemetry,
            ca_file,
            events,
            ingest,
            cancel,
            folder,
        }
    }

    /// The state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn device(&self) -> Device {
        self.device_named(DeviceId::generate())
    }

    /// A further certificate for a device.
    pub(crate) fn device_named(&self, id: DeviceId) -> Device {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let ca = &self.identity.keys.ca;
        let certificate = ca.issue_agent(request.der(), id, 90, OffsetDateTime::now_utc()).unwrap();
        let name = |end: &str| {
            let unique = key.public_key_raw().iter().take(12).map(|b| format!("{b:02x}"));
            self.folder.path().join(format!("{id}-{}.{end}", unique.collect::<String>()))
        };
        let (certificate_file, key_file) = (name("pem"), name("key"));
        fs::write(&certificate_file, pem("CERTIFICATE", &certificate)).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        Device { id, certificate, key, certificate_file, key_file }
    }

    /// Waits for an event that `pick` takes, looking at all since the start.
    pub(crate) async fn event<T>(&self, what: &str, pick: impl Fn(&BrokerEvent) -> Option<T>) -> T {
        until(what, || self.events.lock().unwrap().iter().find_map(&pick)).await
    }

    pub(crate) async fn subscribed(&self, id: DeviceId) {
        self.event("a subscription", |event| {
            matches!(event, BrokerEvent::Subscribed { device, .. } if *device == id).then_some(())
        })
        .await;
    }

    pub(crate) async fn message(&self, id: DeviceId, wanted: topics::Up) -> Bytes {
        self.event("a message", |event| match event {
            BrokerEvent::Message { device, kind, payload, .. }
                if *device == id && *kind == wanted =>
            {
                Some(payload.clone())
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn disconnected(&self, id: DeviceId) -> String {
        self.event("a disconnection", |event| match event {
            BrokerEvent::Disconnected { device, reason, .. } if *device == id => {
                Some(reason.clone())
            }
            _ => None,
        })
        .await
    }

    /// Present value of a metric, summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let name = format!("unifyit_relay_{name}");
        self.telemetry
            .render()
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name.as_str()))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

/// Records events; answers each report with the same bytes on `control`.
async fn ingest_stand_in(
    mut receiver: mpsc::Receiver<BrokerEvent>,
    mut open: watch::Receiver<bool>,
    events: Arc<Mutex<Vec<BrokerEvent>>>,
    handle: BrokerHandle,
) {
    loop {
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        let Some(event) = receiver.recv().await else { return };
        if let BrokerEvent::Message { device, kind: topics::Up::Report, payload, .. } = &event {
            let _ = handle.send(*device, topics::Down::Control, payload.clone());
        }
        events.lock().unwrap().push(event);
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
