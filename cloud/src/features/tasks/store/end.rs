//! The end of tasks: cancelled, expired, done.

use super::{NO_ANSWER, NO_END, OUT_BEFORE, OUT_DURING, targets::Reach};
use crate::db::{DbError, Place, TenantTx};
use unifyit_protocol::ids::{SiteId, TaskId};
use uuid::Uuid;

/// A command of a task with the devices that are not done.
#[derive(Debug, sqlx::FromRow)]
pub(in super::super) struct OpenCommand {
    pub(in super::super) command_id: Uuid,
    #[sqlx(flatten)]
    pub(in super::super) at: Reach,
    pub(in super::super) devices: Vec<Uuid>,
}

/// Marks a task as cancelled, and returns what is still to be stopped: all that is open, or
/// what no stop was sent to.
pub(in super::super) async fn cancel(
    tx: &mut TenantTx,
    task: TaskId,
    again: bool,
) -> Result<Vec<OpenCommand>, DbError> {
    sqlx::query("UPDATE tasks SET cancelled_at = coalesce(cancelled_at, now()) WHERE id = $1")
        .bind(task.0)
        .execute(&mut **tx)
        .await?;
    Ok(sqlx::query_as(
        "SELECT t.command_id, t.partner_id, t.organization_id, t.site_id, r.id AS relay_id, \
             array_agg(t.device_id ORDER BY t.device_id) AS devices \
         FROM task_targets t LEFT JOIN relays r ON r.site_id = t.site_id AND r.revoked_at IS NULL \
         WHERE t.task_id = $1 AND t.status IN ('pending', 'sent', 'running') \
             AND ($2 OR t.stop_at IS NULL) GROUP BY 1, 2, 3, 4, 5 ORDER BY 4, 1",
    )
    .bind(task.0)
    .bind(again)
    .fetch_all(&mut **tx)
    .await?)
}

/// Notes that a stop was sent to these. A target that somebody changes in this moment is
/// left out, so that nobody is waited for: one stop more does no harm.
pub(in super::super) async fn stopped(
    tx: &mut TenantTx,
    task: TaskId,
    open: &[OpenCommand],
) -> Result<(), DbError> {
    let devices = open.iter().flat_map(|command| command.devices.iter().copied());
    sqlx::query(
        "UPDATE task_targets t SET stop_at = now() FROM ( \
             SELECT o.task_id, o.device_id FROM task_targets o JOIN unnest($2::uuid[]) AS s (device) \
                 ON s.device = o.device_id \
             WHERE o.task_id = $1 FOR UPDATE OF o SKIP LOCKED) o \
         WHERE t.task_id = o.task_id AND t.device_id = o.device_id",
    )
    .bind(task.0)
    .bind(devices.collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Named {
    id: Uuid,
    #[sqlx(flatten)]
    place: Place,
    name: String,
}

fn named(rows: Vec<Named>) -> Vec<(TaskId, Place, String)> {
    rows.into_iter().map(|row| (TaskId(row.id), row.place, row.name)).collect()
}

/// Cancelled tasks that run on a device to which no stop was sent: it counted as done when
/// they were cancelled, and said afterwards that it runs.
pub(in super::super) async fn unstopped(
    tx: &mut TenantTx,
) -> Result<Vec<(TaskId, Place, String)>, DbError> {
    let rows = sqlx::query_as(
        "SELECT k.id, k.partner_id, k.organization_id, k.site_id, k.name FROM tasks k \
         WHERE k.finished_at IS NULL AND k.cancelled_at IS NOT NULL AND EXISTS ( \
             SELECT FROM task_targets t WHERE t.task_id = k.id AND t.status = 'running' AND t.stop_at IS NULL) \
         ORDER BY k.id LIMIT 50",
    );
    Ok(named(rows.fetch_all(&mut **tx).await?))
}

/// Open tasks whose asker's right to run them has ended, with their places and
/// names: the person is disabled or may only look, the key was revoked, or the
/// organization was deleted. Signing out ends none: work is asked for so that it
/// goes on alone.
pub(in super::super) async fn without_right(
    tx: &mut TenantTx,
) -> Result<Vec<(TaskId, Place, String)>, DbError> {
    let rows = sqlx::query_as(
        "SELECT t.id, t.partner_id, t.organization_id, t.site_id, t.name FROM tasks t \
             LEFT JOIN api_keys k ON k.id = t.created_by_id \
             LEFT JOIN users u ON u.id = coalesce(k.owner_id, t.created_by_id) \
             LEFT JOIN memberships m ON m.user_id = u.id \
             LEFT JOIN organizations o ON o.id = t.organization_id \
         WHERE t.finished_at IS NULL AND t.cancelled_at IS NULL \
             AND (k.revoked_at IS NOT NULL OR u.disabled_at IS NOT NULL OR m.role = 'viewer' \
                 OR o.deleted_at IS NOT NULL) \
         ORDER BY t.id LIMIT 50",
    );
    Ok(named(rows.fetch_all(&mut **tx).await?))
}

/// Marks the open targets at sites without a relay: nobody else will.
pub(in super::super) async fn cancel_at(
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

/// Ends what is open on devices that were revoked, by themselves or with their site:
/// they never answer again.
pub(in super::super) async fn put_out(tx: &mut TenantTx) -> Result<Vec<TaskId>, DbError> {
    let tasks: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE task_targets t SET finished_at = now(), updated_at = now(), \
             status = CASE WHEN t.status = 'running' THEN 'indeterminate' ELSE 'cancelled' END, \
             reason = CASE WHEN t.status = 'running' THEN $2 ELSE $1 END \
         FROM devices d WHERE d.id = t.device_id AND d.revoked_at IS NOT NULL \
             AND t.status IN ('pending', 'sent', 'running') RETURNING t.task_id",
    )
    .bind(OUT_BEFORE)
    .bind(OUT_DURING)
    .fetch_all(&mut **tx)
    .await?;
    Ok(tasks.into_iter().map(TaskId).collect())
}

/// Ends what runs beyond its own time limit without a word, or goes on after it was
/// cancelled. A device that is connected would have said so within minutes; one that is away
/// gets a day. What was found to run after it had been cancelled has its time from then on:
/// it is stopped when it is found ([`unstopped`]).
pub(in super::super) async fn lose(tx: &mut TenantTx) -> Result<Vec<TaskId>, DbError> {
    let tasks: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE task_targets t SET status = 'indeterminate', reason = $1, finished_at = now(), updated_at = now() \
         FROM tasks k, devices d LEFT JOIN relays r ON r.site_id = d.site_id AND r.revoked_at IS NULL \
         WHERE t.status = 'running' AND k.id = t.task_id AND d.id = t.device_id \
             AND least(t.updated_at + make_interval(secs => coalesce( \
                     nullif((k.action->>'timeout_s')::int, 0), 3600)), \
                 CASE WHEN k.cancelled_at IS NOT NULL THEN greatest(k.cancelled_at, t.updated_at) END) \
                 < now() - CASE WHEN d.online AND r.online THEN interval '10 minutes' ELSE interval '1 day' END \
         RETURNING t.task_id",
    )
    .bind(NO_END)
    .fetch_all(&mut **tx)
    .await?;
    Ok(tasks.into_iter().map(TaskId).collect())
}

/// Marks what nobody answered for, a minute after its expiry. Running targets are
/// left to [`lose`]: they run until their own limit, and their relay may be away.
pub(in super::super) async fn expire(tx: &mut TenantTx) -> Result<Vec<TaskId>, DbError> {
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

/// Tasks whose devices are all done and that are not closed, or the other way round.
pub(in super::super) async fn unsettled(tx: &mut TenantTx) -> Result<Vec<TaskId>, DbError> {
    let tasks: Vec<Uuid> = sqlx::query_scalar(
        "(SELECT id FROM tasks k WHERE finished_at IS NULL AND NOT EXISTS ( \
             SELECT FROM task_targets t WHERE t.task_id = k.id AND t.status IN ('pending', 'sent', 'running')) \
         LIMIT 1000) UNION ALL \
         (SELECT DISTINCT k.id FROM task_targets t JOIN tasks k ON k.id = t.task_id \
         WHERE t.status IN ('pending', 'sent', 'running') AND k.finished_at IS NOT NULL LIMIT 1000)",
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(tasks.into_iter().map(TaskId).collect())
}

/// Closes a task when all its devices are done, and opens it again when it turns out that
/// it runs on one: only what is open can be stopped. Whether it did either.
pub(in super::super) async fn settle(tx: &mut TenantTx, task: TaskId) -> Result<bool, DbError> {
    let changed = sqlx::query(
        "UPDATE tasks k SET finished_at = CASE WHEN finished_at IS NULL THEN now() END \
         WHERE id = $1 AND (finished_at IS NOT NULL) = EXISTS ( \
             SELECT FROM task_targets t WHERE t.task_id = k.id AND t.status IN ('pending', 'sent', 'running'))",
    )
    .bind(task.0)
    .execute(&mut **tx)
    .await?;
    Ok(changed.rows_affected() == 1)
}
