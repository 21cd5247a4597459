//! From samples to one-minute rollups.
//!
//! Pure: the relay feeds the samples of one device in the order in which they
//! were taken and is told which minutes are complete. A minute is complete when
//! a sample of another minute or table arrives, or when the clock is well past
//! its end. A device whose clock was set back may complete a minute twice; the
//! two are joined with [`Rollup::merge`].

use super::{Aggregate, MAX_SERIES, Rollup, Sample};
use crate::ProtocolError;

const MINUTE_MS: u64 = 60_000;

/// A minute that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Table that names the columns.
    pub table: u32,
    /// The rollup.
    pub rollup: Rollup,
}

/// Gathers the samples of one device.
#[derive(Debug, Clone, Default)]
pub struct RollupBuilder {
    open: Option<Open>,
}

#[derive(Debug, Clone)]
struct Open {
    table: u32,
    minute: u64,
    count: u16,
    columns: Vec<Option<Running>>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    min: i64,
    max: i64,
    last: i64,
    sum: i128,
    count: u32,
}

impl RollupBuilder {
    /// A builder without samples.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a sample; the minute before it, when this sample completes it.
    ///
    /// # Errors
    /// [`ProtocolError::Invalid`] for more than [`MAX_SERIES`] columns.
    pub fn push(&mut self, sample: &Sample) -> Result<Option<Closed>, ProtocolError> {
        if sample.values.len() > MAX_SERIES {
            return Err(ProtocolError::Invalid("the sample has too many columns"));
        }
        let minute = sample.at_ms / MINUTE_MS;
        let continues = self.open.as_ref().is_some_and(|open| {
            open.table == sample.table
                && open.minute == minute
                && open.columns.len() == sample.values.len()
                && open.count < u16::MAX
        });
        let closed = if continues { None } else { self.finish() };
        let open = self.open.get_or_insert_with(|| Open {
            table: sample.table,
            minute,
            count: 0,
            columns: vec![None; sample.values.len()],
        });
        open.count += 1;
        for (column, value) in open.columns.iter_mut().zip(&sample.values) {
            let Some(value) = *value else { continue };
            match column {
                Some(running) => running.take(value),
                None => *column = Some(Running::new(value)),
            }
        }
        Ok(closed)
    }

    /// The open minute, if it ended at least `grace_ms` before `now_ms`.
    pub fn close(&mut self, now_ms: u64, grace_ms: u64) -> Option<Closed> {
        let open = self.open.as_ref()?;
        let end = open.minute.saturating_add(1).saturating_mul(MINUTE_MS);
        if now_ms < end.saturating_add(grace_ms) {
            return None;
        }
        self.finish()
    }

    /// The open minute as far as it goes: for shutdown.
    pub fn finish(&mut self) -> Option<Closed> {
        let open = self.open.take()?;
        let values = open.columns.iter().map(|c| c.as_ref().map(Running::aggregate)).collect();
        Some(Closed {
            table: open.table,
            rollup: Rollup { minute: open.minute, count: open.count, values },
        })
    }
}

impl Running {
    fn new(value: i64) -> Self {
        Self { min: value, max: value, last: value, sum: i128::from(value), count: 1 }
    }

    fn take(&mut self, value: i64) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.last = value;
        self.sum += i128::from(value);
        self.count += 1;
    }

    fn aggregate(&self) -> Aggregate {
        let avg = mean(self.sum, i128::from(self.count));
        Aggregate { min: self.min, max: self.max, avg, last: self.last }
    }
}

impl Rollup {
    /// Joins a later part of the same minute and table to this one. The mean
    /// weighs the parts by their counts.
    ///
    /// # Errors
    /// [`ProtocolError::Invalid`] when minutes or columns differ.
    pub fn merge(&mut self, later: &Self) -> Result<(), ProtocolError> {
        if self.minute != later.minute || self.values.len() != later.values.len() {
            return Err(ProtocolError::Invalid("the rollups are of different minutes or columns"));
        }
        let (n, m) = (i128::from(self.count.max(1)), i128::from(later.count.max(1)));
        for (mine, theirs) in self.values.iter_mut().zip(&later.values) {
            *mine = match (*mine, *theirs) {
                (Some(a), Some(b)) => Some(Aggregate {
                    min: a.min.min(b.min),
                    max: a.max.max(b.max),
                    avg: mean(i128::from(a.avg) * n + i128::from(b.avg) * m, n + m),
                    last: b.last,
                }),
                (a, b) => b.or(a),
            };
        }
        self.count = self.count.saturating_add(later.count);
        Ok(())
    }
}

/// Rounds to nearest, ties away from zero. A mean of `i64`s fits one.
fn mean(sum: i128, count: i128) -> i64 {
    let half = if sum < 0 { -(count / 2) } else { count / 2 };
    ((sum + half) / count) as i64
}
