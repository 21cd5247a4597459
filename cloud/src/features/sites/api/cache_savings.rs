//! `GET /sites/{id}/package-cache/savings`

use super::super::{
    cache::{self, CacheSavings},
    store,
};
use crate::{
    authz::Can,
    context::Ctx,
    http::{Path, Problem, Query},
};
use axum::Json;
use serde::Deserialize;
use time::{Duration, OffsetDateTime};
use unifyit_protocol::ids::SiteId;
use utoipa::IntoParams;
use uuid::Uuid;

/// How far back when nothing is said, and at most.
const DAYS: u16 = 35;
const MOST_DAYS: u16 = 400;

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Span {
    /// Days back, today (UTC) included, 1 to 400; 35 when absent.
    days: Option<u16>,
}

/// Read what a site's package cache saved, by day and by repository
#[utoipa::path(get, path = "/sites/{id}/package-cache/savings", tag = "sites",
    params(("id" = Uuid, Path), Span),
    responses((status = 200, body = CacheSavings), (status = "4XX", body = Problem)))]
pub(super) async fn read_cache_savings(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(span): Query<Span>,
) -> Result<Json<CacheSavings>, Problem> {
    let id = SiteId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    store::get(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    let days = span.days.unwrap_or(DAYS);
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(Problem::invalid(format!("days must be 1 to {MOST_DAYS}.")));
    }
    let to = OffsetDateTime::now_utc().date();
    let from = to - Duration::days(i64::from(days) - 1);
    Ok(Json(cache::store::savings(&mut tx, id, (from, to)).await?))
}
