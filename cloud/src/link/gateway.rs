//! The libp2p node: who connects, who is let in, which stream goes where.
//!
//! One task owns the swarm and never waits: database look-ups, enrolments,
//! sessions and blobs run in tasks of their own and come back as [`Order`]s.

use super::{
    Link, LinkDeps, LinkError, LinkOptions,
    admission::Admission,
    behaviour::{self, Behaviour, BehaviourEvent},
    blobs,
    enroll::Enroller,
    identity,
    options::listen,
    relay,
    session::{self, Ended, SessionDeps, refuse::Telling},
};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, ping,
    request_response::{self, Message, ResponseChannel},
    swarm::{ListenError, SwarmEvent},
};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, broadcast::error::RecvError, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use unifyit_protocol::enroll::{EnrollRelay, EnrollRelayAnswer};

/// Enrolments under way at a time.
const ENROLLING: usize = 16;
/// Peers looked up in the database at a time.
const LOOKING_UP: usize = 32;
/// Streams and orders waiting for the gateway's task.
const QUEUE: usize = 1024;
/// After a start, relays have this long to come back before they count as away.
const RETURN: Duration = Duration::from_secs(30);
/// Between two looks for relays that are shown as connected and have no session.
const SWEEP_EVERY: Duration = Duration::from_secs(20);
/// How long a stop waits for sessions to end.
const DRAIN: Duration = Duration::from_secs(5);
/// Between two words in the log on refused connections.
const SAY_BOUND_EVERY: Duration = Duration::from_secs(60);

/// Shown to whoever tries to enrol too often.
const TOO_MANY: &str =
    "Too many enrolments were tried from this address. Wait a minute, then run the line again.";

/// What tasks ask of the gateway.
enum Order {
    Answer(ResponseChannel<EnrollRelayAnswer>, Box<EnrollRelayAnswer>, PeerId),
    Admit(PeerId),
    Expel(PeerId, &'static str),
}

/// The listening node.
pub struct Gateway {
    swarm: Swarm<Behaviour>,
    admission: Admission,
    link: Link,
    enroller: Arc<Enroller>,
    sessions: SessionDeps,
    state: PathBuf,
    addresses: Vec<Multiaddr>,
    orders: mpsc::Receiver<Order>,
    order: mpsc::Sender<Order>,
    streams: mpsc::Receiver<(PeerId, Stream, Kind)>,
    enrolling: Arc<Semaphore>,
    looking_up: Arc<Semaphore>,
    serving_blobs: blobs::Places,
    tasks: TaskTracker,
    bound_said: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lane,
    Blob,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Takes up the identity and listens on every address.
    ///
    /// # Errors
    /// [`LinkError`] with a sentence that says what to mend.
    pub async fn bind(options: LinkOptions, deps: LinkDeps) -> Result<Self, LinkError> {
        if identity::is_gone(&options.state) && relay::any(&deps.db).await? {
            return Err(identity::gone(&options.state).into());
        }
        let keypair = identity::load_or_create(&deps.trust, &options.state)?;
        let mut swarm = behaviour::build(keypair, &options.limits).map_err(LinkError::Setup)?;
        let addresses = listen(&mut swarm, &options.listen).await?;
        let announce = match options.announce.is_empty() {
            true => addresses.iter().map(Multiaddr::to_string).collect(),
            false => options.announce,
        };
        let mut control = swarm.behaviour().streams.new_control();
        let (stream, streams) = mpsc::channel(QUEUE);
        for (protocol, kind) in [
            (unifyit_protocol::link::PROTOCOL, Kind::Lane),
            (unifyit_protocol::blob::PROTOCOL, Kind::Blob),
        ] {
            let mut incoming = control
                .accept(StreamProtocol::new(protocol))
                .map_err(|e| LinkError::Setup(e.to_string()))?;
            let stream = stream.clone();
            // libp2p-stream drops what is not taken at once, so a task does
            // nothing but take.
            tokio::spawn(async move {
                while let Some((peer, taken)) = incoming.next().await {
                    if stream.try_send((peer, taken, kind)).is_err() {
                        tracing::warn!(%peer, ?kind, "Too many streams are waiting; dropped one.");
                    }
                }
            });
        }
        let link = Link::new(*swarm.local_peer_id(), announce, control, deps.metrics.clone());
        let (order, orders) = mpsc::channel(QUEUE);
        Ok(Self {
            admission: Admission::new(&options.limits),
            bound_said: None,
            enroller: Arc::new(Enroller {
                db: deps.db.clone(),
                trust: deps.trust,
                records: deps.records.clone(),
                metrics: deps.metrics.clone(),
            }),
            sessions: SessionDeps {
                db: deps.db,
                records: deps.records,
                watches: deps.watches,
                link: link.clone(),
                metrics: deps.metrics,
                telling: Telling::default(),
            },
            swarm,
            link,
            state: options.state,
            addresses,
            orders,
            order,
            streams,
            enrolling: Arc::new(Semaphore::new(ENROLLING)),
            looking_up: Arc::new(Semaphore::new(LOOKING_UP)),
            serving_blobs: blobs::Places::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// The handle for the rest of the cloud.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link.clone()
    }

    /// What it listens on, with the actual ports.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.iter().map(Multiaddr::to_string).collect()
    }

    /// Serves until cancelled, then lets the sessions finish their transactions.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut nudges = self.sessions.db.nudges();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        match relay::active_peers(&self.sessions.db).await {
            Ok(peers) => peers.into_iter().for_each(|peer| self.admission.admit(peer)),
            // Relays are then admitted one by one when they open their lanes.
            Err(error) => tracing::warn!(%error, "The known relays could not be read yet."),
        }
        let (deps, link) = (self.sessions.clone(), self.link.clone());
        let sweep = tokio::spawn(async move {
            tokio::time::sleep(RETURN).await;
            loop {
                if let Err(error) = session::sweep(&deps, &link).await {
                    tracing::warn!(%error, "Relays that stayed away could not be looked for.");
                }
                tokio::time::sleep(SWEEP_EVERY).await;
            }
        });
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(order) = self.orders.recv() => self.on_order(order),
                Some((peer, stream, kind)) = self.streams.recv() => self.on_stream(peer, stream, kind),
                nudge = nudges.recv() => match nudge {
                    Ok(nudge) => self.link.nudge(&nudge),
                    Err(RecvError::Lagged(_)) => self.link.nudge_all(),
                    Err(RecvError::Closed) => break,
                },
                _ = tick.tick() => self.on_tick(),
            }
        }
        sweep.abort();
        self.link.cancel_all();
        self.tasks.close();
        let drained = tokio::time::timeout(DRAIN, async {
            loop {
                // The swarm must go on for the goodbyes to leave.
                tokio::select! {
                    () = self.tasks.wait() => break,
                    _ = self.swarm.select_next_some() => {}
                    Some(_) = self.orders.recv() => {}
                }
            }
        })
        .await;
        if drained.is_err() {
            tracing::warn!("Some relay sessions did not end in time.");
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let from = endpoint.get_remote_address();
                let now = Instant::now();
                if !self.admission.connected(connection_id, peer_id, from, now) {
                    self.turned_away("strangers");
                    self.swarm.close_connection(connection_id);
                }
            }
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                tracing::debug!(?cause, "A connection closed.");
                self.admission.closed(connection_id);
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                self.not_accepted(&error);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping)) => match ping.result {
                // Not every peer answers pings; a stranger's time is short anyway.
                Ok(_) | Err(ping::Failure::Unsupported) => {}
                Err(_) => {
                    self.turned_away("silent");
                    self.swarm.close_connection(ping.connection);
                }
            },
            SwarmEvent::Behaviour(BehaviourEvent::Enroll(request_response::Event::Message {
                peer,
                connection_id,
                message: Message::Request { request, channel, .. },
            })) => {
                if self.admission.may_enroll(connection_id) {
                    self.enroll(peer, request, channel);
                } else {
                    self.turned_away("too_many_enrolments");
                    self.refuse(channel, TOO_MANY);
                }
            }
            _ => {}
        }
    }

    fn enroll(
        &mut self,
        peer: PeerId,
        request: EnrollRelay,
        channel: ResponseChannel<EnrollRelayAnswer>,
    ) {
        let Ok(permit) = self.enrolling.clone().try_acquire_owned() else {
            return self.refuse(channel, "The cloud is busy. Try again in a minute.");
        };
        let (enroller, order) = (self.enroller.clone(), self.order.clone());
        self.tasks.spawn(async move {
            let answer = Box::new(enroller.answer(peer, request).await);
            // Fails only when the gateway is gone.
            let _ = order.send(Order::Answer(channel, answer, peer)).await;
            drop(permit);
        });
    }

    fn refuse(&mut self, channel: ResponseChannel<EnrollRelayAnswer>, why: &str) {
        let answer = EnrollRelayAnswer::Failed(why.to_owned());
        // An error says that the peer is gone.
        let _ = self.swarm.behaviour_mut().enroll.send_response(channel, answer);
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Answer(channel, answer, peer) => {
                if matches!(*answer, EnrollRelayAnswer::Accepted(_)) {
                    self.admission.admit(peer);
                }
                let _ = self.swarm.behaviour_mut().enroll.send_response(channel, *answer);
            }
            Order::Admit(peer) => {
                self.admission.admit(peer);
                for address in self.admission.addresses(&peer) {
                    self.swarm.behaviour_mut().doorstep.know(address);
                }
                for silent in self.admission.left(&peer) {
                    self.swarm.close_connection(silent);
                }
            }
            Order::Expel(peer, why) => {
                self.turned_away(why);
                self.admission.expel(&peer);
                // An error says that it is gone already.
                let _ = self.swarm.disconnect_peer_id(peer);
            }
        }
    }

    fn on_stream(&mut self, peer: PeerId, stream: Stream, kind: Kind) {
        match kind {
            Kind::Lane => {
                let Ok(permit) = self.looking_up.clone().try_acquire_owned() else {
                    return self.turned_away("busy");
                };
                let (deps, order) = (self.sessions.clone(), self.order.clone());
                self.tasks.spawn(async move {
                    let known = relay::by_peer(&deps.db, &peer).await;
                    drop(permit);
                    match known {
                        Ok(Some(known)) if !known.revoked => {
                            let _ = order.send(Order::Admit(peer)).await;
                            let ended = Box::pin(session::run(deps, known.relay, peer, stream));
                            if matches!(ended.await, Ended::Revoked) {
                                let _ = order.send(Order::Expel(peer, "revoked")).await;
                            }
                        }
                        Ok(known) => {
                            let why = deps.telling.without_right(stream, known).await;
                            tracing::info!(%peer, why, "A peer without a right opened a lane.");
                            let _ = order.send(Order::Expel(peer, why)).await;
                        }
                        Err(error) => {
                            tracing::warn!(%peer, %error, "A relay could not be looked up.");
                        }
                    }
                });
            }
            Kind::Blob => {
                if !self.admission.knows(&peer) {
                    return self.on_order(Order::Expel(peer, "not_enrolled"));
                }
                let Some(place) = self.serving_blobs.take(peer) else {
                    return self.turned_away("busy");
                };
                let state = self.state.clone();
                let (db, order) = (self.sessions.db.clone(), self.order.clone());
                self.tasks.spawn(async move {
                    // Asked anew: a relay may have been revoked while it had no lane
                    // whose session would have noticed.
                    match relay::by_peer(&db, &peer).await {
                        Ok(Some(known)) if !known.revoked => {}
                        Ok(_) => return drop(order.send(Order::Expel(peer, "revoked")).await),
                        Err(error) => {
                            return tracing::warn!(%peer, %error, "A relay could not be looked up.");
                        }
                    }
                    if let Err(error) = blobs::serve(state, stream).await {
                        tracing::debug!(%peer, %error, "A blob stream ended early.");
                    }
                    drop(place);
                });
            }
        }
    }

    fn on_tick(&mut self) {
        for connection in self.admission.due(Instant::now()) {
            self.turned_away("not_enrolled");
            self.swarm.close_connection(connection);
        }
        let (all, strangers) = self.admission.counts();
        let connections = &self.sessions.metrics.connections;
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        connections.with_label_values(&["relay"]).set(number(all - strangers));
        connections.with_label_values(&["stranger"]).set(number(strangers));
    }

    /// Scanners make broken handshakes all day; our own bounds are news, though
    /// not at every connection of a flood.
    fn not_accepted(&mut self, error: &ListenError) {
        let ListenError::Denied { cause } = error else {
            tracing::debug!(%error, "A connection was not accepted.");
            return self.turned_away("not_accepted");
        };
        self.turned_away("bound");
        if self.bound_said.is_none_or(|at| at.elapsed() >= SAY_BOUND_EVERY) {
            self.bound_said = Some(Instant::now());
            tracing::warn!(%cause, "Connections are refused at a bound.");
        }
    }

    fn turned_away(&self, why: &str) {
        self.sessions.metrics.turned_away.with_label_values(&[why]).inc();
    }
}
