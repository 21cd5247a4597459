//! Settings that a relay has and the database lacks.

use super::{
    cache,
    config::{self, SetError},
    topics::{COLLECTION, LOCAL_UI, PACKAGE_CACHE},
};
use crate::{
    db::{DbError, Place, TenantTx},
    settings::{Mark, Topic},
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use unifyit_protocol::{config::SiteConfig, ids::SiteId};

/// Takes over a relay's settings where it knows a later revision than the database,
/// which is an older copy then: what technicians set since is not lost. They become the
/// site's own, where they are not as what is above has it, and but for what is locked
/// there. What no console could have set is left out. `ahead` says whether it told which
/// files the cache is to have ready. Whether any were taken.
pub(super) async fn adopt(
    tx: &mut TenantTx,
    (place, site): (&Place, SiteId),
    (held, ahead): (&SiteConfig, bool),
) -> Result<bool, DbError> {
    let Ok(revision) = i64::try_from(held.revision) else { return Ok(false) };
    let older = sqlx::query(
        "UPDATE site_configs SET revision = $2, updated_at = now() \
         WHERE site_id = $1 AND revision < $2 AND $2 < 4611686018427387904",
    )
    .bind(site.0)
    .bind(revision)
    .execute(&mut **tx)
    .await?;
    if older.rows_affected() == 0 {
        return Ok(false);
    }
    let (mark, now) = (by_relay(), OffsetDateTime::now_utc());
    let device = &held.device;
    let mut values: Vec<(&Topic, &'static str, Value)> = vec![
        (&COLLECTION, "collect_every_s", json!(device.collect_every_s.clamp(1, 3600))),
        (&COLLECTION, "inventory_every_s", json!(device.inventory_every_s.clamp(60, 86_400))),
    ];
    let pin = &held.ui_pin_hash;
    if pin.len() <= 256 && pin.starts_with("$argon2id$") {
        values.push((&LOCAL_UI, "pin", json!(pin)));
    }
    if let Some((hosts, remaps)) = cache::rules::held(held) {
        values.push((&PACKAGE_CACHE, "hosts", json!(hosts)));
        values.push((&PACKAGE_CACHE, "remaps", json!(remaps)));
    }
    let plan = held.cache_plan.filter(|p| p.from_min < 1440 && p.until_min < 1440);
    values.push((&PACKAGE_CACHE, "plan", json!(plan.map(cache::rules::plan_body))));
    for (topic, field, value) in values {
        match config::set(tx, site, topic, vec![(field, value)], &mark).await {
            Ok(()) | Err(SetError::Gone) => {}
            Err(SetError::Refused(why)) => {
                tracing::info!(%site, ?why, "A setting that only the relay has is not taken.");
            }
            Err(SetError::Db(error)) => return Err(error),
        }
    }
    if !config::settle(tx, site).await? {
        sqlx::query("UPDATE site_configs SET revision = revision + 1 WHERE site_id = $1")
            .bind(site.0)
            .execute(&mut **tx)
            .await?;
    }
    if ahead {
        let files = cache::rules::held_ahead(held, now);
        cache::store::set_ahead(tx, place, site, &files).await?;
    }
    Ok(true)
}

/// Takes the PIN that was set at the box when its relay joined.
pub(super) async fn pin(tx: &mut TenantTx, site: SiteId, hash: &str) -> Result<(), DbError> {
    match config::set(tx, site, &LOCAL_UI, vec![("pin", json!(hash))], &by_relay()).await {
        Ok(()) | Err(SetError::Gone) => {}
        Err(SetError::Refused(why)) => {
            tracing::info!(%site, ?why, "The PIN that a relay joined with is not taken.");
        }
        Err(SetError::Db(error)) => return Err(error),
    }
    config::settle(tx, site).await.map(drop)
}

fn by_relay() -> Mark {
    Mark { by: "relay".into(), at: OffsetDateTime::now_utc() }
}
