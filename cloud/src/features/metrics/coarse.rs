//! Measurements that grow coarser with age, without I/O: minutes become quarters
//! of an hour, those become hours.

use std::collections::BTreeMap;
use unifyit_protocol::telemetry::{Aggregate, Rollup};

/// How coarse a packed block is, and the span of time of one block: 1,440 rows at
/// most, where the encoding is at its best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    /// Minutes a row.
    pub(super) step: u64,
}

impl Period {
    /// A day of minutes.
    pub(super) const DAY: Self = Self { step: 1 };
    /// Fifteen days of quarters.
    pub(super) const QUARTERS: Self = Self { step: 15 };
    /// Sixty days of hours.
    pub(super) const HOURS: Self = Self { step: 60 };

    /// Minutes of a block's span.
    pub(super) const fn minutes(self) -> u64 {
        self.step * 1440
    }
}

/// Rollups of rising minutes as rollups of longer steps.
pub(super) fn coarser(rollups: &[Rollup], step: u64) -> Vec<Rollup> {
    let mut slots: BTreeMap<u64, Gathered> = BTreeMap::new();
    for rollup in rollups {
        slots.entry(rollup.minute / step * step).or_default().add(rollup);
    }
    slots.into_iter().map(|(minute, gathered)| gathered.rollup(minute)).collect()
}

#[derive(Default)]
struct Gathered {
    count: u64,
    cells: Vec<Option<Sum>>,
}

#[derive(Clone, Copy)]
struct Sum {
    min: i64,
    max: i64,
    last: i64,
    sum: i128,
    weight: i128,
}

impl Gathered {
    fn add(&mut self, rollup: &Rollup) {
        self.count += u64::from(rollup.count);
        if self.cells.len() < rollup.values.len() {
            self.cells.resize(rollup.values.len(), None);
        }
        // A minute without a count still weighs.
        let weight = i128::from(rollup.count.max(1));
        for (into, cell) in self.cells.iter_mut().zip(&rollup.values) {
            let Some(Aggregate { min, max, avg, last }) = *cell else { continue };
            let sum = i128::from(avg) * weight;
            *into = Some(match *into {
                None => Sum { min, max, last, sum, weight },
                Some(had) => Sum {
                    min: had.min.min(min),
                    max: had.max.max(max),
                    last,
                    sum: had.sum + sum,
                    weight: had.weight + weight,
                },
            });
        }
    }

    fn rollup(self, minute: u64) -> Rollup {
        let values = self.cells.into_iter().map(|cell| cell.map(Sum::aggregate)).collect();
        Rollup { minute, count: u16::try_from(self.count).unwrap_or(u16::MAX), values }
    }
}

impl Sum {
    fn aggregate(self) -> Aggregate {
        // Rounded to nearest, ties away from zero; a mean lies between its parts.
        let half = self.weight / 2 * self.sum.signum();
        let avg = (self.sum + half) / self.weight;
        let avg = i64::try_from(avg).unwrap_or(self.last).clamp(self.min, self.max);
        Aggregate { min: self.min, max: self.max, avg, last: self.last }
    }
}

/// Parts rollups into those of one width and all others. The width is that of
/// their table, or the most frequent one where that is not known.
pub(super) fn of_one_width(
    rollups: Vec<Rollup>,
    known: Option<usize>,
) -> (Vec<Rollup>, Vec<Rollup>) {
    let width = known.unwrap_or_else(|| {
        let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
        for rollup in &rollups {
            *widths.entry(rollup.values.len()).or_default() += 1;
        }
        widths.into_iter().max_by_key(|(_, times)| *times).map_or(0, |(width, _)| width)
    });
    rollups.into_iter().partition(|rollup| rollup.values.len() == width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollup(minute: u64, count: u16, values: &[Option<(i64, i64, i64, i64)>]) -> Rollup {
        let cell = |(min, max, avg, last)| Aggregate { min, max, avg, last };
        Rollup { minute, count, values: values.iter().map(|v| v.map(cell)).collect() }
    }

    #[test]
    fn minutes_come_to_a_quarter_as_their_samples_would() {
        let rollups = [
            rollup(30, 6, &[Some((1, 9, 5, 3)), None]),
            rollup(31, 2, &[Some((-4, 2, -3, -1)), Some((7, 7, 7, 7))]),
            rollup(44, 6, &[None, None]),
            rollup(45, 1, &[Some((0, 0, 0, 0)), None]),
        ];
        let quarters = coarser(&rollups, 15);
        assert_eq!(quarters.len(), 2);
        // (6 × 5 + 2 × -3) / 8 = 3.
        let first = rollup(30, 14, &[Some((-4, 9, 3, -1)), Some((7, 7, 7, 7))]);
        assert_eq!(quarters, [first, rollup(45, 1, &[Some((0, 0, 0, 0)), None])]);
        assert!(quarters.iter().flat_map(|r| r.values.iter().flatten()).all(Aggregate::is_sane));
        assert_eq!(coarser(&coarser(&rollups, 15), 60), coarser(&rollups, 60));
    }

    #[test]
    fn means_round_away_from_zero_and_extremes_do_not_overflow() {
        let pair = |a: i64, b: i64| {
            let one = |n| Some((n, n, n, n));
            coarser(&[rollup(0, 1, &[one(a)]), rollup(1, 1, &[one(b)])], 15)[0].values[0]
                .map(|a| a.avg)
        };
        assert_eq!(pair(1, 2), Some(2));
        assert_eq!(pair(-1, -2), Some(-2));
        assert_eq!(pair(i64::MAX, i64::MAX), Some(i64::MAX));
        assert_eq!(pair(i64::MIN, i64::MIN), Some(i64::MIN));
    }

    #[test]
    fn rollups_of_another_width_are_parted_from_those_that_fit() {
        let (narrow, wide) = (rollup(1, 1, &[None]), rollup(2, 1, &[None, None]));
        let (fit, odd) = of_one_width(vec![narrow.clone(), wide.clone()], Some(2));
        assert_eq!((fit, odd), (vec![wide.clone()], vec![narrow.clone()]));
        let (fit, _) = of_one_width(vec![narrow.clone(), wide, narrow.clone()], None);
        assert_eq!(fit, vec![narrow.clone(), narrow]);
    }
}
