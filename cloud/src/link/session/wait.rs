//! Waiting for what may not be there.

use crate::db::DbError;
use std::io;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// Waits for a task; one that was aborted or panicked counts as a failure that
/// the caller tries again.
pub(super) async fn join<T, E: From<DbError>>(
    task: &mut Option<JoinHandle<Result<T, E>>>,
) -> Result<T, E> {
    match task {
        None => std::future::pending().await,
        Some(task) => match task.await {
            Ok(done) => done,
            Err(error) => {
                Err(DbError::Query(sqlx::Error::Io(io::Error::other(error.to_string()))).into())
            }
        },
    }
}

pub(super) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
