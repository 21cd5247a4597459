//! Writing a task: who is meant, and what is signed for them.

use super::{
    super::{action::ActionBody, model::TaskBody},
    read::counted,
};
use crate::{
    db::{DbError, Place, TenantTx},
    link::from_ms,
};
use sqlx::{Postgres, postgres::PgArguments, query::QueryAs};
use std::collections::{BTreeMap, HashMap};
use time::OffsetDateTime;
use unifyit_protocol::{
    codec,
    command::Command,
    ids::{CommandId, DeviceId, OrganizationId, PartnerId, RelayId, SiteId, TaskId},
    signing::Signed,
};
use uuid::Uuid;

/// A device that a task is for.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(in super::super) struct Target {
    id: Uuid,
    partner_id: Uuid,
    organization_id: Uuid,
    site_id: Uuid,
    /// The site's active relay.
    relay_id: Option<Uuid>,
}

impl Target {
    pub(in super::super) fn device(&self) -> DeviceId {
        DeviceId(self.id)
    }
    pub(in super::super) fn organization(&self) -> OrganizationId {
        OrganizationId(self.organization_id)
    }
    pub(in super::super) fn site(&self) -> SiteId {
        SiteId(self.site_id)
    }
}

/// How many devices each of some sites has.
pub(in super::super) async fn site_sizes(
    tx: &mut TenantTx,
    sites: &[Uuid],
) -> Result<HashMap<SiteId, i64>, DbError> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT site_id, count(*) FROM devices WHERE site_id = ANY($1) AND revoked_at IS NULL GROUP BY 1",
    )
    .bind(sites)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|(site, count)| (SiteId(site), count)).collect())
}

/// The active relays of sites.
pub(in super::super) async fn relays(
    tx: &mut TenantTx,
    sites: &[Uuid],
) -> Result<BTreeMap<SiteId, RelayId>, DbError> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "SELECT site_id, id FROM relays WHERE site_id = ANY($1) AND revoked_at IS NULL",
    )
    .bind(sites)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|(site, relay)| (SiteId(site), RelayId(relay))).collect())
}

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

/// The narrowest place that holds all targets.
pub(in super::super) fn place_of<'a>(targets: impl Iterator<Item = &'a Target> + Clone) -> Place {
    let Some(first) = targets.clone().next() else { return Place::default() };
    let same = |pick: fn(&Target) -> Uuid| {
        let value = pick(first);
        targets.clone().all(|t| pick(t) == value).then_some(value)
    };
    let partner = same(|t| t.partner_id);
    let organization = partner.and_then(|_| same(|t| t.organization_id));
    let site = organization.and_then(|_| same(|t| t.site_id));
    Place { partner, organization, site }
}

/// The targets of each organization, with the narrowest place that holds them.
pub(in super::super) fn by_organization(targets: &[Target]) -> Vec<(Place, Vec<&Target>)> {
    let mut shares: BTreeMap<Uuid, Vec<&Target>> = BTreeMap::new();
    for target in targets {
        shares.entry(target.organization_id).or_default().push(target);
    }
    let mut placed = Vec::with_capacity(shares.len());
    for share in shares.into_values() {
        placed.push((place_of(share.iter().copied()), share));
    }
    placed
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
    pub(in super::super) total: usize,
}

/// Writes it with its commands and targets, and returns how it stands: waiting on all of
/// its devices.
pub(in super::super) async fn insert_task(
    tx: &mut TenantTx,
    task: &NewTask<'_>,
    commands: &[NewCommand<'_>],
    targets: &[(&Target, CommandId)],
) -> Result<TaskBody, DbError> {
    // As stored: the database keeps microseconds.
    let (created_at, expires_at) = NewCommand::bind(
        commands,
        sqlx::query_as(
            "WITH made AS ( \
             INSERT INTO tasks (id, partner_id, organization_id, site_id, name, action, created_by, \
                 created_by_id, expires_at, total) \
             VALUES ($9, $10, $11, $12, $13, $14, $15, $16, $17, $18) RETURNING created_at, expires_at), \
         commanded AS ( \
             INSERT INTO commands (id, partner_id, organization_id, site_id, task_id, kind, signed, expires_at) \
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], \
                 $7::bytea[], $8::timestamptz[])), \
         targeted AS ( \
             INSERT INTO task_targets (task_id, device_id, command_id, partner_id, organization_id, site_id) \
             SELECT $9, t.* FROM unnest($19::uuid[], $20::uuid[], $21::uuid[], $22::uuid[], $23::uuid[]) t) \
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
    .bind(i32::try_from(task.total).unwrap_or(i32::MAX))
    .bind(targets.iter().map(|(t, _)| t.id).collect::<Vec<_>>())
    .bind(targets.iter().map(|(_, command)| command.0).collect::<Vec<_>>())
    .bind(targets.iter().map(|(t, _)| t.partner_id).collect::<Vec<_>>())
    .bind(targets.iter().map(|(t, _)| t.organization_id).collect::<Vec<_>>())
    .bind(targets.iter().map(|(t, _)| t.site_id).collect::<Vec<_>>())
    .fetch_one(&mut **tx)
    .await?;
    let total = i64::try_from(task.total).unwrap_or(i64::MAX);
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

/// A signed command to be kept.
pub(crate) struct NewCommand<'a> {
    pub(crate) id: Uuid,
    pub(crate) place: Place,
    pub(crate) task: Option<TaskId>,
    pub(crate) kind: &'static str,
    pub(crate) signed: &'a [u8],
    pub(crate) expires_at: OffsetDateTime,
}

impl NewCommand<'_> {
    /// Binds commands, a column at a time, as a statement's first parameters.
    fn bind<'q, Row>(
        all: &'q [Self],
        query: QueryAs<'q, Postgres, Row, PgArguments>,
    ) -> QueryAs<'q, Postgres, Row, PgArguments> {
        query
            .bind(all.iter().map(|c| c.id).collect::<Vec<_>>())
            .bind(all.iter().map(|c| c.place.partner).collect::<Vec<_>>())
            .bind(all.iter().map(|c| c.place.organization).collect::<Vec<_>>())
            .bind(all.iter().map(|c| c.place.site).collect::<Vec<_>>())
            .bind(all.iter().map(|c| c.task.map(|t| t.0)).collect::<Vec<_>>())
            .bind(all.iter().map(|c| c.kind).collect::<Vec<_>>())
            .bind(all.iter().map(|c| c.signed).collect::<Vec<_>>())
            .bind(all.iter().map(|c| c.expires_at).collect::<Vec<_>>())
    }
}

pub(crate) async fn insert_commands(
    tx: &mut TenantTx,
    commands: &[NewCommand<'_>],
) -> Result<(), DbError> {
    let query = sqlx::query_as::<_, ()>(
        "INSERT INTO commands (id, partner_id, organization_id, site_id, task_id, kind, signed, expires_at) \
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], \
             $7::bytea[], $8::timestamptz[])",
    );
    NewCommand::bind(commands, query).fetch_optional(&mut **tx).await?;
    Ok(())
}

/// The place of a site's rows.
pub(in super::super) fn site_place(
    partner: Uuid,
    organization: OrganizationId,
    site: SiteId,
) -> Place {
    Place::site(PartnerId(partner), organization, site)
}

/// The relay of each target's site that has one.
pub(in super::super) fn relays_of(targets: &[Target]) -> BTreeMap<SiteId, RelayId> {
    targets.iter().filter_map(|t| Some((t.site(), RelayId(t.relay_id?)))).collect()
}

/// The partner of each target's site.
pub(in super::super) fn partners(targets: &[Target]) -> HashMap<SiteId, Uuid> {
    targets.iter().map(|t| (t.site(), t.partner_id)).collect()
}

/// The partner of each site.
pub(in super::super) async fn partners_of(
    tx: &mut TenantTx,
    sites: &[Uuid],
) -> Result<HashMap<SiteId, Uuid>, DbError> {
    let rows: Vec<(Uuid, Uuid)> =
        sqlx::query_as("SELECT id, partner_id FROM sites WHERE id = ANY($1)")
            .bind(sites)
            .fetch_all(&mut **tx)
            .await?;
    Ok(rows.into_iter().map(|(site, partner)| (SiteId(site), partner)).collect())
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
    let expires_at = from_ms(command.expires_ms);
    let kept = NewCommand { id: command.id.0, place, task: None, kind, signed: &bytes, expires_at };
    insert_commands(tx, &[kept]).await
}
