//! For how long tasks and what they wrote are kept, and how they are cut.

use crate::{
    db::{DbError, Scope},
    jobs::Old,
    keeping::{Bound, By, Keeps, Policies, Setting, bind_days},
};
use uuid::Uuid;

/// Tasks looked at together.
const TASKS: i64 = 200;
/// Such groups of one run; the next run goes on.
const GROUPS: usize = 500;

/// Finished tasks with their results.
const TASKS_DAYS: Setting = Setting {
    field: "tasks_days",
    column: "tasks_days",
    about: "tasks",
    says: "Finished tasks with their results, 7 to 3660.",
    usual: 400,
    least: Bound::Days(7),
    most: Setting::LONGEST,
    refusal: "Tasks are kept for 7 to 3660 days.",
};
/// What scripts wrote.
const OUTPUT_DAYS: Setting = Setting {
    field: "output_days",
    column: "output_days",
    about: "output",
    says: "What scripts wrote, 1 to 3660; not longer than tasks.",
    usual: 90,
    least: Bound::Days(1),
    most: Bound::Of(&TASKS_DAYS),
    refusal: "Output is kept for 1 day at least, and not longer than its task.",
};

/// What the feature keeps, and how it is cut.
pub(super) const KEEPS: Keeps = Keeps {
    settings: &[TASKS_DAYS, OUTPUT_DAYS],
    sweep: Some(|old, policies| Box::pin(sweep(old, policies))),
    tables: &[
        ("commands", "output_days, with their task's output; a terminal's 30 days"),
        ("task_output", "output_days"),
        ("task_targets", "tasks_days, with their task"),
        ("tasks", "tasks_days"),
    ],
};

/// Deletes what is past its time.
async fn sweep(old: &Old, policies: &Policies) -> Result<(), DbError> {
    outputs(old, policies).await?;
    tasks(old, policies).await?;
    // The command of a terminal has no task.
    old.delete(
        "commands",
        "DELETE FROM commands WHERE id = ANY(ARRAY(SELECT id FROM commands \
             WHERE task_id IS NULL AND expires_at < now() - interval '30 days' LIMIT $1))",
        |query| query,
    )
    .await?;
    Ok(())
}

/// Finished tasks whose time is up.
async fn due(old: &Old, statement: &'static str, days: &By) -> Result<Vec<Uuid>, DbError> {
    let mut tx = old.db().tenant(&Scope::Platform).await?;
    let query = sqlx::query_scalar(statement).bind(TASKS);
    let due = bind_days!(query, days).fetch_all(&mut *tx).await?;
    tx.commit().await?;
    Ok(due)
}

/// Deletes what scripts wrote and the signed commands that they came with.
async fn outputs(old: &Old, policies: &Policies) -> Result<(), DbError> {
    let days = policies.by(&OUTPUT_DAYS);
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
    let days = policies.by(&TASKS_DAYS);
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
