//! Deleting what is older than its partner keeps it.

use super::{Policies, Retention, store};
use crate::{
    audit::{self, AuditActor, AuditTarget},
    db::{DbError, Place, Scope},
    jobs::{Job, Old},
};
use std::time::Duration;
use time::OffsetDateTime;
use uuid::Uuid;

/// Tasks looked at together.
const TASKS: i64 = 200;
/// Such groups of one run; the next run goes on.
const GROUPS: usize = 500;
/// Entries taken from chains in one transaction, and transactions of one run.
const ENTRIES: i32 = 5000;
const CUTS: usize = 200;

pub(super) const JOBS: &[Job] = &[Job {
    name: "retention",
    period: Duration::from_secs(3600),
    run: |state| Box::pin(async move { sweep(&state.old).await }),
}];

/// Deletes what is due.
///
/// # Errors
/// [`DbError`]; what was deleted before stays so.
pub async fn sweep(old: &Old) -> Result<(), DbError> {
    let mut tx = old.db().tenant(&Scope::Platform).await?;
    let policies = store::policies(&mut tx).await?;
    tx.commit().await?;
    measurements(old, &policies).await?;
    outputs(old, &policies).await?;
    tasks(old, &policies).await?;
    rest(old).await?;
    cut_audit(old, &policies).await
}

/// How a setting is asked for in SQL: the shortest of all, which ends the search
/// of an index; the usual one; those of partners that have their own.
struct Days {
    soonest: i32,
    usual: i32,
    partners: Vec<Uuid>,
    days: Vec<i32>,
}

impl Days {
    fn new(policies: &Policies, pick: fn(&Retention) -> i32) -> Self {
        Self {
            soonest: policies.all().map(pick).min().unwrap_or_default(),
            usual: pick(&policies.usual),
            partners: policies.own.keys().copied().collect(),
            days: policies.own.values().map(pick).collect(),
        }
    }
}

/// Binds [`Days`] as four arguments.
macro_rules! bind_days {
    ($query:expr, $days:expr) => {
        $query
            .bind($days.soonest)
            .bind($days.usual)
            .bind($days.partners.clone())
            .bind($days.days.clone())
    };
}

async fn measurements(old: &Old, policies: &Policies) -> Result<(), DbError> {
    let days = Days::new(policies, |kept| kept.metrics_hour_days);
    old.delete(
        "metric_blocks",
        "DELETE FROM metric_blocks WHERE ctid = ANY(ARRAY(SELECT b.ctid FROM metric_blocks b \
             LEFT JOIN unnest($4::uuid[], $5::int4[]) AS p (partner, days) ON p.partner = b.partner_id \
             WHERE b.step = ANY('{1,15,60}') \
                 AND b.last_minute < extract(epoch FROM now())::int8 / 60 - $2 * 1440 \
                 AND b.last_minute < extract(epoch FROM now())::int8 / 60 - coalesce(p.days, $3) * 1440 \
             LIMIT $1))",
        |query| bind_days!(query, days),
    )
    .await?;
    old.delete(
        "gaps",
        "DELETE FROM gaps WHERE id = ANY(ARRAY(SELECT g.id FROM gaps g \
             LEFT JOIN unnest($4::uuid[], $5::int4[]) AS p (partner, days) ON p.partner = g.partner_id \
             WHERE g.to_at < now() - make_interval(days => $2) \
                 AND g.to_at < now() - make_interval(days => coalesce(p.days, $3)) LIMIT $1))",
        |query| bind_days!(query, days),
    )
    .await?;
    // A device that changes its columns all the time; the last few may come again.
    old.delete(
        "series_tables",
        "WITH many AS (SELECT device_id FROM series_tables GROUP BY 1 HAVING count(*) > 64 LIMIT 1000) \
         DELETE FROM series_tables WHERE ctid = ANY(ARRAY(SELECT s.row FROM ( \
             SELECT t.ctid AS row, t.device_id, t.hash, \
                 row_number() OVER (PARTITION BY t.device_id ORDER BY t.first_seen DESC) AS place \
             FROM many JOIN series_tables t ON t.device_id = many.device_id) s WHERE s.place > 64 \
             AND NOT EXISTS (SELECT FROM metric_blocks b \
                 WHERE b.device_id = s.device_id AND b.series_hash = s.hash) \
             AND NOT EXISTS (SELECT FROM metric_recent r \
                 WHERE r.device_id = s.device_id AND r.series_hash = s.hash) LIMIT $1))",
        |query| query,
    )
    .await?;
    Ok(())
}

/// Finished tasks whose time is up.
async fn due(old: &Old, statement: &'static str, days: &Days) -> Result<Vec<Uuid>, DbError> {
    let mut tx = old.db().tenant(&Scope::Platform).await?;
    let query = sqlx::query_scalar(statement).bind(TASKS);
    let due = bind_days!(query, days).fetch_all(&mut *tx).await?;
    tx.commit().await?;
    Ok(due)
}

/// Deletes what scripts wrote and the signed commands that they came with.
async fn outputs(old: &Old, policies: &Policies) -> Result<(), DbError> {
    let days = Days::new(policies, |kept| kept.output_days);
    for _ in 0..GROUPS {
        let tasks = due(
            old,
            "SELECT t.id FROM tasks t \
                 LEFT JOIN unnest($4::uuid[], $5::int4[]) AS p (partner, days) ON p.partner = t.partner_id \
             WHERE t.finished_at IS NOT NULL AND t.output_removed_at IS NULL \
                 AND t.created_at < now() - make_interval(days => $2) \
                 AND t.finished_at < now() - make_interval(days => coalesce(p.days, $3)) \
             ORDER BY t.created_at LIMIT $1",
            &days,
        )
        .await?;
        if tasks.is_empty() {
            return Ok(());
        }
        if !output_of(old, &tasks).await? {
            return Ok(());
        }
        let mut tx = old.db().tenant(&Scope::Platform).await?;
        sqlx::query("UPDATE tasks SET output_removed_at = now() WHERE id = ANY($1)")
            .bind(&tasks)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
    }
    tracing::warn!("More output is past its time than one run deletes.");
    Ok(())
}

/// Deletes what tasks wrote and what was sent for them. Returns whether none is left.
async fn output_of(old: &Old, tasks: &[Uuid]) -> Result<bool, DbError> {
    let output = old
        .delete(
            "task_output",
            "DELETE FROM task_output WHERE ctid = ANY(ARRAY( \
             SELECT ctid FROM task_output WHERE task_id = ANY($2) LIMIT $1))",
            |query| query.bind(tasks.to_vec()),
        )
        .await?;
    let commands = old
        .delete(
            "commands",
            "DELETE FROM commands WHERE id = ANY(ARRAY( \
             SELECT id FROM commands WHERE task_id = ANY($2) LIMIT $1))",
            |query| query.bind(tasks.to_vec()),
        )
        .await?;
    Ok(output && commands)
}

/// Deletes finished tasks with all that belongs to them.
async fn tasks(old: &Old, policies: &Policies) -> Result<(), DbError> {
    let days = Days::new(policies, |kept| kept.tasks_days);
    for _ in 0..GROUPS {
        let tasks = due(
            old,
            "SELECT t.id FROM tasks t \
                 LEFT JOIN unnest($4::uuid[], $5::int4[]) AS p (partner, days) ON p.partner = t.partner_id \
             WHERE t.finished_at IS NOT NULL AND t.created_at < now() - make_interval(days => $2) \
                 AND t.finished_at < now() - make_interval(days => coalesce(p.days, $3)) \
             ORDER BY t.created_at LIMIT $1",
            &days,
        )
        .await?;
        if tasks.is_empty() {
            return Ok(());
        }
        // Never a task before all that belongs to it: the next run goes on here.
        if !output_of(old, &tasks).await? {
            return Ok(());
        }
        let whole = old
            .delete(
                "task_targets",
                "DELETE FROM task_targets WHERE ctid = ANY(ARRAY( \
                 SELECT ctid FROM task_targets WHERE task_id = ANY($2) LIMIT $1))",
                |query| query.bind(tasks.clone()),
            )
            .await?;
        if !whole {
            return Ok(());
        }
        old.delete(
            "tasks",
            "DELETE FROM tasks WHERE id = ANY(ARRAY(SELECT id FROM tasks WHERE id = ANY($2) LIMIT $1))",
            |query| query.bind(tasks.clone()),
        )
        .await?;
    }
    tracing::warn!("More tasks are past their time than one run deletes.");
    Ok(())
}

/// What no partner sets.
async fn rest(old: &Old) -> Result<(), DbError> {
    for (table, statement) in [
        (
            "presence_log",
            "DELETE FROM presence_log WHERE id = ANY(ARRAY(SELECT id FROM presence_log \
                 WHERE at < now() - interval '180 days' LIMIT $1))",
        ),
        (
            "commands",
            "DELETE FROM commands WHERE id = ANY(ARRAY(SELECT id FROM commands \
                 WHERE task_id IS NULL AND expires_at < now() - interval '30 days' LIMIT $1))",
        ),
        (
            "install_tokens",
            "DELETE FROM install_tokens WHERE id = ANY(ARRAY(SELECT id FROM install_tokens \
                 WHERE expires_at < now() - interval '180 days' LIMIT $1))",
        ),
        (
            "inventory_entries",
            "DELETE FROM inventory_entries WHERE ctid = ANY(ARRAY(SELECT e.ctid FROM devices d \
                 JOIN inventory_entries e ON e.device_id = d.id \
                 WHERE d.revoked_at < now() - interval '90 days' LIMIT $1))",
        ),
        (
            "inventory_sections",
            "DELETE FROM inventory_sections WHERE ctid = ANY(ARRAY(SELECT e.ctid FROM devices d \
                 JOIN inventory_sections e ON e.device_id = d.id \
                 WHERE d.revoked_at < now() - interval '90 days' LIMIT $1))",
        ),
        (
            "metric_latest",
            "DELETE FROM metric_latest WHERE ctid = ANY(ARRAY(SELECT e.ctid FROM devices d \
                 JOIN metric_latest e ON e.device_id = d.id \
                 WHERE d.revoked_at < now() - interval '90 days' LIMIT $1))",
        ),
    ] {
        old.delete(table, statement, |query| query).await?;
    }
    Ok(())
}

/// A chain that was cut.
#[derive(Debug, sqlx::FromRow)]
struct Cut {
    partner: Option<Uuid>,
    organization: Option<Uuid>,
    through: i64,
    gone: i64,
    until: OffsetDateTime,
}

/// Takes old entries from the beginnings of audit chains. Each cut is an entry of
/// its chain, so that the end of what is gone is told where it is looked for.
async fn cut_audit(old: &Old, policies: &Policies) -> Result<(), DbError> {
    for _ in 0..CUTS {
        let mut tx = old.db().tenant(&Scope::Platform).await?;
        let cuts: Vec<Cut> = sqlx::query_as("SELECT * FROM audit_cut($1, $2)")
            .bind(policies.usual.audit_days)
            .bind(ENTRIES)
            .fetch_all(&mut *tx)
            .await?;
        for cut in &cuts {
            let place = Place { partner: cut.partner, organization: cut.organization, site: None };
            let detail = format!(
                "{} entries, up to number {} of {}, were older than the log is kept",
                cut.gone,
                cut.through,
                cut.until.date()
            );
            let target = AuditTarget::at(place, "audit log");
            audit::record(&mut tx, &AuditActor::system(), "audit.cut", &target, &detail).await?;
        }
        tx.commit().await?;
        if cuts.is_empty() {
            return Ok(());
        }
        let gone: i64 = cuts.iter().map(|cut| cut.gone).sum();
        old.count("audit_log", gone.unsigned_abs());
    }
    tracing::warn!("More audit entries are past their time than one run takes.");
    Ok(())
}
