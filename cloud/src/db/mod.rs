//! PostgreSQL behind one door.
//!
//! The pools are private. A feature gets at rows only through a [`TenantTx`],
//! which [`Db::tenant`] opens in one round trip: `BEGIN`, the application role,
//! and the scope as local settings that every row policy compares with (G8).
//! [`Db::before_auth`] opens one without a scope: it sees no row of any tenant
//! and can only ask the narrow lookup functions of the schema.
//!
//! What must follow a commit, and only a commit (events to browsers, a nudge to
//! a relay's session), is handed to the transaction and happens in `commit()`.

mod error;
mod migrate;
mod scope;
mod tx;

pub use error::DbError;
pub use migrate::{MigrateError, check_role, missing, run as migrate};
pub use scope::{Place, Scope, ScopeKind};
pub use tx::TenantTx;

use crate::events::Bus;
use sqlx::{
    AssertSqlSafe,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast;
use unifyit_protocol::ids::RelayId;

/// The role as which every statement of the service runs.
pub const APP_ROLE: &str = "unifyit_app";
/// Nudges kept for a slow listener; one that falls behind looks at everything.
const NUDGES: usize = 1024;

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
    bus: Arc<dyn Bus>,
    nudges: broadcast::Sender<RelayId>,
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
        let connect = connect.application_name("unifyit-cloud").options([
            ("statement_timeout", "30s"),
            ("idle_in_transaction_session_timeout", "30s"),
            // Compiling a statement costs more than any of ours takes.
            ("jit", "off"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(options.connections)
            .acquire_timeout(options.patience)
            .max_lifetime(Duration::from_secs(1800))
            .connect_lazy_with(connect);
        Ok(Self { pool, bus, nudges: broadcast::channel(NUDGES).0 })
    }

    /// Opens a transaction that sees what `scope` may see.
    ///
    /// # Errors
    /// [`DbError::Unavailable`] when no connection can be had in time.
    pub async fn tenant(&self, scope: &Scope) -> Result<TenantTx, DbError> {
        self.open(Some(scope)).await
    }

    /// Opens a transaction that sees no tenant's rows, for looking up who it is
    /// that speaks (a session, an API key, a relay's peer id).
    ///
    /// # Errors
    /// [`DbError::Unavailable`] when no connection can be had in time.
    pub async fn before_auth(&self) -> Result<TenantTx, DbError> {
        self.open(None).await
    }

    async fn open(&self, scope: Option<&Scope>) -> Result<TenantTx, DbError> {
        let [kind, partner, organization, site] = scope.map(Scope::settings).unwrap_or_default();
        // One simple-protocol message. Every value is one of four words or a
        // hyphenated UUID that this program formatted.
        let begin = format!(
            "BEGIN; SET LOCAL ROLE {APP_ROLE}; SET LOCAL app.scope = '{kind}'; \
             SET LOCAL app.partner_id = '{partner}'; \
             SET LOCAL app.organization_id = '{organization}'; SET LOCAL app.site_id = '{site}'"
        );
        let tx = self.pool.begin_with(AssertSqlSafe(begin)).await?;
        Ok(TenantTx::new(tx, scope.copied(), self.bus.clone(), self.nudges.clone()))
    }

    /// Relays that have something new in their downlink. A listener that lags
    /// must look at all of its relays.
    #[must_use]
    pub fn nudges(&self) -> broadcast::Receiver<RelayId> {
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
        Ok(sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp())::float8")
            .fetch_one(&self.pool)
            .await?)
    }

    /// Checks that the schema is this build's and that row security holds for
    /// the role in use.
    ///
    /// # Errors
    /// [`MigrateError`] with a sentence that says what to do.
    pub async fn check(&self) -> Result<(), MigrateError> {
        let mut connection = self.pool.acquire().await.map_err(DbError::from)?;
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
mod tests;
