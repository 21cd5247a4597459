//! The audit trail of the site: its newest entries for the local UI, and all of them
//! on their way to the cloud.

use crate::store::{
    StoreError, StoreHandle,
    part::{Part, tables},
    rows as stored,
    txn::Txn,
};
use redb::{ReadTransaction, ReadableTable as _};
use unifyit_protocol::{
    codec,
    lane::Lane,
    link::{SiteAudit, UpRecord},
};

tables! { trail:
    /// Rising number → audit entry, the newest few kept for the local UI.
    audit: u64 => &'static [u8], AUDIT = "audit";
}

/// Entries kept at the site.
const KEPT: u64 = 1000;

/// The trail, as a part of the store.
pub(crate) struct Trail;

/// What is remembered of the trail.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Number of the newest entry.
    newest: u64,
}

impl Part for Trail {
    type Tables<'t> = Tables<'t>;
    type Memory = Memory;
    type Gathered = ();
    type Shared = ();

    fn load(tx: &ReadTransaction) -> Result<Memory, StoreError> {
        let newest = tx.open_table(AUDIT)?.last()?.map_or(0, |(key, _)| key.value());
        Ok(Memory { newest })
    }
}

impl StoreHandle {
    /// Appends to the audit trail, here and at the cloud.
    pub async fn audit(&self, entry: SiteAudit) {
        let action = entry.action.clone();
        if let Err(error) = self.write(move |txn| txn.audit_entry(entry)).await {
            tracing::error!(%error, action, "an audit entry could not be stored");
        }
    }

    /// The newest audit entries of the site, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn recent_audit(&self, limit: usize) -> Result<Vec<SiteAudit>, StoreError> {
        self.read(move |tx| {
            let table = tx.open_table(AUDIT)?;
            let newest = table.range::<u64>(..)?.rev().take(limit);
            newest
                .filter_map(|row| match row {
                    Ok((_, value)) => stored::read("audit", value.value()).map(Ok),
                    Err(error) => Some(Err(error.into())),
                })
                .collect()
        })
        .await
    }
}

impl Txn<'_> {
    /// Appends to the audit trail.
    pub(crate) fn audit_entry(&mut self, entry: SiteAudit) -> Result<(), StoreError> {
        self.mem.parts.trail.newest += 1;
        let number = self.mem.parts.trail.newest;
        let bytes = codec::encode(&entry)?;
        self.audit()?.insert(number, bytes.as_slice())?;
        if let Some(oldest) = number.checked_sub(KEPT) {
            self.audit()?.remove(oldest)?;
        }
        self.append(Lane::Urgent, &UpRecord::Audit(entry))
    }
}
