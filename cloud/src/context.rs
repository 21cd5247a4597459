//! What every request and job has at hand: the services of the process
//! ([`AppState`]) and, behind authentication, who asks ([`Ctx`]).
//!
//! A handler begins with `ctx.begin(Can::…)`: that names what it is about to do,
//! checks it, and opens the one transaction under the actor's scope.

use crate::{
    audit::{self, AuditActor, AuditTarget},
    auth::{Passwords, Rights},
    authz::{Actor, Can},
    config::Config,
    db::{Db, DbError, Scope, TenantTx},
    downloads::Downloads,
    events::Watches,
    feature::Feature,
    http::{Problem, limits::Limits, metrics::Metrics, seats::Seats, shares::Shares, turns::Turns},
    jobs::Old,
    link::Link,
    trust::Trust,
};
use axum::{extract::FromRequestParts, http::request::Parts};
use serde::Deserialize;
use std::{sync::Arc, time::SystemTime};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;
use uuid::Uuid;

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
    /// All features, in the order of the API document.
    pub features: &'static [Feature],
    /// The database.
    pub db: Db,
    /// Deletes what has served its time.
    pub old: Old,
    /// Who watches what.
    pub watches: Watches,
    /// The relays that are connected.
    pub link: Link,
    /// Has what relays and devices are to have compared with what they have.
    pub reconcile: Arc<Notify>,
    /// Keys and signatures.
    pub trust: Trust,
    /// What agents and relays are installed from.
    pub downloads: Downloads,
    /// Rights of what lives longer than a request.
    pub rights: Rights,
    /// Hashing of passwords.
    pub passwords: Passwords,
    /// How often somebody may.
    pub limits: Limits,
    /// How much of the service each may have at once.
    pub shares: Shares,
    /// How many sockets each may have open.
    pub sockets: Sockets,
    /// Whose turn it is to read much.
    pub turns: Turns,
    /// Figures.
    pub metrics: Metrics,
    /// Ends when the process is to end: long-lived handlers finish then.
    pub stop: CancellationToken,
    /// Settings.
    pub config: Arc<Config>,
    /// The time.
    pub clock: Clock,
}

/// How many sockets each person may have open, by kind.
#[derive(Debug, Clone)]
pub struct Sockets {
    /// Live events: a tab of the console has one.
    pub events: Seats,
    /// Terminals: a site's relay carries 128 for everybody.
    pub terminals: Seats,
}

impl Default for Sockets {
    fn default() -> Self {
        Self { events: Seats::new("event sockets", 32), terminals: Seats::new("terminals", 32) }
    }
}

/// A scope as a question names it, to look at that alone; the narrowest that is named
/// holds.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ScopeQuery {
    /// Only of this partner.
    #[serde(default)]
    pub partner_id: Option<Uuid>,
    /// Only of this organization.
    #[serde(default)]
    pub organization_id: Option<Uuid>,
    /// Only of this site.
    #[serde(default)]
    pub site_id: Option<Uuid>,
}

impl ScopeQuery {
    /// Whether it names nothing, which narrows nothing.
    fn is_empty(&self) -> bool {
        self.partner_id.is_none() && self.organization_id.is_none() && self.site_id.is_none()
    }

    /// The scope, if the transaction sees it and all that is named is of one line.
    async fn find(&self, tx: &mut TenantTx) -> Result<Option<Scope>, DbError> {
        let query = match (self.site_id, self.organization_id) {
            (Some(id), _) => sqlx::query_as(
                "SELECT 'site' AS scope, partner_id, organization_id, id AS site_id \
                 FROM sites WHERE id = $1 AND deleted_at IS NULL \
                 AND ($2::uuid IS NULL OR organization_id = $2) AND ($3::uuid IS NULL OR partner_id = $3)",
            )
            .bind(id),
            (None, Some(id)) => sqlx::query_as(
                "SELECT 'organization' AS scope, partner_id, id AS organization_id, NULL::uuid AS site_id \
                 FROM organizations WHERE id = $1 AND deleted_at IS NULL \
                 AND ($2::uuid IS NULL OR id = $2) AND ($3::uuid IS NULL OR partner_id = $3)",
            )
            .bind(id),
            (None, None) => sqlx::query_as(
                "SELECT 'partner' AS scope, id AS partner_id, NULL::uuid AS organization_id, \
                     NULL::uuid AS site_id \
                 FROM partners WHERE id = $1 AND deleted_at IS NULL \
                 AND $2::uuid IS NULL AND ($3::uuid IS NULL OR id = $3)",
            )
            .bind(self.partner_id),
        };
        let found = query.bind(self.organization_id).bind(self.partner_id);
        Ok(found.fetch_optional(&mut **tx).await?)
    }
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

    /// As [`Ctx::begin`], where every statement finds its rows by keys
    /// ([`crate::db::Db::tenant_by_keys`]).
    ///
    /// # Errors
    /// As [`Ctx::begin`].
    pub async fn begin_by_keys(&self, what: Can) -> Result<TenantTx, Problem> {
        self.require(what)?;
        Ok(self.state.db.tenant_by_keys(&self.actor.scope).await?)
    }

    /// Opens the request's transaction under a part of the actor's scope: row
    /// security itself then keeps everything else out of every figure.
    ///
    /// # Errors
    /// 403 when the actor may not do `what`, 404 when it does not see the part.
    pub async fn begin_within(&self, what: Can, part: &ScopeQuery) -> Result<TenantTx, Problem> {
        let mut tx = self.begin(what).await?;
        if part.is_empty() {
            return Ok(tx);
        }
        let inner = part.find(&mut tx).await?.ok_or_else(Problem::not_found)?;
        // An organization's member who names its partner stays within its organization.
        let inner = if self.actor.scope.sees(&inner.place()) { inner } else { self.actor.scope };
        drop(tx);
        Ok(self.state.db.tenant(&inner).await?)
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
