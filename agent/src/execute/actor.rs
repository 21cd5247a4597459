//! The actor that receives commands and decides what happens to each.

mod cancel;
mod known;
#[cfg(test)]
mod tests;

use super::{
    Context, Terminals,
    carry::{Carried, FULL, RETRY, carry, conclude_cancelled, conclude_in, event},
    later::{Bearer, Later},
    ledger::{self, Entry},
};
use crate::{
    clock::{now_ms, stepped},
    guard::{Guard, Refusal, Verdict},
    link::spool,
    store::StoreError,
};
use known::conclude_unbegun_at_the_end;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    command::{Action, Command},
    ids::CommandId,
    lane::Lane,
    live::{Holds, TunnelClosed},
    outcome::{CommandEvent, Status},
    report::Report,
    signing::Signed,
};

/// Refusals reported at once, and one more each second: forged commands must not
/// push genuine outcomes out of the spool.
const MAX_REFUSALS: u32 = 60;
/// Longest wait before held commands are looked at again: clocks jump.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Commands that did not begin and may be in the file, kept apart from those of which
/// nothing is known. Beyond that a disk keeps failing whatever comes.
const MAX_UNDURABLE: usize = 256;

/// What the actor is told.
#[derive(Debug)]
pub enum Order {
    /// A command came.
    Deliver(Box<Signed<Command>>),
    /// A script's task ended.
    Ended(CommandId),
    /// A script could not be started because its intent could not be made durable; and
    /// whether it had waited, so that the relay believes it held here.
    Back(Arc<Signed<Command>>, bool),
}

/// See the module.
pub struct Executor {
    guard: Guard,
    context: Context,
    terminals: Terminals,
    max_scripts: usize,
    orders: mpsc::Sender<Order>,
    active: HashMap<CommandId, CancellationToken>,
    /// Commands of this run that did not begin because the commit of their intent failed,
    /// and that may be in the file all the same. Each until its end is durable; at most
    /// [`MAX_UNDURABLE`].
    undurable: HashSet<CommandId>,
    later: Later,
    refusals: (u32, u64),
    tasks: JoinSet<()>,
}

impl Executor {
    /// An executor; `orders` is the sending end of the inbox given to [`Self::run`].
    #[must_use]
    pub fn new(
        guard: Guard,
        context: Context,
        terminals: Terminals,
        max_scripts: usize,
        orders: mpsc::Sender<Order>,
    ) -> Self {
        Self {
            guard,
            context,
            terminals,
            max_scripts,
            orders,
            active: HashMap::new(),
            undurable: HashSet::new(),
            later: Later::default(),
            refusals: (MAX_REFUSALS, 0),
            tasks: JoinSet::new(),
        }
    }

    /// Works until the context's stop, then waits for the scripts to be ended and
    /// their outcomes to be durable.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        let stop = self.context.stop.clone();
        self.context.keepers.make_ready();
        loop {
            let due = self.later.next_due().map(|at| at.saturating_sub(now_ms()));
            let held = due.is_some();
            let due = due.map_or(LOOK_AGAIN, Duration::from_millis).min(LOOK_AGAIN);
            tokio::select! {
                // Before a stop that lies in the inbox: a script that could not start has
                // its last look at whether it was stopped when the agent is.
                biased;
                () = stop.cancelled() => break,
                order = inbox.recv() => match order {
                    Some(Order::Deliver(signed)) => self.delivered(signed).await,
                    Some(Order::Ended(id)) => self.ended(id).await,
                    Some(Order::Back(signed, waited)) => self.back(&signed, waited).await,
                    None => break,
                },
                () = sleep(due), if held => self.release().await,
                // How far away their time is, is asked anew.
                () = stepped(), if held => {}
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
            }
        }
        // What waits has no intent: the relay delivers it again to the next start. But
        // what was cancelled meanwhile is told here, or nobody knows of it any more.
        inbox.close();
        while self.tasks.join_next().await.is_some() {}
        while let Some(order) = inbox.recv().await {
            if let Order::Back(signed, _) = order {
                self.back_at_the_end(&signed).await;
            }
        }
        // Nor would the next start know that these did not begin.
        for id in std::mem::take(&mut self.undurable) {
            conclude_unbegun_at_the_end(&self.context, id).await;
        }
    }

    async fn delivered(&mut self, signed: Box<Signed<Command>>) {
        let claim = signed.peek().ok().map(|c| (c.id, super::terminal::tunnel_of(&c)));
        self.judge(Bearer::from(signed), false).await;
        if let Some((id, tunnel)) = claim {
            self.context.store.birth().judged(id);
            self.terminals.settle(tunnel);
        }
    }

    /// Judges a command at this moment and does what follows; `waited` says that it
    /// did not come just now. When the disk fails, the relay delivers again what it was
    /// not told to be held; what was, nobody else brings back.
    async fn judge(&mut self, signed: Bearer, waited: bool) {
        if !waited && self.is_here(&signed) {
            return;
        }
        match self.decide(Bearer::clone(&signed), waited).await {
            Ok(()) if waited => {
                // It ended, or begins anew.
                let _unreadable = signed.peek().map(|claim| self.undurable.remove(&claim.id));
            }
            Ok(()) => {}
            Err(error) if waited => {
                tracing::error!(%error, "a command that waited cannot have its turn yet");
                self.put_back(&signed);
            }
            Err(error) => {
                tracing::error!(%error, "a command cannot be taken; it waits at the relay");
            }
        }
    }

    /// Keeps a command for another try.
    fn put_back(&mut self, signed: &Bearer) {
        let Ok(claim) = signed.peek() else { return };
        let again = now_ms().saturating_add(u64::try_from(RETRY.as_millis()).unwrap_or(0));
        self.later.again(again, claim.id, Bearer::clone(signed));
        // A database that failed is opened again with the next write.
        self.context.store.nudge();
    }

    async fn decide(&mut self, signed: Bearer, waited: bool) -> Result<(), StoreError> {
        let now = now_ms();
        match self.guard.judge(&signed, now, &self.context.store, waited)? {
            Verdict::Pass(command) => return self.pass(command, signed, now, waited).await,
            Verdict::Hold(command, from) => return self.hold(&command, signed, from).await,
            Verdict::Known(id, seen) => {
                // It may have got here twice before its time came.
                self.later.forget(id);
                let active = self.active.contains_key(&id);
                if seen.outcome.is_none() && !active {
                    return self.unbegun(id, now).await;
                }
                // Its end mends the entry of one that is under way.
                let runs = active && ledger::is_damaged(&self.context.store, id);
                self.answer(id, seen.outcome.filter(|_| !runs), now).await;
            }
            Verdict::Expired(command) => {
                let reason = "It arrived after its expiry.";
                let waits = "Its expiry passed while it waited for its turn.";
                let reason = if waited { waits } else { reason };
                return self.conclude(&command, Status::Expired, reason).await;
            }
            Verdict::Forgotten(command, why) => {
                tracing::warn!(command = %command.id, %why, "a command was not run");
                return self.conclude(&command, Status::Indeterminate, &why.to_string()).await;
            }
            Verdict::TooOld(command, reason) => {
                tracing::warn!(command = %command.id, reason, "a command was not run");
                return self.conclude(&command, Status::Refused, &reason).await;
            }
            Verdict::NotYet(command) => {
                tracing::info!(command = %command.id, "a command came before the relay's greeting");
                if let Action::Terminal(terminal) = &command.action {
                    let reason = "The agent is just starting. Try again in a moment.".into();
                    self.context.live.offer(TunnelClosed { tunnel: terminal.tunnel, reason });
                }
            }
            Verdict::Refused(refusal) => self.refuse(refusal, now).await,
        }
        Ok(())
    }

    async fn refuse(&mut self, refusal: Refusal, now: u64) {
        let (left, since) = self.refusals;
        let regained = u32::try_from(now.saturating_sub(since) / 1000).unwrap_or(MAX_REFUSALS);
        let left = left.saturating_add(regained).min(MAX_REFUSALS);
        self.refusals = if regained > 0 { (left, now) } else { (left, since) };
        let text = refusal.reason.to_string();
        if left == 0 {
            tracing::debug!(reason = text, "a command was refused");
            return;
        }
        self.refusals.0 = left - 1;
        tracing::warn!(command = ?refusal.command, reason = text, "a command was refused");
        if let Some(tunnel) = refusal.tunnel {
            self.context.live.offer(TunnelClosed { tunnel, reason: text });
        } else if let Some(id) = refusal.command {
            // Forged words about a command that is under way change nothing.
            if !self.active.contains_key(&id) && !self.is_known(id) {
                self.report(event(id, Status::Refused, now, Some(text))).await;
            }
        }
    }

    async fn hold(
        &mut self,
        command: &Command,
        signed: Bearer,
        from: u64,
    ) -> Result<(), StoreError> {
        if let Action::Terminal(_) = &command.action {
            // Nobody would look at it by then.
            let reason = "The terminal's time has not come by the site's time, which this \
                computer has from its relay. Compare the clocks of the relay and the cloud: run \
                unifyit-relay doctor at the site.";
            return self.conclude(command, Status::Refused, reason).await;
        }
        match self.later.hold(from, command.id, signed) {
            Ok(()) => self.say_held(command.id),
            Err(reason) => return self.conclude(command, Status::Refused, reason).await,
        }
        Ok(())
    }

    /// The relay need not deliver it again.
    fn say_held(&self, id: CommandId) {
        self.context.live.offer(Holds { commands: vec![id] });
    }

    async fn release(&mut self) {
        while let Some(signed) = self.later.due(now_ms()) {
            self.judge(signed, true).await;
        }
    }

    async fn pass(
        &mut self,
        command: Box<Command>,
        signed: Bearer,
        now: u64,
        waited: bool,
    ) -> Result<(), StoreError> {
        let id = command.id;
        if self.active.contains_key(&id) {
            return Ok(());
        }
        if self.later.contains(id) {
            // What was held may pass by now; what waits keeps its place.
            self.say_held(id);
            return Ok(());
        }
        match &command.action {
            Action::Script(_) if self.active.len() < self.max_scripts => {
                self.start(command, signed, now, waited);
            }
            Action::Script(_) => match self.later.wait(id, signed) {
                Ok(()) => self.say_held(id),
                Err(reason) => return self.conclude(&command, Status::Refused, reason).await,
            },
            Action::Cancel { command: target } => {
                return self.cancel(&command, *target, now).await;
            }
            Action::Terminal(terminal) => {
                let entry = Entry {
                    expires_ms: command.expires_ms,
                    accepted_ms: now,
                    outcome: Some(event(id, Status::Succeeded, now, None)),
                };
                let written =
                    self.context.store.write(move |txn| ledger::write(txn, id, &entry, now)).await;
                let reason = match written {
                    Ok(true) => match self.terminals.open(id, terminal) {
                        Ok(()) => return Ok(()),
                        Err(sentence) => sentence,
                    },
                    Ok(false) => FULL.into(),
                    Err(error) => error.to_string(),
                };
                self.context.live.offer(TunnelClosed { tunnel: terminal.tunnel, reason });
            }
            // The guard lets none pass.
            Action::Later(_) => {}
        }
        Ok(())
    }

    fn start(&mut self, command: Box<Command>, signed: Bearer, now: u64, waited: bool) {
        let token = CancellationToken::new();
        self.active.insert(command.id, token.clone());
        let (context, orders) = (self.context.clone(), self.orders.clone());
        self.tasks.spawn(async move {
            let id = command.id;
            let word = match carry(&context, &command, now, &token, (signed, waited)).await {
                Carried::ToItsEnd => Order::Ended(id),
                Carried::Nowhere(signed) => Order::Back(signed, waited),
            };
            context.keepers.make_ready();
            let nowhere = matches!(word, Order::Back(..));
            context.running.remove(id);
            // The actor may be waiting for this very task at the end.
            tokio::select! {
                biased;
                () = context.stop.cancelled() => {}
                _ = orders.send(word) => return,
            }
            if nowhere && token.is_cancelled() {
                conclude_cancelled(&context, id, command.expires_ms).await;
            } else if nowhere {
                conclude_unbegun_at_the_end(&context, id).await;
            }
        });
    }

    async fn ended(&mut self, id: CommandId) {
        self.active.remove(&id);
        while self.active.len() < self.max_scripts
            && let Some(next) = self.later.next()
        {
            self.judge(next, true).await;
        }
    }

    /// Ends a genuine command that is not executed, for good: what was said of it
    /// stays true whatever clocks do.
    async fn conclude(
        &self,
        command: &Command,
        status: Status,
        reason: &str,
    ) -> Result<(), StoreError> {
        let now = now_ms();
        if let Action::Terminal(terminal) = &command.action {
            let closed = TunnelClosed { tunnel: terminal.tunnel, reason: reason.to_owned() };
            self.context.live.offer(closed);
        }
        let (outcome, expires_ms) =
            (event(command.id, status, now, Some(reason.into())), command.expires_ms);
        self.context.store.write(move |txn| conclude_in(txn, expires_ms, outcome, now)).await
    }

    async fn report(&self, event: CommandEvent) {
        let write = self.context.store.write(move |txn| {
            let at_ms = event.at_ms;
            spool::append(txn, Lane::Urgent, at_ms, &Report::Command(event))
        });
        if let Err(error) = write.await {
            tracing::error!(%error, "an event of a command cannot be stored");
        }
    }
}
