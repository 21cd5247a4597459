//! Joining and downsampling of rollups, without I/O.

use super::model::SeriesBody;
use std::collections::{BTreeMap, HashSet};
use unifyit_protocol::telemetry::{Aggregate, Series};

/// Points of an answer when no step is asked for, about.
const POINTS: u64 = 500;
/// Most points of an answer: a week of minutes.
pub(super) const MAX_POINTS: u64 = 11_000;
/// Most values of an answer, over all of its lines: forty of them over a week of
/// minutes. Each takes about 120 bytes until it is sent.
const MAX_VALUES: u64 = 500_000;
/// Longest step: a year, in seconds.
const MAX_STEP_S: u64 = 366 * 86_400;
/// End of the year 9999, in Unix milliseconds: no answer can name a later time.
const END_MS: u64 = 253_402_300_800_000;

/// A range cut into steps. Steps are aligned to the epoch, so that a moving range
/// gives the same steps again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    /// First minute.
    pub(super) first: u64,
    /// Minutes a step.
    pub(super) step: u64,
    /// How many steps.
    pub(super) steps: u64,
    /// First minute asked for, and the one after the last.
    asked: (u64, u64),
}

impl Range {
    /// The steps that cover a range of Unix milliseconds.
    pub(super) fn new(from_ms: u64, to_ms: u64, step_s: Option<u64>) -> Result<Self, &'static str> {
        if to_ms <= from_ms {
            return Err("`to` must lie after `from`.");
        }
        if to_ms > END_MS {
            return Err("`to` must lie before the year 10000.");
        }
        if step_s.is_some_and(|step| step > MAX_STEP_S) {
            return Err("`step` is a number of seconds, at most 31622400 (a year).");
        }
        let asked = (from_ms / 60_000, to_ms.div_ceil(60_000));
        let step = match step_s {
            Some(step_s) => step_s.div_ceil(60).max(1),
            None => (to_ms - from_ms).div_ceil(60_000).div_ceil(POINTS).max(1),
        };
        let range = Self::cut(asked, step);
        if range.steps > MAX_POINTS {
            return Err(
                "That is more than 11000 points; ask for a longer step or a shorter range.",
            );
        }
        Ok(range)
    }

    fn cut(asked: (u64, u64), step: u64) -> Self {
        let first = asked.0 / step * step;
        Self { first, step, steps: (asked.1 - first).div_ceil(step), asked }
    }

    /// The same range in steps of at least so many minutes.
    pub(super) fn at_least(self, step: u64) -> Self {
        if step <= self.step { self } else { Self::cut(self.asked, step) }
    }

    /// Minute after the last.
    pub(super) fn end(&self) -> u64 {
        self.first + self.step * self.steps
    }

    /// Most lines of an answer over this range.
    pub(super) fn most_lines(&self) -> usize {
        usize::try_from(MAX_VALUES / self.steps.max(1)).unwrap_or_default().max(1)
    }

    /// The step that a minute falls into.
    fn slot(&self, minute: u64) -> Option<usize> {
        let steps = minute.checked_sub(self.first)? / self.step;
        usize::try_from(steps).ok().filter(|_| steps < self.steps)
    }

    /// Whether a minute lies in the range.
    pub(super) fn holds(&self, minute: u64) -> bool {
        self.slot(minute).is_some()
    }

    /// Start of each step, Unix milliseconds.
    pub(super) fn times(&self) -> Vec<u64> {
        (0..self.steps).map(|n| (self.first + n * self.step) * 60_000).collect()
    }
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    min: f64,
    max: f64,
    sum: f64,
    count: f64,
}

type Key = (String, String, String);

/// Gathers columns into steps.
pub(super) struct Downsampler {
    range: Range,
    lines: BTreeMap<Key, Vec<Option<Cell>>>,
    left_out: HashSet<Key>,
}

impl Downsampler {
    pub(super) fn new(range: Range) -> Self {
        Self { range, lines: BTreeMap::new(), left_out: HashSet::new() }
    }

    /// Adds a column: what each minute came to, and of how many samples. The first
    /// columns to come find room; what finds none is counted.
    pub(super) fn add(
        &mut self,
        series: &Series,
        minutes: &[u64],
        counts: &[u16],
        column: &[Option<Aggregate>],
        holds: impl Fn(usize) -> bool,
    ) {
        let range = self.range;
        let key = (series.name.clone(), series.label.clone(), series.unit.clone());
        let steps = usize::try_from(range.steps).unwrap_or_default();
        if self.lines.len() >= range.most_lines() && !self.lines.contains_key(&key) {
            if self.left_out.len() < range.most_lines() {
                self.left_out.insert(key);
            }
            return;
        }
        let cells = self.lines.entry(key).or_insert_with(|| vec![None; steps]);
        let unit = 10f64.powi(-i32::from(series.scale.min(18)));
        for (row, ((minute, count), cell)) in minutes.iter().zip(counts).zip(column).enumerate() {
            let (Some(slot), Some(cell)) = (range.slot(*minute), cell) else { continue };
            if !holds(row) {
                continue;
            }
            // Floats carry what a chart shows; a minute without a count still weighs.
            let weight = f64::from((*count).max(1));
            let (min, max, avg) =
                (cell.min as f64 * unit, cell.max as f64 * unit, cell.avg as f64 * unit);
            let Some(into) = cells.get_mut(slot) else { continue };
            *into = Some(match *into {
                None => Cell { min, max, sum: avg * weight, count: weight },
                Some(had) => Cell {
                    min: had.min.min(min),
                    max: had.max.max(max),
                    sum: had.sum + avg * weight,
                    count: had.count + weight,
                },
            });
        }
    }

    /// The lines, by name and label, and how many found no room.
    pub(super) fn finish(self) -> (Vec<SeriesBody>, u64) {
        let column = |cells: &[Option<Cell>], value: fn(&Cell) -> f64| {
            cells.iter().map(|cell| cell.as_ref().map(|c| tidy(value(c)))).collect()
        };
        let left_out = self.left_out.len() as u64;
        let lines = self
            .lines
            .into_iter()
            .map(|((name, label, unit), cells)| SeriesBody {
                name,
                label,
                unit,
                avg: column(&cells, |c| c.sum / c.count),
                min: column(&cells, |c| c.min),
                max: column(&cells, |c| c.max),
            })
            .collect();
        (lines, left_out)
    }
}

/// Rounds away the noise of decimal fractions in binary.
fn tidy(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_step_or_a_time_beyond_all_bounds_is_refused() {
        let now = 1_800_000_000_000;
        for step in [u64::MAX, 9_223_372_036_854_775_807, 18_446_744_073_709_551_600] {
            assert!(Range::new(0, now, Some(step)).unwrap_err().contains("`step`"));
        }
        assert!(Range::new(0, u64::MAX, None).unwrap_err().contains("`to`"));
        let longest = Range::new(0, END_MS, Some(MAX_STEP_S)).unwrap();
        assert!(longest.times().windows(2).all(|pair| pair[0] < pair[1]));
        assert!(longest.end() * 60_000 >= END_MS);
    }

    #[test]
    fn a_range_in_longer_steps_still_covers_what_was_asked() {
        let range = Range::new(7 * 60_000, 100 * 60_000, Some(60)).unwrap();
        assert_eq!((range.first, range.step, range.end()), (7, 1, 100));
        let coarse = range.at_least(15);
        assert_eq!((coarse.first, coarse.step, coarse.end()), (0, 15, 105));
        assert_eq!(coarse.at_least(1), coarse);
    }

    #[test]
    fn lines_beyond_the_room_are_counted_and_left_out() {
        let range = Range::new(0, MAX_POINTS * 60_000, Some(60)).unwrap();
        let mut steps = Downsampler::new(range);
        let cell = Some(Aggregate { min: 1, max: 1, avg: 1, last: 1 });
        for n in 0..range.most_lines() + 3 {
            let series =
                Series { name: n.to_string(), label: String::new(), unit: "x".into(), scale: 0 };
            for _ in 0..2 {
                steps.add(&series, &[5], &[1], &[cell], |_| true);
            }
        }
        let (lines, left_out) = steps.finish();
        assert_eq!((lines.len(), left_out), (range.most_lines(), 3));
        assert!(lines.len() as u64 * range.steps <= MAX_VALUES);
    }
}
