//! Work that nobody asks for: periodic, idempotent, without input.
//!
//! A job looks at the state of things and does what is due, so that a missed
//! or doubled run does no harm. A failed run is logged and the next one tries
//! again.

mod old;

pub use old::Old;

use crate::{context::AppState, db::DbError, lifecycle::Lifecycle, link::downlink};
use futures::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    time::{Interval, MissedTickBehavior},
};

/// A feature's background work.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// As logs name it.
    pub name: &'static str,
    /// From one run to the next.
    pub period: Duration,
    /// One run.
    pub run: fn(AppState) -> BoxFuture<'static, Result<(), DbError>>,
    /// What has it run at once, beside its period.
    pub nudged: Option<fn(&AppState) -> Arc<Notify>>,
}

/// Runs a job at once and then every `period`, until the process ends.
pub fn every<Job, Run>(lifecycle: &Lifecycle, name: &'static str, period: Duration, job: Job)
where
    Job: Fn() -> Run + Send + Sync + 'static,
    Run: Future<Output = Result<(), DbError>> + Send,
{
    every_or_nudged(lifecycle, name, period, Arc::default(), job);
}

/// The same, and whenever it is nudged.
fn every_or_nudged<Job, Run>(
    lifecycle: &Lifecycle,
    name: &'static str,
    period: Duration,
    nudged: Arc<Notify>,
    job: Job,
) where
    Job: Fn() -> Run + Send + Sync + 'static,
    Run: Future<Output = Result<(), DbError>> + Send,
{
    let stop = lifecycle.stop();
    lifecycle.spawn(async move {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let due = async |ticks: &mut Interval| {
            tokio::select! {
                _ = ticks.tick() => {}
                () = nudged.notified() => {}
            }
        };
        while stop.run_until_cancelled(due(&mut ticks)).await.is_some() {
            if let Err(error) = job().await {
                tracing::warn!(job = name, %error, "a job failed and will be tried again");
            }
        }
    });
}

/// Starts the spine's own jobs and those of the features.
pub fn start(lifecycle: &Lifecycle, state: &AppState) {
    let (old, hours) = (state.old.clone(), state.config.event_hours);
    every(lifecycle, "prune", Duration::from_secs(600), move || prune(old.clone(), hours));
    let db = state.db.clone();
    every(lifecycle, "downlink", Duration::from_secs(60), move || {
        let db = db.clone();
        async move {
            while downlink::prune(&db).await? {}
            Ok(())
        }
    });
    for job in state.features.iter().flat_map(|feature| feature.jobs) {
        let (state, nudged) = (state.clone(), job.nudged.map(|of| of(state)).unwrap_or_default());
        let run = move || (job.run)(state.clone());
        every_or_nudged(lifecycle, job.name, job.period, nudged, run);
    }
}

/// Deletes what the spine itself has no more use for.
async fn prune(old: Old, event_hours: u32) -> Result<(), DbError> {
    let hours = i32::try_from(event_hours).unwrap_or(i32::MAX);
    old.delete(
        "events",
        "DELETE FROM events WHERE id = ANY(ARRAY(SELECT id FROM events \
             WHERE at < now() - make_interval(hours => $2) LIMIT $1))",
        |query| query.bind(hours),
    )
    .await?;
    old.delete(
        "idempotency_keys",
        "DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotency_keys \
             WHERE created_at < now() - interval '48 hours' LIMIT $1))",
        |query| query,
    )
    .await?;
    old.delete(
        "sessions",
        "DELETE FROM sessions WHERE token_hash = ANY(ARRAY(SELECT token_hash FROM sessions \
             WHERE expires_at < now() LIMIT $1))",
        |query| query,
    )
    .await?;
    Ok(())
}
