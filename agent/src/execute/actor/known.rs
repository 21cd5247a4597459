//! What is said of commands that are known already.

use super::{
    super::{Context, carry::event, ledger},
    Executor,
};
use crate::{
    clock::now_ms,
    guard::{Memory, Seen},
    link::spool,
    store::{Store, StoreError},
};
use unifyit_protocol::{
    command::Command,
    ids::CommandId,
    outcome::{CommandEvent, Status},
    report::Report,
    signing::Signed,
};

const UNBEGUN: &str = "It did not start: this computer's disk failed while the command was \
    being written down. Check that the disk is healthy and not full.";

const UNKNOWN: &str = "What became of it is not known: the agent's memory of commands was \
    replaced or set back while the agent ran. It is not run again by itself.";

impl Executor {
    /// Whether a delivery repeats a command that is kept for later, or is just being
    /// made durable: whatever others remember of it, it is not lost.
    pub(super) fn is_here(&self, signed: &Signed<Command>) -> bool {
        let Ok(claim) = signed.peek() else { return false };
        if self.later.contains(claim.id) {
            self.say_held(claim.id);
            return true;
        }
        self.active.contains_key(&claim.id) && !self.is_known(claim.id)
    }

    /// A repeated delivery is answered with what is known and never runs again.
    pub(super) async fn answer(&self, id: CommandId, outcome: Option<CommandEvent>, now: u64) {
        let known = outcome.unwrap_or_else(|| event(id, Status::Running, now, None));
        self.report(known).await;
    }

    /// Ends a command of which there is an intent and which is not under way. (What earlier
    /// runs left so was ended at the start.)
    pub(super) async fn unbegun(&mut self, id: CommandId, now: u64) -> Result<(), StoreError> {
        if !self.undurable.contains(&id) {
            // It is none of this run: the file is another one since it was opened again.
            let outcome = event(id, Status::Indeterminate, now, Some(UNKNOWN.into()));
            return conclude_open(&self.context, outcome).await;
        }
        conclude_unbegun(&self.context, id, now).await?;
        self.undurable.remove(&id);
        Ok(())
    }

    pub(super) fn is_known(&self, id: CommandId) -> bool {
        !matches!(self.context.store.seen(id), Ok(None))
    }
}

/// Whether there is an intent without an outcome.
fn is_open(store: &Store, id: CommandId) -> bool {
    matches!(store.seen(id), Ok(Some(Seen { outcome: None })))
}

/// Ends a command whose intent is in the file though its commit failed.
pub(super) async fn conclude_unbegun(
    context: &Context,
    id: CommandId,
    now: u64,
) -> Result<(), StoreError> {
    conclude_open(context, event(id, Status::Failed, now, Some(UNBEGUN.into()))).await
}

/// The same when the agent stops: tried once, where it is in the file.
pub(super) async fn conclude_unbegun_at_the_end(context: &Context, id: CommandId) {
    if is_open(&context.store, id)
        && let Err(error) = conclude_unbegun(context, id, now_ms()).await
    {
        tracing::error!(command = %id, %error, "that a command did not start cannot be told");
    }
}

async fn conclude_open(context: &Context, outcome: CommandEvent) -> Result<(), StoreError> {
    let written = context.store.write(move |txn| {
        ledger::conclude(txn, &outcome)?;
        let at_ms = outcome.at_ms;
        spool::append_urgent(txn, at_ms, &Report::Command(outcome))
    });
    written.await.map(|_| ())
}
