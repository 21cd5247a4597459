//! `POST /tasks`

use super::super::{
    CHANGED, HAPPENED, RUN_TASKS,
    action::{ActionBody, ActionInput},
    dispatch,
    model::TargetsInput,
    rules, store,
    store::{Begun, NewTask},
};
use crate::{
    audit::AuditTarget,
    context::Ctx,
    events::{NewEvent, Reference, TimelineItem},
    http::{Body, Idempotency, Problem},
};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use time::Duration;
use unifyit_protocol::ids::TaskId;
use utoipa::ToSchema;
use uuid::Uuid;

/// Devices of a task whose live output needs no look-up.
const SHOWN_AT_ONCE: usize = 256;

/// A task to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct TaskInput {
    /// What to call it.
    #[serde(default)]
    #[schema(max_length = 200)]
    name: Option<String>,
    /// Whom it is for.
    targets: TargetsInput,
    /// What to do.
    action: ActionInput,
    /// Seconds for which devices that are offline are waited for; a day when
    /// absent, 31 days at most.
    #[serde(default)]
    #[schema(minimum = 10, maximum = 2_678_400)]
    expires_in_s: Option<u64>,
}

/// The task that was made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct TaskMade {
    /// Its id.
    id: Uuid,
}

/// Run a script on devices
#[utoipa::path(post, path = "/tasks", tag = "tasks", request_body = TaskInput,
    responses((status = 202, body = TaskMade), (status = "4XX", body = Problem)))]
pub(super) async fn create_task(
    ctx: Ctx,
    key: Idempotency,
    input: Result<Body<TaskInput>, Problem>,
) -> Result<Response, Problem> {
    let by_keys = input.as_ref().is_ok_and(|Body(input)| input.targets.are_devices());
    let mut tx = match by_keys {
        true => ctx.begin_by_keys(RUN_TASKS).await?,
        false => ctx.begin(RUN_TASKS).await?,
    };
    let Body(input) = input?;
    let name = input.name.as_deref().unwrap_or_default().trim();
    if let Err(why) = rules::check(name, &input.targets, &input.action, input.expires_in_s) {
        // It may have been right when it was first sent.
        let replay = key.claim(&ctx, &mut tx, &input).await?;
        return replay.map(IntoResponse::into_response).ok_or_else(|| Problem::invalid(why));
    }
    let named: HashSet<Uuid> = input.targets.device_ids.iter().copied().collect();
    let claim = key.claiming(&ctx, &input)?;
    let begun = store::begin(&mut tx, claim.as_ref(), &input.targets).await?;
    let Begun { targets, keys } = match (begun, claim) {
        (Some(begun), _) => begun,
        (None, Some(claim)) => return Ok(claim.replay(&mut tx).await?.into_response()),
        (None, None) => return Err(Problem::internal()),
    };
    let found = targets.iter().filter(|t| named.contains(&t.device().0)).count();
    if found < named.len() {
        return Err(Problem::invalid(format!(
            "{} of the {} named devices do not exist, were revoked, or are outside your scope.",
            named.len() - found,
            named.len()
        )));
    }
    if targets.is_empty() {
        return Err(Problem::invalid("No device matches. Nothing was sent."));
    }
    let id = TaskId::generate();
    let seconds = input.expires_in_s.unwrap_or(rules::DEFAULT_EXPIRY_S);
    let expires_at = ctx.now() + Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX));
    let expires_ms = ctx.state.clock.now_ms() + seconds * 1000;
    let action = ActionBody::from(&input.action);
    let actor = ctx.audit_actor();
    let task = NewTask {
        id,
        place: store::place_of(targets.iter()),
        name,
        action: &action,
        created_by: &actor.name,
        created_by_id: ctx.actor.id,
        expires_at,
    };
    // A command for the whole site names the site: it stays small however many
    // devices there are. Devices named one by one are signed for one by one.
    let sizes = match named.is_empty() {
        true => store::site_sizes(&mut tx, &targets).await?,
        false => HashMap::new(),
    };
    let whole = |site, devices: usize| {
        sizes.get(&site).is_some_and(|all| i64::try_from(devices).is_ok_and(|n| n == *all))
    };
    let shares = dispatch::shares(&targets, &input.action.signed_form(), whole);
    let orders = dispatch::sign(&ctx.state, &mut tx, keys, "script", shares, expires_ms).await?;
    let body = store::insert_task(&mut tx, &task, &targets, &orders).await?;
    // Output of the first devices may be here before anything else is heard of them.
    let shown = orders.iter().flat_map(|order| {
        order.devices().iter().map(|device| (order.site(), order.command(), *device))
    });
    let shown: Vec<_> = shown.take(SHOWN_AT_ONCE).collect();
    // Sites without a relay wait for nothing; their targets expire.
    dispatch::send(&mut tx, orders).await?;
    let said = dispatch::described(&input.action);
    // Each customer's log and timeline say what was done on its computers, and only
    // on those. In one order, so that two tasks wait for each other.
    for (place, share) in store::by_organization(&targets) {
        let count = match share.len() {
            1 => "1 device".to_owned(),
            n => format!("{n} devices"),
        };
        let target = match share.as_slice() {
            [one] => AuditTarget::device(place, one.device().0, count),
            _ => AuditTarget::at(place, count),
        };
        ctx.audit(&mut tx, "task.create", &target, &said).await?;
        let item = TimelineItem {
            at: ctx.now(),
            kind: HAPPENED.as_str().into(),
            title: if name.is_empty() { "Script" } else { name }.into(),
            detail: target.name.clone(),
            actor: actor.name.clone(),
            reference: Reference::to("task", id.0, name),
        };
        tx.emit(item.added(HAPPENED, place));
    }
    tx.emit(NewEvent::kept(CHANGED, task.place, body.standing()));
    let made = TaskMade { id: id.0 };
    let outputs = ctx.state.watches.outputs();
    for (site, command, device) in shown {
        outputs.learn(site, command, device, id);
    }
    key.answer(&ctx, &mut tx, StatusCode::ACCEPTED, &made)?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(made)).into_response())
}
