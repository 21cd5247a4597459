//! Writing down that data existed and was dropped (G6).
//!
//! A gap that goes on is one row that grows: a clock that is wrong for a week
//! leaves one row and not one a minute. Two gaps are one when they touch, stand at
//! one place in one lane, and their reasons differ in numbers only.

use super::RelayIdentity;
use crate::db::{DbError, Place, TenantTx};
use time::OffsetDateTime;
use unifyit_protocol::{ids::DeviceId, lane::Lane};

/// How far a device's blocks of one step go, in SQL. Its columns may have changed and changed
/// back within a block's span, so the block that began last need not be the one that goes
/// furthest; none that began a span before it does. Others are not read: a device may have
/// hundreds of blocks. The end is no bare column, or the planner would walk the blocks of all
/// devices from the last on until it meets one of this device.
macro_rules! furthest {
    ($device:literal, $step:literal, $span:literal) => {
        concat!(
            "(SELECT max(last_minute + 0) FROM metric_blocks WHERE step = ",
            $step,
            " AND device_id = ",
            $device,
            " AND first_minute > (SELECT max(first_minute) FROM metric_blocks WHERE step = ",
            $step,
            " AND device_id = ",
            $device,
            ") - ",
            $span,
            ")"
        )
    };
}
pub(crate) use furthest;

/// The last minute up to which a device's measurements are stored minute by minute, in SQL:
/// those of the last weeks.
macro_rules! last_minute {
    ($device:literal) => {
        concat!(
            "greatest((SELECT max(last_minute) FROM metric_recent WHERE device_id = ",
            $device,
            "), ",
            $crate::link::gaps::furthest!($device, "1", "1440"),
            ")"
        )
    };
}
pub(crate) use last_minute;

/// The last minute up to which a device's measurements are stored, however old they are,
/// in SQL.
macro_rules! last_stored {
    ($device:literal) => {
        concat!(
            "greatest(",
            $crate::link::gaps::last_minute!($device),
            ", ",
            $crate::link::gaps::furthest!($device, "15", "21600"),
            ", ",
            $crate::link::gaps::furthest!($device, "60", "86400"),
            ")"
        )
    };
}
pub(crate) use last_stored;

/// Data that is missing.
#[derive(Debug, Clone)]
pub(crate) struct NewGap<'a> {
    /// Whose; the whole site's when none.
    pub(crate) device: Option<DeviceId>,
    /// In which lane.
    pub(crate) lane: Lane,
    /// How many records.
    pub(crate) records: u64,
    /// First moment.
    pub(crate) from: OffsetDateTime,
    /// Last moment.
    pub(crate) to: OffsetDateTime,
    /// Why, in one sentence.
    pub(crate) reason: &'a str,
}

/// Writes it down at a relay's site.
///
/// # Errors
/// [`DbError`].
pub(crate) async fn note(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    gap: &NewGap<'_>,
) -> Result<(), DbError> {
    note_at(tx, &relay.place(), gap).await
}

/// Writes it down at a site.
///
/// # Errors
/// [`DbError`].
pub(crate) async fn note_at(
    tx: &mut TenantTx,
    place: &Place,
    gap: &NewGap<'_>,
) -> Result<(), DbError> {
    let (from, to) = (gap.from.min(gap.to), gap.from.max(gap.to));
    sqlx::query(
        "WITH grown AS ( \
             UPDATE gaps SET records = least(records::numeric + $6, 9223372036854775807)::bigint, from_at = least(from_at, $7), \
                 to_at = greatest(to_at, $8), reason = $9, at = now() \
             WHERE id = (SELECT id FROM gaps WHERE site_id = $3 AND device_id IS NOT DISTINCT FROM $4 \
                 AND lane = $5 AND to_at >= $7 - interval '5 minutes' AND from_at <= $8 + interval '5 minutes' \
                 AND regexp_replace(reason, '[0-9]+', '', 'g') = regexp_replace($9, '[0-9]+', '', 'g') \
                 ORDER BY to_at DESC LIMIT 1) RETURNING 1) \
         INSERT INTO gaps (partner_id, organization_id, site_id, device_id, lane, records, from_at, to_at, reason) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 WHERE NOT EXISTS (SELECT FROM grown)",
    )
    .bind(place.partner)
    .bind(place.organization)
    .bind(place.site)
    .bind(gap.device.map(|d| d.0))
    .bind(super::lane_name(gap.lane))
    .bind(i64::try_from(gap.records).unwrap_or(i64::MAX))
    .bind(from)
    .bind(to)
    .bind(gap.reason)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// When a lane last moved; where a new epoch has just begun, when it had moved
/// before that: what the cloud lacks of it cannot be older.
///
/// # Errors
/// [`DbError`].
pub(crate) async fn known_until(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    lane: Lane,
) -> Result<Option<OffsetDateTime>, DbError> {
    Ok(sqlx::query_scalar(
        "SELECT CASE WHEN epoch_at > now() - interval '10 minutes' THEN before_at ELSE updated_at END \
         FROM lane_cursors WHERE relay_id = $1 AND lane = $2",
    )
    .bind(relay.id.0)
    .bind(super::lane_name(lane))
    .fetch_optional(&mut **tx)
    .await?
    .flatten())
}

/// When a device last told values, be they stored or its newest alone.
///
/// # Errors
/// [`DbError`].
pub(crate) async fn measured_until(
    tx: &mut TenantTx,
    device: DeviceId,
) -> Result<Option<OffsetDateTime>, DbError> {
    Ok(sqlx::query_scalar("SELECT nullif(metrics_at, '-infinity') FROM device_loads WHERE id = $1")
        .bind(device.0)
        .fetch_optional(&mut **tx)
        .await?
        .flatten())
}

/// Up to when a device's measurements are stored: those of its newest hour are still
/// on their way.
///
/// # Errors
/// [`DbError`].
pub(crate) async fn stored_until(
    tx: &mut TenantTx,
    device: DeviceId,
) -> Result<Option<OffsetDateTime>, DbError> {
    Ok(sqlx::query_scalar(concat!("SELECT to_timestamp(60 * (1 + ", last_stored!("$1"), "))"))
        .bind(device.0)
        .fetch_one(&mut **tx)
        .await?)
}
