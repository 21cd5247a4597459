//! The lane machine: durable, ordered delivery over a link that comes and goes.
//!
//! It is sans-IO: storage, sockets and clocks stay with the host. One copy of
//! it runs in the relay (four lanes up), in the cloud (the urgent lane down) and
//! in the simulator.
//!
//! **Numbers.** A record is identified by (sender, epoch, lane, seq) (G2). Within
//! an epoch numbers rise by one from 1. An epoch's leftovers are sent and
//! acknowledged before the next epoch starts, so that what the receiver has is
//! always a prefix of what was appended (G4). A host takes a fresh epoch, larger
//! than all before (`max(last + 1, now in Unix ms)`), whenever it cannot be sure
//! that its disk is the latest one: best at each start. [`Sender::open`] notices
//! the remaining case and answers [`LaneError::PeerAhead`].
//!
//! **Holes.** A number is never used twice. Records that a quota drops leave a
//! hole; the host explains it with a gap record (G6), and the machine steps over
//! it: [`Data::skipped`] states how many numbers are missing between `prev` and
//! the first record, so that the receiver can tell a hole (the sender's word) from
//! a lost frame (a `prev` that it does not have).
//!
//! **Flow, sending host.** `open` with the peer's [`Resume`]; then, whenever
//! something happened: `next_fetch` → read the store → `fetched` → send the
//! [`Data`]; on an [`Ack`]: `acked` → delete what the [`Trim`] names.
//!
//! **Flow, receiving host.** Send `resume`; on [`Data`]: `accept` → apply the
//! records in one transaction together with the position → `committed` → send
//! that [`Ack`]. Several frames may be accepted before one commit.
//!
//! **Bounds.** Bytes and frames in flight are bounded per lane, and the bulk
//! lanes share one window that shrinks when acknowledgements come late, so that
//! little bulk stands in the link's queues before an alert (G5, G10).

mod later;
mod limits;
mod outbound;
mod receiver;
mod sender;
mod window;

pub(crate) use later::{LaneOf, lanes};
pub use limits::{LaneLimit, LaneLimits, MAX_FRAME_RECORDS, MAX_RECORD};
pub use receiver::{Apply, Receiver, Verdict};
pub use sender::{Fetch, Forgotten, InFlight, Opened, Sender, SenderPosition, Trim};

use serde::{Deserialize, Serialize};

/// Lanes in order of urgency (G5). Peers that do not say that they take a further one are
/// not sent it. It needs a limit ([`LaneLimits::of`]), its place in [`Lane::ALL`] behind
/// those of 0.1 (lists on the wire go by it), its name in the cloud's schema, and room in
/// what relays and agents keep by [`Lane::index`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Alerts, outcomes, presence, audit; all of the downlink.
    Urgent,
    /// Inventory and shadow changes, status.
    State,
    /// Output of scripts.
    Output,
    /// Measurements.
    Metrics,
}

impl Lane {
    /// All lanes, most urgent first.
    pub const ALL: [Self; 4] = [Self::Urgent, Self::State, Self::Output, Self::Metrics];

    /// Its place in [`Lane::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Durable records of one lane, in sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Which lane.
    pub lane: Lane,
    /// The sender's epoch.
    pub epoch: u64,
    /// Sequence number that the receiver must have reached before this frame; 0
    /// at the start of an epoch.
    pub prev: u64,
    /// Numbers after `prev` that were dropped at the sender and never come.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Consecutive records from `prev + skipped + 1` on, each an encoded message.
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_FRAME_RECORDS, _, _>")]
    pub records: Vec<serde_bytes::ByteBuf>,
}

impl Data {
    /// Number of the first record, or `None` when numbers would overflow.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.prev.checked_add(self.skipped)?.checked_add(1)
    }

    /// Number that the receiver has reached with this frame, or `None` when
    /// numbers would overflow.
    #[must_use]
    pub fn through(&self) -> Option<u64> {
        self.prev.checked_add(self.skipped)?.checked_add(self.records.len() as u64)
    }

    /// The records with their numbers.
    pub fn numbered(self) -> impl Iterator<Item = (u64, Vec<u8>)> {
        let first = self.prev.saturating_add(self.skipped).saturating_add(1);
        (first..).zip(self.records.into_iter().map(serde_bytes::ByteBuf::into_vec))
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Everything of `lane` up to (`epoch`, `through`) is durable at the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Which lane.
    pub lane: Lane,
    /// Epoch.
    pub epoch: u64,
    /// Last durable sequence number.
    pub through: u64,
}

/// Where a receiver stands in each lane of its peer. A missing lane: at the start. Lanes
/// that came later are left out when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resume {
    /// A position a lane.
    #[serde(deserialize_with = "later::positions")]
    pub positions: Vec<Ack>,
}

/// Why the machine refused an event. None is repaired by trying again; each
/// text says what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The peer has records of this sender that the sender does not know: its
    /// disk is older than the peer's memory of it (G2).
    #[error(
        "the peer has {lane:?} up to epoch {}, number {}, which this store never wrote: \
         the store is an old copy; start a new epoch",
        peer.epoch, peer.through
    )]
    PeerAhead {
        /// Which lane.
        lane: Lane,
        /// Where the peer stands.
        peer: Ack,
    },
    /// The peer acknowledged what was not sent to it in this session.
    #[error(
        "the peer acknowledged {lane:?} up to number {through}, of which only {sent} was sent; \
         close the connection"
    )]
    AckBeyondSent {
        /// Which lane.
        lane: Lane,
        /// What it acknowledged.
        through: u64,
        /// What was sent.
        sent: u64,
    },
    /// A new epoch, tail or position does not follow the last.
    #[error("numbers of {lane:?} do not rise; the store and the lane machine disagree")]
    NotRising {
        /// Which lane.
        lane: Lane,
    },
    /// The host returned records that were not asked for.
    #[error("the store returned other records of {lane:?} than were asked for")]
    NotAsked {
        /// Which lane.
        lane: Lane,
    },
    /// Records that must be in the store are not there, and nobody said that
    /// they were dropped ([`Sender::dropped`]).
    #[error("{lane:?} has no records from {from} to {through}; they vanished from the store")]
    Vanished {
        /// Which lane.
        lane: Lane,
        /// First number missing.
        from: u64,
        /// Last number missing.
        through: u64,
    },
    /// A record does not fit a frame; it must be refused when it is appended.
    #[error("record {seq} of {lane:?} is longer than {MAX_RECORD} bytes")]
    RecordTooLarge {
        /// Which lane.
        lane: Lane,
        /// Its number.
        seq: u64,
    },
    /// A frame that no honest sender makes: numbers overflow or nothing in it.
    #[error("a frame of {lane:?} makes no sense; close the connection")]
    Senseless {
        /// Which lane.
        lane: Lane,
    },
    /// The lane is not in use in this direction.
    #[error("{lane:?} is not in use in this direction; close the connection")]
    UnknownLane {
        /// Which lane.
        lane: Lane,
    },
}

#[cfg(test)]
mod tests;
