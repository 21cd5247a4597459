//! How many tasks are not done.

use super::store;
use crate::{
    db::{DbError, TenantTx},
    standing::Standing,
};
use futures::future::BoxFuture;

/// Adds the tasks of the scope.
pub(super) fn add<'a>(
    tx: &'a mut TenantTx,
    all: &'a mut Standing,
) -> BoxFuture<'a, Result<(), DbError>> {
    Box::pin(async move {
        all.tasks_running += store::running(tx).await?;
        Ok(())
    })
}
