//! The downlink's rows: read on and trimmed in one statement batch, and renumbered
//! when one of the two sides turns out to be an older copy of itself.

use super::super::RelayIdentity;
use crate::db::{Db, DbError, TenantTx};
use sqlx::Row;

/// Rows read at a time.
pub(super) const PAGE: i64 = 64;

/// What a sync found.
pub(in crate::link::session) struct Synced {
    pub(in crate::link::session) revoked: bool,
    pub(super) tail: u64,
    /// Number after which `rows` were read.
    pub(super) after: u64,
    pub(super) rows: Vec<(u64, Vec<u8>)>,
    pub(super) trimmed: u64,
}

impl Synced {
    /// Whether more rows may follow those that were read.
    pub(super) fn full(&self) -> bool {
        i64::try_from(self.rows.len()).is_ok_and(|n| n >= PAGE)
    }

    /// Every number after `after` and up to this one is among `rows`, or not in the
    /// table any more. The tail was read before the rows, and numbers rise in the
    /// order of commits.
    pub(super) fn seen_through(&self) -> u64 {
        let last = self.rows.last().map_or(self.after, |(seq, _)| *seq);
        if self.full() { last } else { last.max(self.tail) }
    }
}

/// Where a relay's downlink stands.
pub(super) struct Stand {
    pub(super) epoch: u64,
    pub(super) acked: u64,
    pub(super) tail: u64,
    pub(super) revoked: bool,
}

pub(super) async fn stand(tx: &mut TenantTx, relay: &RelayIdentity) -> Result<Stand, DbError> {
    let row = sqlx::query(
        "SELECT down_epoch, down_acked, down_seq, revoked_at IS NOT NULL AS revoked \
         FROM relays WHERE id = $1",
    )
    .bind(relay.id.0)
    .fetch_one(&mut **tx)
    .await?;
    let number = |n: i64| n.unsigned_abs();
    Ok(Stand {
        epoch: number(row.try_get("down_epoch")?),
        acked: number(row.try_get("down_acked")?),
        tail: number(row.try_get("down_seq")?),
        revoked: row.try_get("revoked")?,
    })
}

fn db_number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) async fn sync(
    db: Db,
    relay: RelayIdentity,
    trim: Option<u64>,
    after: Option<u64>,
    touch: bool,
) -> Result<Synced, DbError> {
    let mut tx = db.tenant_by_keys(&relay.scope()).await?;
    if let Some(through) = trim {
        // The relay's row first, as whoever appends or takes back: no two wait for each other.
        sqlx::query("UPDATE relays SET down_acked = greatest(down_acked, $2) WHERE id = $1")
            .bind(relay.id.0)
            .bind(db_number(through))
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM downlink WHERE relay_id = $1 AND seq <= $2")
            .bind(relay.id.0)
            .bind(db_number(through))
            .execute(&mut *tx)
            .await?;
    }
    if touch {
        sqlx::query("UPDATE relays SET last_contact = now() WHERE id = $1")
            .bind(relay.id.0)
            .execute(&mut *tx)
            .await?;
    }
    let stand = stand(&mut tx, &relay).await?;
    let after = after.unwrap_or(stand.acked);
    let rows = sqlx::query(
        "SELECT seq, body FROM downlink WHERE relay_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
    )
    .bind(relay.id.0)
    .bind(db_number(after))
    .bind(PAGE)
    .fetch_all(&mut *tx)
    .await?
    .iter()
    .map(|row| Ok((row.try_get::<i64, _>("seq")?.unsigned_abs(), row.try_get("body")?)))
    .collect::<Result<Vec<_>, sqlx::Error>>()?;
    tx.commit().await?;
    Ok(Synced {
        revoked: stand.revoked,
        tail: stand.tail,
        after,
        rows,
        trimmed: trim.unwrap_or_default(),
    })
}

/// Moves what waits into a new epoch, numbered from 1, within the transaction,
/// which from then on holds the relay's row.
pub(super) async fn renumber(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    epoch: u64,
) -> Result<(), DbError> {
    sqlx::query("SELECT id FROM relays WHERE id = $1 FOR UPDATE")
        .bind(relay.id.0)
        .fetch_one(&mut **tx)
        .await?;
    // By way of negative numbers, so that no two rows ever have the same.
    let moved = sqlx::query("UPDATE downlink SET seq = -seq WHERE relay_id = $1")
        .bind(relay.id.0)
        .execute(&mut **tx)
        .await?
        .rows_affected();
    sqlx::query(
        "UPDATE downlink d SET seq = n.place FROM ( \
             SELECT seq, row_number() OVER (ORDER BY seq DESC) AS place FROM downlink WHERE relay_id = $1) n \
         WHERE d.relay_id = $1 AND d.seq = n.seq",
    )
    .bind(relay.id.0)
    .execute(&mut **tx)
    .await?;
    sqlx::query("UPDATE relays SET down_epoch = $2, down_seq = $3, down_acked = 0 WHERE id = $1")
        .bind(relay.id.0)
        .bind(db_number(epoch))
        .bind(db_number(moved))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
