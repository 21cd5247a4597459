//! A model relay: MQTT 3.1.1 over mutual TLS on the loopback, acknowledging what
//! it was told. Its memory outlives its connections, as the real one's does.

use crate::bench::guard;
use bytes::BytesMut;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rumqttc::{
    ConnAck, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, SubscribeReasonCode,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::broadcast,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use unifyit_agent::identity::Identity;
use unifyit_protocol::{
    codec,
    command::Command,
    config::{DeviceConfig, PackageCache},
    envelope::Decoded,
    ids::CommandId,
    inventory::Section,
    lan::{Deliver, DownControl, Hello, ReportAck, UpControl, Welcome},
    lane::Lane,
    live::{LiveDown, LiveUp},
    outcome::CommandEvent,
    report::{Report, ReportBatch},
    topics::{Down, Up},
};
use zeroize::Zeroizing;

/// What the relay knows.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) hellos: Vec<Hello>,
    pub(crate) positions: BTreeMap<Lane, (u64, u64)>,
    pub(crate) sample_times: Vec<u64>,
    pub(crate) tables: usize,
    pub(crate) sections: Vec<(Section, bool)>,
    pub(crate) events: Vec<CommandEvent>,
    pub(crate) output: Vec<u8>,
    pub(crate) live: Vec<LiveUp>,
    pub(crate) gaps: usize,
    /// What was said only to be acknowledged.
    pub(crate) signs: usize,
    pub(crate) farewells: usize,
    /// Commands handed over at each connect until an event comes.
    pub(crate) inbox: Vec<Command>,
    /// What it says of its package cache.
    pub(crate) package_cache: PackageCache,
    /// Seconds between samples; 0 means 1.
    pub(crate) collect_every_s: u32,
}

pub(crate) struct Relay {
    pub(crate) memory: Arc<Mutex<Memory>>,
    pub(crate) address: SocketAddr,
    down: broadcast::Sender<(Down, Vec<u8>)>,
    server: JoinHandle<()>,
    tls: Arc<ServerConfig>,
}

impl Relay {
    /// Starts, and puts an identity for it into a state folder.
    pub(crate) async fn start(state: &Path) -> Self {
        unifyit_agent::enroll::tls::install_provider();
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap().der().clone();
        let issuer = Issuer::from_ca_cert_der(&ca, ca_key).unwrap();
        let tls = server_tls(&ca, &issuer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        save_identity(state, &ca, &issuer, address);
        let memory = Arc::new(Mutex::new(Memory::default()));
        let (down, _) = broadcast::channel(64);
        let server = tokio::spawn(accept(listener, tls.clone(), memory.clone(), down.clone()));
        Self { memory, address, down, server, tls }
    }

    /// Goes away, connections and all.
    pub(crate) async fn stop(&mut self) {
        self.server.abort();
        drop((&mut self.server).await);
        // Dropping the channel ends the connections.
        self.down = broadcast::channel(64).0;
    }

    pub(crate) async fn come_back(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let (memory, down) = (self.memory.clone(), self.down.clone());
        self.server = tokio::spawn(accept(listener, self.tls.clone(), memory, down));
    }

    pub(crate) fn send(&self, command: &Command) {
        self.memory.lock().unwrap().inbox.push(command.clone());
        drop(self.down.send((Down::Command, delivery(command))));
    }

    pub(crate) fn type_in(&self, message: LiveDown) {
        drop(self.down.send((Down::Live, message.encode().unwrap())));
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Memory) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds(&self.memory.lock().unwrap()) {
            assert!(Instant::now() < deadline, "{what} did not happen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn delivery(command: &Command) -> Vec<u8> {
    let (_, authority) = guard();
    Deliver::Command(authority.sign(command, None).unwrap()).encode().unwrap()
}

fn server_tls(ca: &CertificateDer<'static>, issuer: &Issuer<'_, KeyPair>) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = params.signed_by(&key, issuer).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![leaf.der().clone(), ca.clone()];
    let config = ServerConfig::builder().with_client_cert_verifier(clients);
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

fn save_identity(
    state: &Path,
    ca: &CertificateDer<'static>,
    issuer: &Issuer<'_, KeyPair>,
    address: SocketAddr,
) {
    let (guard, _) = guard();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let csr = CertificateParams::default().serialize_request(&key).unwrap();
    let csr = CertificateSigningRequestDer::from(csr.der().to_vec());
    let request = CertificateSigningRequestParams::from_der(&csr).unwrap();
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&request.public_key, issuer).unwrap();
    let identity = Identity {
        device: guard.device,
        organization: guard.organization,
        site: guard.site,
        authority: guard.authority,
        certificate: certificate.der().to_vec(),
        ca: ca.to_vec(),
        mqtt: vec![address.to_string()],
        https: vec![],
        enrolled_ms: 1,
    };
    identity.save(state, &Zeroizing::new(key.serialize_der())).unwrap();
}

type Remembers = Arc<Mutex<Memory>>;

async fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    memory: Remembers,
    down: broadcast::Sender<(Down, Vec<u8>)>,
) {
    let acceptor = TlsAcceptor::from(tls);
    // Aborting this task drops the set, and with it the connections.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let (acceptor, memory, down) = (acceptor.clone(), memory.clone(), down.subscribe());
        connections.spawn(async move {
            if let Ok(stream) = acceptor.accept(tcp).await {
                serve(stream, memory, down).await;
            }
        });
    }
}

async fn serve(
    mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    memory: Remembers,
    mut down: broadcast::Receiver<(Down, Vec<u8>)>,
) {
    let (guard, _) = guard();
    let (mut incoming, mut outgoing) = (BytesMut::new(), BytesMut::new());
    let publish = |kind: Down, bytes: Vec<u8>| {
        Packet::Publish(Publish::new(kind.topic(guard.device), QoS::AtMostOnce, bytes))
    };
    loop {
        let mut answers = Vec::new();
        tokio::select! {
            read = stream.read_buf(&mut incoming) => if !matches!(read, Ok(1..)) { return },
            message = down.recv() => match message {
                Ok((kind, bytes)) => answers.push(publish(kind, bytes)),
                Err(_) => return,
            },
        }
        while let Ok(packet) = Packet::read(&mut incoming, 1 << 20) {
            match packet {
                Packet::Connect(connect) => {
                    assert!(connect.client_id.starts_with(&guard.device.to_string()));
                    let accepted = ConnAck::new(ConnectReturnCode::Success, false);
                    answers.push(Packet::ConnAck(accepted));
                }
                Packet::Subscribe(subscribe) => {
                    let granted = vec![SubscribeReasonCode::Success(QoS::AtMostOnce)];
                    answers.push(Packet::SubAck(SubAck::new(subscribe.pkid, granted)));
                }
                Packet::PingReq => answers.push(Packet::PingResp),
                Packet::Publish(message) => {
                    let mut memory = memory.lock().unwrap();
                    if message.qos == QoS::AtLeastOnce {
                        memory.signs += 1;
                        answers.push(Packet::PubAck(PubAck::new(message.pkid)));
                    }
                    for (kind, bytes) in take(&mut memory, &message) {
                        answers.push(publish(kind, bytes));
                    }
                }
                Packet::Disconnect => {
                    memory.lock().unwrap().farewells += 1;
                    return;
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        for answer in answers {
            answer.write(&mut outgoing, 1 << 20).unwrap();
        }
        if stream.write_all_buf(&mut outgoing).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

fn take(memory: &mut Memory, message: &Publish) -> Vec<(Down, Vec<u8>)> {
    let (guard, _) = guard();
    let ack = |(lane, (epoch, through)): (Lane, (u64, u64))| ReportAck { lane, epoch, through };
    if message.topic == Up::Hello.topic(guard.device) {
        let Decoded::Known(UpControl::Hello(hello)) = UpControl::decode(&message.payload).unwrap()
        else {
            return Vec::new();
        };
        memory.hellos.push(hello);
        let welcome = DownControl::Welcome(Welcome {
            positions: memory.positions.iter().map(|(l, p)| ack((*l, *p))).collect(),
            config: DeviceConfig {
                revision: 1,
                collect_every_s: memory.collect_every_s.max(1),
                inventory_every_s: 900,
                package_cache: memory.package_cache.clone(),
            },
            now_ms: unifyit_agent::clock::now_ms(),
        });
        let answered: Vec<CommandId> = memory.events.iter().map(|e| e.command).collect();
        let waiting = memory.inbox.iter().filter(|c| !answered.contains(&c.id));
        return [(Down::Control, welcome.encode().unwrap())]
            .into_iter()
            .chain(waiting.map(|c| (Down::Command, delivery(c))))
            .collect();
    }
    if message.topic == Up::Live.topic(guard.device) {
        if let Decoded::Known(frame) = LiveUp::decode(&message.payload).unwrap() {
            memory.live.push(frame);
        }
        return Vec::new();
    }
    assert_eq!(message.topic, Up::Report.topic(guard.device));
    let batch: ReportBatch = codec::decode(&message.payload).unwrap();
    let at = memory.positions.get(&batch.lane).copied().unwrap_or_default();
    if (batch.prev == 0 && batch.epoch > at.0) || at == (batch.epoch, batch.prev) {
        for report in &batch.reports {
            let Decoded::Known(known) = Report::decode(&report.body).unwrap() else { continue };
            match known {
                Report::Series(_) => memory.tables += 1,
                Report::Sample(sample) => memory.sample_times.push(sample.at_ms),
                Report::Inventory(part) => memory.sections.push((part.section, part.whole)),
                Report::Command(event) => memory.events.push(event),
                Report::Output(chunk) => memory.output.extend(chunk.data),
                Report::Gap(_) => memory.gaps += 1,
                Report::Feature(_) => {}
            }
        }
        let last = batch.reports.last().unwrap().seq;
        memory.positions.insert(batch.lane, (batch.epoch, last));
    }
    let at = memory.positions.get(&batch.lane).copied().unwrap_or_default();
    vec![(Down::Control, DownControl::Ack(ack((batch.lane, at))).encode().unwrap())]
}
