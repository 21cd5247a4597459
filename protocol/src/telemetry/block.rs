//! Rollups at rest: one block a device and period, from which single columns are
//! read.
//!
//! Layout: format, rows, columns; the time section (minutes and counts, shared by
//! all columns); the length of each column; the columns; four bytes of BLAKE3 over
//! all before. A column is four streams (latest value, how far the largest and
//! the smallest lie from it, where the mean lies), each by pco when the block is
//! long, or one stream of the range coder when it is short, where pco's tables
//! would outweigh the numbers.
//!
//! Whatever the bytes, decoding allocates no more than the bounds of
//! [`super::rollup`] allow.

use super::{
    Aggregate, Rollup,
    column::{self, Packed},
    model::Beliefs,
    range::{Decoder, Encoder},
    rollup::{bounds, check},
};
use crate::{ProtocolError, codec::varint};

/// The latest format that is read, the first byte of a block.
pub const LATEST: u8 = FORMAT;
const FORMAT: u8 = 1;
const SUM: usize = 4;

/// A block, taken apart; columns are decoded one by one.
#[derive(Debug, Clone)]
pub struct Block<'a> {
    minutes: Vec<u64>,
    counts: Vec<u16>,
    columns: Vec<&'a [u8]>,
}

/// Encodes rollups of rising minutes that all have the same columns.
///
/// # Errors
/// As [`super::RollupBlock::encode`].
pub fn encode(rollups: &[Rollup]) -> Result<Vec<u8>, ProtocolError> {
    let width = check(rollups)?;
    let mut out = vec![FORMAT];
    varint::put(&mut out, rollups.len() as u64);
    varint::put(&mut out, width as u64);
    let time = encode_time(rollups);
    varint::put(&mut out, time.len() as u64);
    out.extend_from_slice(&time);
    let columns =
        (0..width).map(|at| Packed::choose(rollups, at).encode()).collect::<Result<Vec<_>, _>>()?;
    for column in &columns {
        varint::put(&mut out, column.len() as u64);
    }
    for column in &columns {
        out.extend_from_slice(column);
    }
    let sum = blake3::hash(&out);
    out.extend_from_slice(&sum.as_bytes()[..SUM]);
    Ok(out)
}

/// Decodes all of a block.
///
/// # Errors
/// [`ProtocolError`] when the bytes are not a block or exceed its bounds.
pub fn decode(bytes: &[u8]) -> Result<Vec<Rollup>, ProtocolError> {
    Block::parse(bytes)?.rollups()
}

impl<'a> Block<'a> {
    /// Checks a block and reads its time section.
    ///
    /// # Errors
    /// [`ProtocolError`] when the bytes are not a block or exceed its bounds.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ProtocolError> {
        let (content, sum) = bytes
            .split_at_checked(bytes.len().saturating_sub(SUM))
            .filter(|(_, sum)| sum.len() == SUM)
            .ok_or_else(damaged)?;
        if blake3::hash(content).as_bytes()[..SUM] != *sum {
            return Err(damaged());
        }
        Self::parse_content(content)
    }

    /// What [`Block::parse`] does after the checksum.
    pub(crate) fn parse_content(content: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut rest = content;
        if *rest.split_off_first().ok_or_else(damaged)? != FORMAT {
            return Err(ProtocolError::Invalid("the metrics block has a later format"));
        }
        let rows = varint::take(&mut rest).ok_or_else(damaged)?;
        let width = varint::take(&mut rest).ok_or_else(damaged)?;
        let (rows, width) = bounds(rows, width)?;
        let (minutes, counts) = decode_time(take_section(&mut rest)?, rows)?;
        let lengths = (0..width)
            .map(|_| varint::take(&mut rest).and_then(|n| usize::try_from(n).ok()))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(damaged)?;
        let mut columns = Vec::with_capacity(width);
        for length in lengths {
            columns.push(rest.split_off(..length).ok_or_else(damaged)?);
        }
        if !rest.is_empty() {
            return Err(damaged());
        }
        Ok(Self { minutes, counts, columns })
    }

    /// The minutes, rising.
    #[must_use]
    pub fn minutes(&self) -> &[u64] {
        &self.minutes
    }

    /// Samples that went into each minute.
    #[must_use]
    pub fn counts(&self) -> &[u16] {
        &self.counts
    }

    /// How many columns there are.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Decodes one column: a cell a minute.
    ///
    /// # Errors
    /// [`ProtocolError`] when there is no such column or it is damaged.
    pub fn column(&self, at: usize) -> Result<Vec<Option<Aggregate>>, ProtocolError> {
        let bytes =
            self.columns.get(at).ok_or(ProtocolError::Invalid("the block has no such column"))?;
        column::decode(bytes, &self.counts)
    }

    /// Decodes all columns.
    ///
    /// # Errors
    /// [`ProtocolError`] when a column is damaged.
    pub fn rollups(&self) -> Result<Vec<Rollup>, ProtocolError> {
        let mut rollups: Vec<_> = self
            .minutes
            .iter()
            .zip(&self.counts)
            .map(|(&minute, &count)| Rollup {
                minute,
                count,
                values: Vec::with_capacity(self.columns.len()),
            })
            .collect();
        for at in 0..self.columns.len() {
            for (rollup, cell) in rollups.iter_mut().zip(self.column(at)?) {
                rollup.values.push(cell);
            }
        }
        Ok(rollups)
    }
}

pub(super) fn damaged() -> ProtocolError {
    ProtocolError::Malformed("the metrics block is damaged".into())
}

/// Takes a length and as many bytes from the front.
pub(super) fn take_section<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], ProtocolError> {
    let length = varint::take(rest).and_then(|n| usize::try_from(n).ok()).ok_or_else(damaged)?;
    rest.split_off(..length).ok_or_else(damaged)
}

fn encode_time(rollups: &[Rollup]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put(&mut out, rollups[0].minute);
    varint::put(&mut out, u64::from(rollups[0].count));
    let header = out.len();
    let (mut coder, mut beliefs) = (Encoder::new(out), Beliefs::new());
    for pair in rollups.windows(2) {
        let step = pair[1].minute - pair[0].minute;
        beliefs.row(&mut coder, step, pair[0].count, pair[1].count);
    }
    coder.finish(header)
}

fn decode_time(mut bytes: &[u8], rows: usize) -> Result<(Vec<u64>, Vec<u16>), ProtocolError> {
    let mut minute = varint::take(&mut bytes).ok_or_else(damaged)?;
    let count = varint::take(&mut bytes).and_then(|n| u16::try_from(n).ok());
    let mut count = count.ok_or_else(damaged)?;
    let (mut minutes, mut counts) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    let (mut coder, mut beliefs) = (Decoder::new(bytes), Beliefs::new());
    for row in 0..rows {
        if row > 0 {
            let (step, of) = beliefs.row(&mut coder, 1, count, 0);
            minute = minute.checked_add(step).ok_or_else(damaged)?;
            count = of;
        }
        minutes.push(minute);
        counts.push(count);
    }
    Ok((minutes, counts))
}
