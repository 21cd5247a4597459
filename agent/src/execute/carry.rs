//! One script's way: intent, execution, outcome (G3).

use super::{
    Context,
    later::Bearer,
    ledger::{self, Entry},
    output::Rest,
    script,
};
use crate::{
    clock::now_ms,
    link::spool::{self, Position, Spool},
    store::{StoreError, Txn},
};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    command::{Action, Command},
    ids::CommandId,
    outcome::{CommandEvent, Status},
    report::Report,
};

/// Pauses between attempts to make something durable.
pub(super) const RETRY: Duration = Duration::from_secs(2);
/// How often the expiry of a script is looked at whose start nobody knows of yet.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

pub(super) const FULL: &str = "This computer remembers as many unexpired commands as it can \
    (65,536). Wait until older ones expire.";

/// An event without particulars.
pub(super) fn event(
    id: CommandId,
    status: Status,
    at_ms: u64,
    reason: Option<String>,
) -> CommandEvent {
    CommandEvent {
        command: id,
        status,
        at_ms,
        exit_code: None,
        reason,
        output_len: 0,
        output_cut: 0,
    }
}

/// An outcome without an intent: entry and report in one commit.
pub(super) fn conclude_in(
    txn: &mut Txn<'_>,
    expires_ms: u64,
    outcome: CommandEvent,
    now: u64,
) -> Result<(), StoreError> {
    let entry = Entry { expires_ms, accepted_ms: now, outcome: Some(outcome.clone()) };
    ledger::write(txn, outcome.command, &entry, now)?;
    spool::append_urgent(txn, now, &Report::Command(outcome)).map(|_| ())
}

/// How far a script was carried.
pub(super) enum Carried {
    /// As far as it goes; or the relay delivers it again.
    ToItsEnd,
    /// Nowhere, because the disk took no intent.
    Nowhere(Bearer),
}

const CANCELLED: &str = "It was cancelled before it started.";

/// Executes a script. One that `waited`, and is given as it came, starts only when the
/// relay holds the report of its intent: the state of this computer may be set back to
/// one in which it still waited, and then only the relay can tell. A script that starts
/// as it arrives needs no such proof, for it arrived by the same line.
pub(super) async fn carry(
    context: &Context,
    command: &Command,
    now: u64,
    cancel: &CancellationToken,
    (signed, waited): (Bearer, bool),
) -> Carried {
    let id = command.id;
    let Action::Script(script) = &command.action else { return Carried::ToItsEnd };
    let entry = Entry { expires_ms: command.expires_ms, accepted_ms: now, outcome: None };
    let intent = context.store.write(move |txn| {
        let accepted = ledger::write(txn, id, &entry, now)?;
        let first = if accepted {
            event(id, Status::Running, now, None)
        } else {
            event(id, Status::Refused, now, Some(FULL.into()))
        };
        let at = spool::append_urgent(txn, now, &Report::Command(first))?;
        Ok(accepted.then_some(at))
    });
    // Its process is made ready while the intent goes to disk (which is asked first: to
    // start a process keeps this thread busy), and begins when that is there (G3).
    let (intent, kept) = tokio::join!(biased; intent, script::keeper(context, id, script));
    let intent = match intent {
        Ok(Some(at)) => at,
        Ok(None) => return Carried::ToItsEnd,
        Err(error) => {
            // Without a durable intent nothing runs (G3).
            tracing::error!(command = %id, %error, "a command cannot be made durable");
            // Its next try finds no keeper of this one.
            if let Ok(kept) = kept {
                script::leave(context, id, kept).await;
            }
            return Carried::Nowhere(signed);
        }
    };
    // What is under way needs no copy of what came.
    drop(signed);
    context.running.add(id);
    let not = if waited { unstarted(context, command, intent, cancel).await } else { None };
    // What was called off meanwhile has not begun, and whoever did so was told that.
    let not = not.or_else(|| called_off(context, cancel));
    let (outcome, rest) = match not {
        Some((status, reason)) => {
            // What is ready for it is cleared away.
            drop(kept);
            (event(id, status, now_ms(), Some(reason.into())), Rest::default())
        }
        None => script::run(context, id, script, cancel, kept).await,
    };
    let rest = Arc::new(rest);
    tracing::info!(command = %id, status = ?outcome.status, "a command ended");
    loop {
        let (event, rest) = (outcome.clone(), Arc::clone(&rest));
        let written = context.store.write(move |txn| {
            ledger::conclude(txn, &event)?;
            let at_ms = event.at_ms;
            rest.append(txn, at_ms)?;
            spool::append_urgent(txn, at_ms, &Report::Command(event))
        });
        match written.await {
            Ok(_) | Err(StoreError::Closed) => return Carried::ToItsEnd,
            Err(error) => {
                tracing::error!(command = %id, %error, "an outcome cannot be made durable yet");
                sleep(RETRY).await;
            }
        }
    }
}

/// Writes down that a script was cancelled of which the disk took no intent: whoever
/// cancelled it was told so, and a delivery that comes later must not run.
pub(super) async fn conclude_cancelled(context: &Context, id: CommandId, expires_ms: u64) {
    loop {
        let now = now_ms();
        let outcome = event(id, Status::Cancelled, now, Some(CANCELLED.into()));
        let written =
            context.store.write(move |txn| conclude_in(txn, expires_ms, outcome, now)).await;
        match written {
            Ok(()) | Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(command = %id, %error, "an outcome cannot be made durable yet");
                sleep(RETRY).await;
            }
        }
    }
}

/// What a script ends as that was called off before it began.
fn called_off(context: &Context, cancel: &CancellationToken) -> Option<(Status, &'static str)> {
    if cancel.is_cancelled() {
        Some((Status::Cancelled, CANCELLED))
    } else if context.stop.is_cancelled() {
        Some((Status::Failed, "The agent was stopped before the script started."))
    } else {
        None
    }
}

/// Waits until the relay knows that a script is to start. `Some` with what it ends
/// as when it is not to start any more.
async fn unstarted(
    context: &Context,
    command: &Command,
    at: Position,
    cancel: &CancellationToken,
) -> Option<(Status, &'static str)> {
    let spool = Spool::new(context.store.clone());
    loop {
        tokio::select! {
            () = spool.until_acked(at) => {}
            () = cancel.cancelled() => {}
            () = context.stop.cancelled() => {}
            () = sleep(LOOK_AGAIN) => {}
        }
        if let Some(not) = called_off(context, cancel) {
            return Some(not);
        }
        if now_ms() >= command.expires_ms {
            let reason = "Its expiry passed while it waited for its turn. It did not start.";
            return Some((Status::Expired, reason));
        }
        if spool.is_acked(at) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{link::spool::Quotas, store::Store};

    #[tokio::test]
    async fn an_end_without_an_intent_is_told_where_the_ledger_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let now = now_ms();
        let store = Store::open(dir.path(), Quotas::share(64 << 20), now).unwrap();
        let full = store.write(move |txn| {
            let open = Entry { expires_ms: u64::MAX, accepted_ms: now, outcome: None };
            while ledger::write(txn, CommandId::generate(), &open, now)? {}
            Ok(())
        });
        full.await.unwrap();
        let outcome = event(CommandId::generate(), Status::Cancelled, now, Some(CANCELLED.into()));
        let at = store.write(move |txn| {
            conclude_in(txn, u64::MAX, outcome.clone(), now)?;
            spool::append_urgent(txn, now, &Report::Command(outcome))
        });
        assert_eq!(at.await.unwrap().seq, 2, "the end was told, though it is remembered nowhere");
    }
}
