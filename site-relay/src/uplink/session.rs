//! One session with the cloud on a lane stream, from hello to goodbye.
//!
//! One task owns the lane machine and never waits for a slow part: records are
//! read from the store by fetches of their own, a writer task takes frames from
//! three queues (urgent first, then live and bulk in turn), and the cloud's records are applied by the
//! downlink's task. What is in flight is bounded by the lane machine's windows.

use super::{
    UplinkState,
    asking::Asking,
    framing::{self, Frames},
    greeting::{farewell, greeting, next},
    metrics::UplinkMetrics,
    start,
};
use crate::{
    clock::SiteClock,
    downlink::{Downlink, DownlinkParts, want_inventories},
    live::{LiveCopies, LiveHub},
    newest::Loads,
    sisters::Sisters,
    store::{Lanes, StoreError, StoreHandle, lane_name},
    travel::Travel,
};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use libp2p::Stream;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    clock::{ClockAnswer, ClockAsk},
    codec::MAX_MESSAGE,
    lane::{Data, Fetch, Lane, LaneError, Resume, Sender},
    link::{Ephemeral, Frame, Goodbye, Watch},
    telemetry::newest::{MAX_JOINED, Teller},
};

/// How long the cloud may take for its first two frames.
const GREETING: Duration = Duration::from_secs(15);
/// Frames that may wait in each of the writer's queues: more than the windows of
/// the lane machine let out.
const QUEUE: usize = 4096;
/// Bytes of live copies in one frame: an alert waits for the frame that is being
/// written (G5).
const LIVE_FRAME: usize = 32 * 1024;
/// Frames of live copies that may wait to be written.
const LIVE_QUEUE: usize = 2;

/// What a session works with.
#[derive(Clone)]
pub(crate) struct SessionParts {
    pub(crate) store: StoreHandle,
    pub(crate) clock: SiteClock,
    pub(crate) live: LiveHub,
    pub(crate) travel: Travel,
    pub(crate) newest: watch::Receiver<Loads>,
    pub(crate) copies: Arc<Mutex<LiveCopies>>,
    pub(crate) downlink: DownlinkParts,
    pub(crate) lan_https: Vec<String>,
    /// `host:port` at which sister relays reach this one.
    pub(crate) sister_addresses: Vec<String>,
    /// The sister relays, unless nothing is to be asked of them.
    pub(crate) sisters: Option<Sisters>,
    pub(crate) ca_fingerprint: [u8; 32],
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The connection or the stream went.
    #[error("{0}")]
    Lost(String),
    /// The cloud said so.
    #[error("the cloud said: {0}")]
    Goodbye(String),
    /// This relay was revoked.
    #[error(
        "the cloud said: {0}. This relay was revoked; enrol it anew with a token from the console"
    )]
    Refused(String),
    /// The relay is stopping.
    #[error("the relay is stopping")]
    Stopping,
    /// The lane machine or the store disagrees.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Bytes of the cloud cannot be read.
    #[error("the cloud's message cannot be used: {0}")]
    Protocol(#[from] unifyit_protocol::ProtocolError),
}

type Fetched = (Fetch, Result<Vec<(u64, Vec<u8>)>, StoreError>);

struct Session<'a> {
    parts: &'a SessionParts,
    sender: Sender,
    urgent: mpsc::Sender<Bytes>,
    bulk: mpsc::Sender<Bytes>,
    live: mpsc::Sender<Bytes>,
    metrics: &'a UplinkMetrics,
    fetches: FuturesUnordered<BoxFuture<'static, Fetched>>,
    /// When the cloud last applied something of each lane, by this relay's clock.
    applied_ms: Vec<u64>,
    /// Lanes that the cloud takes, if it says.
    takes: Option<Vec<Lane>>,
    teller: Teller,
    asking: Asking,
}

/// Runs a session until it ends.
pub(super) async fn run(
    parts: SessionParts,
    stream: Stream,
    metrics: &UplinkMetrics,
    state: &watch::Sender<UplinkState>,
    cancel: CancellationToken,
) -> Ended {
    let (frames, sink) = framing::split(stream);
    let (urgent, urgent_queue) = mpsc::channel(QUEUE);
    let (bulk, bulk_queue) = mpsc::channel(QUEUE);
    let (live, live_queue) = mpsc::channel(LIVE_QUEUE);
    let writer = tokio::spawn(framing::write_all(sink, urgent_queue, live_queue, bulk_queue));
    let goodbye = urgent.clone();
    let ended = session(&parts, frames, (urgent, bulk, live), metrics, state, &cancel).await;
    let reason = match &ended {
        Ended::Stopping => Some("The relay is stopping.".to_owned()),
        Ended::Lane(error) => Some(error.to_string()),
        Ended::Protocol(error) => Some(error.to_string()),
        _ => None,
    };
    if let Some(reason) = reason
        && let Ok(bytes) = Frame::Goodbye(Goodbye { reason }).encode()
    {
        drop(goodbye.try_send(bytes.into()));
    }
    drop(goodbye);
    let mut writer = writer;
    if timeout(Duration::from_secs(1), &mut writer).await.is_err() {
        writer.abort();
    }
    ended
}

async fn session(
    parts: &SessionParts,
    mut frames: Frames,
    (urgent, bulk, live): (mpsc::Sender<Bytes>, mpsc::Sender<Bytes>, mpsc::Sender<Bytes>),
    metrics: &UplinkMetrics,
    state: &watch::Sender<UplinkState>,
    cancel: &CancellationToken,
) -> Ended {
    let outcome: Result<Ended, Ended> = async {
        let (mut downlink, resume) = Downlink::open(parts.downlink.clone()).await?;
        let (mut lanes, mut read_only) = (parts.store.lanes(), parts.store.read_only());
        let hello = start::hello(parts, lanes.borrow_and_update().of(Lane::Urgent).epoch());
        let sender = start::sender_of(&lanes.borrow())?;
        let (fetches, applied_ms) = (FuturesUnordered::new(), Vec::new());
        let asked_ms = parts.clock.uptime_ms();
        let (mut own, asking) = (parts.clock.own_steps(), Asking::new(Instant::now()));
        let teller = Teller::default();
        let mut session = Session {
            parts,
            sender,
            urgent,
            bulk,
            live,
            metrics,
            fetches,
            applied_ms,
            takes: None,
            teller,
            asking,
        };
        let mut newest = parts.newest.clone();
        newest.mark_unchanged();
        session.send(&Frame::Hello(hello))?;
        session.send(&Frame::Resume(resume))?;
        let (cloud, peer) = tokio::select! {
            () = cancel.cancelled() => return Err(Ended::Stopping),
            peer = timeout(GREETING, greeting(&mut frames, (&parts.clock, asked_ms), metrics)) => {
                peer.map_err(|_| Ended::Lost("the cloud does not answer".into()))??
            }
        };
        session.sender.meet(cloud.lanes.as_deref());
        session.takes = cloud.lanes;
        session.applied_ms = cloud.applied_ms;
        session.open(&peer).await?;
        parts.live.set_up(true);
        parts.travel.meet(cloud.takes_newest);
        metrics.up.set(1);
        tracing::info!("connected to the cloud");
        let since_ms = parts.store.now_ms();
        state.send_replace(UplinkState { up: true, since_ms, reason: String::new() });
        let mut copies = parts.copies.lock().await;
        loop {
            session.fetch_all();
            tokio::select! {
                () = cancel.cancelled() => return Ok(Ended::Stopping),
                frame = next(&mut frames, metrics) => session.take(frame?, &mut downlink).await?,
                Some(fetched) = session.fetches.next() => session.fetched(fetched)?,
                frame = downlink.next() => {
                    let stopped = || Ended::Lost("the downlink stopped".into());
                    session.send(&frame.ok_or_else(stopped)??)?;
                }
                // What is read of such a disk may be gone after it: nothing of it is told.
                Ok(()) = read_only.changed() => return Err(StoreError::ReadOnly.into()),
                changed = lanes.changed() => {
                    changed.map_err(|_| Ended::Store(StoreError::Closed))?;
                    session.appended(&lanes.borrow_and_update())?;
                }
                () = sleep_until(session.asking.next()) => session.compare_clocks()?,
                Ok(()) = own.changed() => {
                    session.asking.stepped();
                    session.compare_clocks()?;
                }
                Ok(()) = newest.changed(), if cloud.takes_newest => {
                    let loads = Loads::clone(&newest.borrow_and_update());
                    session.newest(&loads)?;
                    // One packet carries both.
                    session.asking.goes_along();
                    session.compare_clocks()?;
                }
                some = copies.some(LIVE_FRAME), if session.live.capacity() > 0 => {
                    session.live(some)?;
                }
                () = framing::room(&session.live), if session.live.capacity() == 0 => {}
            }
        }
    }
    .await;
    outcome.unwrap_or_else(|ended| ended)
}

impl Session<'_> {
    /// Goes on from where the cloud stands.
    async fn open(&mut self, peer: &Resume) -> Result<(), Ended> {
        let opened = match self.sender.open(peer) {
            Ok(opened) => opened,
            Err(LaneError::PeerAhead { lane, peer: at }) => {
                tracing::warn!(
                    ?lane,
                    epoch = at.epoch,
                    through = at.through,
                    "the cloud has more than this disk, which is an old copy; new epoch"
                );
                let beyond = peer.positions.iter().map(|p| p.epoch).max().unwrap_or(at.epoch);
                self.parts.store.write(move |txn| txn.rename_epochs(beyond)).await?;
                self.sender = start::sender_of(&self.parts.store.lanes().borrow())?;
                self.sender.meet(self.takes.as_deref());
                self.sender.open(peer)?
            }
            Err(other) => return Err(other.into()),
        };
        start::forget_told(&self.parts.clock, &opened.forgotten);
        let (peer, mut applied_ms) = (peer.positions.clone(), self.applied_ms.clone());
        if let Some(taken_ms) = applied_ms.get_mut(Lane::Metrics.index()) {
            *taken_ms = self.parts.travel.since_ms(*taken_ms);
        }
        let pending = self.parts.store.submit(move |txn| {
            opened.trims.iter().try_for_each(|trim| txn.trim(trim))?;
            let wanted = txn.compare(&peer, &opened.forgotten, &applied_ms)?;
            Ok((wanted, txn.asks_the_cloud()))
        });
        let (wanted, asks) = pending.await?.outcome().await?;
        want_inventories(&self.parts.downlink.broker, wanted);
        self.parts.downlink.fanout.compared(asks).await;
        Ok(())
    }

    async fn take(&mut self, frame: Frame, downlink: &mut Downlink) -> Result<(), Ended> {
        match frame {
            Frame::Ack(ack) => {
                self.metrics.acks.inc();
                if let Some(trim) = self.sender.acked(&ack, self.parts.store.now_ms())? {
                    // Not awaited: a trim lost to a crash is told again by the cloud's resume.
                    self.parts.store.submit(move |txn| txn.trim(&trim)).await?;
                }
                self.metrics.window.set(i64::try_from(self.sender.bulk_window()).unwrap_or(0));
            }
            Frame::Data(data) => downlink.take(data).await?,
            Frame::Resume(resume) => self.open(&resume).await?,
            Frame::Watch(Watch { devices }) => {
                self.parts.live.watch(&devices);
                self.parts.travel.want(&devices);
            }
            Frame::Goodbye(goodbye) => return Err(farewell(goodbye)),
            Frame::Sisters(list) => {
                if let Some(sisters) = &self.parts.sisters {
                    sisters.set(&list.relays);
                }
            }
            Frame::ClockAnswer(ClockAnswer { asked_ms, now_ms }) => {
                let clock = &self.parts.clock;
                self.asking.told(asked_ms, Instant::now());
                clock.learn(now_ms, asked_ms.unwrap_or_else(|| clock.uptime_ms()));
                self.metrics.clocks(clock.ahead_ms().unwrap_or_default());
            }
            Frame::Hello(_) | Frame::Ephemeral(_) | Frame::ClockAsk(_) | Frame::Newest(_) => {}
        }
        Ok(())
    }

    fn appended(&mut self, lanes: &Lanes) -> Result<(), Ended> {
        for lane in Lane::ALL {
            let state = lanes.of(lane);
            self.sender.appended(lane, state.tail_seq())?;
            for (epoch, through) in state.dropped_numbers() {
                self.sender.dropped(lane, epoch, through)?;
            }
        }
        Ok(())
    }

    fn fetch_all(&mut self) {
        while let Some(fetch) = self.sender.next_fetch() {
            let store = self.parts.store.clone();
            let read = async move { (fetch, store.fetch(fetch).await) };
            self.fetches.push(read.boxed());
        }
    }

    fn fetched(&mut self, (fetch, read): Fetched) -> Result<(), Ended> {
        let records = match read {
            Ok(records) => records,
            Err(error) => {
                self.sender.unfetched(fetch);
                return Err(error.into());
            }
        };
        let now_ms = self.parts.store.now_ms();
        if let Some(data) = self.sender.fetched(fetch, records, now_ms)? {
            self.send_data(data)?;
        }
        Ok(())
    }

    fn send_data(&mut self, data: Data) -> Result<(), Ended> {
        let lane = data.lane;
        let label = &[lane_name(lane)];
        self.metrics.records.with_label_values(label).inc_by(data.records.len() as u64);
        self.metrics.pulse.asked();
        let queue = if lane == Lane::Urgent { &self.urgent } else { &self.bulk };
        self.queue(queue, &Frame::Data(data))
    }

    fn send(&self, frame: &Frame) -> Result<(), Ended> {
        self.queue(&self.urgent, frame)
    }

    fn queue(&self, queue: &mpsc::Sender<Bytes>, frame: &Frame) -> Result<(), Ended> {
        let bytes = frame.encode()?;
        debug_assert!(bytes.len() <= MAX_MESSAGE, "the lane machine bounds frames");
        self.metrics.sent_bytes.inc_by(bytes.len() as u64);
        queue.try_send(bytes.into()).map_err(|_| Ended::Lost("the link does not move".into()))
    }

    fn compare_clocks(&mut self) -> Result<(), Ended> {
        let clock = &self.parts.clock;
        let (asked_ms, now_ms) = (clock.uptime_ms(), clock.own_ms());
        self.asking.asked(asked_ms, Instant::now());
        self.metrics.pulse.asked();
        self.send(&Frame::ClockAsk(ClockAsk { asked_ms, now_ms }))
    }

    /// Tells newest loads. All frames of them take one queue, in order: each leans on
    /// those before it.
    fn newest(&mut self, loads: &Loads) -> Result<(), Ended> {
        let now_s = self.parts.store.now_ms() / 1000;
        while let Some(told) = self.teller.tell(now_s, loads) {
            let more = told.joined.len() >= MAX_JOINED;
            self.send(&Frame::Newest(told))?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Sends live copies; the queue has room.
    fn live(&self, copies: Vec<Ephemeral>) -> Result<(), Ended> {
        let count = copies.len() as u64;
        let bytes = Frame::Ephemeral(copies).encode()?;
        let size = bytes.len() as u64;
        match self.live.try_send(bytes.into()) {
            Ok(()) => self.metrics.sent_bytes.inc_by(size),
            Err(_) => self.metrics.live_dropped.inc_by(count),
        }
        Ok(())
    }
}
