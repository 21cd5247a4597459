//! Packing: rollups as they came become one block a device, table and day.
//!
//! A device is packed when its oldest loose rollup is old enough that a good
//! part of a day has gathered; what is younger stays loose, so that a day's
//! block is rewritten a few times only.

use super::store::minute;
use crate::{
    db::{Db, DbError, Scope, TenantTx},
    link::now_ms,
};
use sqlx::Row;
use std::collections::BTreeMap;
use unifyit_protocol::telemetry::{MAX_CELLS, Rollup, RollupBlock, block};
use uuid::Uuid;

/// Rollups younger than this stay loose, in minutes.
const LOOSE: u64 = 3 * 60;
/// A device is packed when its oldest loose rollup is older than this.
const DUE: u64 = 9 * 60;
/// Minutes of a block's period.
const DAY: u64 = 1440;
/// Devices packed in one run; the next run goes on.
const MOST: i64 = 20_000;

/// Packs what is due.
///
/// # Errors
/// [`DbError`]; what was packed before stays so.
pub async fn compact(db: &Db) -> Result<(), DbError> {
    compact_at(db, now_ms() / 60_000).await
}

/// As [`compact`], at a given minute.
pub(super) async fn compact_at(db: &Db, now: u64) -> Result<(), DbError> {
    let mut tx = db.tenant(&Scope::Platform).await?;
    let due: Vec<Uuid> = sqlx::query_scalar(
        "SELECT DISTINCT device_id FROM metric_recent WHERE first_minute < $1 LIMIT $2",
    )
    .bind(minute(now.saturating_sub(DUE)))
    .bind(MOST)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    for device in due {
        pack(db, device, now.saturating_sub(LOOSE)).await?;
    }
    Ok(())
}

/// Rollups by table, then day, then minute; later ones replace.
type Days = BTreeMap<(i64, u64), BTreeMap<u64, Rollup>>;

async fn pack(db: &Db, device: Uuid, before: u64) -> Result<(), DbError> {
    let mut tx = db.tenant(&Scope::Platform).await?;
    let loose = sqlx::query(
        "DELETE FROM metric_recent WHERE device_id = $1 AND last_minute < $2 \
         RETURNING arrived, series_hash, block, partner_id, organization_id, site_id",
    )
    .bind(device)
    .bind(minute(before))
    .fetch_all(&mut *tx)
    .await?;
    let Some(place) = loose.first() else { return Ok(()) };
    let place: (Uuid, Uuid, Uuid) = (
        place.try_get("partner_id")?,
        place.try_get("organization_id")?,
        place.try_get("site_id")?,
    );
    let mut arrived: Vec<(i64, i64, Vec<u8>)> = loose
        .iter()
        .map(|row| {
            Ok((row.try_get("arrived")?, row.try_get("series_hash")?, row.try_get("block")?))
        })
        .collect::<Result<_, sqlx::Error>>()?;
    arrived.sort_unstable_by_key(|(arrived, ..)| *arrived);
    let mut days = Days::new();
    for (_, hash, columns) in arrived {
        let table = u32::try_from(hash).unwrap_or_default();
        let Ok(rollups) = (RollupBlock { table, columns }).decode() else {
            // It was readable when it was stored, so the row itself is damaged.
            tracing::error!(%device, "A stored rollup is damaged; dropped it.");
            continue;
        };
        for rollup in rollups {
            days.entry((hash, rollup.minute / DAY)).or_default().insert(rollup.minute, rollup);
        }
    }
    for ((hash, day), rollups) in days {
        merge(&mut tx, device, place, hash, day, rollups).await?;
    }
    tx.commit().await
}

/// Writes a day's block anew, with what is packed of the day already.
async fn merge(
    tx: &mut TenantTx,
    device: Uuid,
    (partner, organization, site): (Uuid, Uuid, Uuid),
    hash: i64,
    day: u64,
    loose: BTreeMap<u64, Rollup>,
) -> Result<(), DbError> {
    let packed: Vec<Vec<u8>> = sqlx::query_scalar(
        "DELETE FROM metric_blocks WHERE device_id = $1 AND series_hash = $2 \
             AND first_minute >= $3 AND first_minute < $4 RETURNING block",
    )
    .bind(device)
    .bind(hash)
    .bind(minute(day * DAY))
    .bind(minute((day + 1) * DAY))
    .fetch_all(&mut **tx)
    .await?;
    let mut minutes = BTreeMap::new();
    for bytes in packed {
        match block::decode(&bytes) {
            Ok(rollups) => minutes.extend(rollups.into_iter().map(|r| (r.minute, r))),
            Err(error) => {
                tracing::error!(%device, %error, "A block of measurements is damaged; dropped it.");
            }
        }
    }
    minutes.extend(loose);
    let rollups: Vec<Rollup> = minutes.into_values().collect();
    let width = rollups.first().map_or(1, |r| r.values.len().max(1));
    for chunk in rollups.chunks((MAX_CELLS / width).max(1)) {
        let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { continue };
        let Ok(bytes) = block::encode(chunk) else {
            tracing::error!(%device, "Rollups of one table do not fit together; dropped them.");
            continue;
        };
        sqlx::query(
            "INSERT INTO metric_blocks (device_id, first_minute, last_minute, series_hash, \
                 partner_id, organization_id, site_id, block) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(device)
        .bind(minute(first.minute))
        .bind(minute(last.minute))
        .bind(hash)
        .bind(partner)
        .bind(organization)
        .bind(site)
        .bind(bytes)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
