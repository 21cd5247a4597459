//! Who did what, written in the transaction that does it.
//!
//! Rows are append-only (the service's role may neither change nor delete them)
//! and hash-chained by the database: one chain an organization, one a partner's
//! own doings, one the platform's. A row taken out or changed breaks the chain
//! from there on; [`verify`] finds the place.

use crate::{
    authz::{Can, Role, Scopes},
    db::{DbError, Place, TenantTx},
    events::{Kind, NewEvent, Reference, TimelineItem, TimelineKind},
};
use serde::Serialize;
use sqlx::{Postgres, postgres::PgArguments, query::QueryAs};
use time::OffsetDateTime;
use unifyit_protocol::ids::OrganizationId;
use utoipa::ToSchema;
use uuid::Uuid;

/// Read the audit log.
pub const READ_AUDIT: Can = Can::new("read_audit", Role::Technician, Scopes::All);
/// A row was added to the audit log.
pub const ADDED: Kind = Kind::new("audit.added", READ_AUDIT);
/// Somebody did something.
pub const HAPPENED: TimelineKind = TimelineKind::new("audit", READ_AUDIT);

/// Who acts: a person, a key, a relay, or the service itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditActor {
    /// As shown: an e-mail address, `key:<name>`, `relay:<host>`, `system`.
    pub name: String,
    /// Its id, when it has one.
    pub id: Option<Uuid>,
    /// The request that it made, for finding log lines.
    pub request_id: String,
}

impl AuditActor {
    /// The service itself: jobs, the command line.
    #[must_use]
    pub fn system() -> Self {
        Self { name: "system".into(), id: None, request_id: String::new() }
    }
}

/// What is acted on and where it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditTarget {
    /// Where it stands: decides who may read the row.
    pub place: Place,
    /// The device, when it is about one: the row joins its timeline.
    pub device: Option<Uuid>,
    /// As shown: `site Aarhus`, `device web-3`.
    pub name: String,
}

impl AuditTarget {
    /// Something at a place.
    pub fn at(place: Place, name: impl Into<String>) -> Self {
        Self { place, device: None, name: name.into() }
    }

    /// A device.
    pub fn device(place: Place, device: Uuid, name: impl Into<String>) -> Self {
        Self { place, device: Some(device), name: name.into() }
    }
}

/// A row of the log.
#[derive(Debug, Clone, Serialize, ToSchema, sqlx::FromRow)]
pub struct AuditEntry {
    /// Identity; sorts by time.
    pub id: Uuid,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Who, as shown.
    pub actor: String,
    /// Dotted verb: `site.create`.
    pub action: String,
    /// On what, as shown.
    pub target: String,
    /// One sentence more, or nothing.
    pub detail: String,
    /// The request that did it.
    pub request_id: String,
    /// The device, when it is about one.
    pub device_id: Option<Uuid>,
}

/// A row to be.
#[derive(Debug)]
pub struct NewAudit {
    pub(crate) id: Uuid,
    actor: AuditActor,
    action: String,
    target: AuditTarget,
    detail: String,
    /// When it happened, if not now.
    at: Option<OffsetDateTime>,
}

impl NewAudit {
    /// The chain that it joins, whose head every writer of the organization locks.
    pub(crate) fn chain(&self) -> Uuid {
        self.target.place.organization.or(self.target.place.partner).unwrap_or_default()
    }

    /// Binds rows, a column at a time, in the order of [`crate::db`]'s last statement.
    pub(crate) fn bind<'q, Row>(
        rows: &'q [Self],
        query: QueryAs<'q, Postgres, Row, PgArguments>,
    ) -> QueryAs<'q, Postgres, Row, PgArguments> {
        let ids = |pick: fn(&Self) -> Option<Uuid>| rows.iter().map(pick).collect::<Vec<_>>();
        let texts = |pick: fn(&Self) -> &str| rows.iter().map(pick).collect::<Vec<&str>>();
        query
            .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
            .bind(ids(|row| row.target.place.partner))
            .bind(ids(|row| row.target.place.organization))
            .bind(ids(|row| row.target.place.site))
            .bind(ids(|row| row.target.device))
            .bind(texts(|row| &row.actor.name))
            .bind(ids(|row| row.actor.id))
            .bind(texts(|row| &row.action))
            .bind(texts(|row| &row.target.name))
            .bind(texts(|row| &row.detail))
            .bind(texts(|row| &row.actor.request_id))
            .bind(rows.iter().map(|row| row.at).collect::<Vec<_>>())
    }

    /// The row as it was written at a time.
    fn entry(&self, at: OffsetDateTime) -> AuditEntry {
        AuditEntry {
            id: self.id,
            at,
            actor: self.actor.name.clone(),
            action: self.action.clone(),
            target: self.target.name.clone(),
            detail: self.detail.clone(),
            request_id: self.actor.request_id.clone(),
            device_id: self.target.device,
        }
    }

    /// What browsers are told of it.
    pub(crate) fn event(&self, at: OffsetDateTime) -> NewEvent {
        NewEvent::kept(ADDED, self.target.place, self.entry(at))
    }

    /// What timelines are told of it. Tasks stand there as themselves.
    pub(crate) fn timeline(&self, at: OffsetDateTime) -> Option<NewEvent> {
        let shown = !self.action.starts_with("task.");
        let item = || timeline(&self.entry(at), &self.target);
        shown.then(|| item().added(HAPPENED, self.target.place))
    }
}

/// Adds a row and tells browsers after the commit.
///
/// The row is written at the end of the transaction, which fails when it cannot be:
/// a chain's head is the last thing that anybody locks, and where there are several,
/// in one order. So two acts on one organization wait for each other and never for
/// each other's rows.
///
/// # Errors
/// None here; what is wrong with the row, [`TenantTx::commit`] says.
pub async fn record(
    tx: &mut TenantTx,
    actor: &AuditActor,
    action: &str,
    target: &AuditTarget,
    detail: &str,
) -> Result<(), DbError> {
    record_at(tx, actor, action, target, detail, None).await
}

/// Like [`record`], for what happened earlier somewhere else (a relay's site).
///
/// # Errors
/// As [`record`].
#[expect(clippy::unused_async, reason = "callers need not know when it is written")]
pub async fn record_at(
    tx: &mut TenantTx,
    actor: &AuditActor,
    action: &str,
    target: &AuditTarget,
    detail: &str,
    at: Option<OffsetDateTime>,
) -> Result<(), DbError> {
    tx.audit(NewAudit {
        id: Uuid::now_v7(),
        actor: actor.clone(),
        action: action.to_owned(),
        target: target.clone(),
        detail: detail.to_owned(),
        at,
    });
    Ok(())
}

/// How many entries of an action an actor left in an organization's log within the last
/// hour.
///
/// # Errors
/// [`DbError`].
pub async fn within_an_hour(
    tx: &mut TenantTx,
    organization: OrganizationId,
    actor: Uuid,
    action: &str,
) -> Result<i64, DbError> {
    // Ids sort by time: those of the hour are above this one.
    let hour_ago = OffsetDateTime::now_utc().unix_timestamp() - 3600;
    let hour_ago = u64::try_from(hour_ago).unwrap_or_default();
    let hour_ago = Uuid::new_v7(uuid::Timestamp::from_unix_time(hour_ago, 0, 0, 0));
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM audit_log WHERE organization_id = $1 AND id > $2 AND actor_id = $3 AND action = $4",
    )
    .bind(organization.0)
    .bind(hour_ago)
    .bind(actor)
    .bind(action)
    .fetch_one(&mut **tx)
    .await?)
}

/// The row as timelines show it.
fn timeline(entry: &AuditEntry, target: &AuditTarget) -> TimelineItem {
    let leads = match (target.device, target.place.site) {
        (Some(device), _) => Some(("device", device)),
        (None, Some(site)) => Some(("site", site)),
        (None, None) => None,
    };
    let words = [entry.target.as_str(), entry.detail.as_str()];
    TimelineItem {
        at: entry.at,
        kind: HAPPENED.as_str().into(),
        title: entry.action.clone(),
        detail: words.into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(": "),
        actor: entry.actor.clone(),
        reference: match leads {
            Some((kind, id)) => Reference::to(kind, id, &entry.target),
            None => Reference { kind: None, id: None, name: Some(entry.target.clone()) },
        },
    }
}

/// Checks every chain that the scope sees whole and names the first row that
/// does not follow from the one before it. A chain that was cut at its old end
/// begins at the recorded place of the cut.
///
/// # Errors
/// [`DbError`] when the log cannot be read.
pub async fn verify(tx: &mut TenantTx) -> Result<Option<(Uuid, i64)>, DbError> {
    Ok(sqlx::query_as(
        "SELECT chain_id, seq FROM ( \
             SELECT a.chain_id, a.seq, a.hash <> audit_digest(a) AS changed, \
                 a.prev_hash <> coalesce(lag(a.hash) OVER w, c.hash, '') \
                     OR a.seq <> coalesce(lag(a.seq) OVER w, c.seq, 0) + 1 AS broken \
             FROM audit_log a LEFT JOIN audit_cuts c ON c.chain_id = a.chain_id \
             WINDOW w AS (PARTITION BY a.chain_id ORDER BY a.seq)) checked \
         WHERE changed OR broken ORDER BY chain_id, seq LIMIT 1",
    )
    .fetch_optional(&mut **tx)
    .await?)
}
