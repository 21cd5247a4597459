//! What the cloud ordered and only a later version of the relay can read.
//!
//! The lane goes on, so such a record is acknowledged; it is kept until a version comes
//! that knows it, and the audit trail says at once that one is needed. That version takes
//! it at its start, behind all else that came meanwhile: what a later version adds must
//! bear that. Where the cloud begins its lane anew, it says again what holds.

use super::{Effects, disconnect, place::UNREAD, take_record, tell_settings};
use crate::{
    broker::BrokerHandle,
    store::{StoreError, StoreHandle, txn::Txn},
};
use redb::{ReadTransaction, ReadableTable};
use unifyit_protocol::{
    envelope::Decoded,
    link::{DownRecord, SiteAudit},
};

/// Records that are kept. Few in tests, so that they meet the end.
const MOST: usize = if cfg!(test) { 3 } else { 256 };
/// Bytes of them.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Pause between two entries of a kind in the audit trail.
const PAUSE_MS: u64 = 3_600_000;
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Keeps a record that cannot be read, by its place in the cloud's lane.
pub(super) fn keep(txn: &mut Txn<'_>, at: (u64, u64), body: &[u8]) -> Result<(), StoreError> {
    let (mut count, mut bytes, mut before) = (0, body.len(), None);
    for row in txn.unread()?.iter()? {
        let (place, kept) = row?;
        if kept.value() == body {
            before = Some(place.value());
        }
        (count, bytes) = (count + 1, bytes + kept.value().len());
    }
    // Said again, as settings are with each comparison: the last word counts.
    if let Some(before) = before {
        txn.unread()?.remove(before)?;
        txn.unread()?.insert(at, body)?;
        return Ok(());
    }
    let lost = count >= MOST || bytes > MOST_BYTES;
    if !lost {
        txn.unread()?.insert(at, body)?;
    }
    let what = if lost { "There is no room for more of it." } else { "It is carried out then." };
    let kind = match DownRecord::decode(body) {
        Ok(Decoded::Unknown(kind)) => format!(" (kind {kind})"),
        _ => String::new(),
    };
    let detail = format!(
        "The cloud ordered what this relay (version {VERSION}) is too old for{kind}. Update the \
         relay. {what}"
    );
    say(txn, usize::from(lost), detail)
}

/// Lets go of all that was kept: the cloud's lane begins anew.
pub(super) fn forget(txn: &mut Txn<'_>) -> Result<(), StoreError> {
    let mut count = 0;
    txn.unread()?.retain(|_, _| {
        count += 1;
        false
    })?;
    if count == 0 {
        return Ok(());
    }
    let detail = format!(
        "The relay or its cloud was put back to an older copy. {count} orders that waited for an \
         update of the relay are forgotten; give them again if they are still wanted."
    );
    say(txn, 2, detail)
}

/// Says something in the audit trail, once in a while.
fn say(txn: &mut Txn<'_>, kind: usize, detail: String) -> Result<(), StoreError> {
    tracing::warn!("{detail}");
    let (now_ms, last_ms) = (txn.now_ms, txn.mem.parts.downlink.too_old[kind]);
    if last_ms != 0 && now_ms.abs_diff(last_ms) < PAUSE_MS {
        return Ok(());
    }
    txn.mem.parts.downlink.too_old[kind] = now_ms;
    let (action, actor) = ("relay.too_old".into(), "relay".into());
    txn.audit_entry(SiteAudit { at_ms: now_ms, action, actor, detail })
}

/// Takes what was kept and this version can read, ahead of the courier, which finds its
/// commands in the inbox. Where the disk fails it waits for the next start: the site goes on.
pub(crate) async fn take_up(store: &StoreHandle, broker: &BrokerHandle) {
    let taken = match store.read(is_readable).await {
        Ok(true) => store.write(take).await,
        other => other.map(|_| Effects::default()),
    };
    match taken {
        Ok(effects) => {
            // Devices may be connected already.
            disconnect(broker, &effects);
            if effects.config {
                tell_settings(store, broker);
            }
        }
        Err(error) => {
            tracing::error!(%error, "what waited for this version cannot be taken up; it waits for the next start");
        }
    }
}

fn is_readable(tx: &ReadTransaction) -> Result<bool, StoreError> {
    for row in tx.open_table(UNREAD)?.iter()? {
        if is_known(row?.1.value()).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_known(body: &[u8]) -> Option<DownRecord> {
    match DownRecord::decode(body) {
        Ok(Decoded::Known(record)) => Some(record),
        _ => None,
    }
}

fn take(txn: &mut Txn<'_>) -> Result<Effects, StoreError> {
    let epoch = txn.down().0;
    let mut known = Vec::new();
    for row in txn.unread()?.iter()? {
        let (at, body) = row?;
        if let Some(record) = is_known(body.value()) {
            known.push((at.value(), record));
        }
    }
    let mut effects = Effects::default();
    for (at, record) in known {
        txn.unread()?.remove(at)?;
        // A word in a conversation that is over.
        let talk = matches!(record, DownRecord::Known(_) | DownRecord::TellAgain(_));
        // What a version kept that did not let go of it when the cloud began anew.
        if at.0 == epoch && !talk {
            take_record(txn, record, &mut effects)?;
        }
    }
    super::end_revoked(txn, &mut effects)?;
    Ok(effects)
}

#[cfg(test)]
mod tests;
