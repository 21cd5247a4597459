//! `POST /devices/{id}/allow-reenrolment`

use super::super::{CHANGED, MANAGE_DEVICES, identity, store};
use crate::{
    audit::AuditTarget,
    authz::Can,
    context::Ctx,
    events::NewEvent,
    http::{Path, Problem, Query},
    link::downlink,
};
use axum::Json;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use unifyit_protocol::{
    ids::DeviceId,
    link::{AllowReenrolment, DownRecord},
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Longest permission, in minutes.
const MAX_MINUTES: u32 = 7 * 24 * 60;
const DEFAULT_MINUTES: u32 = 60;

/// For how long.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AllowReenrolmentFor {
    /// Minutes, 1 to 10,080; 60 unless given.
    #[serde(default)]
    #[param(minimum = 1, maximum = 10080)]
    minutes: Option<u32>,
}

/// Until when a device's computer may enrol again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReenrolmentAllowed {
    /// Until then.
    #[serde(with = "time::serde::rfc3339")]
    until: OffsetDateTime,
}

/// Let a device's computer enrol again and keep its identity, once and for a time
#[utoipa::path(post, path = "/devices/{id}/allow-reenrolment", tag = "devices",
    params(("id" = Uuid, Path), AllowReenrolmentFor),
    responses((status = 200, body = ReenrolmentAllowed), (status = "4XX", body = Problem)))]
pub(super) async fn allow_reenrolment(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(input): Query<AllowReenrolmentFor>,
) -> Result<Json<ReenrolmentAllowed>, Problem> {
    let id = DeviceId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let device = store::find(&mut tx, id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(MANAGE_DEVICES)?;
    let minutes = input.minutes.unwrap_or(DEFAULT_MINUTES);
    if !(1..=MAX_MINUTES).contains(&minutes) {
        return Err(Problem::invalid("A permission lasts 1 to 10,080 minutes."));
    }
    if device.revoked {
        return Err(Problem::invalid(
            "The device was revoked. Its computer enrols with an install token, as a new device.",
        ));
    }
    let until = OffsetDateTime::now_utc() + Duration::minutes(minutes.into());
    let until_ms = u64::try_from(until.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    let Some(relay) = downlink::relay_of(&mut tx, device.site()).await? else {
        return Err(Problem::invalid("The site has no relay at which the computer could enrol."));
    };
    let record = DownRecord::AllowReenrolment(AllowReenrolment { device: id, until_ms });
    // The relay's row before the device's, as where relays' records are applied: else
    // the two would wait for each other.
    downlink::append(&mut tx, relay, &record).await?;
    identity::allow_reenrolment(&mut tx, id, until).await?;
    let target = AuditTarget::device(device.place(), id.0, format!("device {}", device.name));
    ctx.audit(&mut tx, "device.allow_reenrolment", &target, &format!("for {minutes} minutes"))
        .await?;
    if let Some(item) = store::items(&mut tx, &[id]).await?.pop() {
        tx.emit(NewEvent::kept(CHANGED, device.place(), &item));
    }
    tx.commit().await?;
    Ok(Json(ReenrolmentAllowed { until }))
}
