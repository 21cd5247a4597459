//! A transaction under one scope, and what follows its commit.

use super::{
    DbError, Scope,
    closing::{Answer, Closing},
};
use crate::{
    audit::NewAudit,
    events::{Bus, NewEvent},
};
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, Transaction, postgres::PgRow};
use std::{
    collections::BTreeMap,
    io,
    ops::{Deref, DerefMut},
    sync::Arc,
};
use tokio::sync::broadcast;
use unifyit_protocol::ids::RelayId;

/// Longest downlink entry that travels with a nudge. Longer ones are read from
/// the table, so that the nudges of a slow listener stay small.
const MAX_HANDED: usize = 16 * 1024;

/// An entry of a relay's downlink, as it was committed.
#[derive(Debug, Clone)]
pub struct DownRow {
    /// The downlink's epoch.
    pub epoch: u64,
    /// Its number in the epoch.
    pub seq: u64,
    /// The encoded record.
    pub body: Arc<[u8]>,
}

/// A relay whose session should look at its downlink.
#[derive(Debug, Clone)]
pub struct Nudge {
    /// Which relay.
    pub relay: RelayId,
    /// What was just written, when that is all there is to see: it spares the
    /// session its look into the table.
    pub rows: Arc<[DownRow]>,
}

/// What a transaction has for a relay.
#[derive(Debug, Default)]
struct ForRelay {
    rows: Vec<DownRow>,
    /// There is more to see than the rows.
    look: bool,
}

/// An open transaction. Dropped without [`TenantTx::commit`], it is rolled back
/// and nothing that was handed to it happens.
pub struct TenantTx {
    tx: Transaction<'static, Postgres>,
    scope: Option<Scope>,
    closing: Closing,
    relays: BTreeMap<RelayId, ForRelay>,
    after: Vec<Box<dyn FnOnce() + Send + Sync>>,
    bus: Arc<dyn Bus>,
    nudges: broadcast::Sender<Nudge>,
    /// What was put together, for tests.
    #[cfg(test)]
    pub(crate) composed: Vec<String>,
}

impl std::fmt::Debug for TenantTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantTx").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl TenantTx {
    pub(super) fn new(
        tx: Transaction<'static, Postgres>,
        scope: Option<Scope>,
        bus: Arc<dyn Bus>,
        nudges: broadcast::Sender<Nudge>,
    ) -> Self {
        Self {
            tx,
            scope,
            closing: Closing::default(),
            relays: BTreeMap::new(),
            after: Vec::new(),
            bus,
            nudges,
            #[cfg(test)]
            composed: Vec::new(),
        }
    }

    /// The scope it was opened under; none for [`super::Db::lookup`]'s like.
    #[must_use]
    pub fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// Has the statements that follow planned for the very values they are asked with.
    /// Prepared statements are otherwise planned for any values from their sixth use
    /// on: that a page has 200 rows, or that a tag is rare, then chooses no plan. Only
    /// worth its price where a wrong plan costs far more than a millisecond. The opposite
    /// is [`super::Db::tenant_by_keys`].
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn plan_for_values(&mut self) -> Result<(), DbError> {
        let set = "SET LOCAL plan_cache_mode = force_custom_plan";
        sqlx::raw_sql(set).execute(&mut *self.tx).await?;
        Ok(())
    }

    /// Rows of a statement that is put together from what somebody asks: words, filters, an
    /// order. There are thousands of these, and each that is kept prepared takes up to some
    /// hundred kilobytes of the database's memory on each connection. So none is: they are
    /// planned for their values anyway, and parsing them costs a small part of that.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn composed<T>(
        &mut self,
        mut query: QueryBuilder<Postgres>,
    ) -> Result<Vec<T>, DbError>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        #[cfg(test)]
        self.composed.push(query.sql().as_str().to_owned());
        Ok(query.build_query_as().persistent(false).fetch_all(&mut *self.tx).await?)
    }

    /// Tells browsers after the commit. Kept events are stored with this
    /// transaction, so that a socket that was away gets them too.
    pub fn emit(&mut self, event: NewEvent) {
        self.closing.events.push(event);
    }

    /// Adds a row to the audit log at the commit.
    pub(crate) fn audit(&mut self, row: NewAudit) {
        self.closing.audits.push(row);
    }

    /// Keeps, at the commit, what repeats of the request are answered.
    pub(crate) fn answer(&mut self, answer: Answer) {
        self.closing.answer = Some(answer);
    }

    /// Makes a relay's session look at its downlink after the commit.
    pub fn nudge_relay(&mut self, relay: RelayId) {
        self.relays.entry(relay).or_default().look = true;
    }

    /// Hands a relay's session what this transaction wrote to its downlink, after
    /// the commit.
    pub fn hand_to_relay(&mut self, relay: RelayId, row: DownRow) {
        let entry = self.relays.entry(relay).or_default();
        match row.body.len() <= MAX_HANDED {
            true => entry.rows.push(row),
            false => entry.look = true,
        }
    }

    /// Remembers in memory what is true once this transaction is committed. Must not
    /// wait.
    pub(crate) fn after_commit(&mut self, remember: impl FnOnce() + Send + Sync + 'static) {
        self.after.push(Box::new(remember));
    }

    /// Writes the audit rows, commits, then nudges the relays and publishes what was emitted.
    ///
    /// # Errors
    /// [`DbError`]; nothing was published then.
    pub async fn commit(self) -> Result<(), DbError> {
        let Closing { events, audits, answer } = &self.closing;
        let silent = events.is_empty() && audits.is_empty() && answer.is_none();
        if silent && self.relays.is_empty() && self.after.is_empty() {
            return Ok(self.tx.commit().await?);
        }
        // Whoever asked may leave in the middle of it, and its task end with that.
        // What was committed is told all the same.
        let told = tokio::spawn(self.commit_and_tell()).await;
        told.unwrap_or_else(|error| Err(DbError::Query(sqlx::Error::Io(io::Error::other(error)))))
    }

    async fn commit_and_tell(mut self) -> Result<(), DbError> {
        let events = std::mem::take(&mut self.closing).write(&mut self.tx).await?;
        self.tx.commit().await?;
        self.after.into_iter().for_each(|remember| remember());
        // Before browsers: somebody waits for what a command does.
        for (relay, entry) in self.relays {
            let rows = if entry.look { Arc::default() } else { entry.rows.into() };
            // Nobody listening is no fault: a session reads its downlink when it starts.
            let _ = self.nudges.send(Nudge { relay, rows });
        }
        for event in events {
            self.bus.publish(Arc::new(event));
        }
        Ok(())
    }
}

impl Deref for TenantTx {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.tx
    }
}

impl DerefMut for TenantTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.tx
    }
}
