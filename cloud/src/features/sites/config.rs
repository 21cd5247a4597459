//! What a relay is told about its site: composed of the documents that count there, kept
//! under a revision, and sent until the relay has it.
//!
//! [`settle`] composes and raises the revision where anything changed; [`send`] queues what
//! stands for the relay. Who changes something of one site does both in the same
//! transaction ([`set`], [`follow`]). What concerns many marks them as stale, and the job
//! ([`super::jobs`]) goes through those. What relays say that they have is noted
//! ([`acknowledged`]), and what they lack is sent again.

use super::{
    cache,
    topics::{Holds, TOPICS},
};
use crate::{
    context::AppState,
    db::{DbError, TenantTx},
    link::downlink::{self, AppendError},
    settings::{self, Level, Mark, Refused, Spot, Topic},
};
use serde_json::{Map, Value};
use sqlx::types::Json;
use unifyit_protocol::{
    cache::CachePlan,
    config::{DeviceConfig, SiteConfig},
    ids::{OrganizationId, RelayId, SiteId, TokenId},
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
    desired: Json<Holds>,
}

/// The settings of a site as they stand.
///
/// # Errors
/// [`DbError`].
pub async fn current(tx: &mut TenantTx, site: SiteId) -> Result<Option<SiteConfig>, DbError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT o.name AS organization_name, s.name AS site_name, c.revision, c.desired \
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
    let (revision, Json(holds)) = (row.revision.unsigned_abs(), row.desired);
    let (collection, cache) = (holds.collection, holds.package_cache);
    Ok(Some(SiteConfig {
        revision,
        organization_name: row.organization_name,
        site_name: row.site_name,
        device: DeviceConfig {
            revision,
            collect_every_s: collection.collect_every_s.unsigned_abs(),
            inventory_every_s: collection.inventory_every_s.unsigned_abs(),
            ..DeviceConfig::default()
        },
        revoked_tokens: revoked.into_iter().map(TokenId).collect(),
        ui_pin_hash: holds.local_ui.pin.unwrap_or_default(),
        cache_remaps: cache.remaps.iter().map(|r| format!("{}={}", r.name, r.url)).collect(),
        cache_hosts: cache.hosts,
        cache_ahead: cache::store::ahead(tx, site).await?,
        cache_plan: cache
            .plan
            .and_then(|plan| -> Option<CachePlan> { cache::rules::check_plan(&plan).ok() }),
    }))
}

/// Queues the settings for the site's relay, if it has one.
///
/// # Errors
/// [`AppendError`].
pub async fn send(tx: &mut TenantTx, site: SiteId) -> Result<(), AppendError> {
    let Some(relay) = downlink::relay_of(tx, site).await? else { return Ok(()) };
    let Some(config) = current(tx, site).await? else { return Ok(()) };
    let revision = i64::try_from(config.revision).unwrap_or(i64::MAX);
    downlink::append(tx, relay, &DownRecord::Config(config)).await?;
    sqlx::query("UPDATE relays SET settings_sent = $2, settings_sent_at = now() WHERE id = $1")
        .bind(relay.0)
        .bind(revision)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// What holds at a site, of all that counts there.
async fn compose(tx: &mut TenantTx, spot: &Spot) -> Result<Holds, DbError> {
    let mut layers = settings::store::layers(tx, spot).await?;
    let of = |topic: &Topic| {
        let layers = layers.remove(topic.word).unwrap_or_default();
        (topic.word.to_owned(), settings::values(&settings::compose(topic, &layers)).into())
    };
    let all: Map<String, Value> = TOPICS.iter().map(of).collect();
    // Each value passed its field's check.
    Ok(serde_json::from_value(all.into()).unwrap_or_else(|error| {
        tracing::error!(site = %spot.id, %error, "What holds at a site cannot be read.");
        Holds::default()
    }))
}

/// Composes what holds at a site; the revision rises where that is another thing than it
/// was. Whether it is.
///
/// # Errors
/// [`DbError`].
pub(super) async fn settle(tx: &mut TenantTx, site: SiteId) -> Result<bool, DbError> {
    // Before what it is composed of is read: two who change it come one after the other.
    let before: Option<Json<Holds>> = sqlx::query_scalar(
        "UPDATE site_configs SET stale = false WHERE site_id = $1 RETURNING desired",
    )
    .bind(site.0)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(Json(before)) = before else { return Ok(false) };
    let Some(spot) = settings::find(tx, Level::Site, site.0).await? else { return Ok(false) };
    let holds = compose(tx, &spot).await?;
    if holds == before {
        return Ok(false);
    }
    sqlx::query(
        "UPDATE site_configs SET desired = $2, revision = revision + 1, updated_at = now() \
         WHERE site_id = $1",
    )
    .bind(site.0)
    .bind(Json(&holds))
    .execute(&mut **tx)
    .await?;
    Ok(true)
}

/// Has the job compose what holds at a site once more.
///
/// # Errors
/// [`DbError`].
pub(super) async fn look_again(tx: &mut TenantTx, site: SiteId) -> Result<(), DbError> {
    sqlx::query("UPDATE site_configs SET stale = true WHERE site_id = $1")
        .bind(site.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Why values were not set.
#[derive(Debug)]
pub(super) enum SetError {
    /// The site is not there.
    Gone,
    /// Some are not acceptable.
    Refused(Refused),
    /// The database failed.
    Db(DbError),
}

impl From<DbError> for SetError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

/// Sets values of a topic at a site. What holds there is another matter: see [`settle`].
pub(super) async fn set(
    tx: &mut TenantTx,
    site: SiteId,
    topic: &Topic,
    values: Vec<(&'static str, Value)>,
    mark: &Mark,
) -> Result<(), SetError> {
    // Whoever settles waits here, and composes what this transaction leaves.
    sqlx::query("SELECT FROM site_configs WHERE site_id = $1 FOR NO KEY UPDATE")
        .bind(site.0)
        .execute(&mut **tx)
        .await
        .map_err(DbError::from)?;
    let spot = settings::find(tx, Level::Site, site.0).await?.ok_or(SetError::Gone)?;
    let stands = settings::stands(tx, &spot, topic).await?;
    let document = stands.with(topic, values, mark).map_err(SetError::Refused)?;
    if document != stands.own {
        settings::store::write(tx, &spot, topic, &document).await?;
    }
    Ok(())
}

/// A document changed: what holds at one site is composed at once, what holds at many by
/// the job.
///
/// # Errors
/// [`AppendError`].
pub(super) async fn follow(
    tx: &mut TenantTx,
    state: &AppState,
    spot: &Spot,
) -> Result<(), AppendError> {
    if let Some(site) = spot.place.site {
        if settle(tx, SiteId(site)).await? {
            send(tx, SiteId(site)).await?;
        }
        return Ok(());
    }
    // In the order of sites, as everybody who marks several.
    sqlx::query(
        "UPDATE site_configs SET stale = true WHERE site_id IN (SELECT site_id FROM site_configs \
             WHERE partner_id = $1 AND ($2::uuid IS NULL OR organization_id = $2) \
             ORDER BY site_id FOR NO KEY UPDATE)",
    )
    .bind(spot.place.partner)
    .bind(spot.place.organization)
    .execute(&mut **tx)
    .await?;
    let reconcile = state.reconcile.clone();
    tx.after_commit(move || reconcile.notify_one());
    Ok(())
}

/// Notes which revision a relay has, and sends the present one if that is another: it may
/// be put back to an older copy of itself. Not what it was sent a moment ago, or what still
/// waits for it.
///
/// # Errors
/// [`AppendError`].
pub async fn acknowledged(
    tx: &mut TenantTx,
    (relay, site): (RelayId, SiteId),
    revision: u64,
) -> Result<(), AppendError> {
    let lacks: Option<bool> = sqlx::query_scalar(
        "UPDATE relays r SET settings_acknowledged = least($2, c.revision) FROM site_configs c \
         WHERE r.id = $1 AND c.site_id = r.site_id \
         RETURNING $2 < c.revision AND NOT (r.settings_sent >= c.revision \
             AND (r.settings_sent_at > now() - interval '1 minute' OR EXISTS ( \
                 SELECT FROM downlink d WHERE d.relay_id = r.id AND d.kind = 'config')))",
    )
    .bind(relay.0)
    .bind(i64::try_from(revision).unwrap_or(i64::MAX))
    .fetch_optional(&mut **tx)
    .await?;
    if lacks == Some(true) {
        send(tx, site).await?;
    }
    Ok(())
}

/// What a relay has at the start of an epoch: the present revision is sent if that is
/// another, whatever it was sent before.
///
/// # Errors
/// [`AppendError`].
pub(super) async fn held(
    tx: &mut TenantTx,
    (relay, site): (RelayId, SiteId),
    revision: u64,
) -> Result<(), AppendError> {
    let lacks: Option<bool> = sqlx::query_scalar(
        "UPDATE relays r SET settings_acknowledged = least($2, c.revision) FROM site_configs c \
         WHERE r.id = $1 AND c.site_id = r.site_id RETURNING $2 <> c.revision",
    )
    .bind(relay.0)
    .bind(i64::try_from(revision).unwrap_or(i64::MAX))
    .fetch_optional(&mut **tx)
    .await?;
    if lacks == Some(true) {
        send(tx, site).await?;
    }
    Ok(())
}

/// Raises the revision of a site's settings, for a change that is not in its documents
/// (a name, the files to have ready), and queues them.
///
/// # Errors
/// [`AppendError`].
pub async fn send_changed(tx: &mut TenantTx, site: SiteId) -> Result<(), AppendError> {
    settle(tx, site).await?;
    sqlx::query("UPDATE site_configs SET revision = revision + 1 WHERE site_id = $1")
        .bind(site.0)
        .execute(&mut **tx)
        .await?;
    send(tx, site).await
}

/// As [`send_changed`], for every site of an organization, whose name they show.
///
/// # Errors
/// [`AppendError`].
pub async fn send_to_organization(
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
        send_changed(tx, SiteId(site)).await?;
    }
    Ok(())
}
