//! What must happen to tasks even if no relay ever says another word.

use super::{stop, store, ticker};
use crate::{
    audit::AuditActor,
    context::AppState,
    db::{Db, DbError, Scope},
    jobs::Job,
};
use std::time::Duration;
use unifyit_protocol::ids::TaskId;

pub(super) const JOBS: &[Job] = &[
    Job {
        name: "tasks",
        period: Duration::from_secs(5),
        run: |state| Box::pin(async move { sweep(&state.db).await }),
        nudged: None,
    },
    Job {
        name: "tasks' rights",
        period: Duration::from_secs(4),
        run: |state| Box::pin(async move { end_with_rights(&state).await }),
        nudged: None,
    },
];

/// Marks targets whose relay did not answer in time as expired, ends those that
/// nobody can answer for any more, and closes tasks that are done. Idempotent.
///
/// # Errors
/// [`DbError`]; what was done before stays so.
pub async fn sweep(db: &Db) -> Result<(), DbError> {
    let mut tx = db.tenant(&Scope::Platform).await?;
    let mut changed: Vec<TaskId> = store::expire(&mut tx).await?;
    tx.commit().await?;
    let mut tx = db.tenant(&Scope::Platform).await?;
    changed.extend(store::put_out(&mut tx).await?);
    changed.extend(store::lose(&mut tx).await?);
    tx.commit().await?;
    let mut tx = db.tenant(&Scope::Platform).await?;
    changed.extend(store::unsettled(&mut tx).await?);
    tx.commit().await?;
    changed.sort_unstable();
    changed.dedup();
    for task in changed {
        ticker::tell(db, task).await?;
    }
    Ok(())
}

/// Stops what was asked for by somebody whose right to ask has ended, and what was cancelled
/// and is found to run all the same. Idempotent.
///
/// # Errors
/// [`DbError`]; what was stopped before stays so.
pub async fn end_with_rights(state: &AppState) -> Result<(), DbError> {
    let mut tx = state.db.tenant(&Scope::Platform).await?;
    let ended = store::without_right(&mut tx).await?;
    let unstopped = store::unstopped(&mut tx).await?;
    drop(tx);
    let ended = ended.into_iter().map(|task| (task, "The right of who asked for it has ended;"));
    let unstopped = unstopped.into_iter().map(|task| (task, "It ran although it was cancelled;"));
    for ((id, place, name), why) in ended.chain(unstopped) {
        let mut tx = state.db.tenant(&Scope::Platform).await?;
        let actor = AuditActor::system();
        match stop::stop(state, &mut tx, (id, place, &name), &actor, Some(why)).await {
            Ok(()) => tx.commit().await?,
            Err(problem) => {
                tracing::warn!(task = %id, detail = %problem.detail, "a task could not be stopped");
            }
        }
    }
    Ok(())
}
