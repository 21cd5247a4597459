//! The window shared by the bulk lanes.
//!
//! Bulk that was sent and not acknowledged stands in queues on the way, and an
//! alert that is sent later stands behind it. So the window follows the delay
//! of acknowledgements: it grows by a frame while they come early and the window
//! is in use, and loses a quarter, at most once a delay, when they come late.
//! A saturated slow link then holds about `target_delay_ms` of bulk (G5), a fast
//! one is filled.

use super::LaneLimits;

#[derive(Debug, Clone)]
pub(super) struct Window {
    bytes: usize,
    no_cut_before_ms: u64,
}

impl Window {
    pub(super) fn new(limits: &LaneLimits) -> Self {
        let start = limits.bulk_window_min.max(128 * 1024).min(limits.bulk_window_max);
        Self { bytes: start, no_cut_before_ms: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes note that a frame was acknowledged `delay_ms` after it was handed
    /// to the link, while `in_flight` bytes were out.
    pub(super) fn observe(
        &mut self,
        limits: &LaneLimits,
        now_ms: u64,
        delay_ms: u64,
        in_flight: usize,
    ) {
        if delay_ms > limits.target_delay_ms {
            if now_ms >= self.no_cut_before_ms {
                self.bytes = (self.bytes / 4 * 3).max(limits.bulk_window_min);
                self.no_cut_before_ms = now_ms.saturating_add(delay_ms);
            }
        } else if delay_ms <= limits.target_delay_ms / 2
            && in_flight.saturating_add(2 * limits.bulk.frame_bytes) >= self.bytes
        {
            self.bytes = (self.bytes + limits.bulk.frame_bytes).min(limits.bulk_window_max);
        }
    }
}
