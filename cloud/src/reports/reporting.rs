//! From the link to the features.

use super::{Beside, Changed, Comparing, Reports, own::Own, rows};
use crate::{
    db::{Db, DbError, TenantTx},
    events::Watches,
    feature::Feature,
    link::{ApplyError, Records, RelayChange, RelayIdentity},
};
use futures::future::BoxFuture;
use std::collections::{BTreeSet, HashMap};
use unifyit_protocol::{
    enroll::EnrollRelay,
    ids::{DeviceId, SiteId},
    link::{Ephemeral, UpRecord},
    telemetry::newest::Load,
};

/// What records of relays mean.
pub struct Reporting {
    own: Own,
    /// The features' ends, and the one that asks all features to compare.
    features: Vec<Box<dyn Reports>>,
}

impl std::fmt::Debug for Reporting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporting").finish_non_exhaustive()
    }
}

impl Reporting {
    /// The ends of all features, and what must run beside them.
    #[must_use]
    pub fn of(features: &[Feature], db: &Db, watches: &Watches) -> (Self, Vec<Beside>) {
        let (mut ends, mut beside) = (Vec::<Box<dyn Reports>>::new(), Vec::new());
        for open in features.iter().filter_map(|feature| feature.reports) {
            let end = open(db, watches);
            ends.push(end.takes);
            beside.extend(end.beside);
        }
        ends.push(Box::new(Comparing::of(features)));
        (Self { own: Own::default(), features: ends }, beside)
    }

    fn forget(&self, site: SiteId) {
        self.own.forget(site);
        self.features.iter().for_each(|feature| feature.forget(site));
    }

    /// Whose a record is, by its place in the list.
    pub(super) fn owner(&self, record: &UpRecord) -> Option<usize> {
        self.features.iter().position(|feature| feature.takes(record))
    }

    async fn apply_all(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        mut records: Vec<UpRecord>,
    ) -> Result<(), ApplyError> {
        said_last(&mut records);
        rows::take(tx, relay, &self.features, &records).await?;
        // At the start of an epoch either side may be an older copy.
        if records.iter().any(UpRecord::begins_epoch) {
            self.forget(relay.site);
        }
        let mut named = BTreeSet::new();
        records.iter().for_each(|record| record.devices(&mut named));
        let own = self.own.check(tx, relay, &named).await?;
        let mut changed = Changed::default();
        // Each feature gathers over as much of the batch as it can: a statement a batch
        // instead of one a record.
        let mut waiting: Vec<Vec<UpRecord>> = self.features.iter().map(|_| Vec::new()).collect();
        for mut record in records {
            if !record.keep_devices(&own) {
                continue;
            }
            let Some(at) = self.owner(&record) else {
                return Err(ApplyError::Malformed("no feature takes such a record".into()));
            };
            if self.features[at].stands_alone(&record) {
                self.flush(tx, relay, &mut waiting, &mut changed).await?;
                self.features[at].apply(tx, relay, vec![record], &mut changed).await?;
            } else {
                waiting[at].push(record);
            }
        }
        self.flush(tx, relay, &mut waiting, &mut changed).await?;
        self.tell(tx, relay, &changed).await
    }

    async fn flush(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        waiting: &mut [Vec<UpRecord>],
        changed: &mut Changed,
    ) -> Result<(), ApplyError> {
        for (feature, records) in self.features.iter().zip(waiting) {
            if !records.is_empty() {
                feature.apply(tx, relay, std::mem::take(records), changed).await?;
            }
        }
        Ok(())
    }

    async fn tell(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        changed: &Changed,
    ) -> Result<(), ApplyError> {
        for feature in &self.features {
            feature.tell(tx, relay, changed).await?;
        }
        Ok(())
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
        let mut changed = Changed::default();
        for feature in &self.features {
            feature.newest(tx, relay, &loads, &mut changed).await?;
        }
        self.tell(tx, relay, &changed).await
    }

    async fn follow(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        change: RelayChange,
    ) -> Result<(), ApplyError> {
        for feature in &self.features {
            feature.relay_changed(tx, relay, change).await?;
        }
        Ok(())
    }
}

impl Records for Reporting {
    fn takes(&self, record: &UpRecord) -> bool {
        self.owner(record).is_some()
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        records: Vec<UpRecord>,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            let applied = self.apply_all(tx, relay, records).await;
            if let Err(ApplyError::Db(DbError::Query(sqlx::Error::RowNotFound))) = applied {
                // A device is remembered that the database has no more: it is looked for
                // when they come again.
                self.own.forget(relay.site);
            }
            applied
        })
    }

    fn joins<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        says: &'a EnrollRelay,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            for feature in &self.features {
                feature.joins(tx, relay, says).await?;
            }
            Ok(())
        })
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
        Box::pin(self.follow(tx, relay, change))
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
            let mut item = Some(item);
            for feature in &self.features {
                item = item.and_then(|item| feature.live(relay, item));
            }
        }
    }
}

/// Leaves out what a relay says of what it holds where it says the like again in the same
/// batch: a comparison is about all that a site has, and the last one is true. Only when
/// a device told of its inventory may be said before and not again: there it is on its way.
fn said_last(records: &mut Vec<UpRecord>) {
    let mut said = HashMap::new();
    let mut kept: Vec<UpRecord> = Vec::with_capacity(records.len());
    for record in std::mem::take(records).into_iter().rev() {
        if let UpRecord::Holds(holds) = &record {
            let of = (holds.asks, holds.cut);
            let last = said.get(&of).and_then(|at: &usize| kept.get_mut(*at));
            if let Some(UpRecord::Holds(last)) = last {
                last.remember_inventories(holds);
                continue;
            }
            said.insert(of, kept.len());
        }
        kept.push(record);
    }
    kept.reverse();
    *records = kept;
}

#[cfg(test)]
mod tests;
