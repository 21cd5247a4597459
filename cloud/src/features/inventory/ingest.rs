//! What is on a device: a section whole, or what changed of it.

use crate::{
    db::TenantTx,
    link::{ApplyError, RelayIdentity},
    reports::{Applied, Changed, Reporter, Reports, Rows, line, time_of},
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use unifyit_protocol::{
    ids::DeviceId,
    inventory::{Entry, MAX_ENTRIES, Section, system},
    link::{DeviceInventory, UpRecord},
};

/// Longest key of an entry, in bytes; it stands in an index.
const MAX_KEY: usize = 512;
/// Most facts of an entry.
const MAX_FACTS: usize = 64;
/// Longest fact, in bytes.
const MAX_FACT: usize = 2048;

/// So many keys are compared fast enough by a plan for any.
const FEW: usize = 64;

/// The feature's end of what relays report.
pub(super) fn open() -> Reporter {
    Reporter::new(InventoryReports)
}

struct InventoryReports;

impl Reports for InventoryReports {
    fn takes(&self, record: &UpRecord) -> bool {
        matches!(record, UpRecord::Inventory(_))
    }

    fn rows(&self, _: &UpRecord, rows: &mut Rows) {
        rows.devices = true;
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        records: Vec<UpRecord>,
        changed: &'a mut Changed,
    ) -> Applied<'a> {
        Box::pin(async move {
            for record in records {
                if let UpRecord::Inventory(inventory) = record {
                    apply(tx, relay, inventory, &mut changed.devices).await?;
                }
            }
            Ok(())
        })
    }
}

/// Applies a report to the device's inventory.
async fn apply(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    inventory: DeviceInventory,
    changed: &mut BTreeSet<DeviceId>,
) -> Result<(), ApplyError> {
    let DeviceInventory { device, report } = inventory;
    let section = match report.section {
        Section::System => "system",
        Section::Interfaces => "interfaces",
        Section::Disks => "disks",
        Section::Packages => "packages",
        Section::Services => "services",
        // Of a later version of the agent; its next whole report comes when the
        // cloud knows it.
        Section::Unknown => return Ok(()),
    };
    if report.set.len() > MAX_ENTRIES || report.gone.len() > MAX_ENTRIES {
        return Err(ApplyError::Malformed("an inventory section has too many entries".into()));
    }
    let mut keys = Vec::with_capacity(report.set.len());
    let mut entries = Vec::with_capacity(report.set.len());
    let mut seen = BTreeSet::new();
    for (key, entry) in &report.set {
        let key = line(key, MAX_KEY);
        // Two long keys may have become the same one by the cut.
        if seen.insert(key.clone()) {
            keys.push(key);
            entries.push(fit(entry));
        }
    }
    if keys.len() + report.gone.len() > FEW {
        // A plan for any list compares each key with each: of 20,000, for seconds.
        tx.plan_for_values().await?;
    }
    if report.whole {
        sqlx::query(
            "DELETE FROM inventory_entries WHERE device_id = $1 AND section = $2 AND key <> ALL($3)",
        )
        .bind(device.0)
        .bind(section)
        .bind(&keys)
        .execute(&mut **tx)
        .await?;
    } else if !report.gone.is_empty() {
        let gone: Vec<String> = report.gone.iter().map(|key| line(key, MAX_KEY)).collect();
        sqlx::query(
            "DELETE FROM inventory_entries WHERE device_id = $1 AND section = $2 AND key = ANY($3)",
        )
        .bind(device.0)
        .bind(section)
        .bind(gone)
        .execute(&mut **tx)
        .await?;
    }
    sqlx::query(
        "INSERT INTO inventory_entries (device_id, section, key, partner_id, organization_id, site_id, entry) \
         SELECT $1, $2, e.key, $3, $4, $5, e.entry FROM unnest($6::text[], $7::jsonb[]) AS e (key, entry) \
         ON CONFLICT (device_id, section, key) DO UPDATE SET entry = excluded.entry \
         WHERE inventory_entries.entry <> excluded.entry",
    )
    .bind(device.0)
    .bind(section)
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(relay.site.0)
    .bind(keys)
    .bind(entries)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "INSERT INTO inventory_sections (device_id, section, partner_id, organization_id, site_id, at, cut) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (device_id, section) DO UPDATE SET at = excluded.at, cut = excluded.cut",
    )
    .bind(device.0)
    .bind(section)
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(relay.site.0)
    .bind(time_of(report.at_ms))
    .bind(i32::try_from(report.cut).unwrap_or(i32::MAX))
    .execute(&mut **tx)
    .await?;
    if report.section == Section::System
        && let Some(facts) = report.set.values().next()
    {
        name_device(tx, device, facts).await?;
        changed.insert(device);
    }
    Ok(())
}

/// Copies the facts by which devices are listed and searched.
async fn name_device(tx: &mut TenantTx, device: DeviceId, facts: &Entry) -> Result<(), ApplyError> {
    let fact = |name: &str| facts.get(name).map(|text| line(text, 255)).unwrap_or_default();
    sqlx::query(
        "UPDATE devices SET hostname = coalesce(nullif($2, ''), hostname), \
             os_name = coalesce(nullif($3, ''), os_name), \
             os_family = coalesce(nullif($4, ''), os_family), \
             arch = coalesce(nullif($5, ''), arch) WHERE id = $1",
    )
    .bind(device.0)
    .bind(fact(system::HOSTNAME))
    .bind(fact(system::OS_NAME))
    .bind(fact(system::OS_FAMILY))
    .bind(fact(system::ARCH))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn fit(entry: &Entry) -> Value {
    let facts = entry.iter().take(MAX_FACTS);
    Value::Object(
        facts
            .map(|(name, fact)| (line(name, 128), Value::String(line(fact, MAX_FACT))))
            .collect::<Map<_, _>>(),
    )
}
