//! What a database that is an older copy lacks of devices, and relays tell only when
//! it changes.

use super::compare::tell;
use crate::{
    db::TenantTx,
    features::devices::identity,
    link::{ApplyError, RelayIdentity},
};
use std::collections::BTreeSet;
use unifyit_protocol::{
    compare::{MAX_KNOWN, SiteHolds, TellAgain},
    ids::DeviceId,
    link::{DownRecord, SharedIdentity},
};
use uuid::Uuid;

/// Identities that several computers shared when the copy was made, and one uses since.
/// Those that are shared the relay tells of by itself.
pub(super) async fn single(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    holds: &SiteHolds,
    changed: &mut BTreeSet<DeviceId>,
) -> Result<(), ApplyError> {
    let Some(still) = &holds.shared else { return Ok(()) };
    let single: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM devices WHERE id = ANY($1) AND id <> ALL($2) AND computers IS NOT NULL ORDER BY id",
    )
    .bind(holds.devices.iter().map(|d| d.0).collect::<Vec<_>>())
    .bind(still.iter().map(|d| d.0).collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    for device in single {
        let (device, at_ms) = (DeviceId(device), holds.at_ms);
        let told = SharedIdentity { device, at_ms, computers: Vec::new() };
        changed.insert(device);
        identity::apply(tx, relay, told).await?;
    }
    Ok(())
}

/// Seconds by which the database and a relay may date one report differently.
const SLACK_S: i64 = 2;

/// Asks for whole inventories where a device told of something later than the
/// database has: on what it lacks, changes cannot build. Returns how many are asked.
pub(super) async fn ask_inventories(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    holds: &SiteHolds,
) -> Result<usize, ApplyError> {
    let (devices, told): (Vec<Uuid>, Vec<i64>) =
        holds.inventories().map(|(device, seconds)| (device.0, i64::from(seconds))).unzip();
    let behind: Vec<Uuid> = sqlx::query_scalar(
        "SELECT t.device FROM unnest($2::uuid[], $3::int8[]) AS t (device, told) \
             JOIN devices d ON d.id = t.device AND d.site_id = $1 AND d.revoked_at IS NULL \
         WHERE NOT EXISTS (SELECT FROM inventory_sections s WHERE s.device_id = t.device \
             AND s.at >= to_timestamp(t.told - $4)) ORDER BY t.device",
    )
    .bind(relay.site.0)
    .bind(devices)
    .bind(told)
    .bind(SLACK_S)
    .fetch_all(&mut **tx)
    .await?;
    for some in behind.chunks(MAX_KNOWN) {
        let inventory = some.iter().map(|id| DeviceId(*id)).collect();
        let again = TellAgain { inventory, ..TellAgain::default() };
        tell(tx, relay, &DownRecord::TellAgain(again)).await?;
    }
    Ok(behind.len())
}
