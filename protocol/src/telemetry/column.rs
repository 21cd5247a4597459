//! One column of a block at rest.

use super::{
    Aggregate, Rollup,
    block::{damaged, take_section},
    model::{Beliefs, Column, Guess, Shape, mean_above, sum_above},
    range::{Decoder, Encoder},
    rollup::shape,
};
use crate::{ProtocolError, codec::varint};
use pco::{ChunkConfig, data_types::Number, standalone};

/// Rows from which on pco's tables pay.
const LONG: usize = 256;

const RANGE: u8 = 0;
const STREAMS: u8 = 1;
const SUMS: u8 = 2;
const SPARSE: u8 = 4;

/// A column on its way into a block.
pub(super) enum Packed<'a> {
    /// By the range coder.
    Short(&'a [Rollup], usize),
    /// By pco.
    Long(&'a [Rollup], usize),
}

impl<'a> Packed<'a> {
    pub(super) fn choose(rollups: &'a [Rollup], at: usize) -> Self {
        if rollups.len() < LONG { Self::Short(rollups, at) } else { Self::Long(rollups, at) }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        match self {
            Self::Short(rollups, at) => Ok(encode_short(rollups, *at)),
            Self::Long(rollups, at) => encode_long(rollups, *at),
        }
    }
}

pub(super) fn decode(
    mut bytes: &[u8],
    counts: &[u16],
) -> Result<Vec<Option<Aggregate>>, ProtocolError> {
    let tag = *bytes.split_off_first().ok_or_else(damaged)?;
    let cells = if tag == RANGE {
        decode_short(bytes, counts)
    } else if tag & STREAMS != 0 && tag <= STREAMS | SUMS | SPARSE {
        decode_long(tag, bytes, counts)?
    } else {
        return Err(damaged());
    };
    if cells.iter().flatten().any(|a| !a.is_sane()) {
        return Err(damaged());
    }
    Ok(cells)
}

fn encode_short(rollups: &[Rollup], at: usize) -> Vec<u8> {
    let (mut coder, mut beliefs) = (Encoder::new(vec![RANGE]), Beliefs::new());
    let shape = beliefs.shape(&mut coder, rollups.len(), shape(rollups, at));
    let mut column = Column::default();
    for rollup in rollups {
        beliefs.cell(&mut coder, shape, &mut column, rollup.count, rollup.values[at]);
    }
    coder.finish(1)
}

fn decode_short(bytes: &[u8], counts: &[u16]) -> Vec<Option<Aggregate>> {
    let (mut coder, mut beliefs) = (Decoder::new(bytes), Beliefs::new());
    let any = Shape { guess: Guess::Last, shift: 0, sums: false };
    let shape = beliefs.shape(&mut coder, counts.len(), any);
    let mut column = Column::default();
    counts.iter().map(|&count| beliefs.cell(&mut coder, shape, &mut column, count, None)).collect()
}

fn encode_long(rollups: &[Rollup], at: usize) -> Result<Vec<u8>, ProtocolError> {
    let Shape { shift, sums, .. } = shape(rollups, at);
    let cells = || rollups.iter().filter_map(|r| Some((r.count, r.values[at]?)));
    let present = cells().count();
    let sparse = present < rollups.len();
    let tag = STREAMS | if sums { SUMS } else { 0 } | if sparse { SPARSE } else { 0 };
    let mut out = vec![tag, shift as u8];
    if sparse {
        let mut bitmap = vec![0u8; rollups.len().div_ceil(8)];
        for (row, _) in rollups.iter().enumerate().filter(|(_, r)| r.values[at].is_some()) {
            bitmap[row / 8] |= 1 << (row % 8);
        }
        out.extend_from_slice(&bitmap);
    }
    put_stream(&mut out, cells().map(|(_, a)| a.last >> shift))?;
    put_stream(&mut out, cells().map(|(_, a)| (a.max.wrapping_sub(a.last) as u64) >> shift))?;
    put_stream(&mut out, cells().map(|(_, a)| (a.last.wrapping_sub(a.min) as u64) >> shift))?;
    put_stream(
        &mut out,
        cells().map(|(count, a)| {
            let above = a.avg.wrapping_sub(a.min) as u64;
            if sums { sum_above(above, u64::from(count.max(1)), shift) } else { above }
        }),
    )?;
    Ok(out)
}

fn decode_long(
    tag: u8,
    mut bytes: &[u8],
    counts: &[u16],
) -> Result<Vec<Option<Aggregate>>, ProtocolError> {
    let shift = u32::from(*bytes.split_off_first().ok_or_else(damaged)?);
    if shift > 62 {
        return Err(damaged());
    }
    let bitmap = match tag & SPARSE {
        0 => None,
        _ => Some(bytes.split_off(..counts.len().div_ceil(8)).ok_or_else(damaged)?),
    };
    let is_present = |row: usize| bitmap.is_none_or(|b| b[row / 8] >> (row % 8) & 1 == 1);
    let present = (0..counts.len()).filter(|row| is_present(*row)).count();
    let last: Vec<i64> = take_stream(&mut bytes, present)?;
    let up: Vec<u64> = take_stream(&mut bytes, present)?;
    let down: Vec<u64> = take_stream(&mut bytes, present)?;
    let mean: Vec<u64> = take_stream(&mut bytes, present)?;
    if !bytes.is_empty() {
        return Err(damaged());
    }
    let mut next = 0;
    let cells = counts.iter().enumerate().map(|(row, &count)| {
        if !is_present(row) {
            return None;
        }
        let at = next;
        next += 1;
        let latest = last[at] << shift;
        let min = latest.wrapping_sub((down[at] << shift) as i64);
        let above = match tag & SUMS {
            0 => mean[at],
            _ => mean_above(mean[at], u64::from(count.max(1)), shift),
        };
        Some(Aggregate {
            last: latest,
            min,
            max: latest.wrapping_add((up[at] << shift) as i64),
            avg: min.wrapping_add(above as i64),
        })
    });
    Ok(cells.collect())
}

/// Appends a stream: its length, then pco; or length 0 and the one value that all
/// have.
fn put_stream<T: Number + ZigZag>(
    out: &mut Vec<u8>,
    numbers: impl Iterator<Item = T>,
) -> Result<(), ProtocolError> {
    let numbers: Vec<T> = numbers.collect();
    let first = numbers.first().copied().unwrap_or_else(|| T::from_varint(0));
    if numbers.iter().all(|n| *n == first) {
        varint::put(out, 0);
        varint::put(out, first.to_varint());
        return Ok(());
    }
    let packed = standalone::simple_compress(&numbers, &ChunkConfig::default())
        .map_err(|e| ProtocolError::Malformed(e.to_string()))?;
    varint::put(out, packed.len() as u64);
    out.extend_from_slice(&packed);
    Ok(())
}

fn take_stream<T: Number + ZigZag>(
    rest: &mut &[u8],
    count: usize,
) -> Result<Vec<T>, ProtocolError> {
    let section = take_section(rest)?;
    if section.is_empty() {
        let value = T::from_varint(varint::take(rest).ok_or_else(damaged)?);
        return Ok(vec![value; count]);
    }
    let mut numbers = vec![T::from_varint(0); count];
    let progress =
        standalone::simple_decompress_into(section, &mut numbers).map_err(|_| damaged())?;
    if !progress.finished || progress.n_processed != count {
        return Err(damaged());
    }
    Ok(numbers)
}

/// Numbers that a variable-length integer can carry.
trait ZigZag: Copy + PartialEq {
    fn to_varint(self) -> u64;
    fn from_varint(value: u64) -> Self;
}

impl ZigZag for u64 {
    fn to_varint(self) -> u64 {
        self
    }
    fn from_varint(value: u64) -> Self {
        value
    }
}

impl ZigZag for i64 {
    fn to_varint(self) -> u64 {
        ((self << 1) ^ (self >> 63)) as u64
    }
    fn from_varint(value: u64) -> Self {
        (value >> 1) as i64 ^ -((value & 1) as i64)
    }
}
