//! Deleting what has served its time: a few thousand rows a transaction, so that
//! nobody waits behind it, and so many transactions a run.

use crate::db::{Db, DbError, Scope};
use prometheus::{IntCounterVec, Opts, Registry};
use sqlx::{Postgres, postgres::PgArguments, query::Query};

/// Rows of one transaction.
const BATCH: i64 = 2000;
/// Transactions of one run for one table; the next run goes on.
const MOST: usize = 500;

/// Deletes and counts what it deletes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Old {
    db: Db,
    removed: IntCounterVec,
    most: usize,
}

/// A statement with its arguments.
type Asked = Query<'static, Postgres, PgArguments>;

impl Old {
    /// Over a database, with its figure on the metrics page.
    ///
    /// # Errors
    /// [`prometheus::Error`] when the name is used twice: a fault of the program.
    pub fn new(db: Db, registry: &Registry) -> Result<Self, prometheus::Error> {
        let removed = IntCounterVec::new(
            Opts::new("unifyit_rows_expired_total", "Rows deleted because their time was up."),
            &["table"],
        )?;
        registry.register(Box::new(removed.clone()))?;
        Ok(Self { db, removed, most: MOST })
    }

    /// The same with so many transactions a run.
    #[cfg(test)]
    pub(crate) fn with_most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// The database.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Deletes rows of a table until none is left or the run has done enough. The
    /// statement deletes at most `$1` rows; `bind` gives what comes after that.
    ///
    /// Returns whether none is left.
    ///
    /// # Errors
    /// [`DbError`]; what was deleted before stays so.
    pub async fn delete(
        &self,
        table: &'static str,
        statement: &'static str,
        bind: impl Fn(Asked) -> Asked,
    ) -> Result<bool, DbError> {
        let mut all = 0;
        for _ in 0..self.most {
            let mut tx = self.db.tenant(&Scope::Platform).await?;
            let query = bind(sqlx::query(statement).bind(BATCH));
            let gone = query.execute(&mut *tx).await?.rows_affected();
            tx.commit().await?;
            all += gone;
            self.count(table, gone);
            if i64::try_from(gone).unwrap_or(i64::MAX) < BATCH {
                return Ok(true);
            }
        }
        tracing::warn!(table, all, "More rows are past their time than one run deletes.");
        Ok(false)
    }

    /// Counts rows that were deleted otherwise.
    pub fn count(&self, table: &'static str, gone: u64) {
        if gone > 0 {
            tracing::debug!(table, gone, "Rows past their time were deleted.");
            self.removed.with_label_values(&[table]).inc_by(gone);
        }
    }
}
