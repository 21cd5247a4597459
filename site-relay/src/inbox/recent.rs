//! The newest commands and how they fare, as on-site staff see them.

use super::rows::{COMMANDS, CommandRecord, DELIVERIES, status_of};
use crate::store::{StoreError, StoreHandle, rows};
use redb::ReadableTable as _;
use serde::Serialize;
use std::collections::BTreeMap;
use unifyit_protocol::{ids::CommandId, outcome::Status};

/// A command as on-site staff see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandView {
    /// Its id.
    pub id: CommandId,
    /// When it came, Unix milliseconds.
    pub received_ms: u64,
    /// Until when it may start, Unix milliseconds.
    pub expires_ms: u64,
    /// Whether every device has ended.
    pub done: bool,
    /// Devices by state.
    pub counts: BTreeMap<Status, u64>,
}

impl StoreHandle {
    /// The newest commands of the inbox, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the file fails.
    pub async fn recent_commands(&self, limit: usize) -> Result<Vec<CommandView>, StoreError> {
        self.read(move |tx| {
            let deliveries = tx.open_table(DELIVERIES)?;
            let mut all = Vec::new();
            for row in tx.open_table(COMMANDS)?.iter()? {
                let (key, value) = row?;
                if let Some(record) = rows::read::<CommandRecord>("commands", value.value()) {
                    all.push((record.received_ms, key.value(), record.expires_ms));
                }
            }
            all.sort_by_key(|(received_ms, ..)| std::cmp::Reverse(*received_ms));
            all.truncate(limit);
            let mut views = Vec::with_capacity(all.len());
            for (received_ms, id, expires_ms) in all {
                let mut counts = BTreeMap::new();
                for row in deliveries.range((id, 0)..=(id, u128::MAX))? {
                    *counts.entry(status_of(row?.1.value().0)).or_default() += 1;
                }
                let done = counts.keys().all(|status: &Status| status.is_final());
                let id = CommandId(uuid::Uuid::from_u128(id));
                views.push(CommandView { id, received_ms, expires_ms, done, counts });
            }
            Ok(views)
        })
        .await
    }
}
