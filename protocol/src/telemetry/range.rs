//! An adaptive binary range coder, the same code in both directions.
//!
//! A model asks a [`Coder`] to code a value. The encoder writes what it is given
//! and returns it; the decoder ignores what it is given and returns what it
//! reads. Models decide only by what is returned, so that encoder and decoder
//! cannot drift apart.
//!
//! The decoder is total: any bytes decode to some values, at a cost bounded by
//! what the caller asks for. Trailing zero bytes are not written; the decoder
//! reads zeros beyond the end.

/// Probability that a bit is set, learnt as bits pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prob {
    /// In 1/65536.
    set: u16,
    seen: u8,
}

/// Step of learning after so many bits, in 1/65536: quick at first, so that short
/// blocks profit, then an average over about forty bits.
const RATES: [u32; 40] = {
    let mut rates = [0; 40];
    let mut n = 0;
    while n < 40 {
        rates[n] = 655_360 / (10 * n as u32 + 17);
        n += 1;
    }
    rates
};
/// A probability never leaves this distance from 0 and 1.
const FLOOR: u16 = 48;

impl Prob {
    /// Starts from a belief: `set` in 1/65536.
    pub(super) const fn believing(set: u16) -> Self {
        Self { set, seen: 2 }
    }

    fn learn(&mut self, bit: bool) {
        let rate = RATES[usize::from(self.seen).min(RATES.len() - 1)];
        self.seen = self.seen.saturating_add(1);
        let set = u32::from(self.set);
        let moved =
            if bit { set + (((65_536 - set) * rate) >> 16) } else { set - ((set * rate) >> 16) };
        self.set = u16::try_from(moved).unwrap_or(u16::MAX).clamp(FLOOR, u16::MAX - FLOOR);
    }
}

impl Default for Prob {
    fn default() -> Self {
        Self { set: 32_768, seen: 0 }
    }
}

/// One direction of the coder.
pub(super) trait Coder {
    /// Codes a bit under an adaptive probability.
    fn bit(&mut self, prob: &mut Prob, bit: bool) -> bool;
    /// Codes one of `total` equally likely values, `1 ≤ total ≤ 65536`.
    fn even(&mut self, total: u32, value: u32) -> u32;

    /// Codes the low `count` bits of a value.
    fn raw(&mut self, count: u32, value: u64) -> u64 {
        let (mut left, mut out) = (count, 0u64);
        while left > 0 {
            let take = left.min(16);
            left -= take;
            let piece = (value >> left) & ((1 << take) - 1);
            out = (out << take) | u64::from(self.even(1 << take, piece as u32));
        }
        out
    }
}

const TOP: u32 = 1 << 24;

/// Writes.
#[derive(Debug)]
pub(super) struct Encoder {
    out: Vec<u8>,
    low: u32,
    range: u32,
}

impl Encoder {
    pub(super) fn new(out: Vec<u8>) -> Self {
        Self { out, low: 0, range: u32::MAX }
    }

    fn narrow(&mut self, start: u32, size: u32) {
        let (low, carry) = self.low.overflowing_add(start);
        if carry {
            self.carry();
        }
        (self.low, self.range) = (low, size);
        while self.range < TOP {
            self.out.push((self.low >> 24) as u8);
            self.low <<= 8;
            self.range <<= 8;
        }
    }

    fn carry(&mut self) {
        for byte in self.out.iter_mut().rev() {
            let (sum, over) = byte.overflowing_add(1);
            *byte = sum;
            if !over {
                return;
            }
        }
    }

    /// The bytes written, with as few at the end as identify the last interval.
    pub(super) fn finish(mut self, header: usize) -> Vec<u8> {
        let (end, carry) = self.low.overflowing_add(TOP - 1);
        if carry {
            self.carry();
        }
        self.out.push((end >> 24) as u8);
        while self.out.len() > header && self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

impl Coder for Encoder {
    fn bit(&mut self, prob: &mut Prob, bit: bool) -> bool {
        let bound = (self.range >> 16) * u32::from(prob.set);
        if bit {
            self.narrow(0, bound);
        } else {
            self.narrow(bound, self.range - bound);
        }
        prob.learn(bit);
        bit
    }

    fn even(&mut self, total: u32, value: u32) -> u32 {
        let step = self.range / total;
        self.narrow(step * value, step);
        value
    }
}

/// Reads.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    rest: &'a [u8],
    code: u32,
    range: u32,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { rest: bytes, code: 0, range: u32::MAX };
        for _ in 0..4 {
            decoder.shift();
        }
        decoder
    }

    fn shift(&mut self) {
        let byte = match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                *byte
            }
            None => 0,
        };
        self.code = (self.code << 8) | u32::from(byte);
    }

    fn narrow(&mut self, start: u32, size: u32) {
        self.code = self.code.wrapping_sub(start);
        self.range = size;
        while self.range < TOP {
            self.range <<= 8;
            self.shift();
        }
    }

    /// Whether all bytes were read: what remains would belong to nobody.
    pub(super) fn is_exhausted(&self) -> bool {
        self.rest.is_empty()
    }
}

impl Coder for Decoder<'_> {
    fn bit(&mut self, prob: &mut Prob, _: bool) -> bool {
        let bound = (self.range >> 16) * u32::from(prob.set);
        let bit = self.code < bound;
        if bit {
            self.narrow(0, bound);
        } else {
            self.narrow(bound, self.range - bound);
        }
        prob.learn(bit);
        bit
    }

    fn even(&mut self, total: u32, _: u32) -> u32 {
        let step = self.range / total;
        let value = (self.code / step).min(total - 1);
        self.narrow(step * value, step);
        value
    }
}
