//! Brings what relays are to have and what they have together: periodically, and when a
//! change that concerns many nudges it.

use super::{CHANGED, config, store};
use crate::{
    context::AppState,
    db::{DbError, Scope},
    events::NewEvent,
    jobs::Job,
    link::downlink::AppendError,
};
use std::time::Duration;
use unifyit_protocol::ids::SiteId;
use uuid::Uuid;

pub(super) const JOBS: &[Job] = &[Job {
    name: "settings",
    period: Duration::from_secs(60),
    run: |state| Box::pin(async move { reconcile(&state).await }),
    nudged: Some(|state| state.reconcile.clone()),
}];

/// Sites of one look.
const PIECE: i64 = 200;

/// Composes what is stale, and sends again what relays lack and nothing waits for. A site
/// that fails is logged, and tried again by the next run; it holds up no other.
///
/// # Errors
/// [`DbError`] when the sites cannot be listed.
async fn reconcile(state: &AppState) -> Result<(), DbError> {
    let mut last = Uuid::nil();
    loop {
        let mut tx = state.db.tenant(&Scope::Platform).await?;
        // Of a relay that never says what it has, what it was sent counts: the lane carries
        // it, and a restore shows by the comparison.
        let sites: Vec<(Uuid, bool)> = sqlx::query_as(
            "SELECT c.site_id, c.stale FROM site_configs c \
             LEFT JOIN relays r ON r.site_id = c.site_id AND r.revoked_at IS NULL \
             WHERE c.site_id > $1 AND (c.stale OR (r.id IS NOT NULL \
                 AND CASE WHEN r.status ? 'settings_revision' THEN r.settings_acknowledged \
                     ELSE r.settings_sent END < c.revision \
                 AND (r.settings_sent_at IS NULL OR r.settings_sent_at < now() - interval '2 minutes') \
                 AND NOT EXISTS (SELECT FROM downlink d WHERE d.relay_id = r.id AND d.kind = 'config'))) \
             ORDER BY c.site_id LIMIT $2",
        )
        .bind(last)
        .bind(PIECE)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let Some((until, _)) = sites.last() else { return Ok(()) };
        last = *until;
        for (site, stale) in sites {
            if let Err(error) = one(state, SiteId(site), stale).await {
                tracing::warn!(site = %site, %error, "What a relay is to have was not sent.");
            }
        }
    }
}

async fn one(state: &AppState, site: SiteId, stale: bool) -> Result<(), AppendError> {
    let mut tx = state.db.tenant(&Scope::Platform).await?;
    let changed = config::settle(&mut tx, site).await?;
    if changed || !stale {
        config::send(&mut tx, site).await?;
    }
    if changed && let Some((site, place)) = store::get(&mut tx, site).await? {
        tx.emit(NewEvent::passing(CHANGED, place, &site));
    }
    Ok(tx.commit().await?)
}
