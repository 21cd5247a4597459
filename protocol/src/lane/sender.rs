//! The sending half: what to read from the store next, and what may be deleted.

use super::{
    Ack, Data, Lane, LaneError, LaneLimits, Resume,
    limits::{MAX_RECORD, RECORD_OVERHEAD},
    outbound::{Flight, Outbound, Segment},
    window::Window,
};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;

/// What a store knows of one lane's epoch when the sender is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderPosition {
    /// Which lane.
    pub lane: Lane,
    /// The epoch.
    pub epoch: u64,
    /// Last number that the peer acknowledged and the store deleted; 0 for none.
    pub acked: u64,
    /// Last number appended; 0 for none.
    pub tail: u64,
}

/// Asks the host for records: those of (`lane`, `epoch`) with numbers from
/// `after + 1` to `until`, in order, at least one whatever its size, and no
/// further one beyond `max_records` or `max_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// Which lane.
    pub lane: Lane,
    /// Which epoch.
    pub epoch: u64,
    /// Number before the first wanted.
    pub after: u64,
    /// Last number that the store has, as far as the sender was told.
    pub until: u64,
    /// Most records.
    pub max_records: usize,
    /// Most bytes of records.
    pub max_bytes: usize,
    session: u64,
}

/// The peer has these records durably: delete those of `lane` whose (epoch,
/// number) is at most (`epoch`, `through`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// Which lane.
    pub lane: Lane,
    /// Epoch.
    pub epoch: u64,
    /// Last number to delete.
    pub through: u64,
}

/// Records that the peer once acknowledged and does not have any more: it was
/// restored from an old copy. They cannot be sent again; the host must say so
/// (G6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Which lane.
    pub lane: Lane,
    /// Epoch.
    pub epoch: u64,
    /// First number lost.
    pub from: u64,
    /// Last number lost.
    pub through: u64,
}

/// What the beginning of a session told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// To delete: the peer has it, only its acknowledgement was lost.
    pub trims: Vec<Trim>,
    /// Lost at the peer.
    pub forgotten: Vec<Forgotten>,
}

/// What of a lane is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InFlight {
    /// Frames sent and not acknowledged.
    pub frames: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// The sending half of the lane machine, for one peer.
#[derive(Debug, Clone)]
pub struct Sender {
    limits: LaneLimits,
    lanes: BTreeMap<Lane, Outbound>,
    /// Lanes that the peer takes; `None` for all.
    taken: Option<Vec<Lane>>,
    window: Window,
    session: u64,
    open: bool,
}

impl Sender {
    /// A sender over a store that stands at `positions`: for each lane in use one
    /// position an epoch that still has records, and one for the epoch that is
    /// written, oldest first.
    ///
    /// # Errors
    /// [`LaneError::NotRising`] when epochs do not rise or a tail lies before what
    /// is acknowledged.
    pub fn new(
        limits: LaneLimits,
        positions: impl IntoIterator<Item = SenderPosition>,
    ) -> Result<Self, LaneError> {
        let window = Window::new(&limits);
        let lanes = BTreeMap::new();
        let mut sender = Self { limits, lanes, taken: None, window, session: 0, open: false };
        for SenderPosition { lane, epoch, acked, tail } in positions {
            if acked > tail {
                return Err(LaneError::NotRising { lane });
            }
            sender.push(lane, Segment::new(epoch, acked, tail))?;
        }
        Ok(sender)
    }

    /// Closes the epoch that is written and starts another, from number 1. Also
    /// the answer to [`LaneError::PeerAhead`]: with an epoch beyond the peer's,
    /// after which the host appends anew, under this epoch, whatever it appended
    /// since its store was restored, and calls `open` again.
    ///
    /// # Errors
    /// [`LaneError::NotRising`] when the epoch is not larger than the last.
    pub fn start_epoch(&mut self, lane: Lane, epoch: u64) -> Result<(), LaneError> {
        self.push(lane, Segment::new(epoch, 0, 0))
    }

    /// Begins a session, or begins again in the middle of one when the peer sent
    /// its position because it missed a frame. What was in flight is forgotten and
    /// goes out again from the peer's positions.
    ///
    /// # Errors
    /// [`LaneError::PeerAhead`], with nothing changed: see [`Sender::start_epoch`].
    pub fn open(&mut self, peer: &Resume) -> Result<Opened, LaneError> {
        for ack in &peer.positions {
            let known = self.lanes.get(&ack.lane).is_some_and(|l| l.knows(ack));
            if !known && (ack.epoch, ack.through) != (0, 0) {
                return Err(LaneError::PeerAhead { lane: ack.lane, peer: *ack });
            }
        }
        self.close();
        self.open = true;
        let mut opened = Opened::default();
        for (lane, outbound) in &mut self.lanes {
            let at = peer.positions.iter().rev().find(|a| a.lane == *lane);
            outbound.rewind(*lane, at, &mut opened);
        }
        Ok(opened)
    }

    /// What the peer takes ([`LinkHello::lanes`](crate::link::LinkHello::lanes)): other
    /// lanes wait in the store for one that does. A peer that does not say takes the four
    /// of 0.1.
    pub fn meet(&mut self, takes: Option<&[Lane]>) {
        let first = &[Lane::Urgent, Lane::State, Lane::Output, Lane::Metrics];
        self.taken = Some(takes.unwrap_or(first).to_vec());
    }

    /// Ends a session: nothing is fetched until the next `open`, and records
    /// still being fetched are refused.
    pub fn close(&mut self) {
        self.open = false;
        self.session += 1;
        for outbound in self.lanes.values_mut() {
            outbound.forget_flight();
        }
    }

    /// The host has appended durably up to `tail` in the newest epoch of `lane`.
    ///
    /// # Errors
    /// [`LaneError::NotRising`] when `tail` lies before the last one.
    pub fn appended(&mut self, lane: Lane, tail: u64) -> Result<(), LaneError> {
        let outbound = self.lane(lane)?;
        let newest = outbound.segments.back_mut().ok_or(LaneError::UnknownLane { lane })?;
        if tail < newest.tail {
            return Err(LaneError::NotRising { lane });
        }
        newest.tail = tail;
        Ok(())
    }

    /// The host has dropped unsent records up to `through` for want of space, and
    /// has recorded the gap. A host that starts says it again for epochs of which
    /// nothing is left in the store.
    ///
    /// # Errors
    /// [`LaneError::UnknownLane`] when the lane is not in use.
    pub fn dropped(&mut self, lane: Lane, epoch: u64, through: u64) -> Result<(), LaneError> {
        let outbound = self.lane(lane)?;
        for segment in outbound.segments.iter_mut().filter(|s| s.epoch == epoch) {
            segment.dropped = segment.dropped.max(through.min(segment.tail));
        }
        Ok(())
    }

    /// What to read next: the most urgent lane that has unsent records and
    /// credit. At most one fetch a lane is out at a time; call again until `None`.
    pub fn next_fetch(&mut self) -> Option<Fetch> {
        if !self.open {
            return None;
        }
        let bulk: usize = self.bulk().map(Outbound::committed_bytes).sum();
        let taken = |lane| self.taken.as_ref().is_none_or(|taken| taken.contains(&lane));
        for (&lane, outbound) in self.lanes.iter_mut().filter(|(lane, _)| taken(**lane)) {
            let limit = self.limits.of(lane);
            let Some(segment) = outbound.segments.front() else { continue };
            if outbound.reserved.is_some()
                || segment.sent >= segment.tail
                || outbound.flights.len() >= limit.frames_in_flight
            {
                continue;
            }
            let (used, window) = match lane {
                Lane::Urgent => (outbound.committed_bytes(), self.limits.urgent_window),
                _ => (bulk, self.window.bytes()),
            };
            if used > 0 && used.saturating_add(limit.frame_bytes) > window {
                continue;
            }
            let fetch = Fetch {
                lane,
                epoch: segment.epoch,
                after: segment.sent,
                until: segment.tail,
                max_records: limit.frame_records,
                max_bytes: limit.frame_bytes,
                session: self.session,
            };
            outbound.reserved = Some(limit.frame_bytes);
            return Some(fetch);
        }
        None
    }

    /// Makes a frame of what the store returned for `fetch`: (number, record) in
    /// order. `None` when the fetch belongs to a session that has ended. Records
    /// beyond a hole or a limit are left for the next fetch.
    ///
    /// # Errors
    /// [`LaneError::Vanished`], [`LaneError::NotAsked`] and
    /// [`LaneError::RecordTooLarge`] when the store did not do what was asked.
    pub fn fetched(
        &mut self,
        fetch: Fetch,
        records: Vec<(u64, Vec<u8>)>,
        now_ms: u64,
    ) -> Result<Option<Data>, LaneError> {
        if !self.open || fetch.session != self.session {
            return Ok(None);
        }
        let Fetch { lane, epoch, after, until, max_records, max_bytes, .. } = fetch;
        let outbound = self.lane(lane)?;
        outbound.reserved = None;
        let Some(segment) = outbound.segments.front_mut().filter(|s| s.epoch == epoch) else {
            return Ok(None);
        };
        if segment.sent != after {
            // An acknowledgement of an earlier session overtook the fetch.
            return Ok(None);
        }
        let Some(&(first, _)) = records.first() else {
            if segment.dropped < until {
                return Err(LaneError::Vanished { lane, from: after + 1, through: until });
            }
            let skipped = until - after;
            outbound.sent(Flight { epoch, through: until, bytes: 1, at_ms: now_ms });
            return Ok(Some(Data { lane, epoch, prev: after, skipped, records: Vec::new() }));
        };
        if first <= after {
            return Err(LaneError::NotAsked { lane });
        }
        let mut frame = Vec::with_capacity(records.len().min(max_records));
        let (mut through, mut bytes) = (first - 1, 0usize);
        for (seq, record) in records {
            if record.len() > MAX_RECORD {
                return Err(LaneError::RecordTooLarge { lane, seq });
            }
            let grown = bytes + record.len() + RECORD_OVERHEAD;
            let full = frame.len() >= max_records || grown > max_bytes;
            if seq != through + 1 || (full && !frame.is_empty()) {
                break;
            }
            (through, bytes) = (seq, grown);
            frame.push(ByteBuf::from(record));
        }
        // The store may know of more than the sender was told.
        segment.tail = segment.tail.max(through);
        outbound.sent(Flight { epoch, through, bytes, at_ms: now_ms });
        Ok(Some(Data { lane, epoch, prev: after, skipped: first - 1 - after, records: frame }))
    }

    /// The store could not answer `fetch`; it will be asked again.
    pub fn unfetched(&mut self, fetch: Fetch) {
        if fetch.session == self.session
            && let Some(outbound) = self.lanes.get_mut(&fetch.lane)
        {
            outbound.reserved = None;
        }
    }

    /// The peer acknowledged. `None` when that was known.
    ///
    /// # Errors
    /// [`LaneError::AckBeyondSent`] and [`LaneError::PeerAhead`] when it
    /// acknowledged what it cannot have.
    pub fn acked(&mut self, ack: &Ack, now_ms: u64) -> Result<Option<Trim>, LaneError> {
        let Ack { lane, epoch, through } = *ack;
        let bulk_out = self.bulk().map(|l| l.bytes).sum();
        let outbound = self.lane(lane)?;
        if outbound.segments.front().is_some_and(|s| epoch < s.epoch) {
            return Ok(None);
        }
        let Some(segment) = outbound.segments.iter_mut().find(|s| s.epoch == epoch) else {
            return Err(LaneError::PeerAhead { lane, peer: *ack });
        };
        if through > segment.high {
            return Err(LaneError::AckBeyondSent { lane, through, sent: segment.high });
        }
        if through <= segment.acked {
            return Ok(None);
        }
        segment.acked = through;
        segment.sent = segment.sent.max(through);
        // The peer went on to this epoch when the ones before were complete.
        for before in outbound.segments.iter_mut().filter(|s| s.epoch < epoch) {
            (before.acked, before.sent) = (before.tail, before.tail);
        }
        let landed = outbound.land(epoch, through);
        outbound.retire();
        if let Some(flight) = landed
            && lane != Lane::Urgent
        {
            let delay = now_ms.saturating_sub(flight.at_ms);
            self.window.observe(&self.limits, now_ms, delay, bulk_out);
        }
        Ok(Some(Trim { lane, epoch, through }))
    }

    /// What of a lane is on its way.
    #[must_use]
    pub fn in_flight(&self, lane: Lane) -> InFlight {
        let of = |l: &Outbound| InFlight { frames: l.flights.len(), bytes: l.bytes };
        self.lanes.get(&lane).map_or_else(InFlight::default, of)
    }

    /// Numbers of a lane that the peer has not acknowledged, over all epochs.
    #[must_use]
    pub fn backlog(&self, lane: Lane) -> u64 {
        self.lanes.get(&lane).map_or(0, |l| l.segments.iter().map(|s| s.tail - s.acked).sum())
    }

    /// Present size of the window that the bulk lanes share, in bytes.
    #[must_use]
    pub fn bulk_window(&self) -> usize {
        self.window.bytes()
    }

    /// Whether a session is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The lanes that share the window.
    fn bulk(&self) -> impl Iterator<Item = &Outbound> {
        self.lanes.iter().filter(|(lane, _)| **lane != Lane::Urgent).map(|(_, outbound)| outbound)
    }

    fn push(&mut self, lane: Lane, segment: Segment) -> Result<(), LaneError> {
        let outbound = self.lanes.entry(lane).or_default();
        if outbound.segments.back().is_some_and(|last| segment.epoch <= last.epoch) {
            return Err(LaneError::NotRising { lane });
        }
        outbound.segments.push_back(segment);
        outbound.retire();
        Ok(())
    }

    fn lane(&mut self, lane: Lane) -> Result<&mut Outbound, LaneError> {
        self.lanes.get_mut(&lane).ok_or(LaneError::UnknownLane { lane })
    }
}
