//! Packing: rollups as they came become one block a device, table and day.
//!
//! A device is packed when its oldest loose rollup is old enough that a good
//! part of a day has gathered; what is younger stays loose, so that a day's
//! block is rewritten a few times only. What cannot be packed leaves a gap (G6);
//! what a later version of the cloud wrote waits for it.

use super::{
    coarse::{self, Period},
    losses::Losses,
    packed::Blocks,
    store::{self, minute},
};
use crate::{
    db::{Db, DbError, Place, Scope, TenantTx},
    jobs::Job,
    link::{
        from_ms,
        gaps::{self, NewGap},
        now_ms,
    },
};
use sqlx::Row;
use std::{collections::BTreeMap, time::Duration};
use unifyit_protocol::{
    ids::DeviceId,
    lane::Lane,
    telemetry::{Rollup, RollupBlock},
};
use uuid::Uuid;

pub use super::aging::age;

pub(super) const JOBS: &[Job] = &[Job {
    name: "metrics",
    period: Duration::from_secs(600),
    run: |state| {
        Box::pin(async move {
            compact(&state.db).await?;
            age(&state.db).await
        })
    },
    nudged: None,
}];

/// Rollups younger than this stay loose, in minutes.
const LOOSE: u64 = 3 * 60;
/// A device is packed when its oldest loose rollup is older than this.
const DUE: u64 = 9 * 60;
/// Devices packed in one run; the next run goes on.
const MOST: i64 = 20_000;
/// Values unfolded before what was gathered is merged: constant columns unfold to
/// many times what they weigh, and a device may have sent a thousand such blocks.
/// Few in tests, so that they meet pieces.
const MOST_CELLS: usize = if cfg!(test) { 64 } else { 2_000_000 };

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
        "SELECT DISTINCT device_id FROM metric_recent WHERE first_minute < $1 \
             AND substring(block FROM 1 FOR 1) <= $3 LIMIT $2",
    )
    .bind(minute(now.saturating_sub(DUE)))
    .bind(MOST)
    .bind(latest())
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let losses = Losses::default();
    for device in due {
        let done = pack(db, device, now.saturating_sub(LOOSE), &losses).await;
        others_go_on(device, done)?;
    }
    Ok(())
}

/// What is wrong with one device's rows keeps nobody else's from being packed; a
/// database that is away ends the run.
pub(super) fn others_go_on(device: Uuid, done: Result<(), DbError>) -> Result<(), DbError> {
    match done {
        Err(error) if !matches!(error, DbError::Unavailable { .. }) => {
            tracing::error!(%device, %error, "A device's measurements could not be packed.");
            Ok(())
        }
        done => done,
    }
}

/// Rows whose format is later than this are of a later version of the cloud, which
/// was here before and may be again: they stay as they are.
fn latest() -> Vec<u8> {
    vec![RollupBlock::LATEST]
}

/// Place in the order of arrival, table, rollups, first and last minute.
type Loose = (i64, i64, Vec<u8>, (i64, i64));
/// Rollups by table, then day, then minute; later ones replace.
type Days = BTreeMap<(i64, u64), BTreeMap<u64, Rollup>>;

async fn pack(db: &Db, device: Uuid, before: u64, losses: &Losses) -> Result<(), DbError> {
    let mut tx = db.tenant(&Scope::Platform).await?;
    let loose = sqlx::query(
        "DELETE FROM metric_recent WHERE device_id = $1 AND last_minute < $2 \
             AND substring(block FROM 1 FOR 1) <= $3 \
         RETURNING arrived, series_hash, block, first_minute, last_minute, \
             partner_id, organization_id, site_id",
    )
    .bind(device)
    .bind(minute(before))
    .bind(latest())
    .fetch_all(&mut *tx)
    .await?;
    let Some(first) = loose.first() else { return Ok(()) };
    let place = Place {
        partner: first.try_get("partner_id")?,
        organization: first.try_get("organization_id")?,
        site: first.try_get("site_id")?,
    };
    let blocks = Blocks { device, place, losses: losses.clone() };
    let mut arrived: Vec<Loose> = loose
        .iter()
        .map(|row| {
            Ok((
                row.try_get("arrived")?,
                row.try_get("series_hash")?,
                row.try_get("block")?,
                (row.try_get("first_minute")?, row.try_get("last_minute")?),
            ))
        })
        .collect::<Result<_, sqlx::Error>>()?;
    arrived.sort_unstable_by_key(|(arrived, ..)| *arrived);
    let (mut days, mut cells) = (Days::new(), 0);
    for (_, hash, columns, (from, to)) in arrived {
        let table = u32::try_from(hash).unwrap_or_default();
        let Ok(rollups) = (RollupBlock { table, columns }).decode() else {
            // It was readable when it was stored, so the row itself is damaged.
            blocks.lost(&mut tx, (from.unsigned_abs(), to.unsigned_abs()), 1, DAMAGED).await?;
            continue;
        };
        cells += rollups.iter().map(|r| r.values.len()).sum::<usize>();
        for rollup in rollups {
            days.entry((hash, rollup.minute / Period::DAY.minutes()))
                .or_default()
                .insert(rollup.minute, rollup);
        }
        if cells > MOST_CELLS {
            flush(&mut tx, &blocks, std::mem::take(&mut days)).await?;
            cells = 0;
        }
    }
    flush(&mut tx, &blocks, days).await?;
    tx.commit().await
}

/// Merges what was unfolded so far with what is packed already.
async fn flush(tx: &mut TenantTx, blocks: &Blocks, days: Days) -> Result<(), DbError> {
    let hashes: Vec<i64> = days.keys().map(|(hash, _)| *hash).collect();
    let widths = store::widths(tx, blocks.device, &hashes).await?;
    for ((hash, day), rollups) in days {
        merge(tx, blocks, (hash, widths.get(&hash).copied()), day, rollups).await?;
    }
    Ok(())
}

/// Said of rows that were readable when they were written.
pub(super) const DAMAGED: &str =
    "Stored measurements of the device were damaged and could not be read.";
/// Said of rollups that do not have the columns of their table.
pub(super) const MISFIT: &str =
    "Measurements of the device did not fit the table of their columns.";

/// Writes a day's block anew, with what is packed of the day already.
async fn merge(
    tx: &mut TenantTx,
    blocks: &Blocks,
    (hash, width): (i64, Option<usize>),
    day: u64,
    loose: BTreeMap<u64, Rollup>,
) -> Result<(), DbError> {
    let packed = blocks.take(tx, hash, Period::DAY, day).await?;
    let mut minutes = BTreeMap::new();
    for taken in packed {
        match taken.decode() {
            Ok(rollups) => minutes.extend(rollups.into_iter().map(|r| (r.minute, r))),
            Err(span) => blocks.lost(tx, span, 1, DAMAGED).await?,
        }
    }
    minutes.extend(loose);
    // One odd rollup must not take a day with it.
    let (fit, odd) = coarse::of_one_width(minutes.into_values().collect(), width);
    if let (Some(first), Some(last)) = (odd.first(), odd.last()) {
        blocks.lost(tx, (first.minute, last.minute), odd.len() as u64, MISFIT).await?;
    }
    blocks.put(tx, hash, Period::DAY, fit).await
}

impl Blocks {
    /// Writes down that measurements of a span of minutes are gone.
    pub(super) async fn lost(
        &self,
        tx: &mut TenantTx,
        (first, last): (u64, u64),
        records: u64,
        reason: &str,
    ) -> Result<(), DbError> {
        self.losses.note(self.device, (first, last), records, reason);
        let at = |minute: u64| from_ms(minute.saturating_mul(60_000));
        let gap = NewGap {
            device: Some(DeviceId(self.device)),
            lane: Lane::Metrics,
            records,
            from: at(first),
            to: at(last.saturating_add(1)),
            reason,
        };
        gaps::note_at(tx, &self.place, &gap).await
    }
}

#[cfg(test)]
mod tests;
