//! Measurements that a job found to be gone, by device: each stands as a gap, and the
//! log has one line a device and run, however many a damaged disk took.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use uuid::Uuid;

/// What one run found. Cheap to clone; the last that is dropped says it.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses(Arc<Found>);

#[derive(Debug, Default)]
struct Found(Mutex<BTreeMap<Uuid, Lost>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Lost {
    gaps: u64,
    records: u64,
    first: u64,
    last: u64,
    reason: String,
}

impl Losses {
    /// Notes that measurements of a span of minutes are gone.
    pub(super) fn note(&self, device: Uuid, span: (u64, u64), records: u64, reason: &str) {
        let mut found = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = found.entry(device).or_insert_with(|| Lost {
            gaps: 0,
            records: 0,
            first: span.0,
            last: span.1,
            reason: reason.to_owned(),
        });
        lost.gaps += 1;
        lost.records = lost.records.saturating_add(records);
        (lost.first, lost.last) = (lost.first.min(span.0), lost.last.max(span.1));
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        let found = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (device, Lost { gaps, records, first, last, reason }) in found {
            tracing::error!(%device, gaps, records, first, last, reason,
                "Measurements of a device are gone; they stand as gaps.");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_thousand_losses_of_a_device_are_said_as_one() {
        let (losses, one, other) = (Losses::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        for minute in 0..1000 {
            losses.clone().note(one, (500 + minute, 501 + minute), 2, "damaged");
        }
        losses.note(other, (7, 8), 1, "odd");
        let found = losses.0.0.lock().unwrap();
        let reason = "damaged".to_owned();
        let all = Lost { gaps: 1000, records: 2000, first: 500, last: 1500, reason };
        assert_eq!((found.len(), found.get(&one)), (2, Some(&all)));
    }
}
