//! How the numbers of rollups are modelled for the range coder: shared beliefs
//! that learn over all columns of a block, and what each column remembers of its
//! last row.

use super::{
    Aggregate,
    numbers::{Numbers, Positions},
    range::{Coder, Prob},
};

/// From what the latest value of a column is guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guess {
    /// The last value: gauges that drift.
    Last,
    /// The last mean: gauges that jump about.
    Mean,
    /// The last value and as much more as it rose before: counters and clocks.
    Line,
}

impl Guess {
    pub(super) const ALL: [Self; 3] = [Self::Last, Self::Mean, Self::Line];
}

/// How a column is coded; stands before its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) guess: Guess,
    /// All of `min`, `max`, `last` are multiples of `1 << shift`.
    pub(super) shift: u32,
    /// Each mean is a rounded sum of `count` such multiples.
    pub(super) sums: bool,
}

/// What a column remembers of its rows so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Column {
    rows: u32,
    present: bool,
    last: i64,
    before: i64,
    mean: i64,
    still: bool,
    flat: bool,
    up: u64,
    down: u64,
    mean_below: u64,
    steady: [bool; 3],
    near: u8,
    near_up: u8,
    near_down: u8,
}

impl Column {
    /// The guess for the next latest value, in units of the column.
    pub(super) fn guess(&self, shape: Shape) -> i64 {
        match shape.guess {
            _ if self.rows == 0 => 0,
            Guess::Last => self.last,
            Guess::Mean => self.mean >> shape.shift,
            Guess::Line if self.rows == 1 => self.last,
            Guess::Line => self.last.wrapping_add(self.last.wrapping_sub(self.before)),
        }
    }

    /// Whether nothing was noted yet.
    pub(super) fn is_first(&self) -> bool {
        self.rows == 0
    }

    /// Takes note of a row.
    pub(super) fn note(&mut self, shape: Shape, last: i64, mean: i64) {
        self.before = self.last;
        self.last = last >> shape.shift;
        self.mean = mean;
        self.rows = self.rows.saturating_add(1);
    }
}

/// What is believed of all columns of a block.
#[derive(Debug, Clone)]
pub(super) struct Beliefs {
    present: [Prob; 2],
    guess: [Prob; 3],
    shifted: Prob,
    sums: Prob,
    still: [Prob; 4],
    negative: [Prob; 2],
    flat: [Prob; 8],
    same: [[Prob; 2]; 3],
    firsts: Numbers,
    changes: Numbers,
    spreads: Numbers,
    means: Positions,
    near_first: u8,
    near_shift: u8,
    shifts: Numbers,
    next_minute: Prob,
    same_count: Prob,
    steps: Numbers,
    near_step: u8,
}

impl Beliefs {
    pub(super) fn new() -> Self {
        Self {
            present: [Prob::believing(30_000), Prob::believing(65_000)],
            guess: [Prob::default(); 3],
            shifted: Prob::believing(10_000),
            sums: Prob::believing(60_000),
            still: [Prob::default(); 4],
            negative: [Prob::believing(2_000), Prob::default()],
            flat: [Prob::default(); 8],
            same: [[Prob::believing(6_000), Prob::believing(50_000)]; 3],
            firsts: Numbers::new(),
            changes: Numbers::new(),
            spreads: Numbers::new(),
            means: Positions::new(),
            near_first: 8,
            near_shift: 4,
            shifts: Numbers::new(),
            next_minute: Prob::believing(64_000),
            same_count: Prob::believing(60_000),
            steps: Numbers::new(),
            near_step: 2,
        }
    }

    /// Codes the distance in minutes to the next row, and its count.
    pub(super) fn row(
        &mut self,
        coder: &mut impl Coder,
        step: u64,
        before: u16,
        count: u16,
    ) -> (u64, u16) {
        let step = if coder.bit(&mut self.next_minute, step == 1) {
            1
        } else {
            self.steps.code(coder, &mut self.near_step, step).max(1)
        };
        let count = if coder.bit(&mut self.same_count, count == before) {
            before
        } else {
            coder.even(1 << 16, u32::from(count)) as u16
        };
        (step, count)
    }

    /// Codes how a column is coded.
    pub(super) fn shape(&mut self, coder: &mut impl Coder, rows: usize, shape: Shape) -> Shape {
        let guess = if rows < 2 || coder.bit(&mut self.guess[0], shape.guess == Guess::Last) {
            Guess::Last
        } else if coder.bit(&mut self.guess[1], shape.guess == Guess::Mean) {
            Guess::Mean
        } else {
            Guess::Line
        };
        if !coder.bit(&mut self.shifted, shape.shift > 0) {
            return Shape { guess, shift: 0, sums: false };
        }
        let shift = self.shifts.code(coder, &mut self.near_shift, u64::from(shape.shift));
        let sums = coder.bit(&mut self.sums, shape.sums);
        Shape { guess, shift: shift.min(62) as u32, sums }
    }

    /// Codes a cell.
    pub(super) fn cell(
        &mut self,
        coder: &mut impl Coder,
        shape: Shape,
        column: &mut Column,
        count: u16,
        cell: Option<Aggregate>,
    ) -> Option<Aggregate> {
        let known = column.rows == 0 || column.present;
        column.present = coder.bit(&mut self.present[usize::from(known)], cell.is_some());
        if !column.present {
            return None;
        }
        let a = cell.unwrap_or(Aggregate { min: 0, max: 0, avg: 0, last: 0 });
        let shift = shape.shift;
        let last = self.last(coder, shape, column, a.last >> shift);
        let state = 4 * usize::from(column.rows > 0)
            + 2 * usize::from(column.flat)
            + usize::from(column.still);
        column.flat = coder.bit(&mut self.flat[state], a.min == a.max);
        let mut out = Aggregate { last: last << shift, min: 0, max: 0, avg: 0 };
        if column.flat {
            (out.min, out.max, out.avg) = (out.last, out.last, out.last);
        } else {
            let up = (a.max.wrapping_sub(a.last) as u64) >> shift;
            let up = self.spread(coder, 0, column, up);
            let down = (a.last.wrapping_sub(a.min) as u64) >> shift;
            let down = self.spread(coder, 1, column, down);
            out.max = out.last.wrapping_add((up << shift) as i64);
            out.min = out.last.wrapping_sub((down << shift) as i64);
            out.avg = self.mean(coder, shape, column, u64::from(count.max(1)), a.avg, out);
        }
        column.note(shape, out.last, out.avg);
        Some(out)
    }

    fn last(
        &mut self,
        coder: &mut impl Coder,
        shape: Shape,
        column: &mut Column,
        last: i64,
    ) -> i64 {
        if column.rows == 0 {
            let negative = coder.bit(&mut self.negative[0], last < 0);
            let size = self.firsts.code(coder, &mut self.near_first, magnitude(last));
            column.near = 0;
            return signed(negative, size);
        }
        let guess = column.guess(shape);
        let change = last.wrapping_sub(guess);
        let state = usize::from(column.still) * 2 + usize::from(column.flat);
        column.still = coder.bit(&mut self.still[state], change == 0);
        if column.still {
            return guess;
        }
        let negative = coder.bit(&mut self.negative[1], change < 0);
        let size = self.changes.code(coder, &mut column.near, magnitude(change));
        guess.wrapping_add(signed(negative, size))
    }

    fn spread(
        &mut self,
        coder: &mut impl Coder,
        which: usize,
        column: &mut Column,
        value: u64,
    ) -> u64 {
        let (before, near) = match which {
            0 => (column.up, &mut column.near_up),
            _ => (column.down, &mut column.near_down),
        };
        if column.rows > 0 {
            let steady = &mut column.steady[which];
            *steady = coder.bit(&mut self.same[which][usize::from(*steady)], value == before);
            if *steady {
                return before;
            }
        }
        let value = self.spreads.code(coder, near, value);
        match which {
            0 => column.up = value,
            _ => column.down = value,
        }
        value
    }

    /// Codes the mean, of which `known` has the bounds.
    fn mean(
        &mut self,
        coder: &mut impl Coder,
        shape: Shape,
        column: &mut Column,
        count: u64,
        mean: i64,
        known: Aggregate,
    ) -> i64 {
        let below = known.max.wrapping_sub(mean) as u64;
        if column.rows > 0 {
            let steady = &mut column.steady[2];
            *steady =
                coder.bit(&mut self.same[2][usize::from(*steady)], below == column.mean_below);
            if *steady {
                return known.max.wrapping_sub(column.mean_below as i64);
            }
        }
        let span = known.max.wrapping_sub(known.min) as u64;
        let above = if shape.sums {
            let span = (span >> shape.shift).saturating_mul(count);
            let sum = sum_above(mean.wrapping_sub(known.min) as u64, count, shape.shift);
            mean_above(self.means.code(coder, span, sum), count, shape.shift)
        } else {
            self.means.code(coder, span, mean.wrapping_sub(known.min) as u64)
        };
        let mean = known.min.wrapping_add(above as i64);
        column.mean_below = known.max.wrapping_sub(mean) as u64;
        mean
    }
}

/// The sum, in units of `1 << shift` above `count` times the minimum, that a mean
/// stems from.
pub(super) fn sum_above(mean: u64, count: u64, shift: u32) -> u64 {
    let unit = 1u128 << shift;
    ((u128::from(mean) * u128::from(count) + unit / 2) / unit) as u64
}

/// The mean that such a sum has, both above the minimum.
pub(super) fn mean_above(sum: u64, count: u64, shift: u32) -> u64 {
    let scaled = u128::from(sum) << shift;
    ((scaled + u128::from(count) / 2) / u128::from(count)) as u64
}

fn magnitude(value: i64) -> u64 {
    value.unsigned_abs()
}

fn signed(negative: bool, size: u64) -> i64 {
    let size = size as i64;
    if negative { size.wrapping_neg() } else { size }
}
