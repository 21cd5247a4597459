//! Newest loads of a relay's devices: heard in the session's order, stored beside its
//! lanes. They are not durable: what is not stored is told again within a minute or
//! two, and the blocks that follow hold it.
//!
//! They take turns with the lanes' transactions, which touch the same computers, and
//! go first: there is one a minute, and after an outage the newest is wanted first.

use super::Session;
use crate::link::{ApplyError, LinkMetrics, RelayIdentity};
use std::collections::HashMap;
use tokio::{task::JoinHandle, time::Instant};
use unifyit_protocol::{
    ids::DeviceId,
    telemetry::newest::{Listener, Load, Newest},
};

/// What a session heard and has not stored.
#[derive(Default)]
pub(super) struct Heard {
    listener: Listener,
    /// Why nothing more is understood.
    deaf: bool,
    waiting: HashMap<DeviceId, Load>,
    pub(super) storing: Option<JoinHandle<Result<(), ApplyError>>>,
    allowance: Allowance,
}

/// Frames that a relay may send: each costs in proportion to its devices, whatever
/// its bytes.
struct Allowance {
    left: u32,
    at: Instant,
}

impl Allowance {
    /// At once: more than the first words of a large site.
    const BURST: u32 = 32;
    /// Seconds until there is another.
    const SECONDS: u64 = 5;

    fn take(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.at).as_secs() / Self::SECONDS;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(earned).min(Self::BURST);
            self.at = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: Self::BURST, at: Instant::now() }
    }
}

impl Heard {
    /// Takes a frame.
    pub(super) fn hear(&mut self, relay: &RelayIdentity, metrics: &LinkMetrics, told: &Newest) {
        if !self.deaf && self.allowance.take(Instant::now()) {
            match self.listener.hear(told) {
                Ok(loads) => return self.waiting.extend(loads),
                Err(error) => {
                    tracing::warn!(relay = %relay.id, %error, "Newest values of a site are not understood; until its relay connects anew they come with its blocks.");
                }
            }
        }
        // What leans on what was left out cannot be understood either.
        self.deaf = true;
        metrics.newest_dropped.inc();
    }

    pub(super) fn stored(&mut self, relay: &RelayIdentity, done: Result<(), ApplyError>) {
        self.storing = None;
        if let Err(error) = done {
            tracing::warn!(relay = %relay.id, %error, "Newest values of a site could not be stored; they are told again.");
        }
    }
}

impl Session<'_> {
    /// Takes a frame of newest loads.
    pub(super) fn on_newest(&mut self, told: &Newest) {
        self.newest.hear(&self.relay, &self.deps.metrics, told);
    }

    /// Starts to store what was heard, when no transaction is under way.
    pub(super) fn start_newest(&mut self) {
        if self.applying.is_some()
            || self.newest.storing.is_some()
            || self.newest.waiting.is_empty()
        {
            return;
        }
        let loads = std::mem::take(&mut self.newest.waiting).into_iter().collect();
        let (db, records, relay) = (self.deps.db.clone(), self.deps.records.clone(), self.relay);
        self.newest.storing = Some(tokio::spawn(async move {
            let mut tx = db.tenant(&relay.scope()).await?;
            records.newest(&mut tx, &relay, loads).await?;
            Ok(tx.commit().await?)
        }));
    }

    /// The next session may only start when this one's transactions ended.
    pub(super) async fn finish(&mut self) {
        if let Some(applying) = self.applying.take() {
            drop(applying.await);
        }
        if let Some(storing) = self.newest.storing.take() {
            drop(storing.await);
        }
        if let Some(storing) = self.clocks.storing.take() {
            drop(storing.await);
        }
        if let Some(syncing) = self.syncing.take() {
            drop(syncing.await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_relay_that_floods_is_not_heard_without_end() {
        let mut allowance = Allowance::default();
        let now = allowance.at;
        let taken = (0..1000).filter(|_| allowance.take(now)).count();
        assert_eq!(taken, 32);
        assert!(!allowance.take(now + Duration::from_secs(4)));
        assert!((1..100).all(|minute| allowance.take(now + Duration::from_secs(minute * 60))));
    }
}
