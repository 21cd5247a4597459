//! Writing a task with what was signed for its devices.

use super::{
    super::{action::ActionBody, dispatch::Order, model::TaskBody},
    read::counted,
    targets::Target,
};
use crate::{
    db::{DbError, Place, TenantTx},
    link::from_ms,
};
use sqlx::{Postgres, postgres::PgArguments, query::QueryAs};
use std::collections::HashMap;
use time::OffsetDateTime;
use unifyit_protocol::{
    codec,
    command::Command,
    ids::{CommandId, DeviceId, OrganizationId, TaskId},
    signing::Signed,
};
use uuid::Uuid;

/// An organization's authority with a run of command counters.
#[derive(Debug)]
pub(crate) struct SigningKey {
    pub(crate) sealed: Vec<u8>,
    pub(super) next: i64,
}

impl SigningKey {
    /// Counters rise with each command of the organization.
    pub(crate) fn next_counter(&mut self) -> u64 {
        let counter = self.next;
        self.next += 1;
        counter.unsigned_abs()
    }
}

/// Takes `count` counters and the sealed key of an organization.
pub(crate) async fn signing_key(
    tx: &mut TenantTx,
    organization: OrganizationId,
    count: i64,
) -> Result<SigningKey, DbError> {
    let (sealed, last): (Vec<u8>, i64) = sqlx::query_as(
        "UPDATE organization_keys SET command_counter = command_counter + $2 \
         WHERE organization_id = $1 RETURNING sealed_seed, command_counter",
    )
    .bind(organization.0)
    .bind(count)
    .fetch_one(&mut **tx)
    .await?;
    Ok(SigningKey { sealed, next: last - count + 1 })
}

/// A task to be.
pub(in super::super) struct NewTask<'a> {
    pub(in super::super) id: TaskId,
    pub(in super::super) place: Place,
    pub(in super::super) name: &'a str,
    pub(in super::super) action: &'a ActionBody,
    pub(in super::super) created_by: &'a str,
    pub(in super::super) created_by_id: Uuid,
    pub(in super::super) expires_at: OffsetDateTime,
}

/// Writes it with its commands and targets, and returns how it stands: waiting on all of
/// its devices.
pub(in super::super) async fn insert_task(
    tx: &mut TenantTx,
    task: &NewTask<'_>,
    targets: &[Target],
    orders: &[Order],
) -> Result<TaskBody, DbError> {
    let command_of: HashMap<DeviceId, CommandId> = orders
        .iter()
        .flat_map(|order| order.devices().iter().map(|device| (*device, order.command())))
        .collect();
    let commands: Vec<Option<Uuid>> =
        targets.iter().map(|t| command_of.get(&t.device()).map(|command| command.0)).collect();
    let places: Vec<Place> = targets.iter().map(|target| target.at.place()).collect();
    // As stored: the database keeps microseconds.
    let (created_at, expires_at) = bind(
        orders,
        sqlx::query_as(
            "WITH made AS ( \
             INSERT INTO tasks (id, partner_id, organization_id, site_id, name, action, created_by, \
                 created_by_id, expires_at, total) \
             VALUES ($8, $9, $10, $11, $12, $13, $14, $15, $16, $17) RETURNING created_at, expires_at), \
         commanded AS ( \
             INSERT INTO commands (task_id, id, partner_id, organization_id, site_id, kind, signed, expires_at) \
             SELECT $8, c.* FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], \
                 $6::bytea[], $7::timestamptz[]) c), \
         targeted AS ( \
             INSERT INTO task_targets (task_id, device_id, command_id, partner_id, organization_id, site_id) \
             SELECT $8, t.* FROM unnest($18::uuid[], $19::uuid[], $20::uuid[], $21::uuid[], $22::uuid[]) t) \
         SELECT created_at, expires_at FROM made",
        ),
    )
    .bind(task.id.0)
    .bind(task.place.partner)
    .bind(task.place.organization)
    .bind(task.place.site)
    .bind(task.name)
    .bind(sqlx::types::Json(task.action))
    .bind(task.created_by)
    .bind(task.created_by_id)
    .bind(task.expires_at)
    .bind(i32::try_from(targets.len()).unwrap_or(i32::MAX))
    .bind(targets.iter().map(|t| t.device().0).collect::<Vec<_>>())
    .bind(commands)
    .bind(places.iter().map(|place| place.partner).collect::<Vec<_>>())
    .bind(places.iter().map(|place| place.organization).collect::<Vec<_>>())
    .bind(places.iter().map(|place| place.site).collect::<Vec<_>>())
    .fetch_one(&mut **tx)
    .await?;
    let total = i64::try_from(targets.len()).unwrap_or(i64::MAX);
    Ok(TaskBody {
        id: task.id.0,
        name: task.name.to_owned(),
        status: "running".to_owned(),
        action: task.action.clone(),
        created_at,
        created_by: task.created_by.to_owned(),
        expires_at,
        counts: counted([("pending".to_owned(), total)].into()),
        total,
        output_removed_at: None,
    })
}

/// Binds orders, a column at a time, as a statement's first parameters.
fn bind<'q, Row>(
    orders: &'q [Order],
    query: QueryAs<'q, Postgres, Row, PgArguments>,
) -> QueryAs<'q, Postgres, Row, PgArguments> {
    let places: Vec<Place> = orders.iter().map(Order::place).collect();
    query
        .bind(orders.iter().map(|order| order.command().0).collect::<Vec<_>>())
        .bind(places.iter().map(|place| place.partner).collect::<Vec<_>>())
        .bind(places.iter().map(|place| place.organization).collect::<Vec<_>>())
        .bind(places.iter().map(|place| place.site).collect::<Vec<_>>())
        .bind(orders.iter().map(Order::kind).collect::<Vec<_>>())
        .bind(orders.iter().map(Order::bytes).collect::<Vec<_>>())
        .bind(orders.iter().map(|order| from_ms(order.expires_ms())).collect::<Vec<_>>())
}

/// Keeps further signed commands of a task.
pub(in super::super) async fn insert_commands(
    tx: &mut TenantTx,
    task: TaskId,
    orders: &[Order],
) -> Result<(), DbError> {
    let query = sqlx::query_as::<_, ()>(
        "INSERT INTO commands (task_id, id, partner_id, organization_id, site_id, kind, signed, expires_at) \
         SELECT $8, c.* FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], \
             $6::bytea[], $7::timestamptz[]) c",
    );
    bind(orders, query).bind(task.0).fetch_optional(&mut **tx).await?;
    Ok(())
}

/// Keeps a signed command that belongs to no task.
pub(crate) async fn keep_command(
    tx: &mut TenantTx,
    place: Place,
    command: &Command,
    kind: &'static str,
    signed: &Signed<Command>,
) -> Result<(), DbError> {
    let bytes = codec::encode(signed).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    sqlx::query(
        "INSERT INTO commands (id, partner_id, organization_id, site_id, kind, signed, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(command.id.0)
    .bind(place.partner)
    .bind(place.organization)
    .bind(place.site)
    .bind(kind)
    .bind(bytes)
    .bind(from_ms(command.expires_ms))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
