//! What a relay is told about its site, made from the rows and queued in the
//! transaction that changes them.

use super::cache;
use crate::{
    db::{DbError, TenantTx},
    link::downlink::{self, AppendError},
};
use unifyit_protocol::{
    config::{DeviceConfig, SiteConfig},
    ids::{SiteId, TokenId},
    link::DownRecord,
};
use uuid::Uuid;

/// Most revoked tokens named; older ones have long expired.
const MAX_REVOKED: i64 = 1000;

#[derive(sqlx::FromRow)]
struct Row {
    organization_name: String,
    site_name: String,
    revision: i64,
    collect_every_s: i32,
    inventory_every_s: i32,
    ui_pin_hash: String,
    cache_remaps: Vec<String>,
    cache_hosts: Vec<String>,
    cache_from_min: Option<i32>,
    cache_until_min: Option<i32>,
    cache_bytes_per_s: Option<i64>,
}

/// The settings of a site as they stand.
///
/// # Errors
/// [`DbError`].
pub async fn current(tx: &mut TenantTx, site: SiteId) -> Result<Option<SiteConfig>, DbError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT o.name AS organization_name, s.name AS site_name, c.revision, c.collect_every_s, \
             c.inventory_every_s, c.ui_pin_hash, c.cache_remaps, c.cache_hosts, c.cache_from_min, \
             c.cache_until_min, c.cache_bytes_per_s \
         FROM sites s JOIN organizations o ON o.id = s.organization_id \
         JOIN site_configs c ON c.site_id = s.id WHERE s.id = $1",
    )
    .bind(site.0)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let revoked: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM install_tokens WHERE site_id = $1 AND kind = 'agent' \
         AND revoked_at IS NOT NULL AND expires_at > now() ORDER BY expires_at DESC LIMIT $2",
    )
    .bind(site.0)
    .bind(MAX_REVOKED)
    .fetch_all(&mut **tx)
    .await?;
    let revision = row.revision.unsigned_abs();
    Ok(Some(SiteConfig {
        revision,
        organization_name: row.organization_name,
        site_name: row.site_name,
        device: DeviceConfig {
            revision,
            collect_every_s: row.collect_every_s.unsigned_abs(),
            inventory_every_s: row.inventory_every_s.unsigned_abs(),
            ..DeviceConfig::default()
        },
        revoked_tokens: revoked.into_iter().map(TokenId).collect(),
        ui_pin_hash: row.ui_pin_hash,
        cache_remaps: row.cache_remaps,
        cache_hosts: row.cache_hosts,
        cache_ahead: cache::store::ahead(tx, site).await?,
        cache_plan: cache::store::plan_of(
            row.cache_from_min,
            row.cache_until_min,
            row.cache_bytes_per_s,
        ),
    }))
}

/// Queues the settings for the site's relay, if it has one.
///
/// # Errors
/// [`AppendError`].
pub async fn push(tx: &mut TenantTx, site: SiteId) -> Result<(), AppendError> {
    let Some(relay) = downlink::relay_of(tx, site).await? else { return Ok(()) };
    let Some(config) = current(tx, site).await? else { return Ok(()) };
    downlink::append(tx, relay, &DownRecord::Config(config)).await?;
    Ok(())
}

/// Raises the revision of a site's settings, for a change that is not in their
/// own row (a name), and queues them.
///
/// # Errors
/// [`AppendError`].
pub async fn push_changed(tx: &mut TenantTx, site: SiteId) -> Result<(), AppendError> {
    sqlx::query("UPDATE site_configs SET revision = revision + 1 WHERE site_id = $1")
        .bind(site.0)
        .execute(&mut **tx)
        .await?;
    push(tx, site).await
}
