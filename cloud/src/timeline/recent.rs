//! What happened last, everywhere in a transaction's scope.

use crate::{
    authz::Can,
    db::{DbError, TenantTx},
    events::TimelineItem,
    feature::Feature,
};
use std::cmp::Reverse;

/// Entries of a source that are looked at. Computers of a site that come, go or join
/// together are one item: a relay that starts anew would otherwise leave no room for
/// anything else.
pub(crate) const LOOKED_AT: i64 = 1000;
/// What falls into one such stretch of time is together.
pub(crate) const TOGETHER: &str = "10 minutes";
/// Names told of the computers of one item.
pub(crate) const NAMES: i32 = 3;

/// The statement for a part's latest items, from one that gives what happened: `at`,
/// `title`, `actor`, `site_id`, `device_id`, `name`, `detail`, and in `alone` what tells it
/// from all that it is not to be one item with. `$1` is how many items are wanted, `$2` to
/// `$4` are [`LOOKED_AT`], [`NAMES`] and [`TOGETHER`]; `$5` is the scope's partner, by whose
/// id an index is used (row security decides what is seen).
macro_rules! together {
    ($happened:literal) => {
        concat!(
            "WITH happened AS (",
            $happened,
            "), together AS ( \
               SELECT h.title, h.site_id, h.alone, max(h.at) AS at, (array_agg(h.actor))[1] AS actor, \
                 (array_agg(h.name))[1] AS name, (array_agg(h.detail))[1] AS detail, \
                 (array_agg(h.device_id))[1] AS device_id, count(DISTINCT h.device_id) AS devices, \
                 array_agg(DISTINCT coalesce(nullif(d.name, ''), d.hostname)) AS names \
               FROM happened h LEFT JOIN devices d ON d.id = h.device_id \
               GROUP BY h.title, h.site_id, h.alone, date_bin(CAST($4 AS text)::interval, h.at, 'epoch') \
               ORDER BY at DESC LIMIT $1 \
             ) SELECT c.at, c.title, \
                 CASE WHEN c.devices > 1 THEN c.devices || ' devices: ' || array_to_string(c.names[:$3], ', ') \
                   || CASE WHEN c.devices > $3 THEN ', …' ELSE '' END ELSE c.detail END AS detail, \
                 c.actor, \
                 CASE WHEN c.devices = 1 THEN 'device' WHEN c.site_id IS NOT NULL THEN 'site' END AS ref_kind, \
                 CASE WHEN c.devices = 1 THEN c.device_id ELSE c.site_id END AS ref_id, \
                 CASE WHEN c.devices > 1 THEN s.name ELSE nullif(c.name, '') END AS ref_name \
               FROM together c LEFT JOIN sites s ON s.id = c.site_id ORDER BY c.at DESC"
        )
    };
}
pub(crate) use together;

/// The latest `limit` items of those sources that may be read, latest first.
///
/// # Errors
/// [`DbError`].
pub async fn recent(
    tx: &mut TenantTx,
    features: &[Feature],
    may: impl Fn(Can) -> bool,
    limit: i64,
) -> Result<Vec<TimelineItem>, DbError> {
    let mut items = Vec::new();
    for feature in features {
        let Some(source) = feature.timeline.filter(|source| may(source.kind.needs())) else {
            continue;
        };
        let Some(recent) = source.recent else { continue };
        let read = recent(tx, limit).await?;
        items.extend(read.into_iter().map(|item| (feature.name, source.own(item))));
    }
    items.sort_by_key(|(feature, item)| Reverse((item.at, *feature)));
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(items.into_iter().map(|(_, item)| item).collect())
}
