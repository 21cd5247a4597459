//! A transaction under one scope, and what follows its commit.

use super::{DbError, Scope};
use crate::events::{Bus, Event, NewEvent};
use sqlx::{PgConnection, Postgres, Transaction};
use std::{
    collections::BTreeSet,
    ops::{Deref, DerefMut},
    sync::Arc,
};
use time::OffsetDateTime;
use tokio::sync::broadcast;
use unifyit_protocol::ids::RelayId;

/// An open transaction. Dropped without [`TenantTx::commit`], it is rolled back
/// and nothing that was handed to it happens.
pub struct TenantTx {
    tx: Transaction<'static, Postgres>,
    scope: Option<Scope>,
    events: Vec<NewEvent>,
    relays: BTreeSet<RelayId>,
    bus: Arc<dyn Bus>,
    nudges: broadcast::Sender<RelayId>,
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
        nudges: broadcast::Sender<RelayId>,
    ) -> Self {
        Self { tx, scope, events: Vec::new(), relays: BTreeSet::new(), bus, nudges }
    }

    /// The scope it was opened under; none for [`super::Db::before_auth`].
    #[must_use]
    pub fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// Tells browsers after the commit. Kept events are stored with this
    /// transaction, so that a socket that was away gets them too.
    pub fn emit(&mut self, event: NewEvent) {
        self.events.push(event);
    }

    /// Makes a relay's session look at its downlink after the commit.
    pub fn nudge_relay(&mut self, relay: RelayId) {
        self.relays.insert(relay);
    }

    /// Commits, then publishes what was emitted and nudges the relays.
    ///
    /// # Errors
    /// [`DbError`]; nothing was published then.
    pub async fn commit(mut self) -> Result<(), DbError> {
        let events = store(&mut self.tx, std::mem::take(&mut self.events)).await?;
        self.tx.commit().await?;
        for event in events {
            self.bus.publish(Arc::new(event));
        }
        for relay in self.relays {
            // Nobody listening is no fault: a session reads its downlink when it starts.
            let _ = self.nudges.send(relay);
        }
        Ok(())
    }
}

/// Writes the kept events in one statement and gives each its id.
async fn store(tx: &mut PgConnection, new: Vec<NewEvent>) -> Result<Vec<Event>, DbError> {
    let mut ids = Vec::new();
    let kept: Vec<&NewEvent> = new.iter().filter(|event| event.keep).collect();
    if !kept.is_empty() {
        let place = |pick: fn(&NewEvent) -> Option<uuid::Uuid>| {
            kept.iter().map(|e| pick(e)).collect::<Vec<_>>()
        };
        ids = sqlx::query_scalar::<_, i64>(
            "INSERT INTO events (partner_id, organization_id, site_id, kind, payload, at) \
             SELECT p, o, s, k, d, now() FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::jsonb[]) \
             WITH ORDINALITY AS e (p, o, s, k, d, n) ORDER BY n RETURNING id",
        )
        .bind(place(|e| e.place.partner))
        .bind(place(|e| e.place.organization))
        .bind(place(|e| e.place.site))
        .bind(kept.iter().map(|e| e.kind.as_str()).collect::<Vec<_>>())
        .bind(kept.iter().map(|e| e.data.clone()).collect::<Vec<_>>())
        .fetch_all(&mut *tx)
        .await?;
        ids.sort_unstable();
    }
    let mut ids = ids.into_iter();
    let at = OffsetDateTime::now_utc();
    Ok(new
        .into_iter()
        .map(|event| {
            let id = if event.keep { ids.next() } else { None };
            event.numbered(id, at)
        })
        .collect())
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
