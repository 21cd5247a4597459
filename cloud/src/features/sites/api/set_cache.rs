//! `PUT /sites/{id}/package-cache`

use super::{
    super::{
        MANAGE_SITES,
        cache::{self, CacheInput, PackageCacheBody, rules},
        config, store,
        topics::PACKAGE_CACHE,
    },
    changed, set_values,
};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    http::{Body, Path, Problem},
};
use axum::Json;
use serde_json::json;
use time::OffsetDateTime;
use unifyit_protocol::ids::SiteId;
use uuid::Uuid;

/// Set what a site's package cache may fetch and is to have ready
///
/// The relay adds this to its own file: hosts add up; a remap, the hours and the
/// bandwidth that the file sets itself win over those set here.
#[utoipa::path(put, path = "/sites/{id}/package-cache", tag = "sites",
    params(("id" = Uuid, Path)), request_body = CacheInput,
    responses((status = 200, body = PackageCacheBody), (status = "4XX", body = Problem)))]
pub(super) async fn set_package_cache(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    input: Result<Body<CacheInput>, Problem>,
) -> Result<Json<PackageCacheBody>, Problem> {
    let id = SiteId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let (site, place) = store::get(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(MANAGE_SITES)?;
    let Body(input) = input?;
    let known = cache::store::relay_remaps(&mut tx, id).await?;
    let checked =
        rules::check(input, &known, OffsetDateTime::now_utc()).map_err(Problem::invalid)?;
    let before = cache::store::get(&mut tx, id).await?;
    let values = vec![
        ("hosts", json!(checked.hosts)),
        ("remaps", json!(checked.remaps)),
        ("plan", json!(checked.plan.map(rules::plan_body))),
    ];
    set_values(&ctx, &mut tx, id, (&PACKAGE_CACHE, values)).await?;
    cache::store::set_ahead(&mut tx, &place, id, &checked.ahead).await?;
    config::send_changed(&mut tx, id).await?;
    let target = AuditTarget::at(place, format!("site {}", site.name));
    ctx.audit(&mut tx, "site.package_cache", &target, &told(&before, &checked)).await?;
    changed(&mut tx, id, place).await?;
    let body = cache::store::get(&mut tx, id).await?;
    tx.commit().await?;
    Ok(Json(body))
}

/// What changed, for the audit log.
fn told(before: &PackageCacheBody, now: &rules::Checked) -> String {
    let lines = |remaps: &[cache::Remap]| -> Vec<String> {
        remaps.iter().map(|r| format!("{}={}", r.name, r.url)).collect()
    };
    let (were, are) = (lines(&before.remaps), lines(&now.remaps));
    let mut told = Vec::new();
    for (what, before, now) in [("hosts", &before.hosts, &now.hosts), ("remaps", &were, &are)] {
        let added = named(now.iter().filter(|entry| !before.contains(entry)));
        let removed = named(before.iter().filter(|entry| !now.contains(entry)));
        told.extend(added.map(|added| format!("{what} added: {added}")));
        told.extend(removed.map(|removed| format!("{what} removed: {removed}")));
    }
    told.push(match now.plan {
        Some(plan) => format!(
            "fetches ahead from {} to {} UTC at {} bytes a second",
            rules::time_of_day(plan.from_min),
            rules::time_of_day(plan.until_min),
            plan.bytes_per_s
        ),
        None => "fetches ahead as the relay's file says".to_owned(),
    });
    told.push(format!("{} files to have ready (were {})", now.ahead.len(), before.ahead.len()));
    told.join("; ")
}

/// Some entries, the first ones by name.
fn named<'a>(entries: impl Iterator<Item = &'a String>) -> Option<String> {
    const NAMED: usize = 8;
    let all: Vec<&str> = entries.map(String::as_str).collect();
    let first = all.get(..NAMED.min(all.len()))?.join(", ");
    match all.len() {
        0 => None,
        n if n > NAMED => Some(format!("{first} and {} more", n - NAMED)),
        _ => Some(first),
    }
}
