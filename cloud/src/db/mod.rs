//! PostgreSQL behind one door.
//!
//! The pool is private, and its connections act as the application role from
//! their first statement on. A feature gets at rows only through a [`TenantTx`],
//! which [`Db::tenant`] opens in one round trip: `BEGIN` and the scope as local
//! settings that every row policy compares with (G8). [`Db::lookup`] asks without
//! a scope: it sees no row of any tenant and can only ask the narrow lookup
//! functions of the schema.
//!
//! A connection is not tried before it is used: the answer would be a round trip
//! old, and every request would pay for it. What was lost while it lay idle shows
//! at the first statement, which changes nothing and goes to another connection.
//!
//! What must follow a commit, and only a commit (events to browsers, a nudge to
//! a relay's session), is handed to the transaction and happens in `commit()`. What is
//! stored with every act (audit rows, kept events, the answer for repeats) goes there in
//! one statement.

mod closing;
mod error;
mod migrate;
mod scope;
mod tx;

pub(crate) use closing::Answer;
pub use error::{Cause, DbError};
#[cfg(test)]
pub(crate) use migrate::schema_digest;
pub use migrate::{MigrateError, check_role, missing, run as migrate};
pub use scope::{NoScope, Place, Scope, ScopeKind};
pub use tx::{DownRow, Nudge, TenantTx};

use crate::events::Bus;
use sqlx::{
    AssertSqlSafe, ConnectOptions, FromRow, Postgres,
    postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow},
    query::QueryAs,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::broadcast, time::Instant};

/// The role as which every statement of the service runs.
pub const APP_ROLE: &str = "unifyit_app";
/// Nudges kept for a slow listener; one that falls behind looks at everything.
const NUDGES: usize = 1024;
/// Statements that each connection keeps prepared: more than the service has as fixed text,
/// so that none of these is pushed out, parsed and planned again. What is put together from
/// what somebody asks is not among them ([`TenantTx::composed`]): nobody's questions make the
/// database keep more. Some 220 of them with a plan of each take 18 MB of a connection's
/// process (measured with PostgreSQL 15).
const STATEMENTS: usize = 512;

/// How to reach the database, and how hard it may be used.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// `postgres://…`, with the login role of the service.
    pub url: String,
    /// Most connections.
    pub connections: u32,
    /// How long a request waits for a connection before it is told that the
    /// database is unavailable.
    pub patience: Duration,
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pool: PgPool,
    /// As the login role itself, for checking what that may do.
    login: PgConnectOptions,
    patience: Duration,
    bus: Arc<dyn Bus>,
    nudges: broadcast::Sender<Nudge>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("connections", &self.pool.size()).finish_non_exhaustive()
    }
}

impl Db {
    /// Prepares the pool. Connects at the first use, so that the service starts,
    /// serves `/healthz` and recovers by itself while the database is away.
    ///
    /// # Errors
    /// [`DbError::Query`] when the URL is none.
    pub fn new(options: &DbOptions, bus: Arc<dyn Bus>) -> Result<Self, DbError> {
        let connect: PgConnectOptions = options.url.parse().map_err(DbError::Query)?;
        let connect = connect
            .application_name("unifyit-cloud")
            .statement_cache_capacity(STATEMENTS)
            .options([
                ("statement_timeout", "30s"),
                ("idle_in_transaction_session_timeout", "30s"),
                // Compiling a statement costs more than any of ours takes.
                ("jit", "off"),
                // What is asked for often is in memory, and the rest on flash: a row that is
                // looked up costs no more than one that is read in passing.
                ("random_page_cost", "1.1"),
                // Of questions outside of transactions, which all look up one key.
                ("plan_cache_mode", "force_generic_plan"),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(options.connections)
            .acquire_timeout(options.patience)
            .max_lifetime(Duration::from_secs(1800))
            .test_before_acquire(false)
            .connect_lazy_with(connect.clone().options([("role", APP_ROLE)]));
        let nudges = broadcast::channel(NUDGES).0;
        Ok(Self { pool, login: connect, patience: options.patience, bus, nudges })
    }

    /// Opens a transaction that sees what `scope` may see.
    ///
    /// # Errors
    /// [`DbError::Unavailable`] when no connection can be had in time.
    pub async fn tenant(&self, scope: &Scope) -> Result<TenantTx, DbError> {
        self.open(Some(scope), "auto").await
    }

    /// As [`Db::tenant`], for statements that all find their rows by keys: each is planned
    /// once a connection, whatever its values. Under row policies planning such a
    /// statement costs up to ten times what it takes to run.
    ///
    /// # Errors
    /// [`DbError::Unavailable`] when no connection can be had in time.
    pub async fn tenant_by_keys(&self, scope: &Scope) -> Result<TenantTx, DbError> {
        self.open(Some(scope), "force_generic_plan").await
    }

    /// Opens a transaction that sees no tenant's rows.
    #[cfg(test)]
    pub async fn unscoped(&self) -> Result<TenantTx, DbError> {
        self.open(None, "auto").await
    }

    /// Asks one question without a scope: who it is that speaks (a session, an
    /// API key, a relay's peer id). `question` is asked again on another
    /// connection when the first turns out to be lost.
    ///
    /// # Errors
    /// [`DbError::Unavailable`] when no connection can be had in time.
    pub async fn lookup<'q, Row>(
        &self,
        question: impl Fn() -> QueryAs<'q, Postgres, Row, PgArguments>,
    ) -> Result<Option<Row>, DbError>
    where
        Row: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        self.fresh(|| question().fetch_optional(&self.pool)).await
    }

    /// Like [`Db::lookup`], for a question with many answers.
    ///
    /// # Errors
    /// [`DbError::Unavailable`] when no connection can be had in time.
    pub async fn lookup_all<'q, Row>(
        &self,
        question: impl Fn() -> QueryAs<'q, Postgres, Row, PgArguments>,
    ) -> Result<Vec<Row>, DbError>
    where
        Row: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        self.fresh(|| question().fetch_all(&self.pool)).await
    }

    async fn open(&self, scope: Option<&Scope>, plans: &str) -> Result<TenantTx, DbError> {
        let [kind, partner, organization, site] = scope.map(Scope::settings).unwrap_or_default();
        // One simple-protocol message. Every value is a word of this program's or a
        // hyphenated UUID that it formatted.
        let begin = format!(
            "BEGIN; SET LOCAL app.scope = '{kind}'; SET LOCAL app.partner_id = '{partner}'; \
             SET LOCAL app.organization_id = '{organization}'; SET LOCAL app.site_id = '{site}'; \
             SET LOCAL plan_cache_mode = {plans}"
        );
        let tx = self.fresh(|| self.pool.begin_with(AssertSqlSafe(begin.clone()))).await?;
        Ok(TenantTx::new(tx, scope.copied(), self.bus.clone(), self.nudges.clone()))
    }

    /// Repeats a first statement for as long as it meets connections that were
    /// lost while they lay idle: each such attempt takes one out of the pool.
    async fn fresh<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, DbError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let until = Instant::now() + self.patience;
        let mut left = self.pool.size();
        loop {
            match attempt().await.map_err(DbError::from) {
                Err(DbError::Unavailable { cause: Cause::Away, .. })
                    if left > 0 && Instant::now() < until =>
                {
                    left -= 1
                }
                done => return done,
            }
        }
    }

    /// Relays that have something new in their downlink. A listener that lags
    /// must look at all of its relays.
    #[must_use]
    pub fn nudges(&self) -> broadcast::Receiver<Nudge> {
        self.nudges.subscribe()
    }

    /// The bus on which committed events travel.
    #[must_use]
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    /// Whether the database answers, and its clock as Unix seconds.
    ///
    /// # Errors
    /// [`DbError::Unavailable`] when it does not answer in time.
    pub async fn ping(&self) -> Result<f64, DbError> {
        let clock = "SELECT extract(epoch FROM clock_timestamp())::float8";
        self.fresh(|| sqlx::query_scalar(clock).fetch_one(&self.pool)).await
    }

    /// Whether the database can do its work, writing included: one that is up,
    /// reads, and has a full disk is of no use. Room is tried with a sort that
    /// does not fit into its memory, so nothing stays behind.
    ///
    /// # Errors
    /// [`DbError::Unavailable`] with the cause.
    pub async fn can_write(&self) -> Result<(), DbError> {
        let mut tx = self.open(None, "auto").await?;
        let read_only: bool = sqlx::query_scalar(
            "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean",
        )
        .fetch_one(&mut *tx)
        .await?;
        if read_only {
            let source = sqlx::Error::Protocol("the database accepts no writes".into());
            return Err(DbError::Unavailable { cause: Cause::ReadOnly, source });
        }
        sqlx::raw_sql(
            "SET LOCAL work_mem = '64kB'; \
             SELECT count(*) FROM (SELECT repeat(md5(n::text), 8) AS filler \
                 FROM generate_series(1, 2000) n ORDER BY 1 OFFSET 0) spilled",
        )
        .execute(&mut *tx)
        .await?;
        Ok(())
    }

    /// Checks that the schema is this build's and that row security holds for
    /// the role in use.
    ///
    /// # Errors
    /// [`MigrateError`] with a sentence that says what to do.
    pub async fn check(&self) -> Result<(), MigrateError> {
        let connect = tokio::time::timeout(self.patience, self.login.connect());
        let connection = connect.await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let mut connection = connection.map_err(DbError::from)?;
        check_role(&mut connection).await?;
        let missing = missing(&mut connection).await?;
        if missing.is_empty() { Ok(()) } else { Err(MigrateError::Missing(missing)) }
    }

    /// Connections open and idle, for the metrics page.
    #[must_use]
    pub fn connections(&self) -> (u32, usize) {
        (self.pool.size(), self.pool.num_idle())
    }

    /// Closes all connections once their transactions are done.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod straight_tests;
#[cfg(test)]
mod tests;
