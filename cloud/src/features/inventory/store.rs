//! SQL of inventory. Every read takes a [`DeviceRef`]: the proof that the
//! device is visible.

use super::{SectionBody, SoftwareItem};
use crate::{
    db::{DbError, TenantTx},
    features::devices::store::DeviceRef,
    http::{Page, PageQuery, Problem},
};
use sqlx::types::Json;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use unifyit_protocol::inventory::{Entry, MAX_ENTRIES};

/// Facts of the machine.
///
/// # Errors
/// [`DbError`].
pub async fn machine(
    tx: &mut TenantTx,
    device: &DeviceRef,
) -> Result<BTreeMap<String, String>, DbError> {
    let entry: Option<Json<Entry>> = sqlx::query_scalar(
        "SELECT entry FROM inventory_entries WHERE device_id = $1 AND section = 'system' \
         ORDER BY key LIMIT 1",
    )
    .bind(device.id)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(entry.map(|Json(entry)| entry).unwrap_or_default())
}

/// A whole section.
///
/// # Errors
/// [`DbError`].
pub async fn section(
    tx: &mut TenantTx,
    device: &DeviceRef,
    section: &str,
) -> Result<SectionBody, DbError> {
    let head: Option<(OffsetDateTime, i32)> = sqlx::query_as(
        "SELECT at, cut FROM inventory_sections WHERE device_id = $1 AND section = $2",
    )
    .bind(device.id)
    .bind(section)
    .fetch_optional(&mut **tx)
    .await?;
    let entries: Vec<(String, Json<Entry>)> = sqlx::query_as(
        "SELECT key, entry FROM inventory_entries WHERE device_id = $1 AND section = $2 \
         ORDER BY key LIMIT $3",
    )
    .bind(device.id)
    .bind(section)
    .bind(i64::try_from(MAX_ENTRIES).unwrap_or(i64::MAX))
    .fetch_all(&mut **tx)
    .await?;
    Ok(SectionBody {
        at: head.map(|(at, _)| at),
        cut: head.map_or(0, |(_, cut)| cut),
        entries: entries.into_iter().map(|(key, Json(entry))| (key, entry)).collect(),
    })
}

/// Installed packages, searched by name.
///
/// # Errors
/// 400 for a bad cursor, or the database's.
pub async fn software(
    tx: &mut TenantTx,
    device: &DeviceRef,
    q: &str,
    page: &PageQuery,
) -> Result<Page<SoftwareItem>, Problem> {
    let rows: Vec<(String, Json<Entry>)> = sqlx::query_as(
        "SELECT key, entry FROM inventory_entries \
         WHERE device_id = $1 AND section = 'packages' AND ($2::text IS NULL OR key > $2) \
         AND ($3 = '' OR strpos(lower(key), $3) > 0) ORDER BY key LIMIT $4",
    )
    .bind(device.id)
    .bind(page.after::<String>()?)
    .bind(q.trim().to_lowercase())
    .bind(page.limit() + 1)
    .fetch_all(&mut **tx)
    .await?;
    let page = Page::cut(rows, page.limit(), |(key, _)| key.clone());
    let items = page.items.into_iter().map(|(key, Json(entry))| item(&key, entry)).collect();
    Ok(Page { items, next_cursor: page.next_cursor })
}

/// A package is keyed `manager/name`; its entry may repeat both.
fn item(key: &str, mut entry: Entry) -> SoftwareItem {
    let (manager, name) = key.split_once('/').unwrap_or(("", key));
    let mut take =
        |field: &str, fallback: &str| entry.remove(field).unwrap_or_else(|| fallback.to_owned());
    SoftwareItem {
        manager: take("manager", manager),
        name: take("name", name),
        version: take("version", ""),
        more: entry,
    }
}
