//! One-minute rollups and their columnar encoding on the wire.
//!
//! A [`RollupBlock`] is a short header (format, rows, columns, first minute and
//! count, as variable-length integers) and one stream of the range coder: the
//! other minutes and counts, then column by column how it is coded and its cells.
//! Of a cell the latest value is coded against a guess, then how far the largest
//! and the smallest lie from it, then where between them the mean lies; a column
//! that stands still costs next to nothing. The stream ends with a check byte.
//!
//! Whatever the bytes, decoding allocates at most [`MAX_CELLS`] cells and takes
//! time in proportion to them.
//!
//! A second format adds one thing: a column may be named as the mirror of one before
//! it, of which it is what that one lacks of a constant in every row.

use super::{
    MAX_SERIES,
    model::{Beliefs, Column, Guess, Shape, mean_above, sum_above},
    range::{Coder, Decoder, Encoder, Prob},
};
use crate::{ProtocolError, codec::varint};
use serde::{Deserialize, Serialize};

/// Most rollups of one block: a week of minutes.
pub const MAX_MINUTES: usize = 7 * 1440;
/// Most cells (rollups × columns) of one block; 5 MB when decoded.
pub const MAX_CELLS: usize = 128 * 1024;

/// Every column stands by itself.
const PLAIN: u8 = 1;
/// A column may mirror one before it.
const MIRRORED: u8 = 2;
const CHECK: u64 = 0xA5;
/// Bits that number a column.
const INDEX_BITS: u32 = 9;
const _: () = assert!(MAX_SERIES <= 1 << INDEX_BITS);

/// What a minute of one series came to, in scaled integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Smallest.
    pub min: i64,
    /// Largest.
    pub max: i64,
    /// Mean, rounded to nearest, ties away from zero.
    pub avg: i64,
    /// Latest.
    pub last: i64,
}

impl Aggregate {
    /// Whether mean and latest lie between smallest and largest.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        (self.min..=self.max).contains(&self.avg) && (self.min..=self.max).contains(&self.last)
    }
}

/// All columns over one minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollup {
    /// Unix minutes: the minute that starts at `minute * 60_000` ms.
    pub minute: u64,
    /// Samples that went in. A column may have had fewer.
    pub count: u16,
    /// One aggregate a column; `None` where nothing was measured.
    pub values: Vec<Option<Aggregate>>,
}

/// Consecutive rollups of one device and series table, column by column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollupBlock {
    /// [`super::SeriesTable::hash`] of the columns.
    pub table: u32,
    /// The encoded columns.
    #[serde(with = "serde_bytes")]
    pub columns: Vec<u8>,
}

impl RollupBlock {
    /// Encodes rollups of rising minutes that all have the same columns.
    ///
    /// # Errors
    /// [`ProtocolError::Invalid`] when there is none, when minutes do not rise,
    /// columns differ, an aggregate is not sane, or there are more than
    /// [`MAX_MINUTES`], [`MAX_SERIES`] or [`MAX_CELLS`].
    pub fn encode(table: u32, rollups: &[Rollup]) -> Result<Self, ProtocolError> {
        Self::encode_as(PLAIN, table, rollups)
    }

    /// As [`RollupBlock::encode`], and a column that is what another lacks of a
    /// constant (free memory beside used memory) takes next to nothing. Not read by
    /// clouds that do not say [`takes_newest`](crate::link::LinkHello::takes_newest).
    ///
    /// # Errors
    /// As [`RollupBlock::encode`].
    pub fn encode_mirrored(table: u32, rollups: &[Rollup]) -> Result<Self, ProtocolError> {
        Self::encode_as(MIRRORED, table, rollups)
    }

    fn encode_as(format: u8, table: u32, rollups: &[Rollup]) -> Result<Self, ProtocolError> {
        let width = check(rollups)?;
        let mut out = Vec::with_capacity(32 + rollups.len() * width / 2);
        out.push(format);
        varint::put(&mut out, rollups.len() as u64);
        varint::put(&mut out, width as u64);
        varint::put(&mut out, rollups[0].minute);
        varint::put(&mut out, u64::from(rollups[0].count));
        let header = out.len();
        let mut coder = Encoder::new(out);
        let mut beliefs = Beliefs::new();
        for pair in rollups.windows(2) {
            let step = pair[1].minute - pair[0].minute;
            beliefs.row(&mut coder, step, pair[0].count, pair[1].count);
        }
        let mut mirrors = Prob::believing(1_000);
        for at in 0..width {
            if format == MIRRORED && at > 0 {
                let mirror = mirrored(rollups, at);
                coder.bit(&mut mirrors, mirror.is_some());
                if let Some((of, sum)) = mirror {
                    coder.raw(INDEX_BITS, of as u64);
                    coder.raw(64, sum as u64);
                    continue;
                }
            }
            let shape = shape(rollups, at);
            let shape = beliefs.shape(&mut coder, rollups.len(), shape);
            let mut column = Column::default();
            for rollup in rollups {
                let cell = rollup.values[at];
                beliefs.cell(&mut coder, shape, &mut column, rollup.count, cell);
            }
        }
        coder.raw(8, CHECK);
        Ok(Self { table, columns: coder.finish(header) })
    }

    /// The latest format that is read, the first byte of a block.
    pub const LATEST: u8 = MIRRORED;

    /// Rows and columns, as the header names them and within the bounds; none when
    /// the bytes are not a block. What decoding will cost is known by this alone.
    #[must_use]
    pub fn dimensions(&self) -> Option<(usize, usize)> {
        let mut bytes = self.columns.as_slice();
        let format = bytes.split_off_first()?;
        let (rows, width) = (varint::take(&mut bytes)?, varint::take(&mut bytes)?);
        matches!(*format, PLAIN | MIRRORED).then(|| bounds(rows, width).ok()).flatten()
    }

    /// Its first minute, as the header names it; none when the bytes are not a block.
    #[must_use]
    pub fn first_minute(&self) -> Option<u64> {
        self.dimensions()?;
        let mut bytes = self.columns.get(1..)?;
        varint::take(&mut bytes)?;
        varint::take(&mut bytes)?;
        varint::take(&mut bytes)
    }

    /// Decodes.
    ///
    /// # Errors
    /// [`ProtocolError`] when the bytes are not a block or exceed its bounds.
    pub fn decode(&self) -> Result<Vec<Rollup>, ProtocolError> {
        let damaged = || ProtocolError::Malformed("the rollup block is damaged".into());
        let mut bytes = self.columns.as_slice();
        let format = bytes.split_off_first().ok_or_else(damaged)?;
        if !matches!(*format, PLAIN | MIRRORED) {
            return Err(ProtocolError::Invalid("the rollup block has a later format"));
        }
        let mut next = || varint::take(&mut bytes).ok_or_else(damaged);
        let (rows, width, minute, count) = (next()?, next()?, next()?, next()?);
        let (rows, width) = bounds(rows, width)?;
        let count = u16::try_from(count).map_err(|_| damaged())?;
        let mut coder = Decoder::new(bytes);
        let mut beliefs = Beliefs::new();
        let mut rollups = Vec::with_capacity(rows);
        rollups.push(Rollup { minute, count, values: Vec::with_capacity(width) });
        let (mut minute, mut count) = (minute, count);
        for _ in 1..rows {
            let (step, of) = beliefs.row(&mut coder, 1, count, 0);
            minute = minute.checked_add(step).ok_or_else(damaged)?;
            count = of;
            rollups.push(Rollup { minute, count, values: Vec::with_capacity(width) });
        }
        let any = Shape { guess: Guess::Last, shift: 0, sums: false };
        let mut mirrors = Prob::believing(1_000);
        for at in 0..width {
            if *format == MIRRORED && at > 0 && coder.bit(&mut mirrors, false) {
                let of = coder.raw(INDEX_BITS, 0) as usize;
                let sum = coder.raw(64, 0) as i64;
                for rollup in &mut rollups {
                    let cell = *rollup.values.get(of).ok_or_else(damaged)?;
                    let cell = cell.map(|a| mirror(a, sum));
                    if cell.is_some_and(|a| !a.is_sane()) {
                        return Err(damaged());
                    }
                    rollup.values.push(cell);
                }
                continue;
            }
            let shape = beliefs.shape(&mut coder, rows, any);
            let mut column = Column::default();
            for rollup in &mut rollups {
                let cell = beliefs.cell(&mut coder, shape, &mut column, rollup.count, None);
                if cell.is_some_and(|a| !a.is_sane()) {
                    return Err(damaged());
                }
                rollup.values.push(cell);
            }
        }
        if coder.raw(8, 0) != CHECK || !coder.is_exhausted() {
            return Err(damaged());
        }
        Ok(rollups)
    }
}

/// What a value lacks of a sum.
fn mirror(a: Aggregate, sum: i64) -> Aggregate {
    let of = |value: i64| sum.wrapping_sub(value);
    Aggregate { min: of(a.max), max: of(a.min), avg: of(a.avg), last: of(a.last) }
}

/// The column before this one that it mirrors in every row, and their sum. One that
/// stands still costs less by itself.
fn mirrored(rollups: &[Rollup], at: usize) -> Option<(usize, i64)> {
    let cells = |at: usize| rollups.iter().map(move |rollup| rollup.values[at]);
    let first = cells(at).flatten().next()?;
    if cells(at).flatten().all(|a| a == first) {
        return None;
    }
    (0..at).find_map(|of| {
        let (a, b) = cells(at).zip(cells(of)).find_map(|(a, b)| Some((a?, b?)))?;
        let sum = a.last.wrapping_add(b.last);
        cells(at).eq(cells(of).map(|b| b.map(|b| mirror(b, sum)))).then_some((of, sum))
    })
}

/// Checks what all encodings of rollups demand; how many columns there are.
pub(super) fn check(rollups: &[Rollup]) -> Result<usize, ProtocolError> {
    let refuse = |why| Err(ProtocolError::Invalid(why));
    let Some(first) = rollups.first() else { return refuse("a block needs a rollup") };
    let width = first.values.len();
    bounds(rollups.len() as u64, width as u64)?;
    if rollups.iter().any(|r| r.values.len() != width) {
        return refuse("the rollups have different columns");
    }
    if rollups.windows(2).any(|pair| pair[0].minute >= pair[1].minute) {
        return refuse("the minutes do not rise");
    }
    if rollups.iter().flat_map(|r| r.values.iter().flatten()).any(|a| !a.is_sane()) {
        return refuse("a mean or latest value lies outside of its span");
    }
    Ok(width)
}

/// Checks the dimensions of a block.
pub(super) fn bounds(rows: u64, width: u64) -> Result<(usize, usize), ProtocolError> {
    let within = |n: u64, most: usize| usize::try_from(n).ok().filter(|n| *n <= most);
    let (Some(rows), Some(width)) = (within(rows, MAX_MINUTES), within(width, MAX_SERIES)) else {
        return Err(ProtocolError::Invalid("the block has too many rollups or columns"));
    };
    if rows == 0 || rows * width > MAX_CELLS {
        return Err(ProtocolError::Invalid("the block has no rollups or too many cells"));
    }
    Ok((rows, width))
}

/// Finds how a column is coded shortest.
pub(super) fn shape(rollups: &[Rollup], at: usize) -> Shape {
    let mut bits = 0u64;
    for a in rollups.iter().filter_map(|r| r.values[at].as_ref()) {
        bits |= (a.min | a.max | a.last) as u64;
    }
    // Small powers come by chance and save nothing.
    let shift = if bits == 0 { 0 } else { bits.trailing_zeros().min(62) };
    let shift = if shift < 3 { 0 } else { shift };
    let sums = shift > 0
        && rollups.iter().all(|r| {
            let count = u64::from(r.count.max(1));
            r.values[at].as_ref().is_none_or(|a| {
                let above = a.avg.wrapping_sub(a.min) as u64;
                let span = (a.max.wrapping_sub(a.min) as u64) >> shift;
                let sum = sum_above(above, count, shift);
                u128::from(sum) <= u128::from(span) * u128::from(count)
                    && mean_above(sum, count, shift) == above
            })
        });
    let mut best = (u64::MAX, Guess::Last);
    for guess in Guess::ALL {
        let shape = Shape { guess, shift, sums };
        let mut column = Column::default();
        let mut cost = 0u64;
        for a in rollups.iter().filter_map(|r| r.values[at].as_ref()) {
            let off = (a.last >> shift).wrapping_sub(column.guess(shape));
            if !column.is_first() {
                cost += u64::from(64 - off.unsigned_abs().leading_zeros());
            }
            column.note(shape, a.last, a.avg);
        }
        if cost < best.0 {
            best = (cost, guess);
        }
    }
    Shape { guess: best.1, shift, sums }
}
