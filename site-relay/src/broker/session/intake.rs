//! What a device publishes: read at its expense, held to its bounds, handed over.

use super::{
    super::{BrokerEvent, Content, Held, budget::Share, limit::Pace},
    Code, End, Session, stopping,
};
use crate::ingest::message::{self, Read, Time};
use bytes::Bytes;
use std::future::Future;
use tokio::{
    sync::mpsc::{Sender, error::TrySendError},
    time::Instant,
};
use unifyit_protocol::{ids::DeviceId, topics};

impl<S> Session<S> {
    /// Reads a message and hands it over; what costs more than a moment, or finds
    /// no room, waits, and the session's reading with it. Nothing is unfolded before
    /// there is room for it.
    pub(super) fn message(&mut self, kind: topics::Up, payload: Bytes) -> Result<(), End> {
        let arrived = Arrived {
            device: self.link.device,
            session: self.link.session,
            kind,
            time: self.table.time_of(self.link.device),
            payload,
        };
        let share = self.link.share.clone();
        let events = self.events.clone();
        let Some((read, held)) = share.try_read(arrived.most_at_once(), || arrived.at_once())
        else {
            return self.wait("memory", async move {
                let (read, held) = share.read(arrived.most_at_once(), || arrived.at_once()).await?;
                match read {
                    Some(read) => arrived.hand_over(read, held, events).await,
                    None => arrived.at_length(held, share, events).await,
                }
            });
        };
        let Some(read) = read else {
            return self.wait("read", arrived.at_length(held, share, events));
        };
        let work = read.work;
        self.tell(arrived.event(read, held))?;
        self.worked(work)
    }

    pub(super) fn tell(&mut self, event: BrokerEvent) -> Result<(), End> {
        match self.events.try_send(event) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(event)) => {
                self.table.metrics.backpressure.inc();
                let events = self.events.clone();
                self.wait("", async move { events.send(event).await.ok().map(|()| 0) })
            }
            Err(TrySendError::Closed(_)) => Err(stopping()),
        }
    }

    fn wait(
        &mut self,
        what: &'static str,
        until: impl Future<Output = Option<u32>> + Send + 'static,
    ) -> Result<(), End> {
        if what == "memory" {
            self.slowed(what);
        }
        self.table.metrics.stalled.inc();
        self.waiting = Some(Box::pin(until));
        Ok(())
    }

    /// Counts the work of reading against the device.
    pub(super) fn worked(&mut self, work: u32) -> Result<(), End> {
        let pace = self.rate.worked(&self.table.limits, work, Instant::now());
        self.pace(pace, "work")
    }

    pub(super) fn pace(&mut self, pace: Pace, what: &'static str) -> Result<(), End> {
        match pace {
            Pace::Go => Ok(()),
            Pace::Wait(until) => {
                self.table.metrics.throttled.inc();
                self.slowed(what);
                self.paused_until = Some(until);
                self.timer.as_mut().reset(until);
                Ok(())
            }
            Pace::Excessive => {
                let device = self.link.device;
                self.table.conduct.rest(device);
                if let Some(times) = self.table.conduct.due(device, "rate") {
                    tracing::warn!(%device, what, times,
                        "a device sends more than its rate limit allows, without end; disconnecting");
                }
                let reason = "the device sends more than its rate limit allows";
                Err(End::new("rate", reason, Some(Code::MessageRateTooHigh)))
            }
        }
    }

    /// The device reached a bound and is slowed.
    fn slowed(&mut self, what: &'static str) {
        self.table.metrics.over_budget.with_label_values(&[what]).inc();
        if let Some(times) = self.table.conduct.due(self.link.device, "slowed") {
            tracing::warn!(device = %self.link.device, what, times,
                "a device reached its bound and is slowed down");
        }
    }
}

/// A message that has come and was not read yet.
struct Arrived {
    device: DeviceId,
    session: u64,
    kind: topics::Up,
    time: Time,
    payload: Bytes,
}

impl Arrived {
    fn most_at_once(&self) -> usize {
        message::most_at_once(self.kind, self.payload.len())
    }

    /// Reads what can be read at once, and says what it takes.
    fn at_once(&self) -> (Option<Read>, usize) {
        let read = message::at_once(self.device, self.kind, &self.payload, self.time);
        let memory = read.as_ref().map_or(0, |read| read.memory);
        (read, memory)
    }

    /// Reads it on a thread of its own and hands it over. Gives what that cost.
    async fn at_length(
        self,
        at_once: Held,
        share: Share,
        events: Sender<BrokerEvent>,
    ) -> Option<u32> {
        // What the first try held is not needed beside what this one holds.
        drop(at_once);
        let (device, kind, time) = (self.device, self.kind, self.time);
        let (most, bytes) = (message::most(kind, self.payload.len()), self.payload.clone());
        let read = share.read_apart(most, move || {
            let read = message::at_length(device, kind, &bytes, time);
            let memory = read.memory;
            (read, memory)
        });
        let (read, held) = read.await?;
        self.hand_over(read, held, events).await
    }

    async fn hand_over(self, read: Read, held: Held, events: Sender<BrokerEvent>) -> Option<u32> {
        let work = read.work;
        events.send(self.event(read, held)).await.ok().map(|()| work)
    }

    fn event(self, read: Read, held: Held) -> BrokerEvent {
        let Self { device, session, kind, payload, .. } = self;
        let content = Box::new(Content { read: read.message, held });
        BrokerEvent::Message { device, session, kind, payload, content }
    }
}
