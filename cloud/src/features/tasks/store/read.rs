//! Reading tasks: how they stand, on which devices, with which output.

use super::super::{
    action::{ActionBody, Sight},
    model::{GroupBody, TargetBody, TaskBody, TaskState},
    rules::{MAX_OUTPUT, STATES},
};
use crate::{
    db::{DbError, Place, TenantTx},
    http::{Page, PageQuery, Problem},
};
use sqlx::{Postgres, QueryBuilder};
use std::collections::{BTreeMap, HashMap};
use time::OffsetDateTime;
use unifyit_protocol::ids::{DeviceId, TaskId};
use uuid::Uuid;

/// Bytes of output shown with a target, at most.
const SHOWN: i64 = 64 * 1024;
/// Bytes of output in one answer, shared by its targets.
const SHOWN_IN_ALL: i64 = 4 * 1024 * 1024;
/// The same as a size in memory.
pub(in super::super) const SHOWN_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of output by which results are grouped and shown in groups.
const SAMPLE: i64 = 4096;

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
    output_removed_at: Option<OffsetDateTime>,
    total: i32,
}

const TASKS: &str = "SELECT id, partner_id, organization_id, site_id, name, action, created_by, \
    created_at, expires_at, cancelled_at, finished_at, output_removed_at, total FROM tasks";

/// How a task stands when so many of its devices are in each state.
pub(in super::super) fn counted(mut counts: BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    for state in STATES {
        counts.entry(state.to_owned()).or_default();
    }
    counts
}

async fn with_counts(
    tx: &mut TenantTx,
    rows: Vec<TaskRow>,
    sight: Sight,
) -> Result<Vec<TaskBody>, DbError> {
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
    let scope = tx.scope().copied();
    Ok(rows
        .into_iter()
        .map(|row| {
            // Of a task that reaches beyond the scope only the own devices count.
            let whole = scope.is_none_or(|scope| scope.sees(&row.place));
            let visible = by_task.get(&row.id).map_or(0, |counts| counts.values().sum());
            let counts = counted(by_task.remove(&row.id).unwrap_or_default());
            let status = match (row.finished_at, row.cancelled_at) {
                (None, _) => "running",
                (Some(_), None) => "done",
                (Some(_), Some(_)) => "cancelled",
            };
            TaskBody {
                id: row.id,
                name: row.name,
                status: status.to_owned(),
                action: ActionBody::kept(row.action).seen(sight),
                created_at: row.created_at,
                created_by: row.created_by,
                expires_at: row.expires_at,
                counts,
                total: if whole { row.total.into() } else { visible },
                output_removed_at: row.output_removed_at,
            }
        })
        .collect())
}

/// How many tasks are not done on a device that the scope sees. A task's own row
/// may stand above the scope, its targets stand where their devices do.
///
/// # Errors
/// [`DbError`].
pub(crate) async fn running(tx: &mut TenantTx) -> Result<i64, DbError> {
    Ok(sqlx::query_scalar(
        "SELECT count(DISTINCT task_id) FROM task_targets WHERE status IN ('pending', 'sent', 'running')",
    )
    .fetch_one(&mut **tx)
    .await?)
}

/// Tasks whose name or maker contains all words of `q`, latest first.
pub(in super::super) async fn list(
    tx: &mut TenantTx,
    q: &str,
    state: Option<TaskState>,
    sight: Sight,
    page: &PageQuery,
) -> Result<Page<TaskBody>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new(TASKS);
    query.push(" WHERE ").push(match state {
        None => "true",
        Some(TaskState::Running) => "finished_at IS NULL",
        Some(TaskState::Done) => "finished_at IS NOT NULL AND cancelled_at IS NULL",
        Some(TaskState::Cancelled) => "finished_at IS NOT NULL AND cancelled_at IS NOT NULL",
    });
    for word in q.to_lowercase().split_whitespace().take(8) {
        query
            .push(
                " AND strpos(lower(name || ' ' || created_by || ' ' || (action->>'interpreter')), ",
            )
            .push_bind(word.to_owned())
            .push(") > 0");
    }
    if let Some(after) = page.after::<Uuid>()? {
        query.push(" AND id < ").push_bind(after);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(page.limit() + 1);
    let rows: Vec<TaskRow> = tx.composed(query).await?;
    let items = with_counts(tx, rows, sight).await?;
    Ok(Page::cut(items, page.limit(), |task| task.id))
}

/// A task with its place: the proof that it is visible.
pub(in super::super) async fn get(
    tx: &mut TenantTx,
    task: TaskId,
    sight: Sight,
) -> Result<Option<(TaskBody, Place)>, DbError> {
    let mut query = QueryBuilder::<Postgres>::new(TASKS);
    query.push(" WHERE id = ").push_bind(task.0);
    let rows: Vec<TaskRow> = query.build_query_as().fetch_all(&mut **tx).await?;
    let Some(place) = rows.first().map(|row| row.place) else { return Ok(None) };
    Ok(with_counts(tx, rows, sight).await?.pop().map(|task| (task, place)))
}

const TARGETS: &str = "SELECT t.device_id, CASE WHEN d.name = '' THEN d.hostname ELSE d.name END AS device_name, \
    t.status, t.exit_code, t.reason, t.output_len, t.output_cut, t.started_at, t.finished_at, d.name_key, t.task_id \
    FROM task_targets t JOIN devices d ON d.id = t.device_id WHERE t.task_id = ";

/// Devices of a task by name, with their output.
pub(in super::super) async fn targets(
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
    let share = SHOWN_IN_ALL / i64::try_from(devices.len().max(1)).unwrap_or(1);
    let mut output = beginnings(tx, task, &devices, share.min(SHOWN)).await?;
    let mut lost = lost_output(tx, task, &devices).await?;
    for item in &mut items {
        item.output_lost = lost.remove(&item.device_id);
        let bytes = output.remove(&item.device_id).unwrap_or_default();
        item.output = String::from_utf8_lossy(&bytes).into_owned();
    }
    Ok(Page { items, next_cursor })
}

/// Devices of whose output less is here than they wrote, where a loss is known that
/// explains it: the rest is still on its way.
async fn lost_output(
    tx: &mut TenantTx,
    task: TaskId,
    devices: &[Uuid],
) -> Result<HashMap<Uuid, String>, DbError> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT t.device_id, g.reason FROM task_targets t CROSS JOIN LATERAL ( \
             SELECT reason FROM gaps g WHERE g.lane = 'output' \
                 AND (g.device_id = t.device_id OR (g.device_id IS NULL AND g.site_id = t.site_id)) \
                 AND g.to_at >= coalesce(t.started_at, t.updated_at) - interval '10 minutes' \
                 AND g.from_at <= coalesce(t.finished_at, now()) + interval '10 minutes' \
             ORDER BY g.id DESC LIMIT 1) g \
         WHERE t.task_id = $1 AND t.device_id = ANY($2) AND t.output_len > ( \
             SELECT coalesce(sum(length(o.data)), 0) FROM task_output o \
             WHERE o.task_id = t.task_id AND o.device_id = t.device_id)",
    )
    .bind(task.0)
    .bind(devices)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().collect())
}

/// One device's state in a task, without its output.
pub(in super::super) async fn target(
    tx: &mut TenantTx,
    task: TaskId,
    device: DeviceId,
) -> Result<Option<TargetBody>, DbError> {
    Ok(targets_of(tx, device, &[task.0]).await?.remove(&task.0))
}

/// One device's state in each of some tasks, without its output.
async fn targets_of(
    tx: &mut TenantTx,
    device: DeviceId,
    tasks: &[Uuid],
) -> Result<HashMap<Uuid, TargetBody>, DbError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        task_id: Uuid,
        #[sqlx(flatten)]
        body: TargetBody,
    }
    let mut query = QueryBuilder::<Postgres>::new(TARGETS);
    query.push("ANY(").push_bind(tasks.to_vec()).push(") AND t.device_id = ").push_bind(device.0);
    let rows: Vec<Row> = query.build_query_as().fetch_all(&mut **tx).await?;
    Ok(rows.into_iter().map(|row| (row.task_id, row.body)).collect())
}

/// The first bytes that devices wrote. Pieces are joined at their offsets; what
/// overlaps is taken once, and after a hole nothing is shown.
async fn beginnings(
    tx: &mut TenantTx,
    task: TaskId,
    devices: &[Uuid],
    most: i64,
) -> Result<HashMap<Uuid, Vec<u8>>, DbError> {
    // Of each piece only what lies before the end and was not told by pieces before
    // it: however they overlap, no more than the answer is read.
    let rows: Vec<(Uuid, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT device_id, fresh, substring(data FROM (fresh - byte_offset + 1)::int \
             FOR (least(ends, $3) - fresh)::int) FROM ( \
             SELECT o.device_id, o.byte_offset, o.data, o.byte_offset + octet_length(o.data) AS ends, \
                 greatest(o.byte_offset, coalesce(max(o.byte_offset + octet_length(o.data)) OVER ( \
                     PARTITION BY o.device_id ORDER BY o.byte_offset \
                     ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)) AS fresh \
             FROM task_output o WHERE o.task_id = $1 AND o.device_id = ANY($2) AND o.byte_offset < $3) p \
         WHERE fresh < least(ends, $3) ORDER BY device_id, fresh",
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
pub(in super::super) fn join(bytes: &mut Vec<u8>, offset: i64, piece: &[u8]) {
    let Ok(offset) = usize::try_from(offset) else { return };
    if let Some(skip) = bytes.len().checked_sub(offset)
        && let Some(fresh) = piece.get(skip..)
    {
        bytes.extend_from_slice(fresh);
    }
}

/// All that a device wrote.
pub(in super::super) async fn output(
    tx: &mut TenantTx,
    task: TaskId,
    device: DeviceId,
) -> Result<Vec<u8>, DbError> {
    let mut all = beginnings(tx, task, &[device.0], i64::from(MAX_OUTPUT) + 4096).await?;
    Ok(all.remove(&device.0).unwrap_or_default())
}

/// Devices by equal result: state, exit code and the beginning of the output.
pub(in super::super) async fn groups(
    tx: &mut TenantTx,
    task: TaskId,
) -> Result<Vec<GroupBody>, DbError> {
    type Row = (String, Option<i32>, Vec<u8>, i64, Vec<Uuid>);
    // Grouped by digests; the text itself is read once a group.
    let rows: Vec<Row> = sqlx::query_as(
        "WITH results AS ( \
             SELECT t.device_id, t.status, t.exit_code, t.output_len, ( \
                 SELECT sha256(substring(string_agg(substring(o.data FOR ($2 - o.byte_offset)::int), ''::bytea \
                     ORDER BY o.byte_offset) FOR $2::int)) \
                 FROM task_output o WHERE o.task_id = t.task_id AND o.device_id = t.device_id \
                     AND o.byte_offset < $2) AS digest \
             FROM task_targets t WHERE t.task_id = $1), \
         grouped AS ( \
             SELECT status, exit_code, count(*) AS n, (array_agg(device_id ORDER BY device_id))[1:20] AS devices \
             FROM results GROUP BY status, exit_code, digest, output_len ORDER BY count(*) DESC, status LIMIT 200) \
         SELECT g.status, g.exit_code, coalesce(( \
             SELECT substring(string_agg(substring(o.data FOR ($2 - o.byte_offset)::int), ''::bytea \
                 ORDER BY o.byte_offset) FOR $2::int) \
             FROM task_output o WHERE o.task_id = $1 AND o.device_id = g.devices[1] AND o.byte_offset < $2), \
             ''::bytea), g.n, g.devices FROM grouped g ORDER BY g.n DESC, g.status",
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
pub(in super::super) async fn of_device(
    tx: &mut TenantTx,
    device: DeviceId,
    sight: Sight,
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
    let tasks = with_counts(tx, rows, sight).await?;
    let ids: Vec<Uuid> = tasks.iter().map(|task| task.id).collect();
    let mut targets = targets_of(tx, device, &ids).await?;
    let items = tasks
        .into_iter()
        .filter_map(|task| targets.remove(&task.id).map(|target| (task, target)))
        .collect();
    Ok(Page::cut(items, page.limit(), |(task, _)| task.id))
}
