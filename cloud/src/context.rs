//! What every request and job has at hand: the services of the process
//! ([`AppState`]) and, behind authentication, who asks ([`Ctx`]).
//!
//! A handler begins with `ctx.begin(Can::…)`: that names what it is about to do,
//! checks it, and opens the one transaction under the actor's scope.

use crate::{
    audit::{self, AuditActor, AuditTarget},
    auth::Passwords,
    authz::{Actor, Can},
    config::Config,
    db::{Db, DbError, TenantTx},
    events::Watches,
    http::{Problem, limits::Limits, metrics::Metrics},
    link::Link,
    trust::Trust,
};
use axum::{extract::FromRequestParts, http::request::Parts};
use std::{sync::Arc, time::SystemTime};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// Where the time comes from; tests put their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> OffsetDateTime + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(|| SystemTime::now().into()))
    }

    /// A clock of one's own.
    pub fn from_fn(now: impl Fn() -> OffsetDateTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        (self.0)()
    }

    /// The time in Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.now().unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

/// Services of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The database.
    pub db: Db,
    /// Who watches what.
    pub watches: Watches,
    /// The relays that are connected.
    pub link: Link,
    /// Keys and signatures.
    pub trust: Trust,
    /// Hashing of passwords.
    pub passwords: Passwords,
    /// How often somebody may.
    pub limits: Limits,
    /// Figures.
    pub metrics: Metrics,
    /// Ends when the process is to end: long-lived handlers finish then.
    pub stop: CancellationToken,
    /// Settings.
    pub config: Arc<Config>,
    /// The time.
    pub clock: Clock,
}

/// An authenticated request.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// Services of the process.
    pub state: AppState,
    /// Who asks.
    pub actor: Actor,
    /// Stands in the answer, the log and the audit trail.
    pub request_id: String,
}

impl Ctx {
    /// Opens the request's transaction, if the actor may do `what`.
    ///
    /// # Errors
    /// 403 when it may not, 503 when the database is away.
    pub async fn begin(&self, what: Can) -> Result<TenantTx, Problem> {
        self.require(what)?;
        Ok(self.state.db.tenant(&self.actor.scope).await?)
    }

    /// Checks a capability.
    ///
    /// # Errors
    /// 403 when the actor lacks it.
    pub fn require(&self, what: Can) -> Result<(), Problem> {
        if self.actor.may(what) { Ok(()) } else { Err(Problem::forbidden()) }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        self.state.clock.now()
    }

    /// The actor as it stands in the audit log.
    #[must_use]
    pub fn audit_actor(&self) -> AuditActor {
        self.actor.audit(&self.request_id)
    }

    /// Writes an audit row in the acting transaction.
    ///
    /// # Errors
    /// [`DbError`]; the act must not be committed then.
    pub async fn audit(
        &self,
        tx: &mut TenantTx,
        action: &str,
        target: &AuditTarget,
        detail: &str,
    ) -> Result<(), DbError> {
        audit::record(tx, &self.audit_actor(), action, target, detail).await
    }
}

impl<S: Sync> FromRequestParts<S> for Ctx {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Put there by the authentication layer; absent means unauthenticated.
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::unauthorized)
    }
}
