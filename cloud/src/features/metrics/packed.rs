//! Packed blocks of a device: taken out to be written anew.

use super::{coarse::Period, losses::Losses, store::minute};
use crate::db::{DbError, Place, TenantTx};
use unifyit_protocol::telemetry::{MAX_CELLS, Rollup, block};
use uuid::Uuid;

/// The blocks of a device.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) device: Uuid,
    pub(super) place: Place,
    pub(super) losses: Losses,
}

/// A block that was taken out of the table.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Taken {
    first_minute: i64,
    last_minute: i64,
    block: Vec<u8>,
}

impl Taken {
    /// Its rollups, or the span of minutes that it covered.
    pub(super) fn decode(&self) -> Result<Vec<Rollup>, (u64, u64)> {
        block::decode(&self.block)
            .map_err(|_| (self.first_minute.unsigned_abs(), self.last_minute.unsigned_abs()))
    }
}

impl Blocks {
    /// Takes out the block of a period, if this version reads it.
    pub(super) async fn take(
        &self,
        tx: &mut TenantTx,
        hash: i64,
        of: Period,
        number: u64,
    ) -> Result<Vec<Taken>, DbError> {
        self.take_span(tx, hash, of, (number, of)).await
    }

    /// Takes out the blocks of one step within a period of another.
    pub(super) async fn take_span(
        &self,
        tx: &mut TenantTx,
        hash: i64,
        of: Period,
        (number, within): (u64, Period),
    ) -> Result<Vec<Taken>, DbError> {
        Ok(sqlx::query_as(
            "DELETE FROM metric_blocks WHERE device_id = $1 AND series_hash = $2 AND step = $5 \
                 AND first_minute >= $3 AND first_minute < $4 \
                 AND substring(block FROM 1 FOR 1) <= $6 \
             RETURNING first_minute, last_minute, block",
        )
        .bind(self.device)
        .bind(hash)
        .bind(minute(number * within.minutes()))
        .bind(minute((number + 1) * within.minutes()))
        .bind(step(of))
        .bind(latest())
        .fetch_all(&mut **tx)
        .await?)
    }

    /// Writes rollups of one width, as few blocks as they fit into.
    pub(super) async fn put(
        &self,
        tx: &mut TenantTx,
        hash: i64,
        of: Period,
        rollups: Vec<Rollup>,
    ) -> Result<(), DbError> {
        let width = rollups.first().map_or(1, |r| r.values.len().max(1));
        for chunk in rollups.chunks((MAX_CELLS / width).max(1)) {
            let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { continue };
            let Ok(bytes) = block::encode(chunk) else {
                let span = (first.minute, last.minute);
                let reason = "Measurements of the device could not be packed.";
                self.lost(tx, span, chunk.len() as u64, reason).await?;
                continue;
            };
            sqlx::query(
                "INSERT INTO metric_blocks (device_id, first_minute, last_minute, series_hash, step, \
                     partner_id, organization_id, site_id, block) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(self.device)
            .bind(minute(first.minute))
            .bind(minute(last.minute + of.step - 1))
            .bind(hash)
            .bind(step(of))
            .bind(self.place.partner)
            .bind(self.place.organization)
            .bind(self.place.site)
            .bind(bytes)
            .execute(&mut **tx)
            .await?;
        }
        Ok(())
    }
}

/// Blocks whose format is later than this stay as they are, for the version that wrote
/// them.
pub(super) fn latest() -> Vec<u8> {
    vec![block::LATEST]
}

fn step(of: Period) -> i16 {
    i16::try_from(of.step).unwrap_or(i16::MAX)
}
