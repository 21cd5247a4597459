//! Models of single numbers for the range coder.

use super::range::{Coder, Prob};

/// Numbers of any size: how their bit length differs from the last one in bits
/// coded one by one, then the leading bits of the mantissa, then the rest evenly.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    step: [[Prob; 24]; 4],
    mantissa: [[Prob; 4]; 24],
}

impl Numbers {
    pub(super) fn new() -> Self {
        Self { step: [[Prob::default(); 24]; 4], mantissa: [[Prob::default(); 4]; 24] }
    }

    /// Codes a number whose bit length is about `*near`, and moves `near`.
    pub(super) fn code(&mut self, coder: &mut impl Coder, near: &mut u8, value: u64) -> u64 {
        let around = u32::from(*near).min(64);
        let length = 64 - value.leading_zeros();
        let steps = &mut self.step[match around {
            0 => 0,
            1..=3 => 1,
            4..=9 => 2,
            _ => 3,
        }];
        // Lengths are tried from the likeliest outwards: as before, one more, one
        // less, two more, … The last one left needs no bit.
        let mut found = 0;
        let mut order = outwards(around).enumerate().peekable();
        while let Some((n, candidate)) = order.next() {
            found = candidate;
            if order.peek().is_none() || coder.bit(&mut steps[n.min(23)], length == candidate) {
                break;
            }
        }
        *near = found as u8;
        if found <= 1 {
            return u64::from(found);
        }
        let below = found - 1;
        let mantissa = &mut self.mantissa[(found as usize).min(23)];
        let first = coder.bit(&mut mantissa[0], value >> (below - 1) & 1 == 1);
        let mut out = 2 | u64::from(first);
        let mut left = below - 1;
        if left > 0 {
            left -= 1;
            let second = coder.bit(&mut mantissa[1 + usize::from(first)], value >> left & 1 == 1);
            out = out << 1 | u64::from(second);
        }
        if left > 0 {
            out = out << left | coder.raw(left, value & ((1 << left) - 1));
        }
        out
    }
}

/// All bit lengths, nearest to `around` first.
fn outwards(around: u32) -> impl Iterator<Item = u32> {
    (0..=128).filter_map(move |n: u32| {
        let by = n.div_ceil(2);
        let length = if n % 2 == 1 { around + by } else { around.checked_sub(by)? };
        (length <= 64).then_some(length)
    })
}

/// A position within a known span: sixteen buckets that learn, then evenly.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    buckets: [[Prob; 16]; 12],
}

impl Positions {
    pub(super) fn new() -> Self {
        Self { buckets: [[Prob::default(); 16]; 12] }
    }

    /// Codes `value`, `0 ≤ value ≤ span`.
    pub(super) fn code(&mut self, coder: &mut impl Coder, span: u64, value: u64) -> u64 {
        let size = u128::from(span) + 1;
        let tree = &mut self.buckets[match span {
            0 => return 0,
            1..=7 => span as usize,
            8..=15 => 8,
            16..=63 => 9,
            64..=4095 => 10,
            _ => 11,
        }];
        let bucket = (u128::from(value.min(span)) * 16 / size) as u64;
        let mut node = 1usize;
        for level in (0..4).rev() {
            let bit = coder.bit(&mut tree[node], bucket >> level & 1 == 1);
            node = node * 2 + usize::from(bit);
        }
        let bucket = (node - 16) as u128;
        let (start, end) = ((bucket * size).div_ceil(16), ((bucket + 1) * size).div_ceil(16));
        let start = start as u64;
        let inside = (end as u64).wrapping_sub(start);
        if inside <= 1 {
            return start.min(span);
        }
        start.saturating_add(evenly(coder, inside, value.wrapping_sub(start))).min(span)
    }
}

/// Codes one of `total` values, `value < total`.
fn evenly(coder: &mut impl Coder, total: u64, value: u64) -> u64 {
    let low = (64 - (total - 1).leading_zeros()).saturating_sub(16);
    let high = ((total - 1) >> low) as u32 + 1;
    let top = coder.even(high, (value >> low).min(u64::from(high - 1)) as u32);
    let rest = coder.raw(low, value & ((1 << low) - 1));
    (u64::from(top) << low | rest).min(total - 1)
}
