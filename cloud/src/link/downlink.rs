//! What a relay is yet to be told: written in the acting transaction, read and
//! deleted by the relay's session.
//!
//! Entries of a relay are numbered under the lock of its row, so that numbers
//! rise in the order of commits and the lane machine may treat the table as its
//! store.

use crate::db::{DbError, DownRow, TenantTx};
use sqlx::Row;
use unifyit_protocol::{ProtocolError, ids::RelayId, lane::MAX_RECORD, link::DownRecord};

/// Why an entry could not be written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The relay is not there, not visible, or revoked.
    #[error("the site has no active relay")]
    NoRelay,
    /// The record does not fit a frame.
    #[error("the message to the relay is {0} bytes long; at most {MAX_RECORD} fit")]
    TooLarge(usize),
    /// The record cannot be encoded.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for AppendError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Queues a record for a relay and wakes its session after the commit. Whoever
/// writes to several relays in one transaction does so in order of their ids,
/// so that two such transactions wait for each other instead of locking up.
///
/// # Errors
/// [`AppendError`].
pub async fn append(
    tx: &mut TenantTx,
    relay: RelayId,
    record: &DownRecord,
) -> Result<u64, AppendError> {
    let body = record.encode()?;
    if body.len() > MAX_RECORD {
        return Err(AppendError::TooLarge(body.len()));
    }
    let row = sqlx::query(
        "WITH numbered AS ( \
             UPDATE relays SET down_seq = down_seq + 1 WHERE id = $1 AND revoked_at IS NULL \
             RETURNING id, down_epoch, down_seq, partner_id, organization_id, site_id), \
         written AS ( \
             INSERT INTO downlink (relay_id, seq, partner_id, organization_id, site_id, body) \
             SELECT id, down_seq, partner_id, organization_id, site_id, $2 FROM numbered) \
         SELECT down_epoch, down_seq FROM numbered",
    )
    .bind(relay.0)
    .bind(&body)
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(AppendError::NoRelay)?;
    let epoch = row.try_get::<i64, _>("down_epoch")?.unsigned_abs();
    let seq = row.try_get::<i64, _>("down_seq")?.unsigned_abs();
    tx.hand_to_relay(relay, DownRow { epoch, seq, body: body.into() });
    Ok(seq)
}

/// The active relay of a site, if it has one.
///
/// # Errors
/// [`DbError`].
pub async fn relay_of(
    tx: &mut TenantTx,
    site: unifyit_protocol::ids::SiteId,
) -> Result<Option<RelayId>, DbError> {
    let id: Option<uuid::Uuid> =
        sqlx::query_scalar("SELECT id FROM relays WHERE site_id = $1 AND revoked_at IS NULL")
            .bind(site.0)
            .fetch_optional(&mut **tx)
            .await?;
    Ok(id.map(RelayId))
}
