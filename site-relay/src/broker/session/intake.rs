//! What a device publishes: read at its expense, held to its bounds, handed over.

use super::{
    super::{BrokerEvent, Content, limit::Pace},
    Code, End, Session, stopping,
};
use crate::ingest::message::{self, Read};
use bytes::Bytes;
use std::future::Future;
use tokio::{sync::mpsc::error::TrySendError, time::Instant};
use unifyit_protocol::topics;

impl<S> Session<S> {
    /// Reads a message and hands it over; what costs more than a moment, or finds
    /// no room, waits, and the session's reading with it.
    pub(super) fn message(&mut self, kind: topics::Up, payload: Bytes) -> Result<(), End> {
        let (device, session) = (self.link.device, self.link.session);
        let time = self.table.time_of(device);
        let event = move |payload, read: Read, held| {
            let content = Box::new(Content { read: read.message, held });
            BrokerEvent::Message { device, session, kind, payload, content }
        };
        let share = self.link.share.clone();
        let events = self.events.clone();
        let Some(read) = message::at_once(device, kind, &payload, time) else {
            return self.wait("read", async move {
                let bytes = payload.clone();
                let work = move || message::at_length(device, kind, &bytes, time);
                let read = share.read(work).await?;
                let (work, held) = (read.work, share.hold(read.memory).await?);
                events.send(event(payload, read, held)).await.ok()?;
                Some(work)
            });
        };
        let work = read.work;
        match share.try_hold(read.memory) {
            Some(held) => {
                self.tell(event(payload, read, held))?;
                self.worked(work)
            }
            None => self.wait("memory", async move {
                let held = share.hold(read.memory).await?;
                events.send(event(payload, read, held)).await.ok()?;
                Some(work)
            }),
        }
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
                tracing::warn!(device = %self.link.device, what,
                    "a device sends more than its rate limit allows, without end; disconnecting");
                let reason = "the device sends more than its rate limit allows";
                Err(End::new("rate", reason, Some(Code::MessageRateTooHigh)))
            }
        }
    }

    /// The device reached a bound and is slowed; said once a session.
    fn slowed(&mut self, what: &'static str) {
        self.table.metrics.over_budget.with_label_values(&[what]).inc();
        if !self.told_slow {
            self.told_slow = true;
            tracing::warn!(device = %self.link.device, what,
                "a device reached its bound and is slowed down");
        }
    }
}
