//! One lane of the sender: its epochs, and what is in flight.

use super::{
    Ack, Lane,
    sender::{Forgotten, Opened, Trim},
};
use std::collections::VecDeque;

/// One epoch of a lane. `acked ≤ sent ≤ tail`.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) epoch: u64,
    pub(super) acked: u64,
    pub(super) sent: u64,
    /// Highest number that may ever have been sent, also by a process before this
    /// one: what the peer may acknowledge, also late.
    pub(super) high: u64,
    pub(super) tail: u64,
    /// Up to here records may be missing in the store.
    pub(super) dropped: u64,
}

impl Segment {
    pub(super) fn new(epoch: u64, acked: u64, tail: u64) -> Self {
        Self { epoch, acked, sent: acked, high: tail, tail, dropped: acked }
    }
}

/// A frame on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) epoch: u64,
    pub(super) through: u64,
    pub(super) bytes: usize,
    pub(super) at_ms: u64,
}

/// A lane. Only the oldest epoch sends; it retires when all of it is
/// acknowledged and another follows.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbound {
    pub(super) segments: VecDeque<Segment>,
    pub(super) flights: VecDeque<Flight>,
    /// Sum over `flights`.
    pub(super) bytes: usize,
    /// Credit held by a fetch that is out.
    pub(super) reserved: Option<usize>,
}

impl Outbound {
    pub(super) fn committed_bytes(&self) -> usize {
        self.bytes.saturating_add(self.reserved.unwrap_or(0))
    }

    /// Whether a position of the peer can stem from this store.
    pub(super) fn knows(&self, peer: &Ack) -> bool {
        self.segments.back().is_some_and(|newest| {
            peer.epoch < newest.epoch || (peer.epoch == newest.epoch && peer.through <= newest.tail)
        })
    }

    /// Goes back, or forward, to where the peer stands. The position is known.
    pub(super) fn rewind(&mut self, lane: Lane, peer: Option<&Ack>, opened: &mut Opened) {
        let (epoch, through) = peer.map_or((0, 0), |a| (a.epoch, a.through));
        for segment in &mut self.segments {
            // The peer left earlier epochs behind when they were complete. One
            // that it knows longer than this store does went on elsewhere, after
            // the copy that the store was restored from: what is here, is there.
            let at = match segment.epoch.cmp(&epoch) {
                std::cmp::Ordering::Less => segment.tail,
                std::cmp::Ordering::Equal => through.min(segment.tail),
                std::cmp::Ordering::Greater => 0,
            };
            if at > segment.acked {
                opened.trims.push(Trim { lane, epoch: segment.epoch, through: at });
            }
            if at < segment.acked {
                opened.forgotten.push(Forgotten {
                    lane,
                    epoch: segment.epoch,
                    from: at + 1,
                    through: segment.acked,
                });
                segment.dropped = segment.dropped.max(segment.acked);
            }
            (segment.acked, segment.sent) = (at, at);
            segment.high = segment.high.max(at);
        }
        self.retire();
    }

    pub(super) fn sent(&mut self, flight: Flight) {
        if let Some(segment) = self.segments.front_mut() {
            segment.sent = flight.through;
            segment.high = segment.high.max(flight.through);
        }
        self.bytes = self.bytes.saturating_add(flight.bytes);
        self.flights.push_back(flight);
    }

    /// Takes the acknowledged frames out of flight; the last of them.
    pub(super) fn land(&mut self, epoch: u64, through: u64) -> Option<Flight> {
        let mut last = None;
        while let Some(flight) =
            self.flights.front().filter(|f| (f.epoch, f.through) <= (epoch, through)).copied()
        {
            self.bytes = self.bytes.saturating_sub(flight.bytes);
            self.flights.pop_front();
            last = Some(flight);
        }
        last
    }

    /// Forgets epochs that are complete, except the one that is written.
    pub(super) fn retire(&mut self) {
        while self.segments.len() > 1 && self.segments.front().is_some_and(|s| s.acked >= s.tail) {
            self.segments.pop_front();
        }
    }

    pub(super) fn forget_flight(&mut self) {
        self.flights.clear();
        self.bytes = 0;
        self.reserved = None;
    }
}
