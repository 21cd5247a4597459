//! The only place that asks the system for the time of day.
//!
//! Decisions take `now_ms` as an argument; this is where that number comes from.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix milliseconds. A clock before 1970 reads as 0.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// A number below `bound`, different at each call: for jitter, not for secrets.
#[must_use]
pub fn jitter(bound: u64) -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    (high ^ low).checked_rem(bound).unwrap_or(0)
}
