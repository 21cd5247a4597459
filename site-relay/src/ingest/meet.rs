//! A computer introduces itself: is it the one that this device is?

use super::{
    Ingest, Item,
    batch::{Batch, Effect, MAX_AHEAD_MS},
    sessions::Greeting,
    twins::Meaning,
};
use crate::{devices::Computer, fanout::Introduction};
use std::time::Duration;
use unifyit_protocol::{
    ids::DeviceId,
    lan::{DownControl, Hello, NewIdentity, TellInventory, Welcome},
    link::DeviceClock,
};
use uuid::Uuid;

/// How long a computer may take to hear that it gets an identity of its own.
const HEARS_WITHIN: Duration = Duration::from_secs(2);

impl Ingest {
    /// Lets commands go to a device.
    pub(super) fn serve(&self, device: DeviceId, session: Option<u64>, said: Introduction) {
        self.broker.release_commands(device, session);
        self.fanout.ready(device, said);
    }

    /// Says where this relay stands with a device.
    pub(super) fn welcome(
        &mut self,
        (device, session): (DeviceId, u64),
        greeting: Greeting,
        instance: Option<Uuid>,
    ) {
        // That two use the identity may have become durable since it connected.
        let sharing = self.store.device(device).and_then(|record| record.sharing);
        if let (Some(sharing), Some(instance)) = (sharing, instance)
            && !sharing.first.is_called(instance)
        {
            self.broker.end(device, session, "another computer uses this identity");
            return;
        }
        let Greeting { positions, said, ask_inventory } = greeting;
        let config = self.store.device_config();
        let now_ms = self.clock.now_ms();
        self.control(device, DownControl::Welcome(Welcome { positions, config, now_ms }));
        if ask_inventory {
            self.control(device, DownControl::TellInventory(TellInventory {}));
        }
        if let Some(said) = self.twins.welcomed(device, said) {
            self.serve(device, Some(session), said);
        }
    }

    /// A computer introduced itself. Whether it is to be welcomed: one that shares its
    /// identity and is to get its own is told that instead.
    pub(super) fn met(
        &mut self,
        (device, session): (DeviceId, u64),
        hello: &Hello,
        now_ms: u64,
        items: &mut Vec<Item>,
    ) -> bool {
        let computer = Computer {
            // Agents without a name of their own are told apart by their epochs.
            instance: match hello.instance.is_nil() {
                true => Uuid::from_u64_pair(0, hello.epoch),
                false => hello.instance,
            },
            hostname: hello.hostname.chars().filter(|c| !c.is_control()).take(255).collect(),
            last_ms: now_ms,
            ..Computer::default()
        };
        let sharing = self.store.device(device).and_then(|record| record.sharing);
        if sharing.is_some_and(|s| s.replaces(computer.instance)) {
            if let Some(times) = self.broker.due(device, "own identity") {
                tracing::info!(%device, hostname = computer.hostname, times,
                    "a computer that shares its identity is told to get its own");
            }
            self.control(device, DownControl::NewIdentity(NewIdentity {}));
            // It has no more to do here, and the first is waiting for its place.
            let broker = self.broker.clone();
            tokio::spawn(async move {
                tokio::time::sleep(HEARS_WITHIN).await;
                broker.end(device, session, "it gets an identity of its own");
            });
            return false;
        }
        match self.twins.hello(device, computer, self.clock.uptime_ms()) {
            Meaning::Usual | Meaning::Held => {}
            Meaning::Two(two) => {
                let (first, other) = &*two;
                self.metrics.shared_identities.inc();
                tracing::warn!(%device, hostname = first.hostname, address = first.address,
                    other_hostname = other.hostname, other_address = other.address,
                    "two computers use one identity: a cloned machine; the second is kept out");
                // They take turns within seconds; once they are known, the other is not
                // let in.
                items.push(Item::Share(device, two));
            }
        }
        true
    }

    /// Counts what a later version would understand.
    pub(super) fn unknown(&self, what: &str) -> Option<Item> {
        self.metrics.unknown.with_label_values(&[what]).inc();
        None
    }

    /// Measures a device's clock; what the cloud is to be told of it.
    pub(super) fn measured(&self, device: DeviceId, device_ms: u64) -> Option<DeviceClock> {
        let told = self.clock.measured(device, device_ms);
        let ahead_ms = self.clock.of_device(device);
        self.shadows.change(device, |s| s.clock_ahead_ms = ahead_ms);
        told
    }

    /// The site's time was set: what is dated ahead of it was measured by one that was
    /// wrong.
    pub(super) async fn forget_ahead(&self, now_ms: u64) {
        self.shadows.forget_ahead(now_ms.saturating_add(MAX_AHEAD_MS));
        if let Err(error) = self.store.write(|txn| txn.forget_ahead()).await {
            tracing::warn!(%error, "samples dated ahead could not be dropped");
        }
    }

    /// What is shown live does not wait for the disk.
    pub(super) fn look_at(&self, batch: &Batch) {
        let newest = batch.effects.iter().rev().find_map(|(_, effect)| match effect {
            Effect::Sample(sample, _) => Some(sample),
            _ => None,
        });
        if let Some(sample) = newest {
            self.live.sample(batch.device, sample);
            let latest_ms = self.clock.now_ms().saturating_add(MAX_AHEAD_MS);
            self.shadows.change(batch.device, |s| s.measured(sample, latest_ms));
        }
    }
}
