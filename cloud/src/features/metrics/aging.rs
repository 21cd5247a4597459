//! Old measurements grow coarser: a block of minutes becomes quarters of an hour
//! once its whole period is older than the partner keeps minutes, and quarters
//! become hours. What comes late for such a period is joined with it.

use super::{
    coarse::{self, Period},
    jobs::{DAMAGED, MISFIT, others_go_on},
    kept::{MINUTES, QUARTERS},
    losses::Losses,
    packed::{self, Blocks},
    store::minute,
};
use crate::{
    db::{Db, DbError, Place, Scope},
    keeping::{Policies, Setting, policies},
    link::now_ms,
};
use uuid::Uuid;

/// Periods made coarser in one run; the next run goes on.
const MOST: i64 = 2000;
const DAY: u64 = 1440;

/// Makes coarser what is due.
///
/// # Errors
/// [`DbError`]; what was done before stays so.
pub async fn age(db: &Db) -> Result<(), DbError> {
    age_at(db, now_ms() / 60_000).await
}

/// As [`age`], at a given minute.
pub(super) async fn age_at(db: &Db, now: u64) -> Result<(), DbError> {
    let mut tx = db.tenant(&Scope::Platform).await?;
    let policies = policies(&mut tx, &[MINUTES, QUARTERS], None).await?;
    tx.commit().await?;
    let steps: [(Period, Period, Setting); 2] =
        [(Period::DAY, Period::QUARTERS, MINUTES), (Period::QUARTERS, Period::HOURS, QUARTERS)];
    let losses = Losses::default();
    for (from, to, setting) in steps {
        let due = due(db, (from, to), &policies, &setting, now).await?;
        let many = due.len();
        for each in due {
            let device = each.device_id;
            others_go_on(device, make_coarser(db, each, (from, to), &losses).await)?;
        }
        if many > 0 {
            tracing::debug!(periods = many, step = to.step, "Old measurements were made coarser.");
        }
    }
    Ok(())
}

#[derive(Debug, sqlx::FromRow)]
struct Due {
    device_id: Uuid,
    series_hash: i64,
    period: i64,
    #[sqlx(flatten)]
    place: Place,
}

async fn due(
    db: &Db,
    (from, to): (Period, Period),
    policies: &Policies,
    setting: &Setting,
    now: u64,
) -> Result<Vec<Due>, DbError> {
    let before = |days: i32| minute(now.saturating_sub(u64::from(days.unsigned_abs()) * DAY));
    // Whole periods only, and none that is too young for everybody: the index ends
    // the search there.
    let by = policies.by(setting);
    let span = minute(to.minutes());
    let bound = before(by.soonest) / span * span;
    let mut tx = db.tenant(&Scope::Platform).await?;
    let due = sqlx::query_as(
        "SELECT DISTINCT ON (device_id, series_hash, period) * FROM ( \
             SELECT b.device_id, b.series_hash, b.first_minute / $2 AS period, \
                 b.partner_id, b.organization_id, b.site_id \
             FROM metric_blocks b LEFT JOIN unnest($5::uuid[], $6::int8[]) AS p (partner, before) \
                 ON p.partner = b.partner_id \
             WHERE b.step = $1 AND b.last_minute < $3 \
                 AND substring(b.block FROM 1 FOR 1) <= $8 \
                 AND (b.first_minute / $2 + 1) * $2 <= coalesce(p.before, $4) LIMIT $7) due",
    )
    .bind(i16::try_from(from.step).unwrap_or(i16::MAX))
    .bind(span)
    .bind(bound)
    .bind(before(by.usual))
    .bind(by.partners)
    .bind(by.days.into_iter().map(before).collect::<Vec<_>>())
    // Several days make a period.
    .bind(MOST * minute(to.step / from.step))
    .bind(packed::latest())
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(due)
}

async fn make_coarser(
    db: &Db,
    due: Due,
    (from, to): (Period, Period),
    losses: &Losses,
) -> Result<(), DbError> {
    let Due { device_id, series_hash, period, place } = due;
    let blocks = Blocks { device: device_id, place, losses: losses.clone() };
    let period = period.unsigned_abs();
    let mut tx = db.tenant(&Scope::Platform).await?;
    let mut taken = blocks.take_span(&mut tx, series_hash, from, (period, to)).await?;
    taken.extend(blocks.take(&mut tx, series_hash, to, period).await?);
    // Work for the processor alone: off the threads that serve others.
    let done = tokio::task::spawn_blocking(move || {
        let (mut rollups, mut damaged) = (Vec::new(), Vec::new());
        for block in taken {
            match block.decode() {
                Ok(more) => rollups.extend(more),
                Err(span) => damaged.push(span),
            }
        }
        rollups.sort_by_key(|rollup| rollup.minute);
        let (fit, odd) = coarse::of_one_width(rollups, None);
        (coarse::coarser(&fit, to.step), odd, damaged)
    });
    let (rollups, odd, damaged) = done.await.map_err(sqlx::Error::decode)?;
    for span in damaged {
        blocks.lost(&mut tx, span, 1, DAMAGED).await?;
    }
    if let (Some(first), Some(last)) = (odd.first(), odd.last()) {
        blocks.lost(&mut tx, (first.minute, last.minute), odd.len() as u64, MISFIT).await?;
    }
    blocks.put(&mut tx, series_hash, to, rollups).await?;
    tx.commit().await
}
