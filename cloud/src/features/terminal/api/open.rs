//! `GET /devices/{id}/terminal` (WebSocket)

use super::super::OPEN_TERMINAL;
use super::super::pipe::{self, Viewer};
use crate::{
    audit::{self, AuditTarget},
    auth::Use,
    authz::Can,
    context::Ctx,
    features::{devices, tasks},
    http::{Path, Problem, Query},
    link::downlink,
    reports::line,
};
use axum::{
    extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    response::Response,
};
use serde::Deserialize;
use std::time::Instant;
use unifyit_protocol::{
    command::{Action, Command, Targets, Terminal},
    ids::{CommandId, DeviceId, OrganizationId, RelayId, TunnelId},
    tunnel::TunnelOpen,
};
use utoipa::IntoParams;
use uuid::Uuid;

/// The command must reach the device within this time, in milliseconds.
const VALID_MS: u64 = 60_000;
/// Clocks of devices may be ahead or behind by this much, in milliseconds.
const CLOCK_SLACK_MS: u64 = 10 * 60 * 1000;
/// Longest message from a browser, in bytes: a large paste.
const MAX_MESSAGE: usize = 1024 * 1024;

/// Size of the window.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Window {
    /// Columns, 1 to 1000; 80 when absent.
    cols: Option<u16>,
    /// Rows, 1 to 1000; 24 when absent.
    rows: Option<u16>,
}

/// Open a terminal over a WebSocket
///
/// Binary messages are bytes, both ways. The browser sends
/// `{"type":"resize","cols":…,"rows":…}`; the server sends `{"type":"open"}` and
/// `{"type":"closed","reason":…}`. A person has at most 32 of them open at once, at most
/// 16 of those by API keys.
#[utoipa::path(get, path = "/devices/{id}/terminal", tag = "devices",
    params(("id" = Uuid, Path), Window),
    responses((status = 101, description = "The socket is open"), (status = "4XX", body = Problem)))]
pub(super) async fn open_terminal(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(window): Query<Window>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let size = |n: Option<u16>, usual| n.unwrap_or(usual).clamp(1, 1000);
    let (cols, rows) = (size(window.cols, 80), size(window.rows, 24));
    let device_id = DeviceId(id);
    let mut tx = ctx.begin(Can::VIEW).await?;
    let device = devices::store::find(&mut tx, device_id).await?.ok_or_else(Problem::not_found)?;
    ctx.require(OPEN_TERMINAL)?;
    // Only now: who may not hears that, however they ask.
    let upgrade =
        upgrade.map_err(|_| Problem::malformed("A terminal is opened as a WebSocket."))?;
    if device.revoked {
        return Err(Problem::conflict("The device was revoked. Enrol it anew to open a terminal."));
    }
    let relay = downlink::relay_of(&mut tx, device.site()).await?.ok_or_else(|| {
        Problem::conflict("The device's site has no relay. Install one to reach the device.")
    })?;
    let seat = ctx.state.sockets.terminals.take(ctx.actor.sender())?;
    let place = device.place();
    let Some(organization) = place.organization.map(OrganizationId) else {
        return Err(Problem::internal());
    };
    let (now_ms, tunnel) = (ctx.state.clock.now_ms(), TunnelId::generate());
    let mut key = tasks::signing_key(&mut tx, organization, 1).await?;
    let command = Command {
        id: CommandId::generate(),
        organization,
        targets: Targets::Devices(vec![device_id]),
        action: Action::Terminal(Terminal { tunnel, cols, rows, user: None }),
        not_before_ms: now_ms.saturating_sub(CLOCK_SLACK_MS),
        expires_ms: now_ms + VALID_MS + CLOCK_SLACK_MS,
        counter: key.next_counter(),
        issued_ms: now_ms,
    };
    let signed = ctx.state.trust.sign_command(&key.sealed, &command)?;
    tasks::keep_command(&mut tx, place, &command, "terminal", &signed).await?;
    let target = AuditTarget::device(place, id, format!("device {}", device.name));
    ctx.audit(&mut tx, "terminal.open", &target, "").await?;
    tx.commit().await?;

    let open = TunnelOpen { device: device_id, command: signed };
    Ok(upgrade.max_message_size(MAX_MESSAGE).on_upgrade(move |socket| async move {
        serve(ctx, relay, tunnel, open, target, Viewer::new(socket)).await;
        drop(seat);
    }))
}

async fn serve(
    ctx: Ctx,
    relay: RelayId,
    tunnel: TunnelId,
    open: TunnelOpen,
    target: AuditTarget,
    mut viewer: Viewer,
) {
    let began = Instant::now();
    let stop = ctx.state.stop.clone();
    let right = ctx.state.rights.hold(&ctx.actor, Use::Acts);
    let reason = match ctx.state.link.open_tunnel(relay, open).await {
        Ok(through) => pipe::run(&mut viewer, through, tunnel, right, stop).await,
        Err(error) => error.to_string(),
    };
    viewer.close(&reason).await;
    // The database refuses a NUL, and a relay may write anything.
    let detail = format!("after {} s: {}", began.elapsed().as_secs(), line(&reason, 512));
    let written = async {
        let mut tx = ctx.state.db.tenant(&ctx.actor.scope).await?;
        audit::record(&mut tx, &ctx.audit_actor(), "terminal.close", &target, &detail).await?;
        tx.commit().await
    };
    if let Err(error) = written.await {
        tracing::error!(%error, "The end of a terminal could not be written to the audit log.");
    }
}
