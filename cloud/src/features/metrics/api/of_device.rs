//! `GET /devices/{id}/metrics`

use super::super::{
    catch_up,
    model::MetricsBody,
    read::{self, Asked},
    rules::Range,
};
use crate::{
    authz::Can,
    context::Ctx,
    features::devices,
    http::{Path, Problem, Query},
};
use axum::Json;
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use unifyit_protocol::ids::DeviceId;
use utoipa::IntoParams;
use uuid::Uuid;

/// Range when none is asked for: an hour.
const DEFAULT_MS: u64 = 3600 * 1000;

/// Which measurements.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct MetricsQuery {
    /// Names, separated by commas; all when absent.
    pub(in super::super) names: Option<String>,
    /// Start: Unix milliseconds or RFC 3339; an hour before `to` when absent.
    pub(in super::super) from: Option<String>,
    /// End; now when absent.
    pub(in super::super) to: Option<String>,
    /// Seconds a step, in whole minutes, at most a year; about 500 steps when
    /// absent. Longer where only quarters or hours are kept.
    pub(in super::super) step: Option<u64>,
}

/// Measurements of a device over a range
#[utoipa::path(get, path = "/devices/{id}/metrics", tag = "devices",
    params(("id" = Uuid, Path), MetricsQuery),
    responses((status = 200, body = MetricsBody), (status = "4XX", body = Problem)))]
pub(super) async fn get_device_metrics(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(query): Query<MetricsQuery>,
) -> Result<Json<MetricsBody>, Problem> {
    let asked = query.check(ctx.state.clock.now_ms())?;
    let (id, sender) = (DeviceId(id), ctx.actor.sender());
    let mut tx = ctx.begin(Can::VIEW).await?;
    let device = devices::store::find(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    if let Some(missing) = catch_up::missing(&mut tx, &device, &asked, &ctx.state).await? {
        // A connection is not held while the relay answers.
        drop(tx);
        catch_up::wait(&ctx, &device, missing).await?;
        tx = ctx.begin(Can::VIEW).await?;
    }
    let cost = read::weigh(&mut tx, &device, &asked).await?;
    let turn = match ctx.state.turns.at_once(sender, cost.bytes) {
        Some(turn) => turn,
        None => {
            // A connection is not held while others have their turns.
            drop(tx);
            let turn = ctx.state.turns.wait(sender, cost.bytes).await?;
            tx = ctx.begin(Can::VIEW).await?;
            turn
        }
    };
    let gathered = read::gather(&mut tx, &device, asked, &cost).await?;
    drop(tx);
    Ok(Json(read::decode(gathered, Some(turn)).await?))
}

impl MetricsQuery {
    /// Checks what is asked for.
    pub(super) fn check(&self, now_ms: u64) -> Result<Asked, Problem> {
        let to = moment(self.to.as_deref())?.unwrap_or(now_ms);
        let from = moment(self.from.as_deref())?.unwrap_or(to.saturating_sub(DEFAULT_MS));
        let range = Range::new(from, to, self.step).map_err(Problem::invalid)?;
        let names = self.names.as_deref();
        let names = names.map(|names| names.split(',').map(|n| n.trim().to_owned()).collect());
        Ok(Asked { range, names })
    }
}

/// Reads Unix milliseconds or RFC 3339.
fn moment(text: Option<&str>) -> Result<Option<u64>, Problem> {
    let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else { return Ok(None) };
    if let Ok(ms) = text.parse::<u64>() {
        return Ok(Some(ms));
    }
    // A plus sign of an offset arrives as a space when a client forgot to escape it.
    OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339)
        .ok()
        .and_then(|at| u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok())
        .map(Some)
        .ok_or_else(|| {
            Problem::malformed("`from` and `to` are Unix milliseconds or RFC 3339 times.")
        })
}
