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
    /// Nowhere, because the disk took no intent; the relay believes it held here.
    Back(Bearer),
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
    waited: Option<Bearer>,
) -> Carried {
    let id = command.id;
    let Action::Script(script) = &command.action else { return Carried::ToItsEnd };
    // It starts while the intent goes to disk, and does nothing without an order.
    let kept = script::keeper(context, id);
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
    let intent = match intent.await {
        Ok(Some(at)) => Some(at),
        Ok(None) => return Carried::ToItsEnd,
        Err(error) => {
            // Without a durable intent nothing runs (G3).
            tracing::error!(command = %id, %error, "a command cannot be made durable");
            // Whoever cancelled it meanwhile was told that it is: it must not come back.
            if !cancel.is_cancelled() {
                return waited.map_or(Carried::ToItsEnd, Carried::Back);
            }
            None
        }
    };
    context.running.add(id);
    let waited = waited.map(drop).is_some();
    let not = match intent {
        Some(at) if waited => unstarted(context, command, at, cancel).await,
        Some(_) => None,
        None => Some((Status::Cancelled, CANCELLED)),
    };
    let (outcome, rest) = match not {
        Some((status, reason)) => {
            (event(id, status, now_ms(), Some(reason.into())), Rest::default())
        }
        None => script::run(context, id, script, cancel, kept).await,
    };
    let rest = Arc::new(rest);
    tracing::info!(command = %id, status = ?outcome.status, "a command ended");
    loop {
        let (event, rest) = (outcome.clone(), Arc::clone(&rest));
        let unstarted = Entry { expires_ms: command.expires_ms, accepted_ms: now, outcome: None };
        let written = context.store.write(move |txn| {
            if intent.is_none() {
                ledger::write(txn, id, &unstarted, now)?;
            }
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
            () = cancel.cancelled() => {
                return Some((Status::Cancelled, CANCELLED));
            }
            () = context.stop.cancelled() => {
                return Some((Status::Failed, "The agent was stopped before the script started."));
            }
            () = sleep(LOOK_AGAIN) => {}
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
