//! After a start: what became of the commands that were under way (G3).

use super::ledger;
use crate::{
    apart::within,
    link::spool,
    platform,
    store::{Store, StoreError},
};
use std::{fs, path::Path, time::Duration};
use unifyit_protocol::{
    lane::Lane,
    outcome::{CommandEvent, Status},
    report::Report,
};

/// How long looking for what a command left may take.
const LEFT_LIMIT: Duration = Duration::from_secs(8);
const WENT_DOWN: &str = "The agent went down while the command ran. It is not run again by itself.";

/// Gives every intent without an outcome the outcome `Indeterminate`, ends
/// processes that are still there, and clears the scripts' folder. Returns how
/// many there were.
///
/// # Errors
/// [`StoreError`] when the disk fails; then nothing may be executed.
pub async fn recover(store: &Store, work: &Path, now_ms: u64) -> Result<usize, StoreError> {
    let unfinished = ledger::unfinished(store)?;
    for id in &unfinished {
        let (name, mut reason) = (id.to_string(), WENT_DOWN.to_owned());
        let (ended, left) = within(LEFT_LIMIT, move || platform::end_left(&name))
            .await
            .unwrap_or_else(|_| (0, "looking for it did not come to an end".into()));
        tracing::warn!(command = %id, ended, left, "a command was under way when the agent went down");
        if !left.is_empty() {
            reason.push_str(&format!(" Not everything that it started could be ended: {left}."));
        }
        let event = CommandEvent {
            command: *id,
            status: Status::Indeterminate,
            at_ms: now_ms,
            exit_code: None,
            reason: Some(reason),
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
