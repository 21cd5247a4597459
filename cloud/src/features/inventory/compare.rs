//! What relays know that devices told of their inventories, and a database that is an
//! older copy lacks.

use crate::{
    db::TenantTx,
    link::{ApplyError, RelayIdentity, downlink},
    reports::{Comparison, Part, Turn},
};
use unifyit_protocol::{
    compare::{MAX_KNOWN, SiteHolds, TellAgain},
    ids::DeviceId,
    link::DownRecord,
};
use uuid::Uuid;

/// Seconds by which the database and a relay may date one report differently.
const SLACK_S: i64 = 2;

/// The feature's part.
pub(super) const PART: Part = Part {
    turn: Turn::Told,
    bring: |tx, relay, holds, all| Box::pin(bring(tx, relay, holds, all)),
};

/// Asks for whole inventories where a device told of something later than the database
/// has: on what it lacks, changes cannot build.
async fn bring(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    holds: Option<&SiteHolds>,
    all: &mut Comparison,
) -> Result<(), ApplyError> {
    let Some(holds) = holds else { return Ok(()) };
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
        downlink::tell(tx, relay.id, &DownRecord::TellAgain(again)).await?;
    }
    all.mended(behind.len(), "devices asked for their whole inventory");
    Ok(())
}
