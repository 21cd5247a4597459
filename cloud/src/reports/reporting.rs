//! From the link to the domains.

use super::ingest::{self, Own};
use crate::{
    db::{Db, TenantTx},
    events::Watches,
    features::{metrics::MetricsIngest, tasks::TasksIngest},
    link::{ApplyError, Records, RelayChange, RelayIdentity},
};
use futures::future::BoxFuture;
use std::collections::{BTreeSet, HashMap, HashSet};
use unifyit_protocol::{
    compare::SiteHolds,
    ids::{DeviceId, SiteId},
    link::{Ephemeral, UpRecord},
    telemetry::newest::Load,
};

/// What records of relays mean.
pub struct RelayRecords {
    own: Own,
    metrics: MetricsIngest,
    tasks: TasksIngest,
}

impl std::fmt::Debug for RelayRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayRecords").finish_non_exhaustive()
    }
}

impl RelayRecords {
    /// Puts the domains together.
    #[must_use]
    pub fn new(db: &Db, watches: &Watches, tasks: TasksIngest) -> Self {
        Self { own: Own::default(), metrics: MetricsIngest::new(db, watches), tasks }
    }

    /// The database may be an older copy: what is remembered of a site may not be true.
    fn forget(&self, site: SiteId) {
        self.own.forget(site);
        self.metrics.forget(site);
        self.tasks.forget(site);
    }

    async fn apply_all(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        records: Vec<UpRecord>,
    ) -> Result<(), ApplyError> {
        ingest::take_rows(tx, relay, &records).await?;
        // At the start of an epoch either side may be an older copy.
        if records.iter().any(|record| matches!(record, UpRecord::Holds(_))) {
            self.forget(relay.site);
        }
        let mut named = BTreeSet::new();
        records.iter().for_each(|record| devices_of(record, &mut named));
        let own = self.own.check(tx, relay, &named).await?;
        let mut changed = BTreeSet::new();
        // Bulk of the same kind is gathered over the whole batch: a statement a
        // batch instead of one a record.
        let (mut presence, mut rollups, mut progress, mut output, mut clocks) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for record in records {
            match record {
                UpRecord::Enrolled(enrolled) if own.contains(&enrolled.device) => {
                    // What came before it in the lane stands before it in the table.
                    let before = std::mem::take(&mut presence);
                    ingest::presence(tx, relay, before, &mut changed).await?;
                    if !ingest::enrolled(tx, relay, enrolled).await? {
                        // The row was there once: it is made when the batch comes again.
                        self.forget(relay.site);
                        return Err(ApplyError::from(sqlx::Error::RowNotFound));
                    }
                }
                UpRecord::Enrolled(_) => {}
                UpRecord::Presence(list) => {
                    presence.extend(list.into_iter().filter(|p| own.contains(&p.device)));
                }
                UpRecord::Inventory(inventory) => {
                    if own.contains(&inventory.device) {
                        ingest::inventory(tx, relay, inventory, &mut changed).await?;
                    }
                }
                UpRecord::Series(series) => {
                    if own.contains(&series.device) {
                        self.metrics.series(tx, relay, series).await?;
                    }
                }
                UpRecord::Metrics(list) => {
                    rollups.extend(list.into_iter().filter(|m| own.contains(&m.device)));
                }
                UpRecord::Progress(list) => {
                    progress.extend(list.into_iter().filter(|p| own.contains(&p.device)));
                }
                UpRecord::Output(pieces) => {
                    if own.contains(&pieces.device) {
                        output.push(pieces);
                    }
                }
                UpRecord::Relay(status) => ingest::status(tx, relay, status).await?,
                UpRecord::Gap(gap) => {
                    if gap.device.is_none_or(|device| own.contains(&device)) {
                        ingest::gap(tx, relay, gap).await?;
                    }
                }
                UpRecord::Clocks(list) => {
                    clocks.extend(list.into_iter().filter(|c| own.contains(&c.device)));
                }
                UpRecord::Cache(report) => ingest::cache(tx, relay, report).await?,
                UpRecord::Holds(holds) => {
                    // What came before it in the lane stands before it in the tables.
                    let before = std::mem::take(&mut presence);
                    ingest::presence(tx, relay, before, &mut changed).await?;
                    let before = std::mem::take(&mut progress);
                    self.tasks.progress(tx, relay, before).await?;
                    ingest::holds(tx, relay, held(*holds, &own), &mut changed).await?;
                }
                UpRecord::Audit(audit) => ingest::audit(tx, relay, audit).await?,
                UpRecord::Shared(told) => {
                    if own.contains(&told.device) {
                        ingest::shared(tx, relay, told, &mut changed).await?;
                    }
                }
            }
        }
        let connections = !presence.is_empty();
        ingest::presence(tx, relay, presence, &mut changed).await?;
        ingest::clocks(tx, clocks, &mut changed).await?;
        if !rollups.is_empty() {
            self.metrics.rollups(tx, relay, rollups, &mut changed).await?;
        }
        if !output.is_empty() {
            self.tasks.output(tx, relay, output).await?;
        }
        if !progress.is_empty() {
            self.tasks.progress(tx, relay, progress).await?;
        }
        ingest::tell(tx, relay, &changed, connections).await
    }

    async fn take_newest(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        mut loads: Vec<(DeviceId, Load)>,
    ) -> Result<(), ApplyError> {
        let named = loads.iter().map(|(device, _)| *device).collect();
        let own = self.own.check(tx, relay, &named).await?;
        loads.retain(|(device, _)| own.contains(device));
        let changed = self.metrics.loads(tx, loads).await?;
        ingest::tell(tx, relay, &changed, false).await
    }
}

impl Records for RelayRecords {
    fn apply<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        records: Vec<UpRecord>,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(self.apply_all(tx, relay, records))
    }

    fn relay_changed<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        change: RelayChange,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        if change == RelayChange::Restored {
            self.forget(relay.site);
        }
        Box::pin(ingest::relay_changed(tx, relay, change))
    }

    fn newest<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        loads: Vec<(DeviceId, Load)>,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(self.take_newest(tx, relay, loads))
    }

    fn live(&self, relay: &RelayIdentity, items: Vec<Ephemeral>) {
        for item in items {
            match item {
                Ephemeral::Output(device, chunk) => self.tasks.live(relay, device, chunk),
                Ephemeral::Sample(device, sample) => self.metrics.live(relay, device, sample),
            }
        }
    }
}

/// What a relay holds, as far as it may speak of it.
fn held(mut holds: SiteHolds, own: &HashSet<DeviceId>) -> SiteHolds {
    if holds.devices.iter().any(|device| !own.contains(device)) {
        let mut kept = SiteHolds {
            devices: Vec::new(),
            online: Vec::new(),
            inventory: Vec::new(),
            ..holds.clone()
        };
        let online: HashSet<DeviceId> = holds.connected().collect();
        let inventory: HashMap<DeviceId, u32> = holds.inventories().collect();
        for device in holds.devices.iter().filter(|device| own.contains(device)) {
            kept.devices.push(*device);
            kept.note_last(online.contains(device));
            if let Some(seconds) = inventory.get(device) {
                kept.note_inventory(*seconds);
            }
        }
        holds = kept;
    }
    holds
}

/// The devices that a record speaks of.
fn devices_of(record: &UpRecord, into: &mut BTreeSet<DeviceId>) {
    match record {
        UpRecord::Enrolled(r) => into.extend([r.device]),
        UpRecord::Presence(list) => into.extend(list.iter().map(|p| p.device)),
        UpRecord::Inventory(r) => into.extend([r.device]),
        UpRecord::Series(r) => into.extend([r.device]),
        UpRecord::Metrics(list) => into.extend(list.iter().map(|m| m.device)),
        UpRecord::Progress(list) => into.extend(list.iter().map(|p| p.device)),
        UpRecord::Output(r) => into.extend([r.device]),
        UpRecord::Clocks(list) => into.extend(list.iter().map(|c| c.device)),
        UpRecord::Gap(r) => into.extend(r.device),
        UpRecord::Holds(r) => into.extend(&r.devices),
        UpRecord::Shared(r) => into.extend([r.device]),
        UpRecord::Relay(_) | UpRecord::Audit(_) | UpRecord::Cache(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_relay_says_of_strangers_is_dropped_and_the_rest_stays_each_ones_own() {
        let [a, foreign, b] = [(); 3].map(|()| DeviceId::generate());
        let mut told = SiteHolds::default();
        for (device, seconds) in [(a, 10), (foreign, 20), (b, 30)] {
            told.devices.push(device);
            told.note_last(device == b);
            told.note_inventory(seconds);
        }
        let kept = held(told, &HashSet::from([a, b]));
        assert_eq!(kept.devices, [a, b]);
        assert_eq!(kept.connected().collect::<Vec<_>>(), [b]);
        assert_eq!(kept.inventories().collect::<Vec<_>>(), [(a, 10), (b, 30)]);
    }
}
