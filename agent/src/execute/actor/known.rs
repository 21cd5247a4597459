//! What is said of commands that are known already.

use super::{
    super::{carry::event, ledger},
    Executor,
};
use crate::{
    guard::{Memory, Seen},
    link::spool,
    store::StoreError,
};
use unifyit_protocol::{
    command::Command, ids::CommandId, outcome::Status, report::Report, signing::Signed,
};

const UNBEGUN: &str = "It did not start: this computer's disk failed while the command was \
    being written down. Check that the disk is healthy and not full.";

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
    pub(super) async fn answer(&self, id: CommandId, seen: Seen, now: u64) {
        let known = seen.outcome.unwrap_or_else(|| event(id, Status::Running, now, None));
        self.report(known).await;
    }

    /// Ends a command of which there is an intent and which is not under way: the commit
    /// of the intent failed, and it is in the file all the same. (What earlier runs left
    /// so was ended at the start.)
    pub(super) async fn unbegun(&self, id: CommandId, now: u64) -> Result<(), StoreError> {
        let outcome = event(id, Status::Failed, now, Some(UNBEGUN.into()));
        let written = self.context.store.write(move |txn| {
            ledger::conclude(txn, &outcome)?;
            spool::append_urgent(txn, now, &Report::Command(outcome))
        });
        written.await.map(|_| ())
    }

    pub(super) fn is_known(&self, id: CommandId) -> bool {
        !matches!(self.context.store.seen(id), Ok(None))
    }
}
