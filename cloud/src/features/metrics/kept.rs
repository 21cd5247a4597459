//! For how long measurements are kept, and how they are cut.

use crate::{
    db::DbError,
    jobs::Old,
    keeping::{Bound, Keeps, Policies, Setting, bind_days},
};

/// Measurements as minutes.
pub(crate) const MINUTES: Setting = Setting {
    field: "metrics_minute_days",
    column: "minute_days",
    about: "measurements as minutes",
    says: "Measurements as minutes, 2 to 400.",
    usual: 30,
    least: Bound::Days(2),
    most: Bound::Days(400),
    refusal: "Measurements are kept as minutes for 2 to 400 days.",
};
/// Measurements as quarters of an hour, then as hours.
pub(crate) const QUARTERS: Setting = Setting {
    field: "metrics_quarter_days",
    column: "quarter_days",
    about: "as quarters of an hour",
    says: "Measurements as quarters of an hour, then as hours, 2 to 3660; not shorter\nthan minutes.",
    usual: 365,
    least: Bound::Of(&MINUTES),
    most: Setting::LONGEST,
    refusal: "Quarters of an hour are kept at least as long as minutes, hours at least as long as quarters, 3660 days at most.",
};
/// Measurements at all.
pub(crate) const HOURS: Setting = Setting {
    field: "metrics_hour_days",
    column: "hour_days",
    about: "as hours",
    says: "Measurements at all, 2 to 3660; not shorter than quarters.",
    usual: 5 * 365,
    least: Bound::Of(&QUARTERS),
    most: Setting::LONGEST,
    refusal: "Quarters of an hour are kept at least as long as minutes, hours at least as long as quarters, 3660 days at most.",
};

/// What the feature keeps, and how it is cut.
pub(super) const KEEPS: Keeps = Keeps {
    settings: &[MINUTES, QUARTERS, HOURS],
    sweep: Some(|old, policies| Box::pin(sweep(old, policies))),
    tables: &[
        (
            "metric_blocks",
            "metrics_minute_days as minutes, metrics_quarter_days, metrics_hour_days",
        ),
        ("metric_latest", "with their device, 90 days beyond its revocation"),
        ("metric_recent", "half a day, then packed"),
        ("series_tables", "as long as a block names them"),
    ],
};

/// Deletes what is past its time.
async fn sweep(old: &Old, policies: &Policies) -> Result<(), DbError> {
    let days = policies.by(&HOURS);
    old.delete(
        "metric_blocks",
        "DELETE FROM metric_blocks WHERE ctid = ANY(ARRAY(SELECT b.ctid FROM metric_blocks b \
             LEFT JOIN unnest($4::uuid[], $5::int4[]) AS p (partner, days) ON p.partner = b.partner_id \
             WHERE b.step = ANY('{1,15,60}') \
                 AND b.last_minute < extract(epoch FROM now())::int8 / 60 - $2 * 1440 \
                 AND b.last_minute < extract(epoch FROM now())::int8 / 60 - coalesce(p.days, $3) * 1440 \
             LIMIT $1))",
        |query| bind_days!(query, days),
    )
    .await?;
    // A device that changes its columns all the time; the last few may come again.
    old.delete(
        "series_tables",
        "WITH many AS (SELECT device_id FROM series_tables GROUP BY 1 HAVING count(*) > 64 LIMIT 1000) \
         DELETE FROM series_tables WHERE ctid = ANY(ARRAY(SELECT s.row FROM ( \
             SELECT t.ctid AS row, t.device_id, t.hash, \
                 row_number() OVER (PARTITION BY t.device_id ORDER BY t.first_seen DESC) AS place \
             FROM many JOIN series_tables t ON t.device_id = many.device_id) s WHERE s.place > 64 \
             AND NOT EXISTS (SELECT FROM metric_blocks b \
                 WHERE b.device_id = s.device_id AND b.series_hash = s.hash) \
             AND NOT EXISTS (SELECT FROM metric_recent r \
                 WHERE r.device_id = s.device_id AND r.series_hash = s.hash) LIMIT $1))",
        |query| query,
    )
    .await?;
    old.delete(
        "metric_latest",
        "DELETE FROM metric_latest WHERE ctid = ANY(ARRAY(SELECT e.ctid FROM devices d \
                 JOIN metric_latest e ON e.device_id = d.id \
                 WHERE d.revoked_at < now() - interval '90 days' LIMIT $1))",
        |query| query,
    )
    .await?;
    Ok(())
}
