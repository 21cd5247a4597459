//! What a relay is told about its site, made from the rows and queued in the
//! transaction that changes them.

use super::cache;
use crate::{
    db::{DbError, Place, TenantTx},
    link::downlink::{self, AppendError},
};
use time::OffsetDateTime;
use unifyit_protocol::{
    config::{DeviceConfig, SiteConfig},
    ids::{OrganizationId, SiteId, TokenId},
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

/// Takes over a relay's settings where it knows a later revision than the database,
/// which is an older copy then: what technicians set since is not lost. What no
/// console could have set is left out. `ahead` says whether it told which files the
/// cache is to have ready. Whether any were taken.
pub(super) async fn adopt(
    tx: &mut TenantTx,
    (place, site): (&Place, SiteId),
    (held, ahead): (&SiteConfig, bool),
) -> Result<bool, DbError> {
    let (Ok(revision), pin) = (i64::try_from(held.revision), &held.ui_pin_hash) else {
        return Ok(false);
    };
    let pin = (pin.len() <= 256 && pin.starts_with("$argon2id$")).then_some(pin);
    let (hosts, remaps) = cache::rules::held(held).unzip();
    let plan = held.cache_plan.filter(|p| p.from_min < 1440 && p.until_min < 1440);
    let taken = sqlx::query(
        "UPDATE site_configs SET revision = $2 + 1, updated_at = now(), \
             collect_every_s = $3, inventory_every_s = $4, ui_pin_hash = coalesce($5, ui_pin_hash), \
             cache_hosts = coalesce($6, cache_hosts), cache_remaps = coalesce($7, cache_remaps), \
             cache_from_min = $8, cache_until_min = $9, cache_bytes_per_s = $10 \
         WHERE site_id = $1 AND revision < $2 AND $2 < 4611686018427387904",
    )
    .bind(site.0)
    .bind(revision)
    .bind(i32::try_from(held.device.collect_every_s.clamp(1, 3600)).unwrap_or(10))
    .bind(i32::try_from(held.device.inventory_every_s.clamp(60, 86_400)).unwrap_or(900))
    .bind(pin)
    .bind(hosts)
    .bind(remaps)
    .bind(plan.map(|p| i32::from(p.from_min)))
    .bind(plan.map(|p| i32::from(p.until_min)))
    .bind(plan.map(|p| i64::try_from(p.bytes_per_s).unwrap_or(i64::MAX)))
    .execute(&mut **tx)
    .await?;
    let taken = taken.rows_affected() == 1;
    if taken && ahead {
        let files = cache::rules::held_ahead(held, OffsetDateTime::now_utc());
        cache::store::set_ahead(tx, place, site, &files).await?;
    }
    Ok(taken)
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

/// As [`push_changed`], for every site of an organization, whose name they show.
///
/// # Errors
/// [`AppendError`].
pub async fn push_to_organization(
    tx: &mut TenantTx,
    organization: OrganizationId,
) -> Result<(), AppendError> {
    // In the order of relays, as everybody who writes to several.
    let sites: Vec<Uuid> = sqlx::query_scalar(
        "SELECT s.id FROM sites s LEFT JOIN relays r ON r.site_id = s.id AND r.revoked_at IS NULL \
         WHERE s.organization_id = $1 AND s.deleted_at IS NULL ORDER BY r.id",
    )
    .bind(organization.0)
    .fetch_all(&mut **tx)
    .await?;
    for site in sites {
        push_changed(tx, SiteId(site)).await?;
    }
    Ok(())
}
