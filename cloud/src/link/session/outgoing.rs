//! Frames that wait for the writer, bounded in bytes, and what a relay may pass on
//! that is not durable.
//!
//! A relay that sends and never reads must not make answers pile up here: while
//! more than [`MAX_BYTES`] wait, nothing of it is read and nothing more of its
//! downlink is framed. What others have a hand in, not the relay, waits at its
//! latest only.

use crate::link::session::Ended;
use bytes::Bytes;
use std::collections::VecDeque;
use tokio::time::Instant;
use unifyit_protocol::link::{Ephemeral, Frame};

/// More than the downlink's window and the answers to it, which is all that waits
/// for a relay that reads.
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// What a queued frame costs beside its bytes.
const OVERHEAD: usize = 64;

/// Of what only the latest counts, and any change of it may come at any time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Latest {
    Watch,
    Sisters,
}

#[derive(Debug)]
enum Waiting {
    Frame(Bytes),
    /// The place of the latest of its kind.
    Latest(Latest),
}

/// Frames for the writer.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    frames: VecDeque<Waiting>,
    /// By kind; none where none waits.
    latest: [Option<Bytes>; 2],
    bytes: usize,
}

impl Outgoing {
    pub(super) fn push(&mut self, frame: Frame) -> Result<(), Ended> {
        let frame: Bytes = frame.encode()?.into();
        self.bytes += frame.len() + OVERHEAD;
        self.frames.push_back(Waiting::Frame(frame));
        Ok(())
    }

    /// As `push`; takes the place of the one of its kind that waits, if one does.
    pub(super) fn push_latest(&mut self, kind: Latest, frame: Frame) -> Result<(), Ended> {
        let frame: Bytes = frame.encode()?.into();
        self.bytes += frame.len() + OVERHEAD;
        match self.latest[kind as usize].replace(frame) {
            Some(older) => self.bytes = self.bytes.saturating_sub(older.len() + OVERHEAD),
            None => self.frames.push_back(Waiting::Latest(kind)),
        }
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let frame = match self.frames.pop_front()? {
            Waiting::Frame(frame) => frame,
            Waiting::Latest(kind) => self.latest[kind as usize].take()?,
        };
        self.bytes = self.bytes.saturating_sub(frame.len() + OVERHEAD);
        Some(frame)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether nothing more may be asked for.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= MAX_BYTES
    }
}

/// Live items of one relay: so many a second, as many as two seconds' worth at
/// once. They reach every browser's queue, and their durable copies follow.
#[derive(Debug)]
pub(super) struct LiveAllowance {
    left: u64,
    at: Instant,
}

impl LiveAllowance {
    /// Items a second.
    const RATE: u64 = 1000;
    const BURST: u64 = 2 * Self::RATE;

    pub(super) fn new() -> Self {
        Self { left: Self::BURST, at: Instant::now() }
    }

    /// Leaves out what is beyond. Returns how many those were.
    pub(super) fn take(&mut self, items: &mut Vec<Ephemeral>, now: Instant) -> u64 {
        let passed = u64::try_from(now.duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        let earned = passed.saturating_mul(Self::RATE) / 1000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(Self::BURST);
            self.at = now;
        }
        let asked = items.len() as u64;
        let given = asked.min(self.left);
        self.left -= given;
        items.truncate(usize::try_from(given).unwrap_or(usize::MAX));
        asked - given
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::time::Duration;
    use unifyit_protocol::{
        ids::DeviceId,
        link::{Goodbye, Sisters, Watch},
        telemetry::Sample,
    };

    #[test]
    fn frames_for_a_relay_that_does_not_read_are_bounded_in_bytes() {
        let mut outgoing = Outgoing::default();
        while !outgoing.is_full() {
            outgoing.push(Frame::Goodbye(Goodbye { reason: "x".repeat(1000) })).unwrap();
        }
        let mut held = 0;
        let counted = outgoing.bytes;
        while let Some(frame) = outgoing.pop() {
            held += frame.len() + OVERHEAD;
        }
        assert_eq!(held, counted);
        assert!(held < MAX_BYTES + 2000, "{held}");
        assert_eq!((outgoing.bytes, outgoing.is_full()), (0, false));
    }

    #[test]
    fn of_changing_sets_the_latest_alone_waits_for_a_relay_that_does_not_read() {
        let mut outgoing = Outgoing::default();
        let devices = [DeviceId::generate(), DeviceId::generate()];
        let watch = |of: &[DeviceId]| Frame::Watch(Watch { devices: of.to_vec() });
        outgoing.push_latest(Latest::Watch, watch(&devices)).unwrap();
        outgoing.push(Frame::Goodbye(Goodbye { reason: String::new() })).unwrap();
        for n in 0..10_000 {
            outgoing.push_latest(Latest::Watch, watch(&devices[n % 2..])).unwrap();
            let sisters = Frame::Sisters(Sisters { relays: Vec::new() });
            outgoing.push_latest(Latest::Sisters, sisters).unwrap();
        }
        assert!(outgoing.bytes < 1000, "{}", outgoing.bytes);
        let frames: Vec<Bytes> = std::iter::from_fn(|| outgoing.pop()).collect();
        assert_eq!(frames.len(), 3);
        assert_eq!(frames[0], watch(&devices[1..]).encode().unwrap(), "the latest");
        assert_eq!((outgoing.bytes, outgoing.is_empty()), (0, true));
        // The next has a place again.
        outgoing.push_latest(Latest::Watch, watch(&[])).unwrap();
        assert!(outgoing.pop().is_some());
    }

    #[test]
    fn live_items_of_one_relay_are_bounded_in_time() {
        let items = |n: usize| {
            let device = DeviceId::generate();
            let sample = Sample { at_ms: 1, table: 1, values: vec![] };
            vec![Ephemeral::Sample(device, sample); n]
        };
        let mut allowance = LiveAllowance::new();
        let start = allowance.at;
        let mut burst = items(5000);
        assert_eq!(allowance.take(&mut burst, start), 3000);
        assert_eq!(burst.len(), 2000);
        let mut none = items(10);
        assert_eq!(allowance.take(&mut none, start), 10);
        let mut later = items(5000);
        allowance.take(&mut later, start + Duration::from_millis(500));
        assert_eq!(later.len(), 500);
    }
}
