//! The spool in memory: cursors of the link, and the tail of samples.

use super::{
    Continuity,
    book::{LaneBook, Position, index},
    forget::{Cut, Gone, new_gap},
    trail::Trails,
};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use unifyit_protocol::{
    envelope::{Decoded, Envelope},
    lane::Lane,
    report::{MAX_BATCH, Report, Sequenced},
};

/// Batches of one lane under way at once.
const WINDOW: usize = 4;
/// After this long without an acknowledgement everything under way is sent again.
const STALE_AFTER: Duration = Duration::from_secs(15);
/// A second doubtful acknowledgement within this time changes nothing: the
/// batches sent again are still under way.
const REWIND_PAUSE: Duration = Duration::from_secs(1);
/// Bounds of the tail: about an hour of samples at the usual pace.
const TAIL_BYTES: usize = 256 * 1024;
const TAIL_RECORDS: usize = 1024;
/// How often the trails go to disk, with whatever else is written.
const TRAILS_EVERY: Duration = Duration::from_secs(600);
/// Number of [`Report::Gap`] on the wire.
const GAP_KIND: u16 = 6;

#[derive(Debug, Default)]
struct LaneState {
    next: u64,
    disk_last: Position,
    acked: Position,
    sent: Position,
    /// Furthest sent on this link: no acknowledgement beyond it is believed.
    high: Position,
    flight: VecDeque<(Position, Instant)>,
    rewound: Option<Instant>,
    freed: u64,
    /// Last record written in earlier epochs, or met at the relay.
    before: Position,
    /// Where the lane would go on in a new epoch.
    cut: Position,
}

/// See the module.
#[derive(Debug)]
pub struct SpoolState {
    epoch: u64,
    lanes: [LaneState; 4],
    tail: VecDeque<(u64, Bytes)>,
    tail_first: u64,
    tail_bytes: usize,
    series: Option<(u64, Vec<u8>)>,
    state_lost: bool,
    trails: Trails,
    trails_saved: Option<Instant>,
}

pub(super) fn is_gap(body: &[u8]) -> bool {
    Envelope::unpack(body).is_ok_and(|e| e.kind == GAP_KIND)
}

impl SpoolState {
    /// The state at the start of an epoch.
    #[must_use]
    pub fn new(book: &LaneBook, trails: Trails) -> Self {
        let mut lanes = book.lanes.map(|entry| LaneState {
            next: entry.next,
            disk_last: entry.last,
            acked: entry.acked,
            sent: entry.acked,
            high: entry.acked,
            ..LaneState::default()
        });
        for (lane, before) in lanes.iter_mut().zip(book.before) {
            lane.before = before;
        }
        Self {
            epoch: book.epoch,
            lanes,
            tail: VecDeque::new(),
            tail_first: 1,
            tail_bytes: 0,
            series: None,
            state_lost: book.state_lost,
            trails,
            trails_saved: None,
        }
    }

    /// Takes note of what went for good with a commit.
    pub fn forgotten(&mut self, gone: Vec<Gone>) {
        for (lane, at, ms) in gone {
            self.trails.of(lane).note(at, ms);
        }
    }

    /// The trails, when they were not written down for a while.
    pub fn trails_to_save(&mut self) -> Option<&Trails> {
        let due = self.trails_saved.is_none_or(|at| at.elapsed() > TRAILS_EVERY);
        due.then(|| {
            self.trails_saved = Some(Instant::now());
            &self.trails
        })
    }

    /// Takes over what a commit made true.
    pub fn committed(&mut self, book: &LaneBook) {
        self.state_lost = book.state_lost;
        let before = self.epoch;
        for (lane, entry) in self.lanes.iter_mut().zip(&book.lanes) {
            if book.epoch != before {
                let last = Position { epoch: before, seq: lane.next.saturating_sub(1) };
                lane.before = lane.before.max(last);
            }
            lane.next = entry.next;
            lane.disk_last = entry.last;
        }
        if book.epoch != self.epoch {
            self.epoch = book.epoch;
            // Samples that came meanwhile follow those that were renumbered.
            self.tail_first = book.lanes[index(Lane::Metrics)].next;
            for lane in &mut self.lanes {
                lane.acked = Position::default();
                lane.sent = Position::default();
                lane.high = Position::default();
                lane.flight.clear();
            }
        }
    }

    /// What is durable at the relay, a position a lane.
    #[must_use]
    pub fn acked(&self) -> [Position; 4] {
        self.lanes.each_ref().map(|l| l.acked)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn state_lost(&self) -> bool {
        self.state_lost
    }

    pub(super) fn remember_series(&mut self, at_ms: u64, body: Vec<u8>) {
        self.series = Some((at_ms, body));
    }

    pub(super) fn series(&self) -> Option<(u64, Vec<u8>)> {
        self.series.clone()
    }

    fn lane(&mut self, lane: Lane) -> &mut LaneState {
        &mut self.lanes[index(lane)]
    }

    pub(super) fn push_tail(&mut self, at_ms: u64, body: Bytes) {
        self.tail_bytes += body.len();
        self.tail.push_back((at_ms, body));
        if self.tail_bytes > TAIL_BYTES || self.tail.len() > TAIL_RECORDS {
            self.shorten_tail();
        }
    }

    /// Replaces the older half of the tail by a gap (G6).
    fn shorten_tail(&mut self) {
        let dropped = self.tail.len() / 2;
        let (mut count, mut from_ms, mut to_ms) = (0, u64::MAX, 0);
        for (at_ms, body) in self.tail.drain(..dropped) {
            self.tail_bytes -= body.len();
            let (n, first, last) = match Report::decode(&body) {
                Ok(Decoded::Known(Report::Gap(gap))) => (gap.count, gap.from_ms, gap.to_ms),
                _ => (1, at_ms, at_ms),
            };
            (count, from_ms, to_ms) = (count + n, from_ms.min(first), to_ms.max(last));
        }
        self.tail_first += dropped as u64;
        if let Ok(body) = Report::Gap(new_gap(Lane::Metrics, count, from_ms, to_ms)).encode() {
            tracing::warn!(dropped = count, "samples were dropped because they cannot be stored");
            self.tail_first -= 1;
            self.tail_bytes += body.len();
            self.tail.push_front((to_ms, Bytes::from(body)));
        }
        // Columns may have been named in the half that went.
        if let Some((at_ms, body)) = self.series.clone() {
            self.tail_bytes += body.len();
            self.tail.push_back((at_ms, Bytes::from(body)));
        }
    }

    /// Epoch, first number and records of the tail that are older than a moment.
    pub(super) fn tail_before(&self, older_than_ms: u64) -> (u64, u64, Vec<(u64, Bytes)>) {
        let old = self.tail.iter().take_while(|(at, _)| *at < older_than_ms);
        (self.epoch, self.tail_first, old.cloned().collect())
    }

    pub(super) fn drop_tail(&mut self, epoch: u64, through: u64) {
        while self.epoch == epoch && self.tail_first <= through {
            let Some((_, body)) = self.tail.pop_front() else { break };
            self.tail_bytes -= body.len();
            self.tail_first += 1;
        }
    }

    /// Where the next batch of a lane starts, when one may be sent.
    pub(super) fn may_send(&mut self, lane: Lane) -> Option<Position> {
        let state = self.lane(lane);
        (state.flight.len() < WINDOW).then_some(state.sent)
    }

    /// The last record on disk, where it is after a position.
    pub(super) fn on_disk_after(&mut self, lane: Lane, sent: Position) -> Option<Position> {
        Some(self.lane(lane).disk_last).filter(|last| *last > sent)
    }

    pub(super) fn is_quiet(&mut self, lane: Lane) -> bool {
        self.lane(lane).flight.is_empty()
    }

    pub(super) fn tail_batch(&self, lane: Lane, sent: Position) -> (u64, Vec<Sequenced>) {
        let skip = self.tail_skip(sent);
        let records = (self.tail_first + skip..).zip(self.tail.iter().skip(skip as usize));
        let mut bytes = 0;
        let reports = records
            .take(if lane == Lane::Metrics { MAX_BATCH } else { 0 })
            .take_while(|(_, (_, body))| {
                bytes += body.len();
                bytes <= super::BATCH_BYTES || bytes == body.len()
            })
            .map(|(seq, (_, body))| Sequenced { seq, body: body.to_vec() })
            .collect();
        (self.epoch, reports)
    }

    fn tail_skip(&self, after: Position) -> u64 {
        if after.epoch < self.epoch { 0 } else { (after.seq + 1).saturating_sub(self.tail_first) }
    }

    /// First record of the tail after a position, and whether it is a gap.
    pub(super) fn tail_first_after(&self, lane: Lane, after: Position) -> Option<(Position, bool)> {
        if lane != Lane::Metrics || after.epoch > self.epoch {
            return None;
        }
        let skip = self.tail_skip(after);
        let (_, body) = self.tail.get(usize::try_from(skip).ok()?)?;
        Some((Position { epoch: self.epoch, seq: self.tail_first + skip }, is_gap(body)))
    }

    pub(super) fn sent(&mut self, lane: Lane, last: Position, now: Instant) {
        let state = self.lane(lane);
        state.sent = last;
        state.high = state.high.max(last);
        state.flight.push_back((last, now));
    }

    /// Whether the relay holds what this disk never wrote. Samples do not count:
    /// they travel from memory.
    pub(super) fn is_behind(&mut self, lane: Lane, there: Position) -> bool {
        let epoch = self.epoch;
        let state = self.lane(lane);
        let present = Position { epoch, seq: state.next.saturating_sub(1) };
        let written = if there.epoch < epoch { Position::default() } else { present };
        let behind = lane != Lane::Metrics && there > written.max(state.before);
        state.cut = if behind && there.epoch >= epoch { state.acked } else { there };
        state.before = state.before.max(if behind { there } else { Position::default() });
        behind
    }

    /// Where each lane goes on in a new epoch, by the last welcome.
    pub(super) fn cuts(&mut self) -> [Cut; 4] {
        Lane::ALL.map(|lane| {
            let LaneState { cut: through, before: high, .. } = *self.lane(lane);
            let told_anew = lane == Lane::State;
            let lost = if told_anew { None } else { self.trails.of(lane).lost_after(through) };
            Cut { through, high, lost }
        })
    }

    /// Whether the relay holds a record.
    pub(super) fn is_acked(&mut self, lane: Lane, at: Position) -> bool {
        let state = self.lane(lane);
        // In a later epoch it has another number: then all must be there.
        state.acked >= at && (state.acked.epoch == at.epoch || state.disk_last <= state.acked)
    }

    /// The relay stands at `there`; the first waiting record, if any, is `first`.
    pub(super) fn resume(
        &mut self,
        lane: Lane,
        there: Position,
        first: Option<(Position, bool)>,
    ) -> Continuity {
        let epoch = self.epoch;
        let tail_next = self.tail_first + self.tail.len() as u64;
        let state = self.lane(lane);
        let next = if lane == Lane::Metrics { tail_next } else { state.next };
        let (first, gap) = first.unwrap_or((Position { epoch, seq: next }, false));
        let continues = if first.seq == 1 || (gap && there.epoch < first.epoch) {
            there.epoch < first.epoch
        } else {
            there.epoch == first.epoch && (gap || there.seq + 1 == first.seq)
        };
        if there < state.acked || !continues {
            return Continuity::Broken;
        }
        state.flight.clear();
        state.rewound = None;
        state.acked = there;
        state.sent = there;
        state.high = there;
        self.drop_tail_through(lane, there);
        Continuity::Holds
    }

    fn drop_tail_through(&mut self, lane: Lane, there: Position) {
        if lane != Lane::Metrics {
            return;
        }
        if there.epoch == self.epoch {
            let last = there.seq.checked_sub(self.tail_first).and_then(|n| usize::try_from(n).ok());
            if let Some((at_ms, _)) = last.and_then(|n| self.tail.get(n)) {
                let at_ms = *at_ms;
                self.trails.of(lane).note(there, at_ms);
            }
            self.drop_tail(there.epoch, there.seq);
        }
    }

    /// Takes an acknowledgement; returns how many bytes wait for a trim.
    pub(super) fn acked_through(&mut self, lane: Lane, there: Position, now: Instant) -> u64 {
        let state = self.lane(lane);
        if there > state.acked && there <= state.high {
            while state.flight.front().is_some_and(|(last, _)| *last <= there) {
                state.flight.pop_front();
                state.freed += super::BATCH_BYTES as u64 / 2;
            }
            state.acked = there;
            state.sent = state.sent.max(there);
            state.rewound = None;
            let freed = state.freed;
            if freed > super::TRIM_AT {
                state.freed = 0;
            }
            self.drop_tail_through(lane, there);
            return freed;
        }
        // The relay did not move: a batch was lost on the way. Those behind it
        // are refused too, and each refusal says the same.
        let paused = state.rewound.is_some_and(|at| now.duration_since(at) < REWIND_PAUSE);
        if there == state.acked && !state.flight.is_empty() && !paused {
            state.flight.clear();
            state.sent = state.acked;
            state.rewound = Some(now);
        }
        0
    }

    pub(super) fn link_lost(&mut self) {
        for lane in &mut self.lanes {
            lane.flight.clear();
            lane.sent = lane.acked;
        }
    }

    pub(super) fn stale_at(&self) -> Option<Instant> {
        let oldest = self.lanes.iter().filter_map(|lane| lane.flight.front());
        oldest.map(|(_, at)| *at + STALE_AFTER).min()
    }

    pub(super) fn retry_stale(&mut self, now: Instant) -> bool {
        let mut any = false;
        for lane in &mut self.lanes {
            let stale = |(_, at): &(Position, Instant)| now.duration_since(*at) >= STALE_AFTER;
            if lane.flight.front().is_some_and(stale) {
                lane.flight.clear();
                lane.sent = lane.acked;
                any = true;
            }
        }
        any
    }

    pub(super) fn is_drained(&self) -> bool {
        self.tail.is_empty() && self.lanes.iter().all(|l| l.disk_last <= l.acked)
    }
}
