//! From the broker's events to durable state and acknowledgements (G1).
//!
//! One task takes the events in order. Live bytes pass through at once. All
//! else that has gathered becomes one job of the store; while it is being
//! synced the next events gather. When a job is durable, its devices are
//! answered. A batch that does not continue what is there changes nothing and is
//! answered with where the device's lane stands.

pub(crate) mod apply;
pub(crate) mod batch;
pub(crate) mod cursors;
mod meet;
pub(crate) mod message;
mod metrics;
mod sessions;
mod twins;

#[cfg(test)]
mod tests;

use crate::{
    broker::{BrokerEvent, BrokerHandle, Held},
    clock::SiteClock,
    devices::Computer,
    fanout::{FanoutHandle, Introduction},
    live::LiveHub,
    presence::{At, Attendance, PresenceChange},
    shadow::Shadows,
    store::{Pending, StoreError, StoreHandle, txn::Txn},
    tunnel::Tunnels,
};
use apply::Applied;
use batch::Batch;
use message::Message;
use metrics::IngestMetrics;
use sessions::{Greeting, Sessions};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use twins::Twins;
use unifyit_protocol::{
    ProtocolError,
    clock::ClockAnswer,
    ids::{CommandId, DeviceId},
    lan::{DownControl, Hello, ReportAck},
    lane::Lane,
    link::{DeviceClock, UpRecord},
    live::LiveUp,
    outcome::Status,
    topics::Down,
};

pub(crate) use metrics::IngestMetrics as Metrics;
pub(crate) use twins::Twins as KnownComputers;

/// Events taken together at most.
const MAX_EVENTS: usize = 256;
/// Jobs on their way to the disk at a time: one being synced, one gathered.
const MAX_PENDING: usize = 3;
/// How often presence is looked at.
const PRESENCE_TICK: Duration = Duration::from_millis(250);

/// What ingest works with.
pub(crate) struct Ingest {
    pub(crate) store: StoreHandle,
    pub(crate) clock: SiteClock,
    pub(crate) broker: BrokerHandle,
    pub(crate) fanout: FanoutHandle,
    pub(crate) live: LiveHub,
    pub(crate) tunnels: Tunnels,
    pub(crate) shadows: Shadows,
    pub(crate) attendance: Attendance,
    pub(crate) twins: Twins,
    pub(crate) metrics: Arc<IngestMetrics>,
}

/// Something for the next commit.
pub(crate) enum Item {
    Batch(Batch),
    /// With the session that it came by.
    Hello(DeviceId, u64, Box<Hello>, Option<DeviceClock>),
    Clock(DeviceClock),
    Presence(PresenceChange),
    /// Two computers use one identity: who had it first, and the other.
    Share(DeviceId, Box<(Computer, Computer)>),
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Batch { device: DeviceId, lane: Lane, applied: Applied },
    Welcome { device: DeviceId, session: u64, greeting: Greeting },
    Nothing,
}

struct Job {
    pending: Pending<Vec<Answer>>,
    devices: Vec<DeviceId>,
    /// Devices that two computers use, which was noticed in it.
    shared: Vec<DeviceId>,
    presence: Vec<PresenceChange>,
    /// Memory of the messages in it, which their devices get back with the answer.
    _held: Vec<Held>,
}

/// Applies items in order within a commit.
pub(crate) fn apply_all(txn: &mut Txn<'_>, items: Vec<Item>) -> Result<Vec<Answer>, StoreError> {
    items.into_iter().map(|item| apply_one(txn, item)).collect()
}

fn apply_one(txn: &mut Txn<'_>, item: Item) -> Result<Answer, StoreError> {
    match item {
        Item::Batch(batch) => {
            let (device, lane) = (batch.device, batch.lane);
            Ok(Answer::Batch { device, lane, applied: txn.take_batch(batch)? })
        }
        Item::Clock(clock) => {
            txn.append(Lane::State, &UpRecord::Clocks(vec![clock]))?;
            Ok(Answer::Nothing)
        }
        Item::Hello(device, session, hello, clock) => {
            if let Some(clock) = clock {
                txn.append(Lane::State, &UpRecord::Clocks(vec![clock]))?;
            }
            txn.hello(device, &hello.hostname, &hello.agent_version)?;
            let positions = Lane::ALL
                .into_iter()
                .filter_map(|lane| {
                    let lane_key = crate::store::tables::lane_key(lane);
                    let (epoch, through) = txn.cursor(device, lane_key)?;
                    Some(ReportAck { lane, epoch, through })
                })
                .collect();
            let Hello { running, heeds_handed, .. } = *hello;
            let said = Introduction { running, heeds_handed };
            let ask_inventory = txn.device_facts(device)?.ask_inventory;
            let greeting = Greeting { positions, said, ask_inventory };
            Ok(Answer::Welcome { device, session, greeting })
        }
        Item::Presence(change) => txn.present(&change).map(|()| Answer::Nothing),
        Item::Share(device, two) => {
            let (first, other) = *two;
            txn.share(device, first, other).map(|()| Answer::Nothing)
        }
    }
}

impl Ingest {
    /// Runs until cancelled or the broker is gone; what was taken is durable
    /// when it returns.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<BrokerEvent>,
        cancel: CancellationToken,
    ) {
        let mut sessions = Sessions::default();
        let mut jobs: VecDeque<Job> = VecDeque::new();
        let mut gathered = Vec::with_capacity(MAX_EVENTS);
        let mut tick = tokio::time::interval(PRESENCE_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut steps = self.clock.steps();
        loop {
            let room = jobs.len() < MAX_PENDING;
            tokio::select! {
                biased;
                outcome = front(&mut jobs), if !jobs.is_empty() => {
                    if let Some(job) = jobs.pop_front() {
                        self.answer(job, outcome, &mut sessions);
                    }
                }
                () = cancel.cancelled() => break,
                count = events.recv_many(&mut gathered, MAX_EVENTS), if room => {
                    if count == 0 {
                        break;
                    }
                    let mut held = Vec::new();
                    let items = self.take(gathered.drain(..), &mut sessions, &mut held);
                    self.submit(items, held, &mut jobs).await;
                }
                Ok(()) = steps.changed() => {
                    steps.borrow_and_update();
                    let now_ms = self.clock.now_ms();
                    let answer = ClockAnswer { asked_ms: None, now_ms };
                    for device in sessions.all() {
                        self.control(device, DownControl::Clock(answer));
                    }
                    self.forget_ahead(now_ms).await;
                }
                _ = tick.tick(), if room => {
                    for (device, said) in self.twins.due(self.clock.uptime_ms()) {
                        self.serve(device, None, said);
                    }
                    let uptime_ms = self.clock.uptime_ms();
                    let mut items: Vec<_> =
                        self.clock.late().into_iter().map(Item::Clock).collect();
                    if self.attendance.next_due_ms().is_some_and(|at| at <= uptime_ms) {
                        items.extend(self.attendance.due(uptime_ms).into_iter().map(Item::Presence));
                    }
                    self.submit(items, Vec::new(), &mut jobs).await;
                }
            }
        }
        while let Some(mut job) = jobs.pop_front() {
            let outcome = job.pending.outcome().await;
            self.answer(job, outcome, &mut sessions);
        }
    }

    async fn submit(&mut self, items: Vec<Item>, held: Vec<Held>, jobs: &mut VecDeque<Job>) {
        if items.is_empty() {
            return;
        }
        let mut devices = Vec::with_capacity(items.len());
        let mut shared = Vec::new();
        let mut presence = Vec::new();
        for item in &items {
            match item {
                Item::Batch(batch) => devices.push(batch.device),
                Item::Hello(device, ..) => devices.push(*device),
                Item::Clock(_) => {}
                Item::Presence(change) => presence.push(change.clone()),
                Item::Share(device, _) => shared.push(*device),
            }
        }
        match self.store.submit(move |txn| apply_all(txn, items)).await {
            Ok(pending) => jobs.push_back(Job { pending, devices, shared, presence, _held: held }),
            Err(error) => tracing::warn!(%error, "reports could not be handed to the store"),
        }
    }

    /// Sorts events: what is live goes through, what is durable is returned.
    fn take(
        &mut self,
        events: impl Iterator<Item = BrokerEvent>,
        sessions: &mut Sessions,
        holds: &mut Vec<Held>,
    ) -> Vec<Item> {
        let now_ms = self.store.now_ms();
        let mut items = Vec::new();
        for event in events {
            match event {
                BrokerEvent::Connected { device, session, address, took_over } => {
                    sessions.connected(device, session);
                    let shown = address.to_canonical().to_string();
                    self.twins.connected(device, shown, took_over, self.clock.uptime_ms());
                    self.attendance.connected(device, address, At::now(&self.clock));
                    self.shadows.change(device, |s| {
                        s.online = true;
                        s.since_ms = now_ms;
                        s.address = address.to_canonical().to_string();
                    });
                }
                BrokerEvent::Subscribed { device, session } => {
                    if let Some(welcome) = sessions.subscribed(device, session) {
                        self.welcome((device, session), welcome, sessions.instance(device));
                    }
                }
                BrokerEvent::Disconnected { device, session, reason } => {
                    if sessions.disconnected(device, session) {
                        tracing::debug!(%device, reason, "device disconnected");
                        self.twins.disconnected(device, self.clock.uptime_ms());
                        self.attendance.disconnected(device, At::now(&self.clock));
                        self.tunnels.device_gone(device);
                        self.shadows.change(device, |s| {
                            s.online = false;
                            s.since_ms = now_ms;
                        });
                    }
                }
                BrokerEvent::Message { device, session, content, .. } => {
                    if sessions.is_current(device, session)
                        && let Some(item) = self.message(device, session, content.read, sessions)
                    {
                        // Who it is, it says once.
                        if let Item::Hello(device, session, hello, _) = &item {
                            if sessions.greets_first(*device, hello.instance)
                                && !self.met((*device, *session), hello, now_ms, &mut items)
                            {
                                sessions.turn_away(*device);
                            }
                            if sessions.is_turned_away(*device) {
                                continue;
                            }
                        }
                        items.push(item);
                        holds.push(content.held);
                    }
                }
            }
        }
        items
    }

    fn message(
        &mut self,
        device: DeviceId,
        session: u64,
        read: Result<Message, ProtocolError>,
        sessions: &mut Sessions,
    ) -> Option<Item> {
        match read {
            Ok(Message::Hello(hello)) => {
                let clock = self.measured(device, hello.now_ms);
                Some(Item::Hello(device, session, hello, clock))
            }
            Ok(Message::Clock(ask)) => {
                let (asked_ms, now_ms) = (Some(ask.asked_ms), self.clock.now_ms());
                self.control(device, DownControl::Clock(ClockAnswer { asked_ms, now_ms }));
                self.measured(device, ask.now_ms).map(Item::Clock)
            }
            Ok(Message::Batch(batch)) => {
                self.metrics.unknown.with_label_values(&["report"]).inc_by(batch.unknown);
                self.look_at(&batch);
                Some(Item::Batch(batch))
            }
            Ok(Message::Live(LiveUp::Output(chunk))) => {
                self.live.output(device, chunk);
                None
            }
            Ok(Message::Live(LiveUp::Holds(holds))) => {
                self.fanout.holds(device, holds.commands);
                None
            }
            Ok(Message::Live(frame)) => {
                self.tunnels.device_wrote(device, frame);
                None
            }
            Ok(Message::Unknown(what)) => self.unknown(what),
            Err(error) => {
                self.metrics.bad.inc();
                tracing::debug!(%device, %error, "a device sent what cannot be read");
                if sessions.strike(device) {
                    self.broker.put_out(device, "it keeps sending what cannot be read");
                }
                None
            }
        }
    }

    fn answer(
        &mut self,
        job: Job,
        outcome: Result<Vec<Answer>, StoreError>,
        sessions: &mut Sessions,
    ) {
        let uptime_ms = self.clock.uptime_ms();
        let answers = match outcome {
            Ok(answers) => answers,
            Err(error) => {
                // Without an acknowledgement they are said again in a few seconds. The
                // devices stay connected: terminals and live values need no disk.
                self.metrics.unstored.inc_by(job.devices.len() as u64);
                tracing::debug!(%error, devices = job.devices.len(), "reports were not stored");
                // Two that share an identity are noticed as they come.
                for device in job.shared {
                    self.broker.disconnect(device, "the relay could not store who they are");
                }
                self.attendance.retry(&job.presence, uptime_ms);
                return;
            }
        };
        let mut answered: Vec<(DeviceId, CommandId, Status)> = Vec::new();
        for answer in answers {
            match answer {
                Answer::Batch { device, lane, applied } => {
                    self.metrics.applied(&applied);
                    let Some((epoch, through)) = applied.acknowledged() else { continue };
                    self.control(device, DownControl::Ack(ReportAck { lane, epoch, through }));
                    answered.extend(applied.answered.into_iter().map(|(c, s)| (device, c, s)));
                }
                Answer::Welcome { device, session, greeting } => {
                    self.attendance.introduced(device, uptime_ms);
                    if let Some(greeting) = sessions.introduced(device, session, greeting) {
                        self.welcome((device, session), greeting, sessions.instance(device));
                    }
                }
                Answer::Nothing => {}
            }
        }
        if !answered.is_empty() {
            self.fanout.answered(answered);
        }
    }

    /// Answers a device. One that is gone asks again when it is back.
    fn control(&self, device: DeviceId, message: DownControl) {
        match message.encode() {
            Ok(bytes) => drop(self.broker.send(device, Down::Control, bytes.into())),
            Err(error) => tracing::error!(%error, "an answer cannot be encoded"),
        }
    }
}

async fn front(jobs: &mut VecDeque<Job>) -> Result<Vec<Answer>, StoreError> {
    match jobs.front_mut() {
        Some(job) => job.pending.outcome().await,
        None => std::future::pending().await,
    }
}
