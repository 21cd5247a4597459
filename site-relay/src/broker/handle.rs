//! The interface by which the rest of the relay reaches connected devices, and
//! the table of sessions behind it.
//!
//! A session's queue is bounded in messages and bytes. Nothing here ever waits:
//! a device that lets its queue fill is disconnected, because what matters is
//! durable in the store and is delivered again when it returns.

use super::{
    budget::{Memory, Share},
    conduct::Conduct,
    guests::Guests,
    metrics::Metrics,
};
use crate::{clock::SiteClock, config::BrokerLimits, ingest::message::Time};
use bytes::Bytes;
use futures::task::AtomicWaker;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{ids::DeviceId, topics};

/// Bytes that a queued message is counted for besides its payload.
const MESSAGE_OVERHEAD: usize = 64;

/// Why a message did not go into a device's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDelivered {
    /// The device has no session, or has not subscribed yet.
    #[error("the device is not connected")]
    Offline,
    /// The device does not read; its queue is full and it is being disconnected.
    #[error("the device does not keep up with its messages and is being disconnected")]
    Overflow,
}

/// Reaches connected devices. Cheap to clone; never blocks.
#[derive(Debug, Clone)]
pub struct BrokerHandle(pub(super) Arc<Table>);

impl BrokerHandle {
    /// Queues a message for a device, at QoS 0.
    ///
    /// # Errors
    /// [`NotDelivered`] when it has no session or its queue is full; a device
    /// with a full queue is disconnected.
    pub fn send(
        &self,
        device: DeviceId,
        kind: topics::Down,
        payload: Bytes,
    ) -> Result<(), NotDelivered> {
        let link = self.0.find(device).ok_or(NotDelivered::Offline)?;
        let mut queue = link.queue();
        let held = queue.commands_held && kind == topics::Down::Command;
        if queue.closing.is_some() || held || !queue.subscribed.includes(kind) {
            return Err(NotDelivered::Offline);
        }
        let bytes = queue.bytes + payload.len() + MESSAGE_OVERHEAD;
        if queue.messages.len() >= self.0.limits.queue_messages || bytes > self.0.limits.queue_bytes
        {
            queue.close(Closing::Overflow);
            drop(queue);
            self.0.metrics.overflows.inc();
            link.waker.wake();
            if let Some(times) = self.0.conduct.due(device, "overflow") {
                tracing::warn!(%device, times, "does not keep up with its messages; disconnecting");
            }
            return Err(NotDelivered::Overflow);
        }
        queue.bytes = bytes;
        queue.messages.push_back((kind, payload));
        drop(queue);
        link.waker.wake();
        Ok(())
    }

    /// Ends the session of a device, if it has one.
    pub fn disconnect(&self, device: DeviceId, reason: &'static str) {
        if let Some(link) = self.0.find(device) {
            link.close(Closing::Administrative(reason));
        }
    }

    /// Ends one session of a device, whoever has the device's place since.
    pub fn end(&self, device: DeviceId, session: u64, reason: &'static str) {
        if let Some(link) = self.0.find(device).filter(|link| link.session == session) {
            link.close(Closing::Administrative(reason));
        }
    }

    /// Ends the session of a device for what it sent: for a moment it is not let in
    /// again. Said in the log once a minute, with how often it was.
    pub fn put_out(&self, device: DeviceId, reason: &'static str) {
        self.0.conduct.rest(device);
        if let Some(times) = self.0.conduct.due(device, reason) {
            tracing::warn!(%device, times, reason, "a device is put out for what it sends");
        }
        self.disconnect(device, reason);
    }

    /// Whether something is to be said of a device in the log, which it can cause as
    /// often as it likes: how many times it was since it was said last.
    pub(crate) fn due(&self, device: DeviceId, what: &'static str) -> Option<u64> {
        self.0.conduct.due(device, what)
    }

    /// By which clock messages are judged; until it is set, by the system's.
    pub fn use_clock(&self, clock: SiteClock) {
        let _first_word_holds = self.0.clock.set(clock);
    }

    /// Lets commands go to a device whose session took another's place. A word on a
    /// session that is over says nothing of the one that followed it.
    pub fn release_commands(&self, device: DeviceId, session: Option<u64>) {
        let mut links = self.0.links.write().unwrap_or_else(PoisonError::into_inner);
        let link = links.of.get(&device);
        if session.is_some() && link.map(|link| link.session) != session {
            return;
        }
        if let Some(link) = link {
            link.queue().commands_held = false;
        }
        links.held.remove(&device);
    }

    /// Devices with a session.
    #[must_use]
    pub fn online(&self) -> Vec<DeviceId> {
        self.0.read().of.keys().copied().collect()
    }

    /// Whether a device has a session.
    #[must_use]
    pub fn is_online(&self, device: DeviceId) -> bool {
        self.0.read().of.contains_key(&device)
    }
}

#[cfg(test)]
impl BrokerHandle {
    /// A broker without sessions, for tests of other parts.
    pub(crate) fn detached() -> Self {
        let metrics = Metrics::new(&crate::telemetry::Telemetry::new());
        Self(Arc::new(Table::new(BrokerLimits::default(), metrics)))
    }

    /// Enters a session of a device that has subscribed to everything.
    pub(crate) fn connect(&self, device: DeviceId) {
        if let Some((link, _)) = self.0.enter(device) {
            let mut all = Subscribed::default();
            all.add("#");
            link.set_subscribed(all);
        }
    }

    /// The next message in a device's queue.
    pub(crate) fn next_for(&self, device: DeviceId) -> Option<(topics::Down, Bytes)> {
        self.0.find(device)?.queue().pop()
    }
}

/// The sessions, and from whose next one commands are held back.
#[derive(Debug, Default)]
struct Links {
    of: HashMap<DeviceId, Arc<Link>>,
    /// Devices whose last session ended while commands were held back from it.
    held: HashSet<DeviceId>,
}

/// All sessions, one a device.
#[derive(Debug)]
pub(super) struct Table {
    links: RwLock<Links>,
    guests: Mutex<Guests>,
    next: AtomicU64,
    pub(super) limits: BrokerLimits,
    pub(super) metrics: Metrics,
    memory: Memory,
    pub(super) conduct: Conduct,
    clock: OnceLock<SiteClock>,
}

impl Table {
    pub(super) fn new(limits: BrokerLimits, metrics: Metrics) -> Self {
        let memory = Memory::new(&limits, metrics.clone());
        Self {
            links: RwLock::default(),
            guests: Mutex::default(),
            next: AtomicU64::new(0),
            limits,
            metrics,
            memory,
            conduct: Conduct::default(),
            clock: OnceLock::new(),
        }
    }

    /// Enters a session, closing the one that the device had. Returns the
    /// session before, whose end must be awaited, or `None` when all places are
    /// taken.
    pub(super) fn enter(&self, device: DeviceId) -> Option<(Arc<Link>, Option<Arc<Link>>)> {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if links.of.len() >= self.limits.max_sessions && !links.of.contains_key(&device) {
            return None;
        }
        let link = Arc::new(Link {
            device,
            session: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            queue: Mutex::default(),
            share: self.memory.share(&self.limits),
            waker: AtomicWaker::new(),
            ended: CancellationToken::new(),
        });
        let before = links.of.insert(device, Arc::clone(&link));
        self.metrics.sessions.set(i64::try_from(links.of.len()).unwrap_or(i64::MAX));
        link.queue().commands_held = links.held.remove(&device) || before.is_some();
        if let Some(before) = &before {
            self.metrics.takeovers.inc();
            before.close(Closing::TakenOver);
        }
        Some((link, before))
    }

    /// Whether a computer that is to hear something may take the place of a session
    /// for it.
    pub(super) fn may_interrupt(&self, device: DeviceId, now: Instant) -> bool {
        if self.find(device).is_none() {
            return true;
        }
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.may_interrupt(device, now)
    }

    /// Removes a session, unless another has taken its place.
    pub(super) fn leave(&self, link: &Link) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        if links.of.get(&link.device).is_some_and(|present| present.session == link.session) {
            links.of.remove(&link.device);
            if link.queue().commands_held {
                links.held.insert(link.device);
            }
        }
        self.metrics.sessions.set(i64::try_from(links.of.len()).unwrap_or(i64::MAX));
        link.ended.cancel();
    }

    /// The time at which a device's message is read.
    pub(super) fn time_of(&self, device: DeviceId) -> Time {
        let clock = self.clock.get_or_init(SiteClock::default);
        Time { now_ms: clock.now_ms(), ahead_ms: clock.of_device(device) }
    }

    /// Closes every session.
    pub(super) fn close_all(&self) {
        for link in self.read().of.values() {
            link.close(Closing::ShuttingDown);
        }
    }

    fn find(&self, device: DeviceId) -> Option<Arc<Link>> {
        self.read().of.get(&device).cloned()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Links> {
        self.links.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the relay ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    TakenOver,
    Overflow,
    Administrative(&'static str),
    ShuttingDown,
}

/// One session as seen from outside its task.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) device: DeviceId,
    pub(super) session: u64,
    queue: Mutex<Queue>,
    pub(super) share: Share,
    pub(super) waker: AtomicWaker,
    /// Cancelled when the session's last event is out.
    pub(super) ended: CancellationToken,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    messages: VecDeque<(topics::Down, Bytes)>,
    bytes: usize,
    subscribed: Subscribed,
    commands_held: bool,
    pub(super) closing: Option<Closing>,
}

impl Link {
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self, why: Closing) {
        self.queue().close(why);
        self.waker.wake();
    }

    pub(super) fn set_subscribed(&self, subscribed: Subscribed) {
        self.queue().subscribed = subscribed;
    }
}

impl Queue {
    /// The first reason stays.
    fn close(&mut self, why: Closing) {
        self.closing.get_or_insert(why);
        self.messages = VecDeque::new();
        self.bytes = 0;
    }

    pub(super) fn pop(&mut self) -> Option<(topics::Down, Bytes)> {
        let (kind, payload) = self.messages.pop_front()?;
        self.bytes = self.bytes.saturating_sub(payload.len() + MESSAGE_OVERHEAD);
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
        Some((kind, payload))
    }
}

/// To which of its topics a device has subscribed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Subscribed(u8);

impl Subscribed {
    const EACH: [&'static str; 5] = ["control", "command", "live", "+", "#"];

    fn bit(last_level: &str) -> u8 {
        Self::EACH.iter().position(|name| *name == last_level).map_or(0, |at| 1 << at)
    }

    /// Adds the filter with this last level.
    pub(super) fn add(&mut self, last_level: &str) {
        self.0 |= Self::bit(last_level);
    }

    /// Removes it and says whether it was there.
    pub(super) fn remove(&mut self, last_level: &str) -> bool {
        let bit = Self::bit(last_level);
        let had = self.0 & bit != 0;
        self.0 &= !bit;
        had
    }

    pub(super) fn includes(self, kind: topics::Down) -> bool {
        self.0 & (Self::bit(kind.as_str()) | Self::bit("+") | Self::bit("#")) != 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_word_on_a_session_that_is_over_says_nothing_of_the_next() {
        let (broker, device) = (BrokerHandle::detached(), DeviceId::generate());
        let (second, _) = broker.0.enter(device).unwrap();
        let (first, _) = broker.0.enter(device).unwrap();
        broker.end(device, second.session, "another computer uses this identity");
        broker.release_commands(device, Some(second.session));
        assert!(first.queue().closing.is_none() && first.queue().commands_held);
        broker.release_commands(device, Some(first.session));
        assert!(!first.queue().commands_held);
        broker.end(device, first.session, "another computer uses this identity");
        assert!(first.queue().closing.is_some());
    }

    #[test]
    fn a_guest_comes_in_when_nobody_is_there_or_seldom() {
        let (broker, device, now) =
            (BrokerHandle::detached(), DeviceId::generate(), Instant::now());
        assert!((0..9).all(|_| broker.0.may_interrupt(device, now)), "nobody is there");
        let _first = broker.0.enter(device).unwrap();
        let times = (0..9).filter(|_| broker.0.may_interrupt(device, now)).count();
        assert_eq!(times, 1);
    }
}
