//! What the cloud ordered and only a later version of the relay can read.
//!
//! The lane goes on, so such a record is acknowledged; it is kept until a version comes
//! that knows it, and the audit trail says at once that one is needed. Then it is taken
//! in its place among those that were kept, behind all else that came meanwhile: what a
//! later version adds must bear that. Where the cloud begins its lane anew, it says again
//! what holds.

use super::{Effects, take_record};
use crate::store::{StoreError, tables, txn::Txn};
use redb::ReadableTable;
use unifyit_protocol::{
    envelope::Decoded,
    link::{DownRecord, SiteAudit},
};

/// Records that are kept. Few in tests, so that they meet the end.
const MOST: usize = if cfg!(test) { 3 } else { 256 };
/// Bytes of them.
const MOST_BYTES: usize = 4 * 1024 * 1024;
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Keeps a record that cannot be read, by its place in the cloud's lane.
pub(super) fn keep(txn: &mut Txn<'_>, at: (u64, u64), body: &[u8]) -> Result<(), StoreError> {
    let (mut count, mut bytes) = (0, body.len());
    for row in txn.unread()?.iter()? {
        (count, bytes) = (count + 1, bytes + row?.1.value().len());
    }
    let kept = count < MOST && bytes <= MOST_BYTES;
    if kept {
        txn.unread()?.insert(at, body)?;
    }
    // The first of them, and each that is lost.
    if kept && count > 0 {
        return Ok(());
    }
    let what =
        if kept { "They are carried out then." } else { "There is no room for more of them." };
    let detail = format!(
        "The cloud ordered what this relay (version {VERSION}) is too old for. Update the relay. {what}"
    );
    tracing::warn!(kept, "{detail}");
    let entry = SiteAudit {
        at_ms: txn.now_ms,
        action: "relay.too_old".into(),
        actor: "relay".into(),
        detail,
    };
    txn.audit_entry(entry)
}

/// Lets go of all that was kept.
pub(super) fn forget(txn: &mut Txn<'_>) -> Result<(), StoreError> {
    Ok(txn.unread()?.retain(|_, _| false)?)
}

/// Whether anything is kept.
pub(super) fn is_kept(tx: &redb::ReadTransaction) -> Result<bool, StoreError> {
    Ok(tx.open_table(tables::UNREAD)?.first()?.is_some())
}

/// Takes what was kept and this version can read.
pub(super) fn take_up(txn: &mut Txn<'_>) -> Result<Effects, StoreError> {
    let mut known = Vec::new();
    for row in txn.unread()?.iter()? {
        let (at, body) = row?;
        if let Ok(Decoded::Known(record)) = DownRecord::decode(body.value()) {
            known.push((at.value(), record));
        }
    }
    let mut effects = Effects::default();
    for (at, record) in known {
        take_record(txn, record, &mut effects)?;
        txn.unread()?.remove(at)?;
    }
    super::end_revoked(txn, &mut effects)?;
    Ok(effects)
}

#[cfg(test)]
mod tests;
