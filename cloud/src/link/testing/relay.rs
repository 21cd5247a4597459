//! A relay of a test, which speaks the real protocol over real libp2p.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

use super::PATIENCE;
use crate::link::{
    framing::{self, FrameSink, Frames},
    now_ms,
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
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    enroll::{EnrollRelay, EnrollRelayAnswer, RELAY_PROTOCOL},
    envelope::Decoded,
    lane::{Ack, Data, Lane, Resume},
    link::{Frame, LinkHello, PROTOCOL, UpRecord},
};

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
        self.greet(hello(epoch), resume).await
    }

    /// Opens the lane stream and says these.
    pub async fn greet(&self, hello: LinkHello, resume: Resume) -> Option<FakeLane> {
        let mut control = self.control.clone();
        let stream = control.open_stream(self.cloud, StreamProtocol::new(PROTOCOL)).await.ok()?;
        let (frames, sink) = framing::split(stream);
        let (epoch, unsaid) = (hello.epoch, Resume::default());
        let mut lane = FakeLane { frames, sink, epoch, hello: None, resume: unsaid, sent: [0; 4] };
        lane.try_send(Frame::Hello(hello)).await?;
        lane.try_send(Frame::Resume(resume)).await?;
        Some(lane)
    }
}

/// What a relay says first.
pub fn hello(epoch: u64) -> LinkHello {
    LinkHello {
        version: "0.1.0".into(),
        epoch,
        now_ms: now_ms(),
        lan_https: vec!["10.0.0.2:8443".into()],
        ca_fingerprint: vec![5; 32],
        sister_addresses: vec!["10.0.0.2:4002".into()],
        applied_ms: Vec::new(),
        takes_newest: false,
        lanes: None,
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

    /// Sends a frame as it is, also one that is none here.
    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.sink.send(Bytes::from(bytes)).await.expect("an open lane");
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

    /// As [`Self::push`], of records that the cloud cannot store at first: it says where
    /// it stands, and gets them again.
    pub async fn push_again(&mut self, lane: Lane, records: Vec<UpRecord>) -> Ack {
        let at = Lane::ALL.iter().position(|l| *l == lane).unwrap();
        let prev = self.sent[at];
        self.sent[at] += records.len() as u64;
        let (through, bodies) =
            (self.sent[at], || records.iter().map(|r| r.encode().unwrap()).collect::<Vec<_>>());
        self.send(self.data(lane, prev, bodies())).await;
        let mut again = 0;
        loop {
            match self.recv().await.expect("an acknowledgement") {
                Frame::Ack(ack) if ack.lane == lane && ack.through >= through => {
                    assert!(again > 0, "it was stored at once");
                    return ack;
                }
                Frame::Resume(_) => {
                    again += 1;
                    assert!(again < 8, "its lane stands still");
                    self.send(self.data(lane, prev, bodies())).await;
                }
                _ => {}
            }
        }
    }

    pub fn data(&self, lane: Lane, prev: u64, bodies: Vec<Vec<u8>>) -> Frame {
        let records = bodies.into_iter().map(serde_bytes::ByteBuf::from).collect();
        Frame::Data(Data { lane, epoch: self.epoch, prev, skipped: 0, records })
    }
}
