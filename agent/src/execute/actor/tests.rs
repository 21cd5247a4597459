//! A disk whose sync fails says nothing of what it kept.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::{
    clock::now_ms,
    execute::RunningSet,
    guard::Memory,
    link::{
        live::LiveQueue,
        spool::{Quotas, Spool},
    },
    platform::Keepers,
    store::Store,
};
use std::{path::Path, time::Instant};
use unifyit_protocol::{
    codec,
    command::{Interpreter, Script, Targets},
    envelope::Decoded,
    ids::{DeviceId, OrganizationId, SiteId},
    lan::{Handed, ReportAck},
    report::ReportBatch,
    signing::Signer25519,
};

/// An executor that goes step by step, and a script for it.
struct Bench {
    executor: Executor,
    inbox: mpsc::Receiver<Order>,
    store: Store,
    spool: Spool,
    authority: Signer25519,
    signed: Signed<Command>,
    id: CommandId,
}

async fn bench(state: &Path) -> Bench {
    let store = Store::open(state, Quotas::share(64 << 20), now_ms()).unwrap();
    let context = Context {
        store: store.clone(),
        live: Arc::new(LiveQueue::default()),
        work: state.join("work"),
        keepers: Arc::new(Keepers::of("/bin/false".into())),
        stop: CancellationToken::new(),
        running: Arc::new(RunningSet::default()),
    };
    let spool = Spool::new(store.clone());
    spool.welcome(&[]).unwrap();
    // What the welcome had to write is written.
    store.write(|_| Ok(())).await.unwrap();
    let authority = Signer25519::from_seed(&[1; 32]);
    let guard = Guard {
        device: DeviceId::generate(),
        organization: OrganizationId::generate(),
        site: SiteId::generate(),
        authority: authority.public(),
    };
    let signed = authority.sign(&script(guard), None).unwrap();
    let terminals = Terminals::new(context.clone(), 1);
    let (orders, inbox) = mpsc::channel(8);
    let executor = Executor::new(guard, context, terminals, 1, orders);
    let id = signed.peek().unwrap().id;
    Bench { executor, inbox, store, spool, authority, signed, id }
}

fn script(guard: Guard) -> Command {
    let script = Script {
        interpreter: Interpreter::Sh,
        body: "true".into(),
        args: Vec::new(),
        env: Vec::new(),
        user: None,
        folder: None,
        timeout_s: 0,
        output_limit: 1024,
    };
    Command {
        id: CommandId::generate(),
        organization: guard.organization,
        targets: Targets::Site(guard.site),
        action: Action::Script(script),
        not_before_ms: 0,
        expires_ms: now_ms() + 3_600_000,
        counter: 1,
        issued_ms: now_ms(),
    }
}

impl Bench {
    async fn deliver(&mut self) {
        self.executor.delivered(Box::new(self.signed.clone())).await;
    }

    fn script(&self) -> Command {
        script(self.executor.guard)
    }

    fn command(&self) -> Signed<Command> {
        self.authority.sign(&self.script(), None).unwrap()
    }

    /// Cancels the script.
    fn cancel(&self) -> Signed<Command> {
        let cancel = Command { action: Action::Cancel { command: self.id }, ..self.script() };
        self.authority.sign(&cancel, None).unwrap()
    }

    /// The disk spoils what was written down of the script.
    async fn damage(&self) {
        let key = self.id.0.as_u128();
        let damage = self.store.write(move |txn| {
            txn.tables.open_table(crate::store::LEDGER)?.insert(key, [0xff].as_slice())?;
            Ok(())
        });
        damage.await.unwrap();
    }

    /// What a relay is sent of commands that takes all.
    fn sent(&mut self) -> Vec<CommandEvent> {
        let mut events = Vec::new();
        while let Some(bytes) = self.spool.next_batch(None, Instant::now()).unwrap() {
            let ReportBatch { epoch, lane, reports, .. } = codec::decode(&bytes).unwrap();
            let through = reports.last().unwrap().seq;
            for report in reports {
                if let Ok(Decoded::Known(Report::Command(e))) = Report::decode(&report.body) {
                    events.push(e);
                }
            }
            self.spool.acked(&ReportAck { lane, epoch, through }, Instant::now());
        }
        events
    }

    /// How the script stands by that.
    fn told(&mut self) -> Vec<Status> {
        let id = self.id;
        let of_it = self.sent().into_iter().filter(|e| e.command == id);
        of_it.map(|e| e.status).collect()
    }

    fn outcome(&self) -> Option<CommandEvent> {
        self.store.seen(self.id).unwrap().unwrap().outcome
    }
}

#[tokio::test]
async fn a_command_whose_intent_is_in_the_file_though_its_commit_failed_is_told_as_not_started() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    bench.store.fails();
    bench.deliver().await;
    let Some(Order::Back(signed, waited)) = bench.inbox.recv().await else { panic!("it began") };
    bench.deliver().await;
    assert_eq!(bench.outcome(), None, "it is under way until this word was heard");
    bench.executor.back(&signed, waited).await;
    let outcome = bench.outcome().unwrap();
    assert_eq!(outcome.status, Status::Failed);
    assert!(outcome.reason.unwrap().contains("did not start"));
    assert_eq!(bench.told().last(), Some(&Status::Failed));
    bench.deliver().await;
    assert!(bench.executor.active.is_empty() && bench.inbox.try_recv().is_err(), "and not again");
}

#[tokio::test]
async fn it_is_told_later_where_the_disk_fails_when_it_is_to_be_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    bench.store.fails();
    bench.deliver().await;
    let Some(Order::Back(signed, waited)) = bench.inbox.recv().await else { panic!("it began") };
    // Whoever repeats it is told that it runs, and does not repeat it any more.
    bench.deliver().await;
    assert!(!waited && bench.told().contains(&Status::Running));
    for _ in 0..2 {
        // What else waited for the disk is not what fails.
        bench.store.write(|_| Ok(())).await.unwrap();
        bench.store.loses();
        match bench.executor.later.due(u64::MAX) {
            None => bench.executor.back(&signed, waited).await,
            Some(again) => bench.executor.judge(again, true).await,
        }
        assert_eq!(bench.outcome(), None);
    }
    let again = bench.executor.later.due(u64::MAX).unwrap();
    bench.executor.judge(again, true).await;
    assert_eq!(bench.outcome().unwrap().status, Status::Failed);
    assert_eq!(bench.told().last(), Some(&Status::Failed));
    assert!(bench.executor.later.next_due().is_none());
}

#[tokio::test]
async fn all_whose_intents_were_in_a_commit_that_failed_are_told_as_not_started() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let (now, several) = (now_ms(), [bench.command(), bench.command(), bench.command()]);
    let ids = several.each_ref().map(|signed| signed.peek().unwrap().id);
    bench.store.fails();
    let intents = bench.store.write(move |txn| {
        for id in ids {
            let entry = Entry { expires_ms: now + 3_600_000, accepted_ms: now, outcome: None };
            ledger::write(txn, id, &entry, now)?;
            let runs = event(id, Status::Running, now, None);
            spool::append_urgent(txn, now, &Report::Command(runs))?;
        }
        Ok(())
    });
    assert!(intents.await.is_err());
    let mut told = HashMap::new();
    for signed in several {
        bench.executor.back(&Bearer::from(Box::new(signed)), false).await;
        // The relay takes what there is, and says so.
        told.extend(bench.sent().into_iter().map(|e| (e.command, e.status)));
    }
    assert_eq!(ids.map(|id| told[&id]), [Status::Failed; 3]);
}

#[tokio::test]
async fn one_that_never_began_is_cancelled_while_the_disk_takes_no_end_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    bench.store.fails();
    bench.deliver().await;
    let Some(Order::Back(signed, waited)) = bench.inbox.recv().await else { panic!("it began") };
    bench.store.loses();
    bench.executor.back(&signed, waited).await;
    assert_eq!(bench.outcome(), None);
    bench.executor.delivered(Box::new(bench.cancel())).await;
    assert_eq!(bench.outcome().unwrap().status, Status::Cancelled);
    assert_eq!(bench.told().last(), Some(&Status::Cancelled));
    assert!(bench.executor.later.next_due().is_none());
}

#[tokio::test]
async fn an_agent_that_stops_tells_first_of_what_never_began() {
    for told_before in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = bench(dir.path()).await;
        bench.store.fails();
        bench.deliver().await;
        if told_before {
            let back = bench.inbox.recv().await.unwrap();
            bench.executor.orders.send(back).await.unwrap();
        }
        bench.executor.context.stop.cancel();
        bench.executor.run(bench.inbox).await;
        let outcome = bench.store.seen(bench.id).unwrap().unwrap().outcome.unwrap();
        assert!(outcome.reason.unwrap().contains("did not start"), "{told_before}");
    }
}

/// A script's task has had its last look when its agent stopped; then a cancel is taken.
#[tokio::test]
async fn a_cancel_that_lies_in_the_inbox_when_the_agent_stops_is_left_to_its_next_start() {
    // By chance it would go well every second time.
    for _ in 0..16 {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = bench(dir.path()).await;
        bench.store.loses();
        bench.deliver().await;
        bench.executor.context.stop.cancel();
        bench.executor.tasks.join_next().await.unwrap().unwrap();
        let cancel = bench.cancel();
        let id = cancel.peek().unwrap().id;
        bench.executor.orders.send(Order::Deliver(Box::new(cancel))).await.unwrap();
        bench.executor.run(bench.inbox).await;
        let seen = [id, bench.id].map(|id| bench.store.seen(id).unwrap());
        assert_eq!(seen, [None, None], "answered, and nobody cancels");
    }
}

#[tokio::test]
async fn what_was_cancelled_before_its_agent_stopped_is_told_as_that() {
    for word_came in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = bench(dir.path()).await;
        bench.store.loses();
        bench.deliver().await;
        if word_came {
            let back = bench.inbox.recv().await.unwrap();
            bench.executor.delivered(Box::new(bench.cancel())).await;
            bench.executor.orders.send(back).await.unwrap();
        } else {
            // As a cancel does that is taken while the intent is on its way.
            bench.executor.active[&bench.id].cancel();
        }
        bench.executor.context.stop.cancel();
        bench.executor.run(bench.inbox).await;
        let told = bench.store.seen(bench.id).unwrap().and_then(|seen| seen.outcome);
        assert_eq!(told.map(|e| e.status), Some(Status::Cancelled), "{word_came}");
    }
}

#[tokio::test]
async fn so_many_that_did_not_begin_are_kept_apart_and_no_more() {
    for waited in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = bench(dir.path()).await;
        let others = std::iter::repeat_with(CommandId::generate);
        bench.executor.undurable.extend(others.take(MAX_UNDURABLE));
        bench.store.fails();
        bench.deliver().await;
        let Some(Order::Back(signed, _)) = bench.inbox.recv().await else { panic!("it began") };
        bench.store.loses();
        bench.executor.back(&signed, waited).await;
        assert_eq!(bench.executor.undurable.len(), MAX_UNDURABLE);
        // The relay was told that one is held which waited: nobody else brings it back.
        match bench.executor.later.due(u64::MAX) {
            Some(again) if waited => bench.executor.judge(again, true).await,
            None if !waited => bench.deliver().await,
            _ => panic!("kept without need, or lost: {waited}"),
        }
        // It never runs, only nobody knows why any more.
        assert_eq!(bench.outcome().unwrap().status, Status::Indeterminate);
    }
}

#[tokio::test]
async fn what_an_earlier_run_left_in_a_file_that_was_put_back_may_have_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let (id, now) = (bench.id, now_ms());
    let entry = Entry { expires_ms: now + 3_600_000, accepted_ms: now, outcome: None };
    assert!(bench.store.write(move |txn| ledger::write(txn, id, &entry, now)).await.unwrap());
    bench.deliver().await;
    assert_eq!(bench.outcome().unwrap().status, Status::Indeterminate);
}

#[tokio::test]
async fn a_command_whose_entry_is_damaged_is_told_as_lost_track_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    bench.damage().await;
    bench.deliver().await;
    assert_eq!(bench.outcome().unwrap().status, Status::Indeterminate);
    assert_eq!(bench.told(), [Status::Indeterminate]);
}

#[tokio::test]
async fn a_script_whose_entry_is_damaged_while_it_runs_is_told_as_running() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    bench.executor.active.insert(bench.id, CancellationToken::new());
    bench.damage().await;
    bench.deliver().await;
    assert_eq!(bench.told(), [Status::Running]);
    // Its end is told until the executor heard of it, too.
    let (id, now) = (bench.id, now_ms());
    let ends = move |txn: &mut crate::store::Txn<'_>| {
        ledger::conclude(txn, &event(id, Status::Succeeded, now, None))
    };
    bench.store.write(ends).await.unwrap();
    bench.deliver().await;
    assert_eq!(bench.told(), [Status::Succeeded]);
}

#[tokio::test]
async fn what_was_judged_is_not_kept_in_mind_for_the_next_connection() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    bench.store.handed(Handed { started: vec![bench.id], ..Handed::default() });
    bench.store.birth().came(bench.id);
    Spool::new(bench.store.clone()).welcome(&[]).unwrap();
    bench.deliver().await;
    let reason = bench.outcome().unwrap().reason.unwrap();
    assert!(reason.contains("handed to this computer before"), "{reason}");
    Spool::new(bench.store.clone()).welcome(&[]).unwrap();
    assert!(!bench.store.was_handed(bench.id, 0));
}

#[tokio::test]
async fn what_the_agent_is_too_old_for_stays_refused_whatever_version_comes() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let mut later = bench.script();
    if let Action::Script(script) = &mut later.action {
        script.interpreter = Interpreter::Later;
    }
    (bench.id, bench.signed) = (later.id, bench.authority.sign(&later, None).unwrap());
    bench.deliver().await;
    assert_eq!(bench.told(), [Status::Refused]);
    let Ok(Some(seen)) = bench.store.seen(later.id) else { panic!() };
    assert_eq!(seen.outcome.map(|outcome| outcome.status), Some(Status::Refused));
}
