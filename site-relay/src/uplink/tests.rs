//! The uplink against a cloud of the test's own, over real libp2p on loopback.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::{
    GOOD, PAUSE, Uplink, UplinkState, framing, next_pause,
    session::{Ended, SessionParts},
};
use crate::{
    blobs::Blobs, broker::BrokerHandle, downlink::DownlinkParts, fanout, live::LiveHub,
    newest::Loads, resolver::Names, store::tests::Rig, telemetry::Telemetry, travel::Travel,
    tunnel::Tunnels,
};
use bytes::Bytes;
use futures::{SinkExt, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, SwarmBuilder, identity::Keypair, noise, swarm::SwarmEvent,
    tcp, yamux,
};
use libp2p_stream::{Control, IncomingStreams};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    command::{Action, Command, Targets, Terminal},
    config::SiteConfig,
    envelope::Decoded,
    ids::{CommandId, DeviceId, OrganizationId, TunnelId},
    lane::{Ack, Data, Lane, Resume},
    link::{self, DownRecord, Frame, Goodbye, LinkHello, SiteAudit, UpRecord},
    signing::Signer25519,
    tunnel::{self, TunnelFrame, TunnelOpen},
};

mod later;
mod names;
mod newest;
mod silent;

const PATIENCE: Duration = Duration::from_secs(20);

/// The test's end of the WAN.
struct Cloud {
    peer: PeerId,
    address: Multiaddr,
    control: Control,
    lanes: IncomingStreams,
}

async fn cloud(listen: &str) -> Cloud {
    let mut swarm = SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .unwrap()
        .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    swarm.listen_on(listen.parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    let mut control = swarm.behaviour().new_control();
    let lanes = control.accept(StreamProtocol::new(link::PROTOCOL)).unwrap();
    let peer = *swarm.local_peer_id();
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    Cloud { peer, address, control, lanes }
}

struct Running {
    rig: Rig,
    state: watch::Receiver<UplinkState>,
    peer: PeerId,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    telemetry: Arc<Telemetry>,
    travel: Travel,
    loads: watch::Sender<Loads>,
}

fn start(rig: Rig, cloud: &Cloud) -> Running {
    start_at(rig, cloud, &cloud.address, Names::of_machine())
}

/// As [`start`], with the cloud at an address that `names` resolves.
fn start_at(rig: Rig, cloud: &Cloud, address: &Multiaddr, names: Names) -> Running {
    let telemetry = Arc::new(Telemetry::new());
    let broker = BrokerHandle::detached();
    let (fanout, _inbox) = fanout::channel();
    let (live, copies) = LiveHub::new(&telemetry);
    let keypair = Keypair::generate_ed25519();
    let peer = keypair.public().to_peer_id();
    let (state, states) =
        watch::channel(UplinkState { up: false, since_ms: 0, reason: String::new() });
    let (travel, (loads, newest)) = (Travel::new(60, b""), watch::channel(Loads::default()));
    let cancel = CancellationToken::new();
    let folder = tempfile::tempdir().unwrap();
    let uplink = Uplink {
        keypair,
        names,
        cloud_peer: cloud.peer.to_string(),
        cloud_addresses: vec![address.to_string()],
        session: SessionParts {
            store: rig.store.clone(),
            clock: crate::clock::SiteClock::default(),
            live,
            travel: travel.clone(),
            newest,
            copies: Arc::new(Mutex::new(copies)),
            downlink: DownlinkParts {
                store: rig.store.clone(),
                broker: broker.clone(),
                fanout,
                unknown: telemetry.counter("u", "u"),
            },
            lan_https: vec!["192.0.2.1:8443".into()],
            sister_addresses: Vec::new(),
            sisters: None,
            ca_fingerprint: [3; 32],
        },
        tunnels: Tunnels::new(broker, &telemetry),
        blobs: Blobs::open(folder.path(), 1000, &telemetry).unwrap(),
        state,
        cancel: cancel.clone(),
    };
    let shown = Arc::clone(&telemetry);
    let task = tokio::spawn(async move {
        uplink.run(&shown).await.unwrap();
        drop(folder);
    });
    Running { rig, state: states, peer, cancel, task, telemetry, travel, loads }
}

/// One session as the cloud sees it.
struct Lanes {
    frames: framing::Frames,
    sink: framing::FrameSink,
}

impl Lanes {
    async fn accept(cloud: &mut Cloud, at: Resume) -> (Self, LinkHello, Resume) {
        Self::accept_as(cloud, at, true).await
    }

    /// As a cloud that takes newest loads, or one of before.
    async fn accept_as(
        cloud: &mut Cloud,
        at: Resume,
        takes_newest: bool,
    ) -> (Self, LinkHello, Resume) {
        Self::accept_taking(cloud, at, (takes_newest, None)).await
    }

    /// As a cloud that says, too, which lanes it takes.
    async fn accept_taking(
        cloud: &mut Cloud,
        at: Resume,
        (takes_newest, takes): (bool, Option<Vec<Lane>>),
    ) -> (Self, LinkHello, Resume) {
        let (_, stream) = timeout(PATIENCE, cloud.lanes.next()).await.unwrap().unwrap();
        let (frames, sink) = framing::split(stream);
        let mut lanes = Self { frames, sink };
        let hello = LinkHello {
            version: "test".into(),
            epoch: 1,
            now_ms: 0,
            lan_https: Vec::new(),
            ca_fingerprint: Vec::new(),
            sister_addresses: Vec::new(),
            applied_ms: Vec::new(),
            takes_newest,
            lanes: takes,
        };
        lanes.send(Frame::Hello(hello)).await;
        lanes.send(Frame::Resume(at)).await;
        let Frame::Hello(hello) = lanes.next().await else { panic!("no hello") };
        let Frame::Resume(resume) = lanes.next().await else { panic!("no resume") };
        (lanes, hello, resume)
    }

    async fn send(&mut self, frame: Frame) {
        self.send_bytes(frame.encode().unwrap()).await;
    }

    /// Sends a frame as it is, also one that is none here.
    async fn send_bytes(&mut self, bytes: Vec<u8>) {
        SinkExt::<Bytes>::send(&mut self.sink, bytes.into()).await.unwrap();
    }

    async fn next(&mut self) -> Frame {
        let bytes = timeout(PATIENCE, self.frames.next()).await.unwrap().unwrap().unwrap();
        match Frame::decode(&bytes).unwrap() {
            Decoded::Known(frame) => frame,
            Decoded::Unknown(kind) => panic!("kind {kind}"),
        }
    }

    /// The next frame of records of the urgent lane.
    async fn urgent(&mut self) -> Data {
        loop {
            if let Frame::Data(data) = self.next().await
                && data.lane == Lane::Urgent
            {
                return data;
            }
        }
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn audit(detail: &str) -> SiteAudit {
    SiteAudit { at_ms: 1, action: "a".into(), actor: "b".into(), detail: detail.into() }
}

fn details(data: &Data) -> Vec<String> {
    let one = |body: &serde_bytes::ByteBuf| match UpRecord::decode(body) {
        Ok(Decoded::Known(UpRecord::Audit(entry))) => entry.detail,
        other => panic!("{other:?}"),
    };
    data.records.iter().map(one).collect()
}

async fn records_go_up_and_come_down(listen: &str) {
    let mut cloud = cloud(listen).await;
    let rig = Rig::new();
    // What a first session tells beside is not the point here.
    let told = rig.store.write(|txn| {
        txn.mem.parts.compare.told = true;
        Ok(())
    });
    told.await.unwrap();
    rig.store.audit(audit("before")).await;
    let run = start(rig, &cloud);
    let (mut lanes, hello, resume) = Lanes::accept(&mut cloud, Resume::default()).await;
    assert_eq!(hello.lan_https, ["192.0.2.1:8443"]);
    assert_eq!(resume, Resume::default());
    let data = lanes.urgent().await;
    assert_eq!((details(&data), data.epoch), (vec!["before".to_owned()], hello.epoch));
    let through = data.through().unwrap();
    let ack = Ack { lane: Lane::Urgent, epoch: data.epoch, through };
    lanes.send(Frame::Ack(ack)).await;
    let store = run.rig.store.clone();
    until("the acknowledged row is forgotten", || {
        store.lanes().borrow().of(Lane::Urgent).records == 0
    })
    .await;
    run.rig.store.audit(audit("live")).await;
    let data = lanes.urgent().await;
    assert_eq!(details(&data), ["live"]);
    // Down: settings are durable, then acknowledged.
    let config = SiteConfig { revision: 4, site_name: "Here".into(), ..SiteConfig::default() };
    let record = DownRecord::Config(config).encode().unwrap();
    lanes
        .send(Frame::Data(Data {
            lane: Lane::Urgent,
            epoch: 9,
            prev: 0,
            skipped: 0,
            records: vec![record.into()],
        }))
        .await;
    let down = Ack { lane: Lane::Urgent, epoch: 9, through: 1 };
    assert_eq!(lanes.next().await, Frame::Ack(down));
    assert_eq!(store.site_config().borrow().site_name, "Here");
    // The connection goes without a word; the next session goes on from where
    // both stand, with what was not acknowledged.
    drop(lanes);
    let at = Resume { positions: vec![ack] };
    let (mut lanes, _, resume) = Lanes::accept(&mut cloud, at).await;
    assert_eq!(resume.positions, [down]);
    assert_eq!(details(&lanes.urgent().await), ["live"]);
    assert!(run.state.borrow().up);
    run.cancel.cancel();
    let farewell = loop {
        match lanes.next().await {
            Frame::Goodbye(Goodbye { reason }) => break reason,
            _ => continue,
        }
    };
    assert!(farewell.contains("stopping"));
    timeout(PATIENCE, run.task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_run_both_ways_over_quic() {
    records_go_up_and_come_down("/ip4/127.0.0.1/udp/0/quic-v1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_run_both_ways_over_tcp() {
    records_go_up_and_come_down("/ip4/127.0.0.1/tcp/0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_to_a_device_that_is_away_is_refused_with_a_sentence() {
    let mut cloud = cloud("/ip4/127.0.0.1/tcp/0").await;
    let run = start(Rig::new(), &cloud);
    let (_lanes, _, _) = Lanes::accept(&mut cloud, Resume::default()).await;
    let device = DeviceId::generate();
    let tunnel = TunnelId::generate();
    let command = Command {
        id: CommandId::generate(),
        organization: OrganizationId::generate(),
        targets: Targets::Devices(vec![device]),
        action: Action::Terminal(Terminal { tunnel, cols: 80, rows: 24, user: None }),
        not_before_ms: 0,
        expires_ms: u64::MAX,
        counter: 1,
        issued_ms: 1,
    };
    let command = Signer25519::from_seed(&[1; 32]).sign(&command, None).unwrap();
    let name = StreamProtocol::new(tunnel::PROTOCOL);
    let stream = timeout(PATIENCE, cloud.control.open_stream(run.peer, name)).await;
    let (mut frames, mut sink) = framing::split(stream.unwrap().unwrap());
    let open = TunnelFrame::Open(TunnelOpen { device, command }).encode().unwrap();
    SinkExt::<Bytes>::send(&mut sink, open.into()).await.unwrap();
    let answer = timeout(PATIENCE, frames.next()).await.unwrap().unwrap().unwrap();
    let Ok(Decoded::Known(TunnelFrame::Closed(closed))) = TunnelFrame::decode(&answer) else {
        panic!("not refused")
    };
    assert_eq!((closed.tunnel, closed.reason.as_str()), (tunnel, "The device is offline."));
    run.cancel.cancel();
}

#[test]
fn pauses_grow_until_a_connection_holds() {
    let lost = Ended::Lost("gone".into());
    let mut pause = PAUSE.0;
    for (lasted, expected_ms) in [
        (Duration::ZERO, 500),
        (Duration::ZERO, 1_000),
        (GOOD / 2, 2_000),
        (GOOD, 250),
        (Duration::ZERO, 500),
    ] {
        pause = next_pause(pause, &lost, lasted);
        assert_eq!(pause, Duration::from_millis(expected_ms), "after {lasted:?}");
    }
    assert_eq!(next_pause(PAUSE.1, &lost, Duration::ZERO), PAUSE.1, "there is a longest");
    let refused = Ended::Refused("revoked".into());
    assert_eq!(next_pause(PAUSE.0, &refused, GOOD), PAUSE.1);
}
