//! Readings of all counters, made apart from the agent's one thread.
//!
//! A file system or a sensor that does not answer is left out and named, and asked
//! again only when its old question was answered. All others are measured as ever.

use crate::{
    apart::{NoAnswer, Watch, within},
    platform::{Probe, Reading},
};
use std::time::Duration;

/// How long a reading may take. It takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many may turn out silent in one reading; the next one finds the others.
const TRIES: usize = 4;

/// Reads all counters, again and again.
#[derive(Debug, Default)]
pub struct Reader {
    probe: Option<Probe>,
    watch: Watch,
    told: Vec<String>,
}

impl Reader {
    /// Reads all counters that can be read; `None` when none can.
    pub async fn read(&mut self) -> Option<Reading> {
        for _ in 0..TRIES {
            let (mut probe, watch) = (self.probe.take(), self.watch.fresh());
            let at_work = watch.clone();
            let work = move || {
                let reading = probe.get_or_insert_default().read(&at_work);
                (reading, probe)
            };
            match within(PATIENCE, work).await {
                Ok((reading, probe)) => {
                    self.probe = probe;
                    self.tell(&reading);
                    return Some(reading);
                }
                Err(NoAnswer::TooLong) => {
                    if let Some(whom) = watch.give_up() {
                        tracing::warn!(whom, "it could not be read: it does not answer");
                    }
                }
                Err(NoAnswer::TooMany) => return None,
            }
        }
        None
    }

    /// Says once what is left out, and once that it is no longer.
    fn tell(&mut self, reading: &Reading) {
        let mut now = self.watch.silent();
        now.extend(reading.left_out.iter().cloned());
        if now != self.told {
            let left_out = now.join(", ");
            tracing::info!(left_out, "what the measurements leave out changed");
            self.told = now;
        }
    }
}
