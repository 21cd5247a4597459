//! The receiving half: which records are new, and where it stands.
//!
//! Two positions a lane: `accepted` runs ahead as frames are handed to the host,
//! `durable` follows when the host has committed. Only `durable` is ever told to
//! the peer (G1); only what lies beyond `accepted` is ever handed out (G2).

use super::{Ack, Data, Lane, LaneError, Resume};
use std::collections::BTreeMap;

/// What to do with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Apply these records in one transaction together with the position, then
    /// call [`Receiver::committed`].
    Apply(Apply),
    /// Nothing new. Send this acknowledgement: the last one may be lost.
    Duplicate(Ack),
    /// A frame is missing before this one. Send this.
    OutOfStep(Resume),
    /// Still out of step; the peer was told. Send nothing.
    Ignored,
}

/// Records to apply, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apply {
    /// Records not seen before, with their numbers. Empty when the frame only
    /// steps over dropped numbers.
    pub records: Vec<(u64, Vec<u8>)>,
    /// Numbers directly before the first record that the sender dropped.
    pub skipped: u64,
    /// The position that belongs into the same transaction, and what to send
    /// once it is durable.
    pub becomes: Ack,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    durable: Option<(u64, u64)>,
    accepted: Option<(u64, u64)>,
    told: bool,
}

/// The receiving half of the lane machine, for one peer.
///
/// A host keeps one receiver a peer. When it makes another one for another
/// session, the transactions of the last must have ended, or check the position
/// they move from.
#[derive(Debug, Clone)]
pub struct Receiver {
    lanes: BTreeMap<Lane, Place>,
}

impl Receiver {
    /// A receiver of the given lanes that stands at the given durable positions.
    #[must_use]
    pub fn new(lanes: &[Lane], durable: impl IntoIterator<Item = Ack>) -> Self {
        let at_the_start = lanes.iter().map(|lane| (*lane, Place::default()));
        let durable = durable.into_iter().map(|ack| {
            let at = Some((ack.epoch, ack.through));
            (ack.lane, Place { durable: at, accepted: at, told: false })
        });
        Self { lanes: at_the_start.chain(durable).collect() }
    }

    /// The lanes that it takes, for [`LinkHello::lanes`](crate::link::LinkHello::lanes).
    #[must_use]
    pub fn lanes(&self) -> Vec<Lane> {
        self.lanes.keys().copied().collect()
    }

    /// Where this receiver stands durably: the first frame of a session, and an
    /// answer to a peer that seems lost.
    pub fn resume(&mut self) -> Resume {
        for place in self.lanes.values_mut() {
            place.told = false;
        }
        self.positions()
    }

    /// Judges a frame.
    ///
    /// # Errors
    /// [`LaneError::UnknownLane`] and [`LaneError::Senseless`]: the peer is
    /// broken, close the connection.
    pub fn accept(&mut self, data: Data) -> Result<Verdict, LaneError> {
        let lane = data.lane;
        let senseless = LaneError::Senseless { lane };
        let through = data.through().ok_or(senseless)?;
        if through == data.prev {
            return Err(senseless);
        }
        let place = self.lanes.get_mut(&lane).ok_or(LaneError::UnknownLane { lane })?;
        let seen = match place.accepted {
            Some((epoch, _)) if data.epoch < epoch => {
                return Ok(Verdict::Duplicate(durable_ack(lane, place, data.epoch)));
            }
            Some((epoch, seen)) if data.epoch == epoch => seen,
            // An epoch opens with its first number and no other.
            _ => 0,
        };
        if data.prev > seen {
            if std::mem::replace(&mut place.told, true) {
                return Ok(Verdict::Ignored);
            }
            return Ok(Verdict::OutOfStep(self.positions()));
        }
        place.told = false;
        if through <= seen {
            return Ok(Verdict::Duplicate(durable_ack(lane, place, data.epoch)));
        }
        let epoch = data.epoch;
        place.accepted = Some((epoch, through));
        let before = data.prev + data.skipped;
        let records = data.numbered().filter(|(seq, _)| *seq > seen).collect();
        Ok(Verdict::Apply(Apply {
            records,
            skipped: before.saturating_sub(seen),
            becomes: Ack { lane, epoch, through },
        }))
    }

    /// The host's transaction with this position is durable. A later position
    /// of the lane covers the earlier ones.
    ///
    /// # Errors
    /// [`LaneError::NotRising`] when that was never handed out.
    pub fn committed(&mut self, ack: Ack) -> Result<(), LaneError> {
        let lane = ack.lane;
        let place = self.lanes.get_mut(&lane).ok_or(LaneError::UnknownLane { lane })?;
        let at = Some((ack.epoch, ack.through));
        if at > place.accepted {
            return Err(LaneError::NotRising { lane });
        }
        place.durable = place.durable.max(at);
        Ok(())
    }

    /// The host's transaction failed: forgets what was handed out and not
    /// committed. Send the answer; the peer goes on from there.
    pub fn abandoned(&mut self) -> Resume {
        for place in self.lanes.values_mut() {
            place.accepted = place.durable;
        }
        self.resume()
    }

    /// Records of a lane handed out and not yet committed, for back-pressure and
    /// as a metric. Counts within the present epoch.
    #[must_use]
    pub fn uncommitted(&self, lane: Lane) -> u64 {
        let Some(place) = self.lanes.get(&lane) else { return 0 };
        match (place.accepted, place.durable) {
            (Some((e, a)), Some((f, d))) if e == f => a.saturating_sub(d),
            (Some((_, a)), _) => a,
            (None, _) => 0,
        }
    }

    fn positions(&self) -> Resume {
        let durable = self.lanes.iter().filter_map(|(lane, place)| {
            let (epoch, through) = place.durable?;
            Some(Ack { lane: *lane, epoch, through })
        });
        Resume { positions: durable.collect() }
    }
}

fn durable_ack(lane: Lane, place: &Place, epoch: u64) -> Ack {
    let (epoch, through) = place.durable.unwrap_or((epoch, 0));
    Ack { lane, epoch, through }
}
