//! Joining and downsampling of rollups, without I/O.

use super::model::SeriesBody;
use std::collections::{BTreeMap, HashMap};
use unifyit_protocol::telemetry::{Aggregate, Series};

/// Points of an answer when no step is asked for, about.
const POINTS: u64 = 500;
/// Most points of an answer: a week of minutes.
pub(super) const MAX_POINTS: u64 = 11_000;

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
}

impl Range {
    /// The steps that cover a range of Unix milliseconds.
    pub(super) fn new(from_ms: u64, to_ms: u64, step_s: Option<u64>) -> Result<Self, &'static str> {
        if to_ms <= from_ms {
            return Err("`to` must lie after `from`.");
        }
        let span_minutes = (to_ms - from_ms).div_ceil(60_000);
        let step = match step_s {
            Some(step_s) => step_s.div_ceil(60).max(1),
            None => span_minutes.div_ceil(POINTS).max(1),
        };
        let first = from_ms / 60_000 / step * step;
        let steps = (to_ms.div_ceil(60_000) - first).div_ceil(step);
        if steps > MAX_POINTS {
            return Err(
                "That is more than 11000 points; ask for a longer step or a shorter range.",
            );
        }
        Ok(Self { first, step, steps })
    }

    /// Minute after the last.
    pub(super) fn end(&self) -> u64 {
        self.first + self.step * self.steps
    }

    /// The step that a minute falls into.
    fn slot(&self, minute: u64) -> Option<usize> {
        let steps = minute.checked_sub(self.first)? / self.step;
        usize::try_from(steps).ok().filter(|_| steps < self.steps)
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

/// Gathers columns into steps.
pub(super) struct Downsampler {
    range: Range,
    lines: BTreeMap<(String, String, String), Vec<Option<Cell>>>,
}

impl Downsampler {
    pub(super) fn new(range: Range) -> Self {
        Self { range, lines: BTreeMap::new() }
    }

    /// Adds a column: what each minute came to, and of how many samples.
    /// `holds` says whether the row of an index still holds, or was replaced.
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

    /// The lines, by name and label.
    pub(super) fn finish(self) -> Vec<SeriesBody> {
        let column = |cells: &[Option<Cell>], value: fn(&Cell) -> f64| {
            cells.iter().map(|cell| cell.as_ref().map(|c| tidy(value(c)))).collect()
        };
        self.lines
            .into_iter()
            .map(|((name, label, unit), cells)| SeriesBody {
                name,
                label,
                unit,
                avg: column(&cells, |c| c.sum / c.count),
                min: column(&cells, |c| c.min),
                max: column(&cells, |c| c.max),
            })
            .collect()
    }
}

/// Rounds away the noise of decimal fractions in binary.
fn tidy(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Which row of each (table, minute) arrived last.
#[derive(Debug, Default)]
pub(super) struct Latest(HashMap<(i64, u64), usize>);

impl Latest {
    /// Takes note of a block; blocks are told in the order of their arrival.
    pub(super) fn note(&mut self, block: usize, table: i64, minutes: &[u64]) {
        for minute in minutes {
            self.0.insert((table, *minute), block);
        }
    }

    /// Whether a minute of a block was not replaced by a later block.
    pub(super) fn holds(&self, block: usize, table: i64, minute: u64) -> bool {
        self.0.get(&(table, minute)) == Some(&block)
    }
}
