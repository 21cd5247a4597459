//! Endpoints of tasks.

mod cancel;
mod create;
mod get;
mod groups;
mod list;
mod of_device;
mod output;
mod targets;

use super::{action::Sight, store};
use crate::{
    authz::Can,
    context::{AppState, Ctx},
    db::{Place, TenantTx},
    http::Problem,
};
use unifyit_protocol::ids::TaskId;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// All of them.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_tasks, create::create_task))
        .routes(routes!(get::get_task))
        .routes(routes!(targets::list_task_targets))
        .routes(routes!(output::get_task_output))
        .routes(routes!(groups::group_task))
        .routes(routes!(cancel::cancel_task))
        .routes(routes!(of_device::list_device_tasks))
}

/// Opens a transaction in which the task is visible, with the place at which the
/// actor acts on it.
async fn find(ctx: &Ctx, id: Uuid) -> Result<(TenantTx, super::TaskBody, Place), Problem> {
    let mut tx = ctx.begin(Can::VIEW).await?;
    let (task, place) = store::get(&mut tx, TaskId(id), Sight::of(&ctx.actor))
        .await?
        .ok_or_else(Problem::not_found)?;
    // Of a task that reaches beyond the scope, what is done here is done in the scope.
    let place = match tx.scope() {
        Some(scope) if !scope.sees(&place) => scope.place(),
        _ => place,
    };
    Ok((tx, task, place))
}
