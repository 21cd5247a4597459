//! The actor that receives commands and decides what happens to each.

use super::{
    Context, Terminals,
    ledger::{self, Entry},
    script,
};
use crate::{
    clock::now_ms,
    guard::{Guard, Refusal, Seen, Verdict},
    link::spool,
    store::{StoreError, Txn},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    command::{Action, Command, MAX_VALIDITY_MS},
    ids::CommandId,
    lane::Lane,
    live::TunnelClosed,
    outcome::{CommandEvent, Status},
    report::Report,
    signing::Signed,
};

const MAX_WAITING: usize = 256;
const MAX_HELD: usize = 256;
/// Refusals reported at once, and one more each second: forged commands must not
/// push genuine outcomes out of the spool.
const MAX_REFUSALS: u32 = 60;
/// Pauses between attempts to make an outcome durable.
const RETRY: Duration = Duration::from_secs(2);
/// Longest wait before held commands are looked at again: clocks jump.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What the actor is told.
#[derive(Debug)]
pub enum Order {
    /// A command came.
    Deliver(Box<Signed<Command>>),
    /// A script's task ended.
    Ended(CommandId),
}

/// See the module.
pub struct Executor {
    guard: Guard,
    context: Context,
    terminals: Terminals,
    max_scripts: usize,
    orders: mpsc::Sender<Order>,
    active: HashMap<CommandId, CancellationToken>,
    waiting: VecDeque<Box<Command>>,
    held: BTreeMap<(u64, CommandId), Box<Command>>,
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
            waiting: VecDeque::new(),
            held: BTreeMap::new(),
            refusals: (MAX_REFUSALS, 0),
            tasks: JoinSet::new(),
        }
    }

    /// Works until the context's stop, then waits for the scripts to be ended and
    /// their outcomes to be durable.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        let stop = self.context.stop.clone();
        loop {
            let due = self.held.keys().next().map(|(at, _)| at.saturating_sub(now_ms()));
            let due = due.map_or(LOOK_AGAIN, Duration::from_millis).min(LOOK_AGAIN);
            tokio::select! {
                () = stop.cancelled() => break,
                order = inbox.recv() => match order {
                    Some(Order::Deliver(signed)) => {
                        self.deliver(&signed).await;
                        self.terminals.settle(&signed);
                    }
                    Some(Order::Ended(id)) => self.ended(id).await,
                    None => break,
                },
                () = sleep(due), if !self.held.is_empty() => self.release().await,
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
            }
        }
        // What waits has no intent: the relay delivers it again to the next start.
        drop(inbox);
        while self.tasks.join_next().await.is_some() {}
    }

    async fn deliver(&mut self, signed: &Signed<Command>) {
        let now = now_ms();
        let verdict = match self.guard.judge(signed, now, &self.context.store) {
            Ok(verdict) => verdict,
            Err(error) => {
                tracing::error!(%error, "a command cannot be judged; it waits at the relay");
                return;
            }
        };
        match verdict {
            Verdict::Pass(command) => self.pass(command, now).await,
            Verdict::Hold(command, from) => self.hold(command, from).await,
            Verdict::Known(id, seen) => self.answer(id, seen, now).await,
            Verdict::Expired(command) => {
                let reason = "It arrived after its expiry.".into();
                self.report(event(command.id, Status::Expired, now, Some(reason))).await;
            }
            Verdict::Refused(refusal) => self.refuse(refusal, now).await,
        }
    }

    /// A repeated delivery is answered with what is known and never runs again.
    async fn answer(&self, id: CommandId, seen: Seen, now: u64) {
        let known = seen.outcome.unwrap_or_else(|| event(id, Status::Running, now, None));
        self.report(known).await;
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

    fn is_known(&self, id: CommandId) -> bool {
        use crate::guard::Memory;
        !matches!(self.context.store.seen(id), Ok(None))
    }

    async fn hold(&mut self, command: Box<Command>, from: u64) {
        if self.held.len() >= MAX_HELD && !self.held.contains_key(&(from, command.id)) {
            let reason = "This computer already holds 256 commands for later.";
            self.conclude(&command, Status::Refused, reason).await;
            return;
        }
        self.held.insert((from, command.id), command);
    }

    async fn release(&mut self) {
        let now = now_ms();
        while let Some(entry) = self.held.first_entry()
            && entry.key().0 <= now
        {
            let command = entry.remove();
            self.pass(command, now).await;
        }
    }

    async fn pass(&mut self, command: Box<Command>, now: u64) {
        let id = command.id;
        if self.active.contains_key(&id) || self.waiting.iter().any(|c| c.id == id) {
            return;
        }
        match &command.action {
            Action::Script(_) if self.active.len() < self.max_scripts => self.start(command, now),
            Action::Script(_) if self.waiting.len() < MAX_WAITING => {
                self.waiting.push_back(command);
            }
            Action::Script(_) => {
                let reason = "This computer already has 256 commands waiting. Try again later.";
                self.conclude(&command, Status::Refused, reason).await;
            }
            Action::Cancel { command: target } => self.cancel(&command, *target, now).await,
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
                        Ok(()) => return,
                        Err(sentence) => sentence,
                    },
                    Ok(false) => FULL.into(),
                    Err(error) => error.to_string(),
                };
                self.context.live.offer(TunnelClosed { tunnel: terminal.tunnel, reason });
            }
        }
    }

    fn start(&mut self, command: Box<Command>, now: u64) {
        let token = CancellationToken::new();
        self.active.insert(command.id, token.clone());
        let (context, orders) = (self.context.clone(), self.orders.clone());
        self.tasks.spawn(async move {
            let id = command.id;
            execute(&context, &command, now, &token).await;
            context.running.remove(id);
            // The actor may be waiting for this very task at the end.
            tokio::select! {
                _ = orders.send(Order::Ended(id)) => {}
                () = context.stop.cancelled() => {}
            }
        });
    }

    async fn ended(&mut self, id: CommandId) {
        self.active.remove(&id);
        while self.active.len() < self.max_scripts
            && let Some(next) = self.waiting.pop_front()
        {
            let now = now_ms();
            if now >= next.expires_ms {
                let reason = "Its expiry passed while it waited for other scripts.";
                self.conclude(&next, Status::Expired, reason).await;
            } else {
                self.start(next, now);
            }
        }
    }

    async fn cancel(&mut self, command: &Command, target: CommandId, now: u64) {
        let mut stopped = None;
        let answer = if let Some(token) = self.active.get(&target) {
            token.cancel();
            "The command is being stopped."
        } else if self.is_known(target) {
            "The command had already ended."
        } else {
            self.waiting.retain(|c| c.id != target);
            self.held.retain(|(_, id), _| *id != target);
            let reason = "It was cancelled before it started.".to_owned();
            let outcome = event(target, Status::Cancelled, now, Some(reason));
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
        log_failure(written.await);
    }

    /// Ends a genuine command that is not executed, for good.
    async fn conclude(&self, command: &Command, status: Status, reason: &str) {
        let now = now_ms();
        let (outcome, expires_ms) =
            (event(command.id, status, now, Some(reason.into())), command.expires_ms);
        let write = self.context.store.write(move |txn| conclude_in(txn, expires_ms, outcome, now));
        log_failure(write.await);
    }

    async fn report(&self, event: CommandEvent) {
        let write = self.context.store.write(move |txn| {
            let at_ms = event.at_ms;
            spool::append(txn, Lane::Urgent, at_ms, &Report::Command(event))
        });
        log_failure(write.await);
    }
}

const FULL: &str = "This computer remembers as many unexpired commands as it can (65,536). Wait \
    until older ones expire.";

fn event(id: CommandId, status: Status, at_ms: u64, reason: Option<String>) -> CommandEvent {
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

fn conclude_in(
    txn: &mut Txn<'_>,
    expires_ms: u64,
    outcome: CommandEvent,
    now: u64,
) -> Result<(), StoreError> {
    let entry = Entry { expires_ms, accepted_ms: now, outcome: Some(outcome.clone()) };
    ledger::write(txn, outcome.command, &entry, now)?;
    spool::append(txn, Lane::Urgent, now, &Report::Command(outcome))
}

fn log_failure(result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::error!(%error, "an event of a command cannot be stored");
    }
}

/// Intent, execution, outcome.
async fn execute(context: &Context, command: &Command, now: u64, cancel: &CancellationToken) {
    let id = command.id;
    let Action::Script(script) = &command.action else { return };
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
        spool::append(txn, Lane::Urgent, now, &Report::Command(first))?;
        Ok(accepted)
    });
    match intent.await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            // Without a durable intent nothing runs (G3); the relay delivers again.
            tracing::error!(command = %id, %error, "a command cannot be made durable");
            return;
        }
    }
    context.running.add(id);
    let outcome = script::run(context, id, script, cancel, kept).await;
    tracing::info!(command = %id, status = ?outcome.status, "a command ended");
    loop {
        let event = outcome.clone();
        let written = context.store.write(move |txn| {
            ledger::conclude(txn, &event)?;
            let at_ms = event.at_ms;
            spool::append(txn, Lane::Urgent, at_ms, &Report::Command(event))
        });
        match written.await {
            Ok(()) | Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(command = %id, %error, "an outcome cannot be made durable yet");
                sleep(RETRY).await;
            }
        }
    }
}
