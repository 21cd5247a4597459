//! SQL of the package cache: settings, how they fare, savings.

use super::{
    model::{
        AheadItem, AheadStateBody, CacheSavings, InForce, PackageCacheBody, Remap, Saved, SavedDay,
        SavedRepository,
    },
    rules::{self, Ahead},
};
use crate::{
    db::{DbError, Place, TenantTx},
    features::sites::topics::CacheHolds,
};
use sqlx::types::Json;
use std::collections::BTreeMap;
use time::{Date, OffsetDateTime};
use unifyit_protocol::{cache::CachePolicy, config::CacheAhead, ids::SiteId};
use uuid::Uuid;

/// Repositories shown apart.
const SHOWN: usize = 100;

/// The settings of a site as they stand, and how they fare.
///
/// # Errors
/// [`DbError`].
pub(crate) async fn get(tx: &mut TenantTx, site: SiteId) -> Result<PackageCacheBody, DbError> {
    let (holds, policy): (Option<Json<CacheHolds>>, Option<Json<CachePolicy>>) = sqlx::query_as(
        "SELECT c.desired->'package_cache', r.cache_policy \
         FROM site_configs c LEFT JOIN relays r ON r.site_id = c.site_id AND r.revoked_at IS NULL \
         WHERE c.site_id = $1",
    )
    .bind(site.0)
    .fetch_one(&mut **tx)
    .await?;
    let CacheHolds { hosts, remaps: named, plan } =
        holds.map(|Json(holds)| holds).unwrap_or_default();
    let files: Vec<AheadRow> = sqlx::query_as(
        "SELECT url, sha256, size, keep_until, state, reason, state_at FROM cache_ahead \
         WHERE site_id = $1 AND keep_until > now() ORDER BY place",
    )
    .bind(site.0)
    .fetch_all(&mut **tx)
    .await?;
    Ok(PackageCacheBody {
        plan,
        hosts,
        remaps: named,
        ahead: files.into_iter().map(AheadRow::into_item).collect(),
        in_force: policy.map(|Json(policy)| InForce {
            remaps: remaps(&policy.remaps),
            plan: policy.plan.map(rules::plan_body),
            hosts: policy.hosts,
            overruled: policy.overruled,
        }),
    })
}

fn remaps(all: &[String]) -> Vec<Remap> {
    let remap = |text: &String| {
        let (name, url) = text.split_once('=')?;
        Some(Remap { name: name.into(), url: url.into() })
    };
    all.iter().filter_map(remap).collect()
}

#[derive(sqlx::FromRow)]
struct AheadRow {
    url: String,
    sha256: Vec<u8>,
    size: i64,
    keep_until: OffsetDateTime,
    state: String,
    reason: String,
    state_at: Option<OffsetDateTime>,
}

impl AheadRow {
    fn into_item(self) -> AheadItem {
        AheadItem {
            url: self.url,
            sha256: rules::hex(&self.sha256),
            size: self.size.unsigned_abs(),
            keep_until: self.keep_until,
            state: match self.state.as_str() {
                "ready" => AheadStateBody::Ready,
                "refused" => AheadStateBody::Refused,
                "failed" => AheadStateBody::Failed,
                _ => AheadStateBody::Waiting,
            },
            reason: self.reason,
            state_at: self.state_at,
        }
    }
}

/// The files to have ready, as the relay is told.
///
/// # Errors
/// [`DbError`].
pub(in crate::features::sites) async fn ahead(
    tx: &mut TenantTx,
    site: SiteId,
) -> Result<Vec<CacheAhead>, DbError> {
    let rows: Vec<(String, Vec<u8>, i64, OffsetDateTime)> = sqlx::query_as(
        "SELECT url, sha256, size, keep_until FROM cache_ahead \
         WHERE site_id = $1 AND keep_until > now() ORDER BY place",
    )
    .bind(site.0)
    .fetch_all(&mut **tx)
    .await?;
    let file = |(url, sha256, size, keep_until): (String, Vec<u8>, i64, OffsetDateTime)| {
        let until_ms = keep_until.unix_timestamp_nanos() / 1_000_000;
        Some(CacheAhead {
            url,
            sha256: sha256.try_into().ok()?,
            size: size.unsigned_abs(),
            until_ms: u64::try_from(until_ms).unwrap_or_default(),
        })
    };
    Ok(rows.into_iter().filter_map(file).collect())
}

/// Replaces the files to have ready. One that stays keeps how far it is.
///
/// # Errors
/// [`DbError`].
pub(in crate::features::sites) async fn set_ahead(
    tx: &mut TenantTx,
    place: &Place,
    site: SiteId,
    files: &[Ahead],
) -> Result<(), DbError> {
    let hashes: Vec<Vec<u8>> = files.iter().map(|file| file.sha256.to_vec()).collect();
    sqlx::query("DELETE FROM cache_ahead WHERE site_id = $1 AND sha256 <> ALL($2)")
        .bind(site.0)
        .bind(&hashes)
        .execute(&mut **tx)
        .await?;
    let urls: Vec<&str> = files.iter().map(|file| file.url.as_str()).collect();
    let sizes: Vec<i64> = files.iter().map(|file| file.size).collect();
    let until: Vec<OffsetDateTime> = files.iter().map(|file| file.keep_until).collect();
    sqlx::query(
        "INSERT INTO cache_ahead AS a (site_id, partner_id, organization_id, place, url, sha256, \
             size, keep_until) \
         SELECT $1, $2, $3, f.place, f.url, f.sha256, f.size, f.keep_until \
         FROM unnest($4::text[], $5::bytea[], $6::bigint[], $7::timestamptz[]) \
             WITH ORDINALITY AS f(url, sha256, size, keep_until, place) \
         ON CONFLICT (site_id, sha256) DO UPDATE SET place = excluded.place, url = excluded.url, \
             size = excluded.size, keep_until = excluded.keep_until, \
             state = CASE WHEN a.url = excluded.url OR a.state = 'ready' THEN a.state ELSE 'waiting' END, \
             reason = CASE WHEN a.url = excluded.url THEN a.reason ELSE '' END",
    )
    .bind(site.0)
    .bind(place.partner)
    .bind(place.organization)
    .bind(urls)
    .bind(&hashes)
    .bind(sizes)
    .bind(until)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Remaps that the relay has by itself, as far as it told.
///
/// # Errors
/// [`DbError`].
pub(crate) async fn relay_remaps(tx: &mut TenantTx, site: SiteId) -> Result<Vec<Remap>, DbError> {
    let policy: Option<Option<Json<CachePolicy>>> = sqlx::query_scalar(
        "SELECT cache_policy FROM relays WHERE site_id = $1 AND revoked_at IS NULL",
    )
    .bind(site.0)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(policy.flatten().map(|Json(policy)| remaps(&policy.remaps)).unwrap_or_default())
}

/// What was saved from `from` to `to`, both included.
///
/// # Errors
/// [`DbError`].
pub(crate) async fn savings(
    tx: &mut TenantTx,
    site: SiteId,
    (from, to): (Date, Date),
) -> Result<CacheSavings, DbError> {
    let rows: Vec<(Date, String, i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT day, repository, served, fetched, hits, misses FROM cache_savings \
         WHERE site_id = $1 AND day BETWEEN $2 AND $3 ORDER BY day, repository",
    )
    .bind(site.0)
    .bind(from)
    .bind(to)
    .fetch_all(&mut **tx)
    .await?;
    let mut days = BTreeMap::new();
    let mut day = Some(from);
    while let Some(at) = day.filter(|at| *at <= to) {
        days.insert(at, Saved::default());
        day = at.next_day();
    }
    let mut by_repository: BTreeMap<String, Saved> = BTreeMap::new();
    let mut total = Saved::default();
    for (day, repository, served, fetched, hits, misses) in rows {
        let saved = Saved {
            served_bytes: served.unsigned_abs(),
            fetched_bytes: fetched.unsigned_abs(),
            hits: hits.unsigned_abs(),
            misses: misses.unsigned_abs(),
        };
        total.add(&saved);
        days.entry(day).or_default().add(&saved);
        by_repository.entry(repository).or_default().add(&saved);
    }
    let mut repositories: Vec<SavedRepository> = by_repository
        .into_iter()
        .map(|(repository, saved)| SavedRepository { repository, saved })
        .collect();
    repositories.sort_by_key(|r| std::cmp::Reverse((r.saved.served_bytes, r.saved.fetched_bytes)));
    repositories.truncate(SHOWN);
    let days = days.into_iter().map(|(day, saved)| SavedDay { day: day.to_string(), saved });
    Ok(CacheSavings {
        from: from.to_string(),
        to: to.to_string(),
        total,
        days: days.collect(),
        repositories,
    })
}

impl Saved {
    fn add(&mut self, more: &Self) {
        self.served_bytes = self.served_bytes.saturating_add(more.served_bytes);
        self.fetched_bytes = self.fetched_bytes.saturating_add(more.fetched_bytes);
        self.hits = self.hits.saturating_add(more.hits);
        self.misses = self.misses.saturating_add(more.misses);
    }
}

/// Notes what the relay allows.
pub(super) async fn set_policy(
    tx: &mut TenantTx,
    relay: Uuid,
    policy: &CachePolicy,
) -> Result<(), DbError> {
    sqlx::query("UPDATE relays SET cache_policy = $2 WHERE id = $1")
        .bind(relay)
        .bind(Json(policy))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
