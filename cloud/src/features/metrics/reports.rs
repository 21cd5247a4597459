//! What relays report of measurements.

use super::ingest::MetricsIngest;
use crate::{
    db::TenantTx,
    link::RelayIdentity,
    reports::{Applied, Changed, Reports, Rows},
};
use unifyit_protocol::{
    ids::{DeviceId, SiteId},
    link::{Ephemeral, UpRecord},
    telemetry::newest::Load,
};

impl Reports for MetricsIngest {
    fn takes(&self, record: &UpRecord) -> bool {
        matches!(record, UpRecord::Series(_) | UpRecord::Metrics(_))
    }

    fn rows(&self, record: &UpRecord, rows: &mut Rows) {
        // The relay may be asked for tables of columns.
        rows.relay_last |= matches!(record, UpRecord::Metrics(_));
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        records: Vec<UpRecord>,
        changed: &'a mut Changed,
    ) -> Applied<'a> {
        Box::pin(async move {
            let mut rollups = Vec::new();
            for record in records {
                match record {
                    UpRecord::Series(series) => self.series(tx, relay, series).await?,
                    UpRecord::Metrics(list) => rollups.extend(list),
                    _ => {}
                }
            }
            if rollups.is_empty() {
                return Ok(());
            }
            self.rollups(tx, relay, rollups, &mut changed.devices).await
        })
    }

    fn newest<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        _: &'a RelayIdentity,
        loads: &'a [(DeviceId, Load)],
        changed: &'a mut Changed,
    ) -> Applied<'a> {
        Box::pin(async move {
            changed.devices.extend(self.loads(tx, loads.to_vec()).await?);
            Ok(())
        })
    }

    fn live(&self, relay: &RelayIdentity, item: Ephemeral) -> Option<Ephemeral> {
        match item {
            Ephemeral::Sample(device, sample) => self.pass(relay, device, sample),
            other => return Some(other),
        }
        None
    }

    fn forget(&self, site: SiteId) {
        self.forget_site(site);
    }
}
