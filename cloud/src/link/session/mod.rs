//! A relay's session: one lane stream, both ways, from hello to goodbye.
//!
//! One task owns the state and never waits for a slow part: frames come from a
//! reader task, go to a writer task, batches are applied in a task of their own
//! (one at a time), and the downlink table is read and trimmed in another. So
//! live output passes at once while a large transaction is under way, and the
//! two directions cannot lock each other up.

mod clock;
mod down;
mod ended;
mod newest;
mod outgoing;
mod presence;
mod reading;
pub(super) mod refuse;
mod sisters;
mod table;
mod wait;

pub(super) use ended::Ended;
pub(super) use presence::sweep;
use presence::told;

use super::{
    LinkMetrics, RelayIdentity, framing,
    ingest::{Ingest, IngestError},
    records::Records,
    registry::{Link, Slot},
    relay::now_ms,
};
use crate::{
    db::{Db, DbError},
    events::{Watched, Watches},
};
use bytes::Bytes;
use clock::Clocks;
use down::Downlink;
use futures::FutureExt;
use libp2p::{PeerId, Stream};
use outgoing::{Latest, LiveAllowance, Outgoing};
use reading::{greeting, next_batch, read_ahead, size};
use sisters::Telling;
use std::{collections::VecDeque, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use table::Synced;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};
use unifyit_protocol::{
    ProtocolError,
    lane::{Ack, Apply, Lane, Receiver, Verdict},
    link::{Frame, Goodbye, LinkHello},
};
use wait::{join, until};

/// How long the relay may take for its first two frames.
const GREETING: Duration = Duration::from_secs(15);
/// Bytes of accepted records that wait for their transaction; beyond, the
/// stream is not read, and the relay's window fills.
const MAX_PENDING: usize = 4 * 1024 * 1024;
/// Pause after a failed transaction; doubles up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// What every session needs.
#[derive(Clone)]
pub(super) struct SessionDeps {
    pub(super) db: Db,
    pub(super) records: Arc<dyn Records>,
    pub(super) watches: Watches,
    pub(super) link: Link,
    pub(super) metrics: LinkMetrics,
    pub(super) telling: refuse::Telling,
}

/// Runs a relay's session until it ends, and says why it did.
pub(super) async fn run(
    deps: SessionDeps,
    relay: RelayIdentity,
    peer: PeerId,
    stream: Stream,
) -> Ended {
    let mut slot = deps.link.begin(relay.id, peer).await;
    let ended = match AssertUnwindSafe(serve(&deps, relay, &mut slot, stream)).catch_unwind().await
    {
        Ok(Ok(never)) => match never {},
        Ok(Err(ended)) => ended,
        // What the relay sent, or a fault of the program, ends its session alone.
        Err(_) => {
            tracing::error!(relay = %relay.id, "A relay's session crashed.");
            Ended::Crashed
        }
    };
    tracing::info!(relay = %relay.id, why = %ended, "A relay's session ended.");
    // Stored while the next session of the relay still waits for its turn, so that
    // its going does not overtake its coming back.
    presence::gone(&deps, &relay, &slot).await;
    deps.link.end(relay.id, &slot);
    ended
}

async fn serve(
    deps: &SessionDeps,
    relay: RelayIdentity,
    slot: &mut Slot,
    stream: Stream,
) -> Result<std::convert::Infallible, Ended> {
    let ingest = Ingest {
        db: deps.db.clone(),
        records: deps.records.clone(),
        metrics: deps.metrics.clone(),
        relay,
    };
    let (cursors, applied_ms) = ingest.cursors().await?;
    let (mut down, revoked) = Downlink::load(deps.db.clone(), relay).await?;
    if revoked {
        return Err(Ended::Revoked);
    }
    let (mut frames, sink) = framing::split(stream);
    let (out, queue) = mpsc::channel::<Bytes>(64);
    let writer = tokio::spawn(framing::write_all(sink, queue));
    let mut receiver = Receiver::new(&Lane::ALL, cursors.iter().copied());
    let hello = LinkHello {
        version: env!("CARGO_PKG_VERSION").into(),
        epoch: down.epoch(),
        now_ms: now_ms(),
        lan_https: Vec::new(),
        ca_fingerprint: Vec::new(),
        sister_addresses: Vec::new(),
        applied_ms,
        takes_newest: true,
        lanes: Some(receiver.lanes()),
    };
    let mut waiting = Outgoing::default();
    waiting.push(Frame::Hello(hello))?;
    waiting.push(Frame::Resume(receiver.resume()))?;
    while let Some(frame) = waiting.pop() {
        out.send(frame).await.map_err(|_| Ended::Closed)?;
    }
    let greeting = tokio::select! {
        greeting = timeout(GREETING, greeting(&mut frames)) => greeting,
        () = slot.cancel.cancelled() => return Err(Ended::Cancelled),
    };
    let (hello, resume) = greeting.map_err(|_| Ended::NoGreeting)??;
    // Measured before the database is waited for.
    let clocks = Clocks::greeted(hello.now_ms);
    down.open(&resume, deps.records.as_ref()).await?;
    presence::online(deps, &relay, &hello, clocks.ahead()).await?;
    tracing::info!(relay = %relay.id, site = %relay.site, version = %hello.version, "A relay connected.");

    let (incoming, reader) = read_ahead(frames, deps.metrics.clone());
    let session = Session {
        deps,
        relay,
        slot,
        ingest,
        receiver,
        durable: cursors,
        down,
        pending: VecDeque::new(),
        pending_bytes: 0,
        applying: None,
        syncing: None,
        waiting,
        live: LiveAllowance::new(),
        newest: newest::Heard::default(),
        watched: Vec::new(),
        sisters: Telling::new(),
        clocks,
        paused: None,
        pause: PAUSE.0,
    };
    let ended = session.run(incoming, out, deps.watches.devices()).await;
    reader.abort();
    // What is queued, a goodbye among it, may still leave.
    let _ = timeout(Duration::from_secs(2), writer).await;
    Err(ended)
}

/// The state of a running session.
struct Session<'a> {
    deps: &'a SessionDeps,
    relay: RelayIdentity,
    slot: &'a mut Slot,
    ingest: Ingest,
    receiver: Receiver,
    /// Where the lanes stand in the database.
    durable: Vec<Ack>,
    down: Downlink,
    /// Accepted, not yet in a transaction.
    pending: VecDeque<Apply>,
    pending_bytes: usize,
    applying: Option<JoinHandle<Result<Vec<Ack>, IngestError>>>,
    syncing: Option<JoinHandle<Result<Synced, DbError>>>,
    /// Frames for the writer.
    waiting: Outgoing,
    live: LiveAllowance,
    newest: newest::Heard,
    watched: Vec<unifyit_protocol::ids::DeviceId>,
    sisters: Telling,
    clocks: Clocks,
    /// Until when nothing is read, after a failed transaction.
    paused: Option<Instant>,
    pause: Duration,
}

impl Session<'_> {
    async fn run(
        mut self,
        mut incoming: mpsc::Receiver<Result<Frame, Ended>>,
        out: mpsc::Sender<Bytes>,
        mut watches: watch::Receiver<Arc<Watched>>,
    ) -> Ended {
        let ended = match self.drive(&mut incoming, &out, &mut watches).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        };
        let goodbye = match &ended {
            Ended::Closed | Ended::Io(_) | Ended::Goodbye(_) => None,
            Ended::Revoked => Some(refuse::REVOKED.to_owned()),
            other => Some(other.to_string()),
        };
        if let Some(reason) = goodbye {
            let _ = self.waiting.push(Frame::Goodbye(Goodbye { reason }));
        }
        while let Some(frame) = self.waiting.pop() {
            if out.try_send(frame).is_err() {
                break;
            }
        }
        self.finish().await;
        ended
    }

    async fn drive(
        &mut self,
        incoming: &mut mpsc::Receiver<Result<Frame, Ended>>,
        out: &mpsc::Sender<Bytes>,
        watches: &mut watch::Receiver<Arc<Watched>>,
    ) -> Result<std::convert::Infallible, Ended> {
        watches.mark_changed();
        loop {
            self.pump_down()?;
            self.start_newest();
            self.start_apply();
            self.start_sync();
            self.sisters.start(&self.deps.db, &self.relay);
            let (paused, readable) = (self.paused, self.paused.is_none() && self.has_room());
            self.clocks.reads(readable);
            let (trim_at, look_at) = (self.down.trim_at(), self.sisters.due());
            let clock_at = self.clocks.due();
            tokio::select! {
                () = self.slot.cancel.cancelled() => return Err(Ended::Cancelled),
                frame = incoming.recv(), if readable => match frame {
                    None => return Err(Ended::Closed),
                    Some(frame) => self.on_frame(frame?)?,
                },
                done = join(&mut self.applying), if self.applying.is_some() => {
                    self.applying = None;
                    self.on_applied(done)?;
                }
                done = join(&mut self.newest.storing), if self.newest.storing.is_some() => {
                    self.newest.stored(&self.relay, done);
                }
                done = join(&mut self.clocks.storing), if self.clocks.storing.is_some() => {
                    self.clock_stored(done);
                }
                done = join(&mut self.syncing), if self.syncing.is_some() => {
                    self.syncing = None;
                    self.on_synced(done)?;
                }
                room = out.reserve(), if !self.waiting.is_empty() => {
                    let room = room.map_err(|_| Ended::Closed)?;
                    if let Some(frame) = self.waiting.pop() {
                        room.send(frame);
                    }
                }
                done = join(&mut self.sisters.asking), if self.sisters.asking.is_some() => {
                    self.sisters.asking = None;
                    if let Some(frame) = self.sisters.looked(done) {
                        self.waiting.push_latest(Latest::Sisters, frame)?;
                    }
                }
                () = until(look_at) => {}
                () = until(clock_at) => self.look_at_clock()?,
                () = self.slot.nudge.notified() => {
                    self.down.want();
                    self.sisters.soon();
                }
                Some(row) = self.slot.handed.recv() => self.down.handed(&row)?,
                changed = watches.changed() => {
                    if changed.is_ok() {
                        let all = watches.borrow_and_update().clone();
                        self.on_watches(&all)?;
                    }
                }
                () = until(trim_at) => self.down.want(),
                () = until(paused) => {
                    self.paused = None;
                    self.pending.clear();
                    self.pending_bytes = 0;
                    let resume = self.receiver.abandoned();
                    self.waiting.push(Frame::Resume(resume))?;
                }
            }
        }
    }

    fn on_frame(&mut self, frame: Frame) -> Result<(), Ended> {
        match frame {
            Frame::Data(data) => match self.receiver.accept(data)? {
                Verdict::Apply(apply) => {
                    self.pending_bytes += size(&apply);
                    self.pending.push_back(apply);
                }
                Verdict::Duplicate(ack) => self.waiting.push(Frame::Ack(ack))?,
                Verdict::OutOfStep(resume) => {
                    self.waiting.push(Frame::Resume(resume))?;
                }
                Verdict::Ignored => {}
            },
            Frame::Ack(ack) => self.down.acked(&ack)?,
            Frame::Resume(resume) => self.down.reopen(&resume)?,
            Frame::Ephemeral(mut items) => {
                self.deps.metrics.ephemeral.inc_by(items.len() as u64);
                let beyond = self.live.take(&mut items, Instant::now());
                self.deps.metrics.ephemeral_dropped.inc_by(beyond);
                self.deps.records.live(&self.relay, items);
            }
            Frame::Goodbye(said) => return Err(Ended::Goodbye(said.reason)),
            Frame::ClockAsk(ask) => self.compare_clocks(ask)?,
            Frame::Newest(told) => self.on_newest(&told),
            Frame::Hello(_) | Frame::Watch(_) | Frame::Sisters(_) | Frame::ClockAnswer(_) => {
                return Err(ProtocolError::Invalid("a frame out of turn").into());
            }
        }
        Ok(())
    }

    /// Whether more of the relay's frames may be taken.
    fn has_room(&self) -> bool {
        self.pending_bytes < MAX_PENDING && !self.waiting.is_full()
    }

    /// Sends what the downlink has and the window allows.
    fn pump_down(&mut self) -> Result<(), Ended> {
        while !self.waiting.is_full() {
            let Some(data) = self.down.next_data(now_ms())? else { break };
            self.deps.metrics.downlink.inc_by(data.records.len() as u64);
            self.tell_time_ahead_of_data()?;
            self.waiting.push(Frame::Data(data))?;
        }
        Ok(())
    }

    /// Starts the next transaction: urgent records alone when there are any.
    fn start_apply(&mut self) {
        let busy = self.applying.is_some() || self.newest.storing.is_some();
        if busy || self.pending.is_empty() || self.paused.is_some() {
            return;
        }
        let (batch, bytes) = next_batch(&mut self.pending);
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        let (ingest, from) = (self.ingest.clone(), self.durable.clone());
        self.applying = Some(tokio::spawn(async move { ingest.apply(&from, batch).await }));
    }

    fn on_applied(&mut self, done: Result<Vec<Ack>, IngestError>) -> Result<(), Ended> {
        match done {
            Ok(acks) => {
                self.pause = PAUSE.0;
                for ack in acks {
                    self.receiver.committed(ack)?;
                    self.durable.retain(|known| known.lane != ack.lane);
                    self.durable.push(ack);
                    self.waiting.push(Frame::Ack(ack))?;
                }
                Ok(())
            }
            Err(IngestError::Revoked) => Err(Ended::Revoked),
            Err(IngestError::Moved) => Err(Ended::Moved),
            Err(IngestError::Apply(error)) => {
                tracing::warn!(
                    relay = %self.relay.id, %error, pause_ms = self.pause.as_millis(),
                    "Records could not be stored; the relay keeps them and sends them again."
                );
                self.paused = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(PAUSE.1);
                Ok(())
            }
        }
    }
}
