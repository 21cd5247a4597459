//! What a relay says of its package cache. Values are sums so far: a report that
//! comes twice changes nothing. What a relay may store here is bounded, whatever
//! it claims.

use super::store;
use crate::{
    db::TenantTx,
    link::{ApplyError, RelayIdentity, from_ms},
    reports::line,
};
use std::collections::BTreeMap;
use time::{Date, Duration, OffsetDateTime, macros::format_description};
use unifyit_protocol::cache::{AheadFile, AheadState, CacheDay, CacheReport};

/// Days that are kept.
const DAYS: i64 = 400;
/// Days back that a relay still speaks of.
const BACK: i64 = 40;
/// Repositories of one day.
const REPOSITORIES: i64 = 300;

/// Applies a report.
pub(in super::super) async fn report(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    report: CacheReport,
) -> Result<(), ApplyError> {
    let report = fit(report);
    if !report.days.is_empty() {
        savings(tx, relay, report.days).await?;
    }
    if !report.ahead.is_empty() {
        ahead(tx, relay, report.ahead, report.at_ms).await?;
    }
    if let Some(policy) = report.policy {
        store::set_policy(tx, relay.id.0, &policy).await?;
    }
    Ok(())
}

/// With texts that are fit to store.
fn fit(mut report: CacheReport) -> CacheReport {
    for day in &mut report.days {
        day.repository = line(&day.repository, 255);
    }
    for file in &mut report.ahead {
        file.reason = line(&file.reason, 300);
    }
    if let Some(policy) = &mut report.policy {
        let lines = |all: &mut Vec<String>, most| {
            all.iter_mut().for_each(|text| *text = line(text, most));
        };
        lines(&mut policy.hosts, 255);
        lines(&mut policy.remaps, 700);
        lines(&mut policy.overruled, 900);
    }
    report
}

async fn savings(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    rows: Vec<CacheDay>,
) -> Result<(), ApplyError> {
    let today = OffsetDateTime::now_utc().date();
    let (oldest, newest) = (today - Duration::days(BACK), today + Duration::days(1));
    let day = format_description!("[year]-[month]-[day]");
    // A row of a day and repository once: the database takes no row twice.
    let mut kept: BTreeMap<(Date, String), CacheDay> = BTreeMap::new();
    for row in rows {
        let Ok(at) = Date::parse(&row.day, day) else { continue };
        let named = (1..=255).contains(&row.repository.len());
        if (oldest..=newest).contains(&at) && named {
            kept.insert((at, row.repository.clone()), row);
        }
    }
    let column = |value: fn(&CacheDay) -> u64| -> Vec<i64> {
        kept.values().map(|row| i64::try_from(value(row)).unwrap_or(i64::MAX)).collect()
    };
    let (days, names): (Vec<Date>, Vec<String>) = kept.keys().cloned().unzip();
    sqlx::query(
        "INSERT INTO cache_savings (site_id, partner_id, organization_id, day, repository, \
             served, fetched, hits, misses) \
         SELECT $1, $2, $3, s.* FROM unnest($4::date[], $5::text[], $6::bigint[], $7::bigint[], \
             $8::bigint[], $9::bigint[]) s \
         ON CONFLICT (site_id, day, repository) DO UPDATE SET served = excluded.served, \
             fetched = excluded.fetched, hits = excluded.hits, misses = excluded.misses",
    )
    .bind(relay.site.0)
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(&days)
    .bind(&names)
    .bind(column(|row| row.served))
    .bind(column(|row| row.fetched))
    .bind(column(|row| row.hits))
    .bind(column(|row| row.misses))
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "DELETE FROM cache_savings WHERE site_id = $1 AND (day < $2 OR (day, repository) IN ( \
             SELECT day, repository FROM ( \
                 SELECT day, repository, row_number() OVER (PARTITION BY day \
                     ORDER BY served DESC, repository) AS rank \
                 FROM cache_savings WHERE site_id = $1 AND day = ANY($3)) ranked \
             WHERE rank > $4))",
    )
    .bind(relay.site.0)
    .bind(today - Duration::days(DAYS))
    .bind(&days)
    .bind(REPOSITORIES)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Only files that are on the site's list have a row to say it in.
async fn ahead(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    files: Vec<AheadFile>,
    at_ms: u64,
) -> Result<(), ApplyError> {
    let hashes: Vec<Vec<u8>> = files.iter().map(|file| file.sha256.to_vec()).collect();
    let states: Vec<&str> = files.iter().map(|file| word(file.state)).collect();
    let reasons: Vec<&str> = files.iter().map(|file| file.reason.as_str()).collect();
    sqlx::query(
        "UPDATE cache_ahead a SET state = f.state, reason = f.reason, state_at = $5 \
         FROM unnest($2::bytea[], $3::text[], $4::text[]) AS f(sha256, state, reason) \
         WHERE a.site_id = $1 AND a.sha256 = f.sha256",
    )
    .bind(relay.site.0)
    .bind(hashes)
    .bind(states)
    .bind(reasons)
    .bind(from_ms(at_ms).min(OffsetDateTime::now_utc()))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn word(state: AheadState) -> &'static str {
    match state {
        AheadState::Waiting => "waiting",
        AheadState::Ready => "ready",
        AheadState::Refused => "refused",
        AheadState::Failed => "failed",
    }
}
