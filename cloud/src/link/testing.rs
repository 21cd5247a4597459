//! For tests: an organization with a site, a running gateway, and a relay that
//! speaks the real protocol over real libp2p.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

use super::{
    Gateway, Link, LinkDeps, LinkLimits, LinkMetrics, LinkOptions, Records,
    framing::{self, FrameSink, Frames},
    relay::now_ms,
};
use crate::{
    db::Scope,
    events::Watches,
    testing::{self, TestDb},
    trust::{MasterKey, Trust},
};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, SwarmBuilder,
    identity::Keypair,
    noise,
    request_response::{self, Message, ProtocolSupport, cbor},
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    enroll::{EnrollRelay, EnrollRelayAnswer, RELAY_PROTOCOL, RelayEnrolment},
    envelope::Decoded,
    ids::{OrganizationId, PartnerId, SiteId, TokenId},
    lane::{Ack, Data, Lane, Resume},
    link::{Frame, LinkHello, PROTOCOL, UpRecord},
    signing::PublicKey,
    token::{InstallToken, TokenKind},
};

/// Longest wait of a test for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `check` gives a value.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A place in the hierarchy with its authority.
#[derive(Clone, Copy)]
pub struct Place {
    pub partner: PartnerId,
    pub organization: OrganizationId,
    pub site: SiteId,
    pub authority: PublicKey,
}

impl Place {
    pub fn scope(&self) -> Scope {
        Scope::Site(self.partner, self.organization, self.site)
    }
}

/// A cloud's link side, without HTTP.
pub struct World {
    pub db: TestDb,
    pub trust: Trust,
    pub watches: Watches,
    pub link: Link,
    pub place: Place,
    pub address: Multiaddr,
    pub peer: PeerId,
    cancel: CancellationToken,
    running: Option<tokio::task::JoinHandle<()>>,
    state: tempfile::TempDir,
    records: Arc<dyn Records>,
    limits: LinkLimits,
}

impl World {
    pub async fn new(records: impl FnOnce(&TestDb, &Trust, &Watches) -> Arc<dyn Records>) -> Self {
        Self::with_limits(LinkLimits { memory_share: 0.99, ..LinkLimits::default() }, records).await
    }

    pub async fn with_limits(
        limits: LinkLimits,
        records: impl FnOnce(&TestDb, &Trust, &Watches) -> Arc<dyn Records>,
    ) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_env("UNIFYIT_LOG"))
            .with_test_writer()
            .try_init();
        let db = testing::database().await;
        let trust = Trust::new(MasterKey::from_bytes(&[9; 32]).unwrap());
        let watches = Watches::default();
        let records = records(&db, &trust, &watches);
        let place = make_place(&db, &trust).await;
        let state = tempfile::tempdir().unwrap();
        let (link, address, running, cancel) =
            start(&db, &trust, &watches, records.clone(), state.path().into(), limits).await;
        let peer = link.peer_id().parse().unwrap();
        Self {
            db,
            trust,
            watches,
            link,
            place,
            address,
            peer,
            cancel,
            running: Some(running),
            state,
            records,
            limits,
        }
    }

    /// Stops the gateway and starts it again over the same state.
    pub async fn restart(&mut self) {
        self.cancel.cancel();
        self.running.take().unwrap().await.unwrap();
        let (link, address, running, cancel) = start(
            &self.db,
            &self.trust,
            &self.watches,
            self.records.clone(),
            self.state.path().into(),
            self.limits,
        )
        .await;
        (self.link, self.address, self.cancel) = (link, address, cancel);
        self.running = Some(running);
    }

    /// A relay token for a site, stored and signed.
    pub async fn relay_token(&self, place: &Place) -> InstallToken {
        let kind = TokenKind::Relay {
            cloud_addresses: vec![self.address.to_string()],
            cloud_peer: self.peer.to_base58(),
        };
        self.token(place, kind, "relay", now_ms() + 600_000, 1).await
    }

    pub async fn token(
        &self,
        place: &Place,
        kind: TokenKind,
        row_kind: &str,
        expires_ms: u64,
        uses: u32,
    ) -> InstallToken {
        let token = InstallToken {
            id: TokenId::generate(),
            organization: place.organization,
            site: place.site,
            authority: place.authority,
            kind,
            expires_ms,
            uses,
        };
        let mut tx = self.db.db.tenant(&place.scope()).await.unwrap();
        sqlx::query(
            "INSERT INTO install_tokens (id, partner_id, organization_id, site_id, kind, uses, \
                 expires_at, created_by) VALUES ($1, $2, $3, $4, $5, $6, now() + interval '1 hour', 'test')",
        )
        .bind(token.id.0)
        .bind(place.partner.0)
        .bind(place.organization.0)
        .bind(place.site.0)
        .bind(row_kind)
        .bind(i32::try_from(uses).unwrap())
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        token
    }

    pub async fn sign(&self, token: &InstallToken) -> String {
        let mut tx = self.db.db.tenant(&Scope::Platform).await.unwrap();
        let sealed: Vec<u8> = sqlx::query_scalar(
            "SELECT sealed_seed FROM organization_keys WHERE organization_id = $1",
        )
        .bind(token.organization.0)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        self.trust.sign_token(&sealed, token).unwrap().to_string()
    }

    /// A relay that is enrolled at the place and connected, with an open lane.
    pub async fn enrolled(&self, place: &Place) -> (FakeRelay, RelayEnrolment) {
        let relay = FakeRelay::connect(&self.address, self.peer).await;
        let token = self.sign(&self.relay_token(place).await).await;
        match relay.enroll(request(&token)).await {
            EnrollRelayAnswer::Accepted(enrolment) => (relay, *enrolment),
            other => panic!("not enrolled: {other:?}"),
        }
    }

    /// One value out of the database, seen as the platform.
    pub async fn scalar<T>(&self, sql: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres>
            + sqlx::Type<sqlx::Postgres>
            + Send
            + Unpin
            + 'static,
    {
        let mut tx = self.db.db.tenant(&Scope::Platform).await.unwrap();
        let value = sqlx::query_scalar(sql).fetch_one(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        value
    }

    /// Waits until a query that counts or compares says true.
    pub async fn until(&self, what: &str, sql: &'static str) {
        eventually(what, || async { self.scalar::<bool>(sql).await.then_some(()) }).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn start(
    db: &TestDb,
    trust: &Trust,
    watches: &Watches,
    records: Arc<dyn Records>,
    state: PathBuf,
    limits: LinkLimits,
) -> (Link, Multiaddr, tokio::task::JoinHandle<()>, CancellationToken) {
    let options = LinkOptions {
        listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
        announce: vec![],
        state,
        limits,
    };
    let deps = LinkDeps {
        db: db.db.clone(),
        trust: trust.clone(),
        watches: watches.clone(),
        records,
        metrics: LinkMetrics::new(&prometheus::Registry::new()).unwrap(),
    };
    let gateway = Gateway::bind(options, deps).await.unwrap();
    let (link, address) = (gateway.link(), gateway.addresses()[0].parse().unwrap());
    let cancel = CancellationToken::new();
    let running = tokio::spawn(gateway.run(cancel.clone()));
    (link, address, running, cancel)
}

/// Another organization with a site.
pub async fn make_place(db: &TestDb, trust: &Trust) -> Place {
    let (partner, organization) = (PartnerId::generate(), OrganizationId::generate());
    let authority = trust.new_authority(organization).unwrap();
    let mut tx = db.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::query("INSERT INTO partners (id, name) VALUES ($1, 'Partner')")
        .bind(partner.0)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("INSERT INTO organizations (id, partner_id, name) VALUES ($1, $2, 'Organization')")
        .bind(organization.0)
        .bind(partner.0)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO organization_keys (organization_id, partner_id, public_key, sealed_seed) \
         VALUES ($1, $2, $3, $4)",
    )
    .bind(organization.0)
    .bind(partner.0)
    .bind(authority.public.0.as_slice())
    .bind(&authority.sealed)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let place =
        Place { partner, organization, site: SiteId::generate(), authority: authority.public };
    make_site(db, &place).await;
    place
}

/// The site of a place whose organization is there already.
pub async fn make_site(db: &TestDb, place: &Place) {
    let mut tx = db.db.tenant(&Scope::Platform).await.unwrap();
    for sql in [
        "INSERT INTO sites (id, partner_id, organization_id, name) VALUES ($1, $2, $3, 'Site')",
        "INSERT INTO site_configs (site_id, partner_id, organization_id) VALUES ($1, $2, $3)",
    ] {
        sqlx::query(sql)
            .bind(place.site.0)
            .bind(place.partner.0)
            .bind(place.organization.0)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}

/// What a relay asks with.
pub fn request(token: &str) -> EnrollRelay {
    EnrollRelay {
        token: token.into(),
        hostname: "relay-1".into(),
        version: "0.1.0".into(),
        ca_fingerprint: [5; 32],
        lan_https: vec!["10.0.0.2:8443".into()],
        ui_pin_hash: String::new(),
    }
}

#[derive(NetworkBehaviour)]
struct RelayBehaviour {
    enroll: cbor::Behaviour<EnrollRelay, EnrollRelayAnswer>,
    streams: libp2p_stream::Behaviour,
}

/// The relay's libp2p node.
pub struct FakeRelay {
    cloud: PeerId,
    pub control: libp2p_stream::Control,
    ask: mpsc::Sender<(EnrollRelay, oneshot::Sender<EnrollRelayAnswer>)>,
    pub closed: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeRelay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeRelay {
    pub async fn connect(address: &Multiaddr, cloud: PeerId) -> Self {
        Self::connect_as(Keypair::generate_ed25519(), address, cloud).await
    }

    pub async fn connect_as(keypair: Keypair, address: &Multiaddr, cloud: PeerId) -> Self {
        let mut swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| RelayBehaviour {
                enroll: cbor::Behaviour::new(
                    [(StreamProtocol::new(RELAY_PROTOCOL), ProtocolSupport::Outbound)],
                    request_response::Config::default(),
                ),
                streams: libp2p_stream::Behaviour::new(),
            })
            .unwrap()
            .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        let control = swarm.behaviour().streams.new_control();
        swarm.dial(address.clone()).unwrap();
        let connected = async {
            loop {
                if let SwarmEvent::ConnectionEstablished { .. } = swarm.select_next_some().await {
                    return;
                }
            }
        };
        timeout(PATIENCE, connected).await.expect("connected");
        let (ask, mut asked) = mpsc::channel::<(EnrollRelay, oneshot::Sender<_>)>(8);
        let closed = CancellationToken::new();
        let gone = closed.clone();
        let task = tokio::spawn(async move {
            let mut waiting = Vec::new();
            loop {
                tokio::select! {
                    Some((request, answer)) = asked.recv() => {
                        let id = swarm.behaviour_mut().enroll.send_request(&cloud, request);
                        waiting.push((id, answer));
                    }
                    event = swarm.select_next_some() => match event {
                        SwarmEvent::ConnectionClosed { .. } => gone.cancel(),
                        SwarmEvent::Behaviour(RelayBehaviourEvent::Enroll(
                            request_response::Event::Message {
                                message: Message::Response { request_id, response }, ..
                            },
                        )) => {
                            let at = waiting.iter().position(|(id, _)| *id == request_id).unwrap();
                            let _ = waiting.swap_remove(at).1.send(response);
                        }
                        SwarmEvent::Behaviour(RelayBehaviourEvent::Enroll(
                            request_response::Event::OutboundFailure { error, .. },
                        )) => panic!("the enrolment was not answered: {error}"),
                        _ => {}
                    },
                }
            }
        });
        Self { cloud, control, ask, closed, task }
    }

    pub async fn enroll(&self, request: EnrollRelay) -> EnrollRelayAnswer {
        let (sender, receiver) = oneshot::channel();
        self.ask.send((request, sender)).await.unwrap();
        timeout(PATIENCE, receiver).await.expect("an answer").expect("a connection")
    }

    /// Opens the lane stream and greets. What the cloud answered stands in the lane.
    pub async fn lane(&self, epoch: u64) -> FakeLane {
        self.lane_at(epoch, Resume::default()).await
    }

    pub async fn lane_at(&self, epoch: u64, resume: Resume) -> FakeLane {
        let mut lane = self.try_lane(epoch, resume).await.expect("a lane");
        let Some(Frame::Hello(hello)) = lane.recv().await else { panic!("no hello") };
        let Some(Frame::Resume(resume)) = lane.recv().await else { panic!("no resume") };
        (lane.hello, lane.resume) = (Some(hello), resume);
        lane
    }

    pub async fn try_lane(&self, epoch: u64, resume: Resume) -> Option<FakeLane> {
        let mut control = self.control.clone();
        let stream = control.open_stream(self.cloud, StreamProtocol::new(PROTOCOL)).await.ok()?;
        let (frames, sink) = framing::split(stream);
        let mut lane =
            FakeLane { frames, sink, epoch, hello: None, resume: Resume::default(), sent: [0; 4] };
        let hello = LinkHello {
            version: "0.1.0".into(),
            epoch,
            now_ms: now_ms(),
            lan_https: vec!["10.0.0.2:8443".into()],
            ca_fingerprint: vec![5; 32],
        };
        lane.try_send(Frame::Hello(hello)).await?;
        lane.try_send(Frame::Resume(resume)).await?;
        Some(lane)
    }
}

/// An open lane stream.
pub struct FakeLane {
    frames: Frames,
    sink: FrameSink,
    pub epoch: u64,
    pub hello: Option<LinkHello>,
    pub resume: Resume,
    sent: [u64; 4],
}

impl FakeLane {
    pub async fn try_send(&mut self, frame: Frame) -> Option<()> {
        self.sink.send(Bytes::from(frame.encode().unwrap())).await.ok()
    }

    pub async fn send(&mut self, frame: Frame) {
        self.try_send(frame).await.expect("an open lane");
    }

    /// The next frame; none at the end of the stream.
    pub async fn recv(&mut self) -> Option<Frame> {
        loop {
            let next = timeout(PATIENCE, self.frames.next()).await.expect("a frame in time");
            let Some(Ok(bytes)) = next else { return None };
            if let Decoded::Known(frame) = Frame::decode(&bytes).unwrap() {
                return Some(frame);
            }
        }
    }

    /// Sends records as the next of a lane and waits until they are durable.
    pub async fn push(&mut self, lane: Lane, records: Vec<UpRecord>) -> Ack {
        let bodies = records.iter().map(|r| r.encode().unwrap()).collect();
        self.push_raw(lane, bodies).await
    }

    pub async fn push_raw(&mut self, lane: Lane, bodies: Vec<Vec<u8>>) -> Ack {
        let at = Lane::ALL.iter().position(|l| *l == lane).unwrap();
        let prev = self.sent[at];
        self.sent[at] += bodies.len() as u64;
        let through = self.sent[at];
        self.send(self.data(lane, prev, bodies)).await;
        loop {
            match self.recv().await.expect("an acknowledgement") {
                Frame::Ack(ack) if ack.lane == lane && ack.through >= through => return ack,
                Frame::Goodbye(said) => panic!("goodbye: {}", said.reason),
                _ => {}
            }
        }
    }

    pub fn data(&self, lane: Lane, prev: u64, bodies: Vec<Vec<u8>>) -> Frame {
        let records = bodies.into_iter().map(serde_bytes::ByteBuf::from).collect();
        Frame::Data(Data { lane, epoch: self.epoch, prev, skipped: 0, records })
    }
}
