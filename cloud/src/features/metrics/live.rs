//! Samples on their way to who watches, and the tables that name their columns.

use super::{
    SAMPLE,
    ingest::scaled,
    model::{SampleEvent, SampleValue},
    store,
};
use crate::{
    db::{Db, DbError, TenantTx},
    events::{Audience, NewEvent, Watches},
    link::{RelayIdentity, from_ms},
    reports::line,
};
use lru::LruCache;
use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use unifyit_protocol::{
    ids::{DeviceId, SiteId},
    telemetry::{Sample, SeriesTable},
};

/// Tables remembered.
const REMEMBERED: usize = 20_000;
/// Tables looked up at a time for live samples.
const LOOKING_UP: usize = 4;

type Tables = LruCache<(SiteId, DeviceId, u32), Arc<SeriesTable>>;

#[derive(Clone)]
pub(super) struct LiveSamples {
    db: Db,
    watches: Watches,
    tables: Arc<Mutex<Tables>>,
    looking_up: Arc<Semaphore>,
}

impl LiveSamples {
    pub(super) fn new(db: Db, watches: Watches) -> Self {
        let size = NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN);
        Self {
            db,
            watches,
            tables: Arc::new(Mutex::new(LruCache::new(size))),
            looking_up: Arc::new(Semaphore::new(LOOKING_UP)),
        }
    }

    /// Tables by device and hash, from memory where they are known.
    pub(super) async fn tables(
        &self,
        tx: &mut TenantTx,
        wanted: &[(DeviceId, u32)],
    ) -> Result<HashMap<(DeviceId, u32), Arc<SeriesTable>>, DbError> {
        let mut found = HashMap::with_capacity(wanted.len());
        let mut missing = Vec::new();
        let site = tx.scope().and_then(|scope| scope.place().site).map(SiteId);
        if let Some(site) = site {
            let mut known = self.known();
            for (device, hash) in wanted {
                match known.get(&(site, *device, *hash)) {
                    Some(table) => {
                        found.insert((*device, *hash), table.clone());
                    }
                    None => missing.push((*device, *hash)),
                }
            }
        } else {
            missing.extend_from_slice(wanted);
        }
        if !missing.is_empty() {
            for ((device, hash), table) in store::tables(tx, &missing).await? {
                let table = Arc::new(table);
                if let Some(site) = site {
                    // A table is named by its content, so one whose row is rolled
                    // back with this transaction is none the less true.
                    self.known().put((site, device, hash), table.clone());
                }
                found.insert((device, hash), table);
            }
        }
        Ok(found)
    }

    /// Passes a sample on, if somebody watches its device and it is the relay's.
    pub(super) fn pass(&self, relay: &RelayIdentity, device: DeviceId, sample: Sample) {
        let watched = self.watches.devices().borrow().get(&relay.id).cloned().unwrap_or_default();
        if !watched.contains(&device) {
            return;
        }
        let known = self.known().get(&(relay.site, device, sample.table)).cloned();
        match known {
            Some(table) => self.publish(relay, device, &table, &sample),
            None => {
                let Ok(permit) = self.looking_up.clone().try_acquire_owned() else { return };
                let (this, relay) = (self.clone(), *relay);
                tokio::spawn(async move {
                    if let Err(error) = this.look_up(&relay, device, &sample).await {
                        tracing::debug!(%error, "A live sample could not be named.");
                    }
                    drop(permit);
                });
            }
        }
    }

    async fn look_up(
        &self,
        relay: &RelayIdentity,
        device: DeviceId,
        sample: &Sample,
    ) -> Result<(), DbError> {
        let mut tx = self.db.tenant_by_keys(&relay.scope()).await?;
        let tables = self.tables(&mut tx, &[(device, sample.table)]).await?;
        tx.commit().await?;
        if let Some(table) = tables.get(&(device, sample.table)) {
            self.publish(relay, device, table, sample);
        }
        Ok(())
    }

    fn publish(
        &self,
        relay: &RelayIdentity,
        device: DeviceId,
        table: &SeriesTable,
        sample: &Sample,
    ) {
        let values = table
            .series
            .iter()
            .zip(&sample.values)
            .filter_map(|(series, raw)| {
                Some(SampleValue {
                    name: line(&series.name, 64),
                    label: line(&series.label, 256),
                    unit: line(&series.unit, 32),
                    value: scaled((*raw)?, series.scale),
                })
            })
            .collect();
        let data = SampleEvent { device_id: device, at: from_ms(sample.at_ms), values };
        let event = NewEvent::watched(SAMPLE, relay.place(), Audience::Device(device), data);
        self.db.bus().publish(Arc::new(event.numbered(None, OffsetDateTime::now_utc())));
    }

    /// The database is another: tables that are remembered may be gone from it.
    pub(super) fn forget(&self, site: SiteId) {
        let mut known = self.known();
        let gone: Vec<_> =
            known.iter().filter(|((of, _, _), _)| *of == site).map(|(key, _)| *key).collect();
        for key in gone {
            known.pop(&key);
        }
    }

    fn known(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
