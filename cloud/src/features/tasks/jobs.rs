//! What must happen to tasks even if no relay ever says another word.

use super::{store, ticker};
use crate::db::{Db, DbError, Scope};
use unifyit_protocol::ids::TaskId;

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
    changed.extend(store::done_but_open(&mut tx).await?);
    tx.commit().await?;
    changed.sort_unstable();
    changed.dedup();
    for task in changed {
        ticker::tell(db, task).await?;
    }
    Ok(())
}
