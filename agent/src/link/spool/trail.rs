//! What went for good: where each lane's forgotten records end, and when they were
//! made. A relay that was set back to an older state has lost some of what it had
//! acknowledged; what the spool still keeps is told again, and the trail says how
//! much of the rest there was and of which time (G6).
//!
//! Bounded: a trail is thinned as it grows, so that old times become coarse; the
//! last record of each epoch stays exact, and with it the count.

use super::book::{Position, index};
use crate::store::{META, StoreError};
use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};
use unifyit_protocol::{codec, lane::Lane};

/// Marks of one lane.
const MAX_MARKS: usize = 64;
/// Marks are at least this far apart.
const APART_MS: u64 = 60_000;
const SAVED: &str = "spool trails";

/// A record that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    at: Position,
    ms: u64,
}

/// What lies between a position and the end of a trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Records.
    pub count: u64,
    /// When the first was made, Unix milliseconds.
    pub from_ms: u64,
    /// When the last was made, Unix milliseconds.
    pub to_ms: u64,
}

/// The trail of one lane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trail(Vec<Mark>);

impl Trail {
    /// A record is gone, and all before it.
    pub fn note(&mut self, at: Position, ms: u64) {
        let (last, before) = (self.0.last().copied(), self.0.iter().nth_back(1).copied());
        match last {
            Some(last) if last.at >= at => return,
            // The last one moves on until it is far enough from the one before.
            Some(last)
                if last.at.epoch == at.epoch
                    && before.is_some_and(|b| {
                        b.at.epoch == at.epoch && last.ms.abs_diff(b.ms) < APART_MS
                    }) =>
            {
                self.0.pop();
            }
            _ => {}
        }
        self.0.push(Mark { at, ms });
        if self.0.len() > MAX_MARKS {
            self.thin();
        }
    }

    /// Drops every second mark of the older half that is not the end of its epoch;
    /// the oldest, where all are.
    fn thin(&mut self) {
        let (old, count) = (self.0.len() / 2, self.0.len());
        let ends =
            |n: usize| self.0.get(n + 1).is_none_or(|next| next.at.epoch != self.0[n].at.epoch);
        let keep: Vec<bool> = (0..count).map(|n| n >= old || n % 2 == 0 || ends(n)).collect();
        let mut keep = keep.into_iter();
        self.0.retain(|_| keep.next().unwrap_or(true));
        if self.0.len() == count {
            self.0.remove(0);
        }
    }

    /// What is gone after a position. `None` when nothing is.
    #[must_use]
    pub fn lost_after(&self, there: Position) -> Option<Lost> {
        let last = self.0.last().filter(|last| last.at > there)?;
        let (mut count, mut ends) = (0, self.0.iter().peekable());
        while let Some(mark) = ends.next() {
            if ends.peek().is_some_and(|next| next.at.epoch == mark.at.epoch) || mark.at <= there {
                continue;
            }
            let known = if mark.at.epoch == there.epoch { there.seq } else { 0 };
            count += mark.at.seq.saturating_sub(known);
        }
        let from_ms = self.made_after(there).min(last.ms);
        Some(Lost { count, from_ms, to_ms: last.ms })
    }

    /// About when the record after a position was made.
    fn made_after(&self, there: Position) -> u64 {
        let next = self.0.partition_point(|mark| mark.at <= there);
        let before = next.checked_sub(1).map(|n| self.0[n]);
        let Some(next) = self.0.get(next) else { return u64::MAX };
        match before {
            Some(before) if before.at.epoch == next.at.epoch => {
                let (done, all) = (there.seq - before.at.seq + 1, next.at.seq - before.at.seq);
                before.ms + next.ms.saturating_sub(before.ms) / all.max(1) * done.min(all)
            }
            Some(before) => before.ms,
            // An epoch is named after the time at which it began.
            None => there.epoch.max(next.at.epoch).min(next.ms),
        }
    }
}

/// The trails of all lanes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trails([Trail; 4]);

impl Trails {
    /// Reads them; ones that cannot be read are forgotten.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn load(tables: &WriteTransaction) -> Result<Self, StoreError> {
        let meta = tables.open_table(META)?;
        let saved = meta.get(SAVED)?;
        Ok(saved.and_then(|bytes| codec::decode(bytes.value()).ok()).unwrap_or_default())
    }

    /// Writes them down.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub fn save(&self, tables: &WriteTransaction) -> Result<(), StoreError> {
        tables.open_table(META)?.insert(SAVED, codec::encode(self)?.as_slice())?;
        Ok(())
    }

    /// The trail of a lane.
    pub fn of(&mut self, lane: Lane) -> &mut Trail {
        &mut self.0[index(lane)]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn at(epoch: u64, seq: u64) -> Position {
        Position { epoch, seq }
    }

    #[test]
    fn what_is_lost_is_counted_exactly_over_epochs_and_its_time_is_close() {
        let mut trail = Trail::default();
        let ms = |epoch: u64, seq: u64| epoch * 100_000_000 + seq * 10_000;
        for (epoch, records) in [(1, 5000), (2, 17), (3, 900)] {
            for seq in 1..=records {
                trail.note(at(epoch, seq), ms(epoch, seq));
            }
        }
        assert!(trail.0.len() <= MAX_MARKS);
        assert_eq!(trail.lost_after(at(3, 900)), None);
        let lost = trail.lost_after(at(3, 700)).unwrap();
        assert_eq!((lost.count, lost.to_ms), (200, ms(3, 900)));
        assert!(lost.from_ms.abs_diff(ms(3, 701)) <= 60_000, "{lost:?}");
        let lost = trail.lost_after(at(1, 4000)).unwrap();
        assert_eq!(lost.count, 1000 + 17 + 900);
        assert!(lost.from_ms <= ms(1, 5000) && lost.from_ms >= ms(1, 3000), "{lost:?}");
        assert_eq!(trail.lost_after(Position::default()).unwrap().count, 5000 + 17 + 900);
    }

    #[test]
    fn a_trail_of_many_starts_stays_bounded() {
        let mut trail = Trail::default();
        for epoch in 1..1000 {
            trail.note(at(epoch, 3), epoch);
        }
        assert!(trail.0.len() <= MAX_MARKS);
        assert_eq!(trail.lost_after(at(998, 1)).unwrap().count, 2 + 3);
    }
}
