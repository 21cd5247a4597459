//! What a relay is yet to be told: written in the acting transaction, read and
//! deleted by the relay's session.
//!
//! Entries of a relay are numbered under the lock of its row, so that numbers
//! rise in the order of commits and the lane machine may treat the table as its
//! store.

use super::{ApplyError, from_ms};
use crate::db::{Db, DbError, DownRow, Scope, TenantTx};
use sqlx::Row;
use unifyit_protocol::{ProtocolError, ids::RelayId, lane::MAX_RECORD, link::DownRecord};
use uuid::Uuid;

/// Why an entry could not be written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The relay is not there, not visible, or revoked.
    #[error("the site has no active relay")]
    NoRelay,
    /// Too much waits for the relay already.
    #[error(
        "the site's relay has been away for long and {0} messages wait for it, which is as many as are kept; \
         wait until it is back"
    )]
    Full(i64),
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

/// Commands that may wait for a relay: as many as it takes unfinished.
const MAX_COMMANDS: i64 = 4096;
/// Bytes that may wait for a relay.
const MAX_BYTES: i64 = 256 * 1024 * 1024;
/// So few entries are not counted.
const FEW: i64 = 512;
/// Entries of which a relay's own words are the cause that may wait for it, and their
/// bytes: several times what one comparison of a site of full size comes to.
const MAX_TOLD: (i64, i64) = (2048, 64 * 1024 * 1024);

/// The word of the table for what a relay lacks.
pub const KNOWN: &str = "known";
/// The word of the table for who had the commands that a restored relay holds.
pub const HAD: &str = "had";
/// The words of the table for what the cloud lacks itself.
const TELL: [&str; 2] = ["tell_inventory", "tell_series"];
/// The word of the table for a command.
const COMMAND: &str = "command";

/// What an entry is about, for the table.
struct About {
    kind: &'static str,
    key: Option<Uuid>,
    expires_ms: Option<u64>,
}

fn about(record: &DownRecord) -> About {
    let (kind, key, expires_ms) = match record {
        DownRecord::Command(c) => (COMMAND, Some(c.command.0), Some(c.expires_ms)),
        DownRecord::Config(_) => ("config", None, None),
        DownRecord::RevokeDevice(device) => ("revoke_device", Some(device.0), None),
        DownRecord::RevokeToken(token) => ("revoke_token", Some(token.0), None),
        // The same devices replace themselves; others are asked beside them.
        DownRecord::TellAgain(again) => match again.inventory.is_empty() {
            false => {
                let devices = again.inventory.iter().map(|device| (0, device.0, Uuid::nil()));
                (TELL[0], Some(key_of_set(devices)), None)
            }
            true => {
                let columns = again.columns().map(|(device, table)| {
                    (1, device.0, Uuid::from_u128(table.map_or(u128::MAX, u128::from)))
                });
                (TELL[1], Some(key_of_set(columns)), None)
            }
        },
        DownRecord::AllowReenrolment(allowed) => {
            ("allow_reenrolment", Some(allowed.device.0), None)
        }
        DownRecord::SeparateIdentity(chosen) => ("separate_identity", Some(chosen.device.0), None),
        DownRecord::ForgetComputer(gone) => ("forget_computer", Some(gone.instance), None),
        // The key tells one batch of a comparison from the next.
        DownRecord::Known(known) => {
            let devices = known.devices.iter().map(|d| (2, d.device.0, Uuid::nil()));
            let tokens = known.tokens.iter().map(|t| (3, t.token.0, Uuid::nil()));
            let had = known.had.iter().map(|had| (4, had.command.0, had.device.0));
            let answered = known.answered.then_some((5, Uuid::nil(), Uuid::nil()));
            let kind = if known.answered || !known.had.is_empty() { HAD } else { KNOWN };
            (kind, Some(key_of_set(devices.chain(tokens).chain(had).chain(answered))), None)
        }
    };
    About { kind, key, expires_ms }
}

/// A key for a set, in whatever order. Of each of its members all counts: were they only
/// added up, each command with each device of a site would come to the key of nothing.
fn key_of_set(members: impl Iterator<Item = (u8, Uuid, Uuid)>) -> Uuid {
    let mut members: Vec<_> = members.collect();
    members.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for (what, one, other) in members {
        hasher.update(&[what]).update(one.as_bytes()).update(other.as_bytes());
    }
    let mut key = [0; 16];
    hasher.finalize_xof().fill(&mut key);
    Uuid::from_bytes(key)
}

/// Queues a record for a relay and wakes its session after the commit. It takes
/// the place of an earlier one about the same thing. Whoever writes to several
/// relays in one transaction does so in order of their ids, so that two such
/// transactions wait for each other instead of locking up.
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
    let About { kind, key, expires_ms } = about(record);
    let row = sqlx::query(
        "WITH numbered AS ( \
             UPDATE relays SET down_seq = down_seq + 1 WHERE id = $1 AND revoked_at IS NULL \
             RETURNING id, down_epoch, down_seq, down_acked, partner_id, organization_id, site_id), \
         replaced AS ( \
             DELETE FROM downlink d USING numbered n WHERE d.relay_id = n.id AND d.kind = $3 \
                 AND $3 <> 'command' AND d.key IS NOT DISTINCT FROM $4), \
         written AS ( \
             INSERT INTO downlink (relay_id, seq, partner_id, organization_id, site_id, body, kind, key, expires_at) \
             SELECT id, down_seq, partner_id, organization_id, site_id, $2, $3, $4, $5 FROM numbered) \
         SELECT down_epoch, down_seq, down_seq - down_acked AS waiting FROM numbered",
    )
    .bind(relay.0)
    .bind(&body)
    .bind(kind)
    .bind(key)
    .bind(expires_ms.map(from_ms))
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(AppendError::NoRelay)?;
    let epoch = row.try_get::<i64, _>("down_epoch")?.unsigned_abs();
    let seq = row.try_get::<i64, _>("down_seq")?.unsigned_abs();
    if row.try_get::<i64, _>("waiting")? > FEW
        && let Err(refused) = bounded(tx, relay, kind).await
    {
        // Also where the transaction goes on. The number stays unused.
        sqlx::query("DELETE FROM downlink WHERE relay_id = $1 AND seq = $2")
            .bind(relay.0)
            .bind(i64::try_from(seq).unwrap_or(i64::MAX))
            .execute(&mut **tx)
            .await?;
        return Err(refused);
    }
    tx.hand_to_relay(relay, DownRow { epoch, seq, body: body.into() });
    Ok(seq)
}

/// What becomes of an entry that the service itself queues: a site without a relay
/// has nobody to tell.
///
/// # Errors
/// [`ApplyError`].
pub fn settle(appended: Result<(), AppendError>) -> Result<(), ApplyError> {
    match appended {
        Ok(()) | Err(AppendError::NoRelay | AppendError::Full(_)) => Ok(()),
        Err(AppendError::Db(error)) => Err(error.into()),
        Err(error) => Err(ApplyError::Malformed(error.to_string())),
    }
}

/// Queues what the service itself has to tell a relay.
///
/// # Errors
/// [`ApplyError`].
pub async fn tell(
    tx: &mut TenantTx,
    relay: RelayId,
    record: &DownRecord,
) -> Result<(), ApplyError> {
    settle(append(tx, relay, record).await.map(drop))
}

/// Refuses when too much waits for the relay (G10): of commands, or of what the relay
/// itself brings about by what it says. What people change is not refused: nobody may be
/// kept from revoking.
async fn bounded(tx: &mut TenantTx, relay: RelayId, kind: &str) -> Result<(), AppendError> {
    let told = [KNOWN, HAD, TELL[0], TELL[1]];
    let (kinds, most) = match kind {
        COMMAND => ([COMMAND].as_slice(), (MAX_COMMANDS, MAX_BYTES)),
        _ if told.contains(&kind) => (told.as_slice(), MAX_TOLD),
        _ => return Ok(()),
    };
    let (entries, bytes): (i64, i64) = sqlx::query_as(
        "SELECT count(*), coalesce(sum(length(body)), 0)::int8 FROM downlink \
         WHERE relay_id = $1 AND kind = ANY($2)",
    )
    .bind(relay.0)
    .bind(kinds)
    .fetch_one(&mut **tx)
    .await?;
    if entries > most.0 || bytes > most.1 {
        tracing::warn!(%relay, kind, entries, bytes, "A relay's downlink is full; an entry was refused.");
        return Err(AppendError::Full(entries));
    }
    Ok(())
}

/// Takes back what waits for a relay of a kind, for what is to stand in its place.
///
/// # Errors
/// [`DbError`].
pub async fn take_back(tx: &mut TenantTx, relay: RelayId, kind: &str) -> Result<(), DbError> {
    sqlx::query("DELETE FROM downlink WHERE relay_id = $1 AND kind = $2")
        .bind(relay.0)
        .bind(kind)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Deletes what no relay needs any more: expired commands, and all of a revoked
/// relay. In small pieces; whether there may be more.
///
/// # Errors
/// [`DbError`].
pub async fn prune(db: &Db) -> Result<bool, DbError> {
    const PIECE: i64 = 2000;
    let mut more = false;
    for statement in [
        "DELETE FROM downlink WHERE (relay_id, seq) IN ( \
             SELECT relay_id, seq FROM downlink WHERE expires_at < now() - interval '1 minute' LIMIT $1)",
        "DELETE FROM downlink WHERE (relay_id, seq) IN ( \
             SELECT d.relay_id, d.seq FROM relays r JOIN downlink d ON d.relay_id = r.id \
             WHERE r.revoked_at IS NOT NULL LIMIT $1)",
    ] {
        let mut tx = db.tenant(&Scope::Platform).await?;
        let gone = sqlx::query(statement).bind(PIECE).execute(&mut *tx).await?.rows_affected();
        tx.commit().await?;
        more |= gone >= PIECE.unsigned_abs();
    }
    Ok(more)
}

/// The active relay of a site, if it has one.
///
/// # Errors
/// [`DbError`].
pub async fn relay_of(
    tx: &mut TenantTx,
    site: unifyit_protocol::ids::SiteId,
) -> Result<Option<RelayId>, DbError> {
    let id: Option<Uuid> =
        sqlx::query_scalar("SELECT id FROM relays WHERE site_id = $1 AND revoked_at IS NULL")
            .bind(site.0)
            .fetch_optional(&mut **tx)
            .await?;
    Ok(id.map(RelayId))
}

#[cfg(test)]
mod tests;
