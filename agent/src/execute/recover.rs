//! After a start: what became of the commands that were under way (G3).

use super::ledger;
use crate::{
    link::spool,
    platform,
    store::{Store, StoreError},
};
use std::{fs, path::Path};
use unifyit_protocol::{
    lane::Lane,
    outcome::{CommandEvent, Status},
    report::Report,
};

/// Gives every intent without an outcome the outcome `Indeterminate`, ends
/// processes that are still there, and clears the scripts' folder. Returns how
/// many there were.
///
/// # Errors
/// [`StoreError`] when the disk fails; then nothing may be executed.
pub async fn recover(store: &Store, work: &Path, now_ms: u64) -> Result<usize, StoreError> {
    let unfinished = ledger::unfinished(store)?;
    for id in &unfinished {
        let left = platform::end_marked(&id.to_string());
        tracing::warn!(command = %id, left, "a command was under way when the agent went down");
        let event = CommandEvent {
            command: *id,
            status: Status::Indeterminate,
            at_ms: now_ms,
            exit_code: None,
            reason: Some(
                "The agent went down while the command ran. It is not run again by itself.".into(),
            ),
            output_len: 0,
            output_cut: 0,
        };
        store
            .write(move |txn| {
                ledger::conclude(txn, &event)?;
                spool::append(txn, Lane::Urgent, now_ms, &Report::Command(event))
            })
            .await?;
    }
    if let Err(error) = fs::remove_dir_all(work)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "folders of earlier scripts could not be removed");
    }
    platform::create_private_dir(work).map_err(|e| StoreError::Failed(e.to_string()))?;
    Ok(unfinished.len())
}
