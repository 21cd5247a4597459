//! Telling browsers how tasks fare, at most five times a second each, and
//! closing tasks whose devices are all done, or opening them again.
//!
//! Ingest runs under one site and may not see a task that spans several; the
//! ticker looks at the whole. A mark is set just before its transaction commits,
//! so every task is looked at once more a little after the last mark.

use super::store;
use crate::db::{Db, DbError, Scope};
use std::{collections::HashMap, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::ids::TaskId;

/// Shortest time between two tellings of a task.
const TICK: Duration = Duration::from_millis(200);
/// A task that takes long to count is told less often: counting it takes at most
/// one part in so many of the time.
const SHARE: u32 = 20;
/// Longest time between two tellings of a task that changes.
const SLOWEST: Duration = Duration::from_secs(10);
/// When a task is looked at once more.
const ONCE_MORE: Duration = Duration::from_millis(1500);
/// Marks waiting; what does not fit is found by the periodic job.
const QUEUE: usize = 4096;

/// Where changed tasks are marked. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Marks(mpsc::Sender<TaskId>);

impl Marks {
    /// A task has changed, or is about to.
    pub(super) fn mark(&self, task: TaskId) {
        // Full: the job that closes tasks tells of this one too.
        let _ = self.0.try_send(task);
    }
}

/// The looking.
#[derive(Debug)]
pub(super) struct TaskTicker {
    db: Db,
    marks: mpsc::Receiver<TaskId>,
    due: HashMap<TaskId, Due>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    last: bool,
    /// Not told again before.
    rest: Instant,
}

/// How long a task rests after it took so long to count.
fn rest(took: Duration) -> Duration {
    took.saturating_mul(SHARE).clamp(TICK, SLOWEST)
}

impl TaskTicker {
    pub(super) fn new(db: Db) -> (Marks, Self) {
        let (sender, marks) = mpsc::channel(QUEUE);
        (Marks(sender), Self { db, marks, due: HashMap::new() })
    }

    /// Runs until cancelled.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(task) = self.marks.recv() => {
                    let now = Instant::now();
                    let due = self.due.entry(task).or_insert(Due { at: now, last: false, rest: now });
                    *due = Due { at: due.at.min(now).max(due.rest), last: false, ..*due };
                }
                _ = ticks.tick() => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let now = Instant::now();
        let tasks: Vec<TaskId> =
            self.due.iter().filter(|(_, due)| due.at <= now).map(|(task, _)| *task).collect();
        for task in tasks {
            let begun = Instant::now();
            if let Err(error) = tell(&self.db, task).await {
                tracing::warn!(%task, %error, "A task's progress could not be told.");
                continue;
            }
            if self.due.get(&task).is_some_and(|due| due.last) {
                self.due.remove(&task);
            } else {
                let ended = Instant::now();
                let rest = ended + rest(ended - begun);
                self.due.insert(task, Due { at: rest.max(now + ONCE_MORE), last: true, rest });
            }
        }
    }
}

/// Counts a task, closes it when all is done or opens it again, and tells browsers.
pub(super) async fn tell(db: &Db, task: TaskId) -> Result<(), DbError> {
    let mut tx = db.tenant(&Scope::Platform).await?;
    let changed = store::settle(&mut tx, task).await?;
    store::emit(&mut tx, task, changed).await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_takes_long_to_count_is_counted_less_often() {
        assert_eq!(rest(Duration::from_millis(1)), TICK);
        assert_eq!(rest(Duration::from_millis(60)), Duration::from_millis(1200));
        assert_eq!(rest(Duration::from_secs(20)), SLOWEST);
    }
}
