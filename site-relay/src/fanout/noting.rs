//! That commands were sent, to be noted where no answer says more.
//!
//! A device that is there says within milliseconds that it has begun, which is stored
//! and told to the cloud by itself. Until then nobody asks for less, and what is not
//! stored keeps no disk, lane or database busy while somebody waits for output. A crash
//! in between is like any that comes before the note: the command goes out again, and
//! the device's ledger knows it (G3).

use super::Fanout;
use std::{collections::VecDeque, time::Duration};
use tokio::time::{Instant, sleep_until};
use unifyit_protocol::ids::{CommandId, DeviceId};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(50);

/// What was sent and is not noted, oldest first. Holds no more than the plan: each
/// delivery once.
#[derive(Debug, Default)]
pub(super) struct Unnoted(VecDeque<(Instant, CommandId, Vec<DeviceId>)>);

impl Unnoted {
    /// A command went to devices for the first time.
    pub(super) fn add(&mut self, command: CommandId, devices: Vec<DeviceId>) {
        self.0.push_back((Instant::now() + PATIENCE, command, devices));
    }

    /// Completes when something is to be noted. Cancel-safe.
    pub(super) async fn due(&self) {
        match self.0.front() {
            Some((at, ..)) => sleep_until(*at).await,
            None => std::future::pending().await,
        }
    }

    /// Takes what is to be noted by then.
    pub(super) fn take(&mut self, by: Instant) -> Vec<(CommandId, Vec<DeviceId>)> {
        let count = self.0.partition_point(|(at, ..)| *at <= by);
        self.0.drain(..count).map(|(_, command, devices)| (command, devices)).collect()
    }

    /// Lets go of what was sent to one device.
    pub(super) fn forget(&mut self, device: DeviceId) {
        for (_, _, devices) in &mut self.0 {
            devices.retain(|other| *other != device);
        }
    }

    /// Takes all of it.
    pub(super) fn take_all(&mut self) -> Vec<(CommandId, Vec<DeviceId>)> {
        self.0.drain(..).map(|(_, command, devices)| (command, devices)).collect()
    }
}

impl Fanout {
    /// Notes that commands were sent to those devices that have not answered since.
    pub(super) async fn note(&self, mut sent: Vec<(CommandId, Vec<DeviceId>)>) {
        for (command, devices) in &mut sent {
            devices.retain(|device| self.plan.is_unanswered(*device, *command));
        }
        sent.retain(|(_, devices)| !devices.is_empty());
        if sent.is_empty() {
            return;
        }
        let outcome = self.store.submit(move |txn| {
            sent.iter().try_for_each(|(command, devices)| txn.mark_sent(*command, devices))
        });
        if let Err(error) = outcome.await {
            tracing::warn!(%error, "that commands were sent could not be stored");
        }
    }
}
