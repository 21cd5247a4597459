//! What happened, to a device or everywhere, latest first: each feature gives its own part
//! of it, from the tables where it stands anyway, and the parts are merged.
//!
//! A page ends between two items. Items of one moment stand in the order of their
//! features' names and within one in that of their keys, so that a page may end between
//! those too. What a relay told late stands at its own time.

mod recent;

pub use recent::recent;
pub(crate) use recent::{LOOKED_AT, NAMES, TOGETHER, together};

use crate::{
    authz::Can,
    db::{DbError, TenantTx},
    events::{TimelineItem, TimelineKind},
    feature::Feature,
    http::{Page, PageQuery, Problem},
};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use time::OffsetDateTime;
use uuid::Uuid;

/// A feature's part of timelines.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The kind of its items, with the right to read them.
    pub kind: TimelineKind,
    /// Its latest items before a place in a device's timeline.
    pub read: Read,
    /// What happened last in a transaction's scope, if that stands on the first page.
    pub recent: Option<Recent>,
}

impl Source {
    /// An item as this part's.
    fn own(&self, mut item: TimelineItem) -> TimelineItem {
        self.kind.as_str().clone_into(&mut item.kind);
        item
    }
}

/// Reads so many latest items, whose kind is their part's.
pub type Recent =
    for<'a> fn(&'a mut TenantTx, i64) -> BoxFuture<'a, Result<Vec<TimelineItem>, DbError>>;

/// Reads a part, whose items have its kind. Of a thousand devices' rows it must find one's by an index.
pub type Read = for<'a> fn(
    &'a mut TenantTx,
    &'a OfDevice,
    &'a Part,
) -> BoxFuture<'a, Result<Vec<TimelineRow>, DbError>>;

/// Whose timeline it is: a device that is visible.
#[derive(Debug)]
pub struct OfDevice {
    /// The device.
    pub id: Uuid,
    /// As shown.
    pub name: String,
    /// Its site.
    pub site: Uuid,
    /// When it joined.
    pub enrolled_at: OffsetDateTime,
}

/// A place in a timeline, as one source needs it.
#[derive(Debug)]
pub struct Part {
    /// Nothing later is wanted. `None` at the timeline's beginning.
    pub until: Option<OffsetDateTime>,
    /// Of that very moment, only items whose keys stand before this one.
    pub before: String,
    /// So many items at most.
    pub limit: i64,
}

/// An item with its key, which is unique within its source and compares as bytes do.
#[derive(Debug, sqlx::FromRow)]
pub struct TimelineRow {
    #[sqlx(flatten)]
    item: TimelineItem,
    key: String,
}

/// Where a page ended: a moment, and which item of that moment.
#[derive(Debug, Serialize, Deserialize)]
struct After {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    feature: String,
    key: String,
}

impl Part {
    /// The part of a feature behind a place.
    fn of(feature: &str, after: Option<&After>, limit: i64) -> Self {
        // No text stands before the first, and none that is a key behind the second.
        const NONE: &str = "";
        const ALL: &str = "\u{10ffff}";
        let before = match after.map(|after| (feature.cmp(&after.feature), after)) {
            None | Some((Ordering::Less, _)) => ALL,
            Some((Ordering::Greater, _)) => NONE,
            Some((Ordering::Equal, after)) => &after.key,
        };
        Self { until: after.map(|after| after.at), before: before.to_owned(), limit }
    }
}

/// A page of a device's timeline, of those sources that may be read.
///
/// # Errors
/// 400 for a bad cursor, or the database's.
pub async fn page(
    tx: &mut TenantTx,
    features: &[Feature],
    may: impl Fn(Can) -> bool,
    device: &OfDevice,
    page: &PageQuery,
) -> Result<Page<TimelineItem>, Problem> {
    let after = page.after::<After>()?;
    let mut rows = Vec::new();
    for feature in features {
        let Some(source) = feature.timeline.filter(|source| may(source.kind.needs())) else {
            continue;
        };
        let part = Part::of(feature.name, after.as_ref(), page.limit() + 1);
        let read = (source.read)(tx, device, &part).await?;
        let own = |row: TimelineRow| TimelineRow { item: source.own(row.item), ..row };
        rows.extend(read.into_iter().map(|row| (feature.name, own(row))));
    }
    rows.sort_by(|(a, x), (b, y)| (y.item.at, b, &y.key).cmp(&(x.item.at, a, &x.key)));
    let Page { items, next_cursor } = Page::cut(rows, page.limit(), |(feature, row)| After {
        at: row.item.at,
        feature: (*feature).to_owned(),
        key: row.key.clone(),
    });
    Ok(Page { items: items.into_iter().map(|(_, row)| row.item).collect(), next_cursor })
}
