//! SQL of tasks.

use super::{
    model::{GroupBody, TargetBody, TargetsInput, TaskBody},
    rules::STATES,
};
use crate::{
    db::{DbError, Place, TenantTx},
    events::{Kind, NewEvent},
    http::{Page, PageQuery, Problem},
    link::from_ms,
};
use sqlx::{Postgres, QueryBuilder};
use std::collections::{BTreeMap, HashMap};
use time::OffsetDateTime;
use unifyit_protocol::{
    codec,
    command::Command,
    ids::{DeviceId, OrganizationId, PartnerId, RelayId, SiteId, TaskId},
    signing::Signed,
};
use uuid::Uuid;

/// Said of targets that no relay answered for in time.
pub(super) const NO_ANSWER: &str =
    "It did not come online before the task expired, or its relay did not say so.";
/// Bytes of output shown with a target.
const SHOWN: i64 = 64 * 1024;
/// Bytes of output by which results are grouped and shown in groups.
const SAMPLE: i64 = 4096;

/// A device that a task is for.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Target {
    id: Uuid,
    partner_id: Uuid,
    organization_id: Uuid,
    site_id: Uuid,
}

impl Target {
    pub(super) fn device(&self) -> DeviceId {
        DeviceId(self.id)
    }
    pub(super) fn organization(&self) -> OrganizationId {
        OrganizationId(self.organization_id)
    }
    pub(super) fn site(&self) -> SiteId {
        SiteId(self.site_id)
    }
}

/// The devices meant, as far as the scope sees them; revoked ones are out.
pub(super) async fn resolve(
    tx: &mut TenantTx,
    targets: &TargetsInput,
) -> Result<Vec<Target>, DbError> {
    let mut query = QueryBuilder::<Postgres>::new(
        "SELECT id, partner_id, organization_id, site_id FROM devices WHERE revoked_at IS NULL",
    );
    if !targets.all {
        query.push(" AND (id = ANY(").push_bind(targets.device_ids.clone());
        query.push(") OR site_id = ANY(").push_bind(targets.site_ids.clone());
        query.push(") OR organization_id = ANY(").push_bind(targets.organization_ids.clone());
        query.push(") OR ").push_bind(targets.tag.clone().filter(|t| !t.is_empty()));
        query.push(" = ANY(tags))");
    }
    query.push(" ORDER BY site_id, id");
    Ok(query.build_query_as().fetch_all(&mut **tx).await?)
}

/// How many devices each of some sites has.
pub(super) async fn site_sizes(
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
pub(super) async fn relays(
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
    next: i64,
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
pub(super) fn place_of(targets: &[Target]) -> Place {
    let Some(first) = targets.first() else { return Place::default() };
    let same = |pick: fn(&Target) -> Uuid| {
        let value = pick(first);
        targets.iter().all(|t| pick(t) == value).then_some(value)
    };
    let partner = same(|t| t.partner_id);
    let organization = partner.and_then(|_| same(|t| t.organization_id));
    let site = organization.and_then(|_| same(|t| t.site_id));
    Place { partner, organization, site }
}

/// A task to be.
pub(super) struct NewTask<'a> {
    pub(super) id: TaskId,
    pub(super) place: Place,
    pub(super) name: &'a str,
    pub(super) action: &'a serde_json::Value,
    pub(super) created_by: &'a str,
    pub(super) created_by_id: Uuid,
    pub(super) expires_at: OffsetDateTime,
    pub(super) total: usize,
}

pub(super) async fn insert_task(tx: &mut TenantTx, task: &NewTask<'_>) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO tasks (id, partner_id, organization_id, site_id, name, action, created_by, \
             created_by_id, expires_at, total) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(task.id.0)
    .bind(task.place.partner)
    .bind(task.place.organization)
    .bind(task.place.site)
    .bind(task.name)
    .bind(task.action)
    .bind(task.created_by)
    .bind(task.created_by_id)
    .bind(task.expires_at)
    .bind(i32::try_from(task.total).unwrap_or(i32::MAX))
    .execute(&mut **tx)
    .await?;
    Ok(())
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

pub(crate) async fn insert_commands(
    tx: &mut TenantTx,
    commands: &[NewCommand<'_>],
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO commands (id, partner_id, organization_id, site_id, task_id, kind, signed, expires_at) \
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], \
             $7::bytea[], $8::timestamptz[])",
    )
    .bind(commands.iter().map(|c| c.id).collect::<Vec<_>>())
    .bind(commands.iter().map(|c| c.place.partner).collect::<Vec<_>>())
    .bind(commands.iter().map(|c| c.place.organization).collect::<Vec<_>>())
    .bind(commands.iter().map(|c| c.place.site).collect::<Vec<_>>())
    .bind(commands.iter().map(|c| c.task.map(|t| t.0)).collect::<Vec<_>>())
    .bind(commands.iter().map(|c| c.kind).collect::<Vec<_>>())
    .bind(commands.iter().map(|c| c.signed).collect::<Vec<_>>())
    .bind(commands.iter().map(|c| c.expires_at).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Adds the devices of a share.
pub(super) async fn insert_targets(
    tx: &mut TenantTx,
    task: TaskId,
    commands: &HashMap<DeviceId, Uuid>,
    targets: &[Target],
) -> Result<(), DbError> {
    let named: Vec<(&Target, Uuid)> =
        targets.iter().filter_map(|t| Some((t, *commands.get(&t.device())?))).collect();
    sqlx::query(
        "INSERT INTO task_targets (task_id, device_id, command_id, partner_id, organization_id, site_id) \
         SELECT $1, t.* FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[]) t",
    )
    .bind(task.0)
    .bind(named.iter().map(|(t, _)| t.id).collect::<Vec<_>>())
    .bind(named.iter().map(|(_, command)| *command).collect::<Vec<_>>())
    .bind(named.iter().map(|(t, _)| t.partner_id).collect::<Vec<_>>())
    .bind(named.iter().map(|(t, _)| t.organization_id).collect::<Vec<_>>())
    .bind(named.iter().map(|(t, _)| t.site_id).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[derive(Debug, Clone, sqlx::FromRow)]
struct TaskRow {
    id: Uuid,
    #[sqlx(flatten)]
    place: Place,
    name: String,
    action: serde_json::Value,
    created_by: String,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    cancelled_at: Option<OffsetDateTime>,
    finished_at: Option<OffsetDateTime>,
    total: i32,
}

const TASKS: &str = "SELECT id, partner_id, organization_id, site_id, name, action, created_by, \
    created_at, expires_at, cancelled_at, finished_at, total FROM tasks";

async fn with_counts(tx: &mut TenantTx, rows: Vec<TaskRow>) -> Result<Vec<TaskBody>, DbError> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let counts: Vec<(Uuid, String, i64)> = sqlx::query_as(
        "SELECT task_id, status, count(*) FROM task_targets WHERE task_id = ANY($1) GROUP BY 1, 2",
    )
    .bind(&ids)
    .fetch_all(&mut **tx)
    .await?;
    let mut by_task: HashMap<Uuid, BTreeMap<String, i64>> = HashMap::new();
    for (task, status, count) in counts {
        by_task.entry(task).or_default().insert(status, count);
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let mut counts = by_task.remove(&row.id).unwrap_or_default();
            for state in STATES {
                counts.entry(state.to_owned()).or_default();
            }
            let status = match (row.finished_at, row.cancelled_at) {
                (None, _) => "running",
                (Some(_), None) => "done",
                (Some(_), Some(_)) => "cancelled",
            };
            TaskBody {
                id: row.id,
                name: row.name,
                status: status.to_owned(),
                action: row.action,
                created_at: row.created_at,
                created_by: row.created_by,
                expires_at: row.expires_at,
                counts,
                total: row.total.into(),
            }
        })
        .collect())
}

/// Tasks, latest first.
pub(super) async fn list(tx: &mut TenantTx, page: &PageQuery) -> Result<Page<TaskBody>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new(TASKS);
    if let Some(after) = page.after::<Uuid>()? {
        query.push(" WHERE id < ").push_bind(after);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(page.limit() + 1);
    let rows: Vec<TaskRow> = query.build_query_as().fetch_all(&mut **tx).await?;
    let items = with_counts(tx, rows).await?;
    Ok(Page::cut(items, page.limit(), |task| task.id))
}

/// A task with its place: the proof that it is visible.
pub(super) async fn get(
    tx: &mut TenantTx,
    task: TaskId,
) -> Result<Option<(TaskBody, Place)>, DbError> {
    let mut query = QueryBuilder::<Postgres>::new(TASKS);
    query.push(" WHERE id = ").push_bind(task.0);
    let rows: Vec<TaskRow> = query.build_query_as().fetch_all(&mut **tx).await?;
    let Some(place) = rows.first().map(|row| row.place) else { return Ok(None) };
    Ok(with_counts(tx, rows).await?.pop().map(|task| (task, place)))
}

const TARGETS: &str = "SELECT t.device_id, CASE WHEN d.name = '' THEN d.hostname ELSE d.name END AS device_name, \
    t.status, t.exit_code, t.reason, t.output_len, t.output_cut, t.started_at, t.finished_at, d.name_key \
    FROM task_targets t JOIN devices d ON d.id = t.device_id WHERE t.task_id = ";

/// Devices of a task by name, with their output.
pub(super) async fn targets(
    tx: &mut TenantTx,
    task: TaskId,
    status: Option<&str>,
    page: &PageQuery,
) -> Result<Page<TargetBody>, Problem> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        body: TargetBody,
        name_key: String,
    }
    let mut query = QueryBuilder::<Postgres>::new(TARGETS);
    query.push_bind(task.0);
    if let Some(status) = status {
        query.push(" AND t.status = ").push_bind(status.to_owned());
    }
    if let Some((name, id)) = page.after::<(String, Uuid)>()? {
        query
            .push(" AND (d.name_key, d.id) > (")
            .push_bind(name)
            .push(", ")
            .push_bind(id)
            .push(")");
    }
    query.push(" ORDER BY d.name_key, d.id LIMIT ").push_bind(page.limit() + 1);
    let rows: Vec<Row> = query.build_query_as().fetch_all(&mut **tx).await?;
    let Page { items, next_cursor } =
        Page::cut(rows, page.limit(), |row: &Row| (row.name_key.clone(), row.body.device_id));
    let mut items: Vec<TargetBody> = items.into_iter().map(|row| row.body).collect();
    let devices: Vec<Uuid> = items.iter().map(|t| t.device_id).collect();
    let mut output = beginnings(tx, task, &devices, SHOWN).await?;
    for item in &mut items {
        let bytes = output.remove(&item.device_id).unwrap_or_default();
        item.output = String::from_utf8_lossy(&bytes).into_owned();
    }
    Ok(Page { items, next_cursor })
}

/// One device's state in a task, without its output.
pub(super) async fn target(
    tx: &mut TenantTx,
    task: TaskId,
    device: DeviceId,
) -> Result<Option<TargetBody>, DbError> {
    let mut query = QueryBuilder::<Postgres>::new(TARGETS);
    query.push_bind(task.0).push(" AND t.device_id = ").push_bind(device.0);
    Ok(query.build_query_as().fetch_optional(&mut **tx).await?)
}

/// The first bytes that devices wrote. Pieces are joined at their offsets; what
/// overlaps is taken once, and after a hole nothing is shown.
async fn beginnings(
    tx: &mut TenantTx,
    task: TaskId,
    devices: &[Uuid],
    most: i64,
) -> Result<HashMap<Uuid, Vec<u8>>, DbError> {
    let rows: Vec<(Uuid, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT device_id, byte_offset, data FROM task_output \
         WHERE task_id = $1 AND device_id = ANY($2) AND byte_offset < $3 ORDER BY device_id, byte_offset",
    )
    .bind(task.0)
    .bind(devices)
    .bind(most)
    .fetch_all(&mut **tx)
    .await?;
    let mut output: HashMap<Uuid, Vec<u8>> = HashMap::new();
    for (device, offset, data) in rows {
        let bytes = output.entry(device).or_default();
        join(bytes, offset, &data);
        bytes.truncate(usize::try_from(most).unwrap_or_default());
    }
    Ok(output)
}

/// Puts a piece behind what is there, as far as it continues it.
pub(super) fn join(bytes: &mut Vec<u8>, offset: i64, piece: &[u8]) {
    let Ok(offset) = usize::try_from(offset) else { return };
    if let Some(skip) = bytes.len().checked_sub(offset)
        && let Some(fresh) = piece.get(skip..)
    {
        bytes.extend_from_slice(fresh);
    }
}

/// All that a device wrote.
pub(super) async fn output(
    tx: &mut TenantTx,
    task: TaskId,
    device: DeviceId,
) -> Result<Vec<u8>, DbError> {
    let mut all =
        beginnings(tx, task, &[device.0], i64::from(super::rules::MAX_OUTPUT) + 4096).await?;
    Ok(all.remove(&device.0).unwrap_or_default())
}

/// Devices by equal result: state, exit code and the beginning of the output.
pub(super) async fn groups(tx: &mut TenantTx, task: TaskId) -> Result<Vec<GroupBody>, DbError> {
    let rows: Vec<(String, Option<i32>, Vec<u8>, i64, Vec<Uuid>)> = sqlx::query_as(
        "SELECT status, exit_code, sample, count(*), (array_agg(device_id ORDER BY device_id))[1:20] FROM ( \
             SELECT t.device_id, t.status, t.exit_code, t.output_len, coalesce(( \
                 SELECT substring(string_agg(o.data, ''::bytea ORDER BY o.byte_offset) FOR $2::int) \
                 FROM task_output o WHERE o.task_id = t.task_id AND o.device_id = t.device_id \
                     AND o.byte_offset < $2), ''::bytea) AS sample \
             FROM task_targets t WHERE t.task_id = $1) results \
         GROUP BY status, exit_code, sample, output_len ORDER BY count(*) DESC, status LIMIT 200",
    )
    .bind(task.0)
    .bind(SAMPLE)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(status, exit_code, sample, count, device_ids)| GroupBody {
            status,
            exit_code,
            output_sample: String::from_utf8_lossy(&sample).into_owned(),
            count,
            device_ids,
        })
        .collect())
}

/// A device's tasks, latest first.
pub(super) async fn of_device(
    tx: &mut TenantTx,
    device: DeviceId,
    page: &PageQuery,
) -> Result<Page<(TaskBody, TargetBody)>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new(TASKS);
    query.push(" WHERE id IN (SELECT task_id FROM task_targets WHERE device_id = ");
    query.push_bind(device.0).push(")");
    if let Some(after) = page.after::<Uuid>()? {
        query.push(" AND id < ").push_bind(after);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(page.limit() + 1);
    let rows: Vec<TaskRow> = query.build_query_as().fetch_all(&mut **tx).await?;
    let tasks = with_counts(tx, rows).await?;
    let mut items = Vec::with_capacity(tasks.len());
    for task in tasks {
        if let Some(target) = target(tx, TaskId(task.id), device).await? {
            items.push((task, target));
        }
    }
    Ok(Page::cut(items, page.limit(), |(task, _)| task.id))
}

/// A command of a task with the devices that are not done.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct OpenCommand {
    pub(super) command_id: Uuid,
    pub(super) organization_id: Uuid,
    pub(super) site_id: Uuid,
    pub(super) devices: Vec<Uuid>,
}

/// Marks a task as cancelled, and returns what is still to be stopped.
pub(super) async fn cancel(tx: &mut TenantTx, task: TaskId) -> Result<Vec<OpenCommand>, DbError> {
    sqlx::query("UPDATE tasks SET cancelled_at = coalesce(cancelled_at, now()) WHERE id = $1")
        .bind(task.0)
        .execute(&mut **tx)
        .await?;
    Ok(sqlx::query_as(
        "SELECT command_id, organization_id, site_id, array_agg(device_id ORDER BY device_id) AS devices \
         FROM task_targets WHERE task_id = $1 AND status IN ('pending', 'sent', 'running') \
         GROUP BY 1, 2, 3 ORDER BY 3, 1",
    )
    .bind(task.0)
    .fetch_all(&mut **tx)
    .await?)
}

/// Marks the open targets at sites without a relay: nobody else will.
pub(super) async fn cancel_at(
    tx: &mut TenantTx,
    task: TaskId,
    sites: &[SiteId],
) -> Result<(), DbError> {
    sqlx::query(
        "UPDATE task_targets SET status = 'cancelled', finished_at = now(), updated_at = now(), \
             reason = 'It was cancelled before it was sent.' \
         WHERE task_id = $1 AND site_id = ANY($2) AND status IN ('pending', 'sent', 'running')",
    )
    .bind(task.0)
    .bind(sites.iter().map(|s| s.0).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Marks what nobody answered for, a minute after its expiry. Running targets are
/// left: they run until their own limit, and their relay may be away.
pub(super) async fn expire(tx: &mut TenantTx) -> Result<Vec<TaskId>, DbError> {
    let tasks: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE task_targets t SET status = 'expired', reason = $1, finished_at = now(), updated_at = now() \
         FROM tasks k WHERE k.id = t.task_id AND k.finished_at IS NULL \
             AND k.expires_at < now() - interval '1 minute' AND t.status IN ('pending', 'sent') \
         RETURNING t.task_id",
    )
    .bind(NO_ANSWER)
    .fetch_all(&mut **tx)
    .await?;
    Ok(tasks.into_iter().map(TaskId).collect())
}

/// Tasks whose devices are all done and that are not closed.
pub(super) async fn done_but_open(tx: &mut TenantTx) -> Result<Vec<TaskId>, DbError> {
    let tasks: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM tasks k WHERE finished_at IS NULL AND NOT EXISTS ( \
             SELECT FROM task_targets t WHERE t.task_id = k.id AND t.status IN ('pending', 'sent', 'running')) \
         LIMIT 1000",
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(tasks.into_iter().map(TaskId).collect())
}

/// Closes a task when all its devices are done. Whether it did.
pub(super) async fn close_if_done(tx: &mut TenantTx, task: TaskId) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE tasks k SET finished_at = now() WHERE id = $1 AND finished_at IS NULL AND NOT EXISTS ( \
             SELECT FROM task_targets t WHERE t.task_id = k.id AND t.status IN ('pending', 'sent', 'running'))",
    )
    .bind(task.0)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Tells browsers how a task stands.
pub(super) async fn emit(tx: &mut TenantTx, task: TaskId, keep: bool) -> Result<(), DbError> {
    if let Some((body, place)) = get(tx, task).await? {
        tx.emit(match keep {
            true => NewEvent::kept(Kind::TaskChanged, place, &body),
            false => NewEvent::passing(Kind::TaskChanged, place, &body),
        });
    }
    Ok(())
}

/// The place of a site's rows.
pub(super) fn site_place(partner: Uuid, organization: OrganizationId, site: SiteId) -> Place {
    Place::site(PartnerId(partner), organization, site)
}

/// The partner of each target's site.
pub(super) fn partners(targets: &[Target]) -> HashMap<SiteId, Uuid> {
    targets.iter().map(|t| (t.site(), t.partner_id)).collect()
}

/// The partner of each site.
pub(super) async fn partners_of(
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
