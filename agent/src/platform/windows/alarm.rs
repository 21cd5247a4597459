//! A pace that the runtime's own timers keep.

use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Rings at once, and then at its pace. What is missed while nobody listens is one
/// ring.
#[derive(Debug)]
pub struct Alarm(Interval);

impl Alarm {
    /// An alarm that rings as often; in the runtime.
    #[must_use]
    pub fn every(pace: Duration) -> Self {
        let mut wheel = interval(pace);
        wheel.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(wheel)
    }

    /// Waits for the next ring. Cancel-safe.
    pub async fn ring(&mut self) {
        self.0.tick().await;
    }
}
