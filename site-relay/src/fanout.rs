//! Fan-out: one command to many devices, until each has answered or its time is
//! over.
//!
//! The courier's plan lives in memory and is read from the inbox at start. What was
//! in the inbox then goes out once the cloud was heard: this disk may be an older copy
//! than that of the devices, or as old, and the cloud may know what they had since.
//! Without the cloud it waits for [`ALONE_MS`] and no longer (G9). A
//! device gets what is pending for it when it is ready (connected, subscribed,
//! introduced) and again when it stays silent; its guard recognises repeats and
//! answers with what it knows (G3). A device that says which commands run on it,
//! and leaves out one that it said had started, is asked about that one: its ledger
//! answers, or it says that nobody knows. Every change that matters is a job of the
//! store; progress travels to the cloud from there, many devices in one record.

mod noting;
mod plan;
mod reread;
mod revoked;

#[cfg(test)]
mod lost_tests;
#[cfg(test)]
mod noting_tests;
#[cfg(test)]
mod restored_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod time_tests;

use crate::{
    broker::BrokerHandle,
    clock::SiteClock,
    inbox::{self, NewCommand},
    store::{StoreError, StoreHandle},
    telemetry::Telemetry,
};
use noting::Unnoted;
use plan::{Had, Plan};
use prometheus::{IntCounterVec, IntGauge};
use reread::Reread;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    clock::ClockAnswer,
    compare::KnownCommand,
    ids::{CommandId, DeviceId},
    lan::{DownControl, Handed},
    outcome::Status,
    topics::Down,
};

/// Messages that may wait; callers are slowed down beyond it, or repeat.
const QUEUE: usize = 4096;
/// How often silence and expiry are looked at.
const TICK: Duration = Duration::from_millis(500);

/// How long what was in the inbox at start waits for a session with the cloud.
const ALONE_MS: u64 = 10_000;
/// How long it waits for the answer of a cloud that knows more than this disk.
const ANSWER_MS: u64 = 60_000;

/// Something for the fan-out.
#[derive(Debug)]
enum Message {
    Compared { asks: bool },
    Had { had: Vec<KnownCommand>, all: bool },
    New(Vec<NewCommand>),
    Undone(Vec<CommandId>),
    Ready(DeviceId, Introduction),
    Holds(DeviceId, Vec<CommandId>),
    Revoked(Vec<DeviceId>),
    Answered(Vec<(DeviceId, CommandId, Status)>),
}

/// What a device said of its commands when it introduced itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Introduction {
    /// Those that run on it.
    pub(crate) running: Vec<CommandId>,
    /// Whether it heeds [`Handed`].
    pub(crate) heeds_handed: bool,
}

/// Reaches the fan-out. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct FanoutHandle(mpsc::Sender<Message>);

/// The fan-out's end of the queue.
#[derive(Debug)]
pub(crate) struct FanoutInbox(mpsc::Receiver<Message>);

/// Makes the queue of the fan-out.
pub(crate) fn channel() -> (FanoutHandle, FanoutInbox) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (FanoutHandle(sender), FanoutInbox(receiver))
}

impl FanoutHandle {
    /// Commands became durable.
    pub(crate) async fn commands(&self, commands: Vec<NewCommand>) {
        // A closed queue means that the relay is stopping; the inbox has them.
        drop(self.0.send(Message::New(commands)).await);
    }

    /// Commands are being made durable. Gives them back at a full queue.
    pub(crate) fn commands_ahead(&self, commands: Vec<NewCommand>) -> Result<(), Vec<NewCommand>> {
        self.0.try_send(Message::New(commands)).map_err(|refused| match refused.into_inner() {
            Message::New(commands) => commands,
            _ => Vec::new(),
        })
    }

    /// Commands that were handed on ahead did not become durable: the cloud sends them
    /// again.
    pub(crate) async fn undone(&self, commands: Vec<CommandId>) {
        drop(self.0.send(Message::Undone(commands)).await);
    }

    /// A device can be served. Lost at a full queue: the next look at silent
    /// devices makes up for it.
    pub(crate) fn ready(&self, device: DeviceId, said: Introduction) {
        drop(self.0.try_send(Message::Ready(device, said)));
    }

    /// A device keeps commands for later. Lost at a full queue: it says so again.
    pub(crate) fn holds(&self, device: DeviceId, commands: Vec<CommandId>) {
        drop(self.0.try_send(Message::Holds(device, commands)));
    }

    /// Devices are out, durably.
    pub(crate) async fn revoked(&self, devices: Vec<DeviceId>) {
        drop(self.0.send(Message::Revoked(devices)).await);
    }

    /// The cloud was heard; `asks` says that it has yet to tell what devices had of
    /// the commands in the inbox.
    pub(crate) async fn compared(&self, asks: bool) {
        drop(self.0.send(Message::Compared { asks }).await);
    }

    /// The cloud told what devices had, durably; `all` says that nothing follows.
    pub(crate) async fn had(&self, had: Vec<KnownCommand>, all: bool) {
        drop(self.0.send(Message::Had { had, all }).await);
    }

    /// Devices reported, durably. Lost at a full queue: the device is asked again
    /// and answers with what it knows.
    pub(crate) fn answered(&self, reports: Vec<(DeviceId, CommandId, Status)>) {
        drop(self.0.try_send(Message::Answered(reports)));
    }
}

#[derive(Debug)]
struct FanoutMetrics {
    open: IntGauge,
    deliveries: IntCounterVec,
}

impl FanoutMetrics {
    fn register(telemetry: &Telemetry) -> Self {
        Self {
            open: telemetry.gauge("fanout_waiting", "Deliveries that no device answered yet."),
            deliveries: telemetry.counters(
                "fanout_deliveries",
                "Deliveries by what happened: sent, repeated, answered, finished, expired.",
                "what",
            ),
        }
    }

    fn count(&self, what: &str, n: usize) {
        self.deliveries.with_label_values(&[what]).inc_by(n as u64);
    }
}

/// The courier.
pub(crate) struct Fanout {
    store: StoreHandle,
    clock: SiteClock,
    broker: BrokerHandle,
    plan: Plan,
    unnoted: Unnoted,
    /// Uptime at the start, and how long what was in the inbox then waits for the cloud.
    unsure_ms: (u64, u64),
    reread: Reread,
    metrics: FanoutMetrics,
}

impl Fanout {
    /// Reads the plan from the inbox.
    ///
    /// # Errors
    /// [`StoreError`] when the file fails.
    pub(crate) async fn load(
        (store, clock): (StoreHandle, SiteClock),
        broker: BrokerHandle,
        telemetry: &Telemetry,
    ) -> Result<Self, StoreError> {
        let reread = Reread::done(&store);
        let all = store.read(inbox::load).await?;
        let unsure_ms = (clock.uptime_ms(), ALONE_MS);
        let metrics = FanoutMetrics::register(telemetry);
        let (plan, unnoted) = (Plan::default(), Unnoted::default());
        let mut fanout = Self { store, clock, broker, plan, unnoted, unsure_ms, reread, metrics };
        fanout.take_up(all, true).await;
        Ok(fanout)
    }

    /// Runs until cancelled.
    pub(crate) async fn run(mut self, mut inbox: FanoutInbox, cancel: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                message = inbox.0.recv() => match message {
                    Some(message) => self.take(message).await,
                    None => break,
                },
                () = self.unnoted.due() => {
                    let due = self.unnoted.take(Instant::now());
                    self.note(due).await;
                }
                _ = tick.tick() => self.tick().await,
            }
            self.metrics.open.set(i64::try_from(self.plan.waiting()).unwrap_or(i64::MAX));
        }
        let all = self.unnoted.take_all();
        self.note(all).await;
    }

    async fn take(&mut self, message: Message) {
        let now_ms = self.clock.latest_ms();
        match message {
            Message::New(commands) => {
                for command in commands {
                    let id = command.command;
                    let added = self.plan.add(command);
                    self.deliver(added.into_iter().map(|d| (d, id)).collect(), now_ms);
                }
            }
            Message::Undone(commands) => {
                self.plan.undone(&commands);
                self.reread.again();
            }
            Message::Ready(device, said) => {
                self.plan.introduced(device, &said, now_ms);
                let open = self.plan.open_for(device);
                self.deliver(open, now_ms);
            }
            Message::Compared { asks: true } if self.plan.is_unsure() => {
                tracing::info!("commands in the inbox wait until the cloud says who had them");
                self.unsure_ms.1 = ANSWER_MS;
            }
            Message::Compared { .. } => self.plan.sure(),
            Message::Had { had, all } => {
                had.into_iter().for_each(|known| self.plan.had_before(known));
                if all {
                    self.plan.sure();
                }
            }
            Message::Holds(device, commands) => self.plan.holds(device, &commands),
            Message::Revoked(devices) => self.end(devices).await,
            Message::Answered(reports) => {
                self.metrics.count("answered", reports.len());
                let finished = self.plan.answered(&reports);
                self.finish(finished).await;
            }
        }
    }

    async fn tick(&mut self) {
        self.reread().await;
        let (since_ms, most_ms) = self.unsure_ms;
        if self.plan.is_unsure() && self.clock.uptime_ms().saturating_sub(since_ms) >= most_ms {
            tracing::info!("commands in the inbox go out without the cloud's word on who had them");
            self.plan.sure();
        }
        // While the time is in doubt, what may be over waits; it neither goes out nor
        // ends.
        let now_ms = self.clock.latest_ms();
        let settled = self.clock.is_settled();
        let expired = if settled { self.plan.expired(now_ms) } else { Vec::new() };
        for (command, devices) in expired {
            self.metrics.count("expired", devices.len());
            let outcome = self.store.submit(move |txn| {
                txn.expire(command, &devices)?;
                txn.finish_command(command)
            });
            if let Err(error) = outcome.await {
                tracing::warn!(%error, "an expiry could not be stored");
            }
        }
        let silent = self.plan.silent(now_ms);
        let online: Vec<_> =
            silent.into_iter().filter(|(device, _)| self.broker.is_online(*device)).collect();
        self.metrics.count("repeated", online.len());
        self.deliver(online, now_ms);
    }

    /// Hands commands to those devices that are online.
    fn deliver(&mut self, wanted: Vec<(DeviceId, CommandId)>, now_ms: u64) {
        let mut sent: HashMap<CommandId, Vec<DeviceId>> = HashMap::new();
        self.say_time(&wanted);
        self.say_handed(&wanted);
        for (device, command) in wanted {
            let Some(payload) = self.plan.payload(device, command, now_ms) else { continue };
            if self.broker.send(device, Down::Command, payload).is_ok()
                && self.plan.sent(device, command, now_ms)
            {
                sent.entry(command).or_default().push(device);
            }
        }
        for (command, devices) in sent {
            self.metrics.count("sent", devices.len());
            self.unnoted.add(command, devices);
        }
    }

    /// Tells devices the site's time when it was set a moment ago: ahead of commands that
    /// are dated by it, in the same queue.
    fn say_time(&self, wanted: &[(DeviceId, CommandId)]) {
        if !self.clock.was_just_set() {
            return;
        }
        let devices: HashSet<DeviceId> = wanted.iter().map(|(device, _)| *device).collect();
        let answer = ClockAnswer { asked_ms: None, now_ms: self.clock.now_ms() };
        match DownControl::Clock(answer).encode().map(bytes::Bytes::from) {
            Ok(bytes) => devices.into_iter().for_each(|device| {
                // A device that is gone does not get the commands either.
                let _heard_at_its_next_look =
                    self.broker.send(device, Down::Control, bytes.clone());
            }),
            Err(error) => tracing::error!(%error, "the time cannot be encoded"),
        }
    }

    /// Tells devices which of the commands they had before: goes ahead of them in
    /// the same queue.
    fn say_handed(&self, wanted: &[(DeviceId, CommandId)]) {
        let mut named: HashMap<DeviceId, Handed> = HashMap::new();
        for (device, command) in wanted {
            match self.plan.had(*device, *command) {
                Some(Had::Started { heard }) => {
                    let named = named.entry(*device).or_default();
                    named.started.push(*command);
                    if !heard {
                        named.unheard.push(*command);
                    }
                }
                Some(Had::Sent) => named.entry(*device).or_default().sent.push(*command),
                None => {}
            }
        }
        for (device, handed) in named {
            match DownControl::Handed(handed).encode() {
                // A device that is gone does not get the commands either.
                Ok(bytes) => drop(self.broker.send(device, Down::Control, bytes.into())),
                Err(error) => tracing::error!(%error, "what was handed over cannot be encoded"),
            }
        }
    }

    async fn finish(&mut self, finished: Vec<CommandId>) {
        for command in finished {
            self.metrics.count("finished", 1);
            if let Err(error) = self.store.submit(move |txn| txn.finish_command(command)).await {
                tracing::warn!(%error, "a command's end could not be stored");
            }
        }
    }
}
