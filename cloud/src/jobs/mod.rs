//! Work that nobody asks for: periodic, idempotent, without input.
//!
//! A job looks at the state of things and does what is due, so that a missed
//! or doubled run does no harm. A failed run is logged and the next one tries
//! again.

use crate::{context::AppState, db::DbError, db::Scope, lifecycle::Lifecycle, link::downlink};
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Runs a job at once and then every `period`, until the process ends.
pub fn every<Job, Run>(lifecycle: &Lifecycle, name: &'static str, period: Duration, job: Job)
where
    Job: Fn() -> Run + Send + Sync + 'static,
    Run: Future<Output = Result<(), DbError>> + Send,
{
    let stop = lifecycle.stop();
    lifecycle.spawn(async move {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = job().await {
                tracing::warn!(job = name, %error, "a job failed and will be tried again");
            }
        }
    });
}

/// Starts the spine's own jobs.
pub fn start(lifecycle: &Lifecycle, state: &AppState) {
    let at = state.clone();
    every(lifecycle, "prune", Duration::from_secs(600), move || prune(at.clone()));
    let db = state.db.clone();
    every(lifecycle, "downlink", Duration::from_secs(60), move || {
        let db = db.clone();
        async move {
            while downlink::prune(&db).await? {}
            Ok(())
        }
    });
    let limits = state.limits.clone();
    every(lifecycle, "limits", Duration::from_secs(60), move || {
        limits.sweep();
        std::future::ready(Ok(()))
    });
}

/// Deletes what has served its time.
async fn prune(state: AppState) -> Result<(), DbError> {
    let hours = i32::try_from(state.config.event_hours).unwrap_or(i32::MAX);
    let statements: [(&'static str, Option<i32>); 5] = [
        ("DELETE FROM events WHERE at < now() - make_interval(hours => $1)", Some(hours)),
        ("DELETE FROM idempotency_keys WHERE created_at < now() - interval '48 hours'", None),
        ("DELETE FROM sessions WHERE expires_at < now()", None),
        ("DELETE FROM presence_log WHERE at < now() - interval '180 days'", None),
        ("DELETE FROM gaps WHERE to_at < now() - interval '400 days'", None),
    ];
    for (statement, hours) in statements {
        let mut tx = state.db.tenant(&Scope::Platform).await?;
        let mut query = sqlx::query(statement);
        if let Some(hours) = hours {
            query = query.bind(hours);
        }
        let gone = query.execute(&mut *tx).await?.rows_affected();
        tx.commit().await?;
        if gone > 0 {
            tracing::debug!(gone, statement, "pruned");
        }
    }
    Ok(())
}
