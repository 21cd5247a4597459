//! What is cancelled does not run: before its turn, while it runs, and while the disk
//! refuses its intent.

use super::{
    super::{
        carry::{conclude_cancelled, conclude_in, event},
        later::Bearer,
        ledger,
    },
    Executor, MAX_UNDURABLE, Order,
    known::{conclude_unbegun, conclude_unbegun_at_the_end},
};
use crate::{clock::now_ms, guard::Memory, store::StoreError};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    command::{Command, MAX_VALIDITY_MS},
    ids::CommandId,
    outcome::Status,
};

impl Executor {
    /// A script did not start. If it was cancelled before this word came, that is its
    /// end, and its place is taken until it is durable.
    pub(super) async fn back(&mut self, signed: &Bearer, waited: bool) {
        let Ok(Command { id, expires_ms, .. }) = signed.peek() else { return };
        if self.active.get(&id).is_some_and(CancellationToken::is_cancelled) {
            let (context, orders) = (self.context.clone(), self.orders.clone());
            self.tasks.spawn(async move {
                conclude_cancelled(&context, id, expires_ms).await;
                let _stopped = orders.send(Order::Ended(id)).await;
            });
            return;
        }
        // That it runs may have been said of it already, and then nobody delivers it again.
        let (left, again) = match self.context.store.seen(id) {
            Ok(None) => (false, waited),
            Ok(Some(seen)) => (seen.outcome.is_none(), false),
            Err(_) => (false, true),
        };
        let untold = left && conclude_unbegun(&self.context, id, now_ms()).await.is_err();
        if (again || untold) && (self.note_undurable(id) || waited) {
            self.put_back(signed);
        }
        self.ended(id).await;
    }

    /// The same when nothing is started any more.
    pub(super) async fn back_at_the_end(&self, signed: &Bearer) {
        let Ok(Command { id, expires_ms, .. }) = signed.peek() else { return };
        if self.active.get(&id).is_some_and(CancellationToken::is_cancelled) {
            conclude_cancelled(&self.context, id, expires_ms).await;
        } else {
            conclude_unbegun_at_the_end(&self.context, id).await;
        }
    }

    /// Notes that a command of this run did not begin, if there is room. What is beyond
    /// that ends as one of which nothing is known: when it is delivered again, or at the
    /// agent's next start.
    fn note_undurable(&mut self, id: CommandId) -> bool {
        let room = self.undurable.len() < MAX_UNDURABLE || self.undurable.contains(&id);
        if room {
            self.undurable.insert(id);
        } else {
            tracing::error!(
                command = %id, max = MAX_UNDURABLE,
                "more commands did not start on a failing disk than are kept apart"
            );
        }
        room
    }

    pub(super) async fn cancel(
        &mut self,
        command: &Command,
        target: CommandId,
        now: u64,
    ) -> Result<(), StoreError> {
        let mut stopped = None;
        let active = self.active.get(&target);
        if let Some(token) = active {
            token.cancel();
        }
        // Where the disk cannot say, the relay delivers the cancel again.
        let seen = if active.is_some() { None } else { self.context.store.seen(target)? };
        let answer = if active.is_some() {
            "The command is being stopped."
        } else if seen.as_ref().is_some_and(|seen| seen.outcome.is_some()) {
            "The command had already ended."
        } else {
            self.later.forget(target);
            let lost = !self.undurable.contains(&target)
                && (seen.is_some() || ledger::may_have_run(&self.context.store, target));
            let (status, reason) = if lost {
                let why = "It was cancelled. Whether it had run before is not known: the agent's \
                    memory of commands was replaced or set back.";
                (Status::Indeterminate, why)
            } else {
                (Status::Cancelled, "It was cancelled before it started.")
            };
            let outcome = event(target, status, now, Some(reason.into()));
            // A delivery that comes later finds it in the ledger and does not run.
            let expires_ms = now.saturating_add(MAX_VALIDITY_MS);
            stopped = Some((expires_ms, outcome));
            "The command will not start."
        };
        let done = event(command.id, Status::Succeeded, now, Some(answer.into()));
        let expires_ms = command.expires_ms;
        let written = self.context.store.write(move |txn| {
            if let Some((expires_ms, outcome)) = stopped {
                conclude_in(txn, expires_ms, outcome, now)?;
            }
            conclude_in(txn, expires_ms, done, now)
        });
        written.await?;
        self.undurable.remove(&target);
        Ok(())
    }
}
