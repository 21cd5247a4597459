//! The relays of one organization, which may give each other files.
//!
//! A relay's own transactions see its site only; the database names its sisters by
//! one function that returns their peer ids and addresses, bounded.

use crate::db::{DbError, TenantTx};
use unifyit_protocol::{ids::RelayId, link::Sister};
use uuid::Uuid;

/// Most sisters that a relay is told of.
const MOST: i32 = 64;

/// The sisters of a relay that is not revoked, in order of their ids.
///
/// # Errors
/// [`DbError`].
pub(crate) async fn of(
    tx: &mut TenantTx,
    relay: RelayId,
) -> Result<Vec<(RelayId, Sister)>, DbError> {
    let rows: Vec<(Uuid, String, Vec<String>)> =
        sqlx::query_as("SELECT id, peer_id, addresses FROM sister_relays($1, $2)")
            .bind(relay.0)
            .bind(MOST)
            .fetch_all(&mut **tx)
            .await?;
    let sister = |(id, peer, addresses)| (RelayId(id), Sister { peer, addresses });
    let mut sisters: Vec<_> = rows.into_iter().map(sister).collect();
    sisters.sort_by_key(|(id, _)| id.0);
    Ok(sisters)
}

/// Makes the sisters of a relay look again, after the commit: it came, moved, or
/// is about to be revoked.
///
/// # Errors
/// [`DbError`].
pub(crate) async fn nudge(tx: &mut TenantTx, relay: RelayId) -> Result<(), DbError> {
    let sisters = of(tx, relay).await?;
    sisters.into_iter().for_each(|(id, _)| tx.nudge_relay(id));
    Ok(())
}
