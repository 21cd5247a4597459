//! Clocks compared, and the words about them, the same at agent, relay and cloud.
//!
//! The cloud's clock is the one by which commands are dated; a relay learns it over
//! its link, its agents learn it from the relay. Whoever asks sends a reading of its
//! uptime along, which comes back with the answer: half of the way is the answer's.

use serde::{Deserialize, Serialize};

/// Asks for the other's time, and tells one's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockAsk {
    /// The asker's uptime, milliseconds; comes back as it is.
    pub asked_ms: u64,
    /// The asker's own clock, Unix milliseconds, however wrong.
    pub now_ms: u64,
}

/// Tells the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockAnswer {
    /// Of the question; `None` where nobody asked: the time was set.
    #[serde(default)]
    pub asked_ms: Option<u64>,
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// A device's or a relay's clock that differs by no more than this is right: it
/// covers the resolution of what is shown and slow answers.
pub const CLOCK_RIGHT_MS: u64 = 60_000;

/// A span of time in words, at most two units: `2 h 3 min`, `45 s`, `1 d 2 h`.
#[must_use]
pub fn span(ms: u64) -> String {
    let s = ms / 1000;
    let units = [(365 * 86_400, "y"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(length, _)| s >= *length).unwrap_or(units.len() - 1);
    let (length, unit) = units[first];
    let rest = units.get(first + 1).map(|(l, u)| (s % length / l, u)).filter(|(n, _)| *n > 0);
    match rest {
        Some((n, u)) => format!("{} {unit} {n} {u}", s / length),
        None => format!("{} {unit}", s / length),
    }
}

/// The sentence about a clock: `whose` clock, and by how much it is ahead
/// (negative: behind). `None` when it is right.
#[must_use]
pub fn sentence(whose: &str, ahead_ms: i64) -> Option<String> {
    if ahead_ms.unsigned_abs() <= CLOCK_RIGHT_MS {
        return None;
    }
    let word = if ahead_ms > 0 { "ahead" } else { "behind" };
    Some(format!("{whose} clock is {} {word}.", span(ahead_ms.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        let ms = |h: u64, min: u64, s: u64| ((h * 60 + min) * 60 + s) * 1000;
        assert_eq!(span(0), "0 s");
        assert_eq!(span(ms(0, 0, 45)), "45 s");
        assert_eq!(span(ms(0, 20, 0)), "20 min");
        assert_eq!(span(ms(2, 3, 50)), "2 h 3 min");
        assert_eq!(span(ms(48, 0, 7)), "2 d");
        assert_eq!(span(ms(24 * 3653, 0, 0)), "10 y 3 d");
    }

    #[test]
    fn a_wrong_clock_is_told_in_a_sentence_and_a_right_one_is_not() {
        let two_h_three = (2 * 60 + 3) * 60_000;
        let told = |ahead| sentence("This computer's", ahead);
        assert_eq!(told(two_h_three).unwrap(), "This computer's clock is 2 h 3 min ahead.");
        assert_eq!(told(-900_000).unwrap(), "This computer's clock is 15 min behind.");
        assert_eq!(told(-60_000), None);
    }
}
