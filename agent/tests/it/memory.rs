//! Memories that are lost, set back or out of date: nothing runs twice, nothing
//! runs after its time, and what is not known is said to be unknown.

use crate::bench::{Bench, gone, sh, unique_sleep};
use redb::{Database, ReadableTable, TableDefinition};
use std::{fs, path::Path, time::Duration};
use unifyit_agent::{
    clock::now_ms,
    link::spool::{Continuity, Spool},
};
use unifyit_protocol::{
    command::{Action, Command},
    ids::CommandId,
    lan::{Handed, ReportAck},
    lane::Lane,
    live::LiveUp,
    outcome::Status,
};

/// What its restore to an earlier moment leaves of a computer.
fn set_back(copy: &Path, state: &Path) {
    fs::copy(copy.join("agent.redb"), state.join("agent.redb")).unwrap();
}

async fn copy(bench: &Bench, state: &Path) -> tempfile::TempDir {
    // Nothing is being written when this was.
    bench.context.store.write(|_| Ok(())).await.unwrap();
    let copy = tempfile::tempdir().unwrap();
    fs::copy(state.join("agent.redb"), copy.path().join("agent.redb")).unwrap();
    copy
}

fn noting(bench: &Bench, state: &Path) -> Command {
    bench.command(Action::Script(sh(&format!("echo ran >> {}", state.join("ran").display()))))
}

fn times(state: &Path) -> usize {
    fs::read_to_string(state.join("ran")).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn a_held_command_does_not_start_after_its_expiry() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let mut command = noting(&bench, dir.path());
    command.not_before_ms = now_ms() + 2_400;
    command.expires_ms = now_ms() + 2_300;
    bench.deliver(&command).await;
    held(&bench, command.id).await;
    let outcome = bench.outcome(command.id).await;
    assert_eq!(outcome.status, Status::Expired);
    let reason = "Its expiry passed while it waited for its turn.";
    assert_eq!(outcome.reason.as_deref(), Some(reason), "it expired before it was held");
    // Said once, it stays true, also for a clock that goes back.
    bench
        .deliver(&Command { expires_ms: now_ms() + 60_000, not_before_ms: 0, ..command.clone() })
        .await;
    let before = bench.reports_of(command.id);
    bench.until("the answer", |b| b.reports_of(command.id) > before).await;
    assert!(bench.events.iter().all(|e| e.status == Status::Expired), "{:?}", bench.events);
    assert_eq!(times(dir.path()), 0);
}

#[tokio::test]
async fn what_a_replaced_memory_does_not_know_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let (command, other) = (noting(&bench, dir.path()), noting(&bench, dir.path()));
    for command in [&command, &other] {
        bench.deliver(command).await;
        bench.outcome(command.id).await;
    }
    let positions = bench.positions.clone();
    bench.crash().await;
    fs::remove_file(dir.path().join("agent.redb")).unwrap();
    let mut bench = Bench::meet(dir.path(), 8, positions).await;
    bench.deliver(&command).await;
    let outcome = bench.outcome(command.id).await;
    assert_eq!(outcome.status, Status::Indeterminate);
    assert!(outcome.reason.unwrap().contains("replaced or set back"));
    bench.deliver(&bench.command(Action::Cancel { command: other.id })).await;
    let cancelled = bench.outcome(other.id).await.status;
    assert_eq!(cancelled, Status::Indeterminate, "nobody can say that it did not start");
    let fresh = noting(&bench, dir.path());
    bench.deliver(&fresh).await;
    assert_eq!(bench.outcome(fresh.id).await.status, Status::Succeeded);
    assert_eq!(times(dir.path()), 3);
}

#[tokio::test]
async fn what_a_memory_that_was_set_back_forgot_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let before = noting(&bench, dir.path());
    bench.deliver(&before).await;
    bench.outcome(before.id).await;
    let old = copy(&bench, dir.path()).await;
    let forgotten = noting(&bench, dir.path());
    bench.deliver(&forgotten).await;
    bench.outcome(forgotten.id).await;
    let positions = bench.positions.clone();
    bench.crash().await;
    set_back(old.path(), dir.path());
    let mut bench = Bench::meet(dir.path(), 8, positions).await;
    let told_anew = Spool::new(bench.context.store.clone()).state_was_lost();
    assert!(told_anew, "the inventory may have gone back too");
    for command in [&before, &forgotten] {
        bench.deliver(command).await;
    }
    assert_eq!(bench.outcome(before.id).await.status, Status::Succeeded, "it is remembered");
    assert_eq!(bench.outcome(forgotten.id).await.status, Status::Indeterminate);
    let late = bench.command(Action::Cancel { command: forgotten.id });
    bench.deliver(&late).await;
    bench.outcome(late.id).await;
    assert_eq!(times(dir.path()), 2);
}

#[tokio::test]
async fn a_start_after_a_crash_is_no_setback() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let first = noting(&bench, dir.path());
    bench.deliver(&first).await;
    bench.outcome(first.id).await;
    let (positions, waits) = (bench.positions.clone(), noting(&bench, dir.path()));
    bench.crash().await;
    let mut bench = Bench::meet(dir.path(), 8, positions).await;
    bench.deliver(&waits).await;
    assert_eq!(bench.outcome(waits.id).await.status, Status::Succeeded);
    assert_eq!(times(dir.path()), 2);
}

#[tokio::test]
async fn what_waited_starts_only_when_the_relay_knows_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 1).await;
    let (nap, _, waits) = one_waits(&mut bench, dir.path()).await;
    Bench::wait_for("the process", || pid_of(&nap).is_some()).await;
    let Some(pid) = pid_of(&nap) else { panic!("it does not run") };
    let old = copy(&bench, dir.path()).await;
    // Nobody acknowledges from here on, as when the relay is gone.
    std::process::Command::new("kill").arg(pid).status().unwrap();
    let running = bench.context.running.clone();
    Bench::wait_for("its turn", || running.list().contains(&waits.id)).await;
    let started = async {
        while times(dir.path()) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(300), started).await.is_err());
    let positions = bench.positions.clone();
    bench.crash().await;
    gone(&nap).await;
    set_back(old.path(), dir.path());
    let mut bench = Bench::meet(dir.path(), 1, positions).await;
    bench.deliver(&waits).await;
    assert_eq!(bench.outcome(waits.id).await.status, Status::Succeeded);
    assert_eq!(times(dir.path()), 1);
}

#[tokio::test]
async fn what_waits_for_the_relays_word_does_not_start_once_it_has_expired() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 1).await;
    let nap = unique_sleep();
    let busy = bench.run(sh(&format!("sleep {nap}"))).await;
    bench.started(busy).await;
    Bench::wait_for("the process", || pid_of(&nap).is_some()).await;
    let Some(pid) = pid_of(&nap) else { panic!("it does not run") };
    let waits = Command { expires_ms: now_ms() + 4_000, ..noting(&bench, dir.path()) };
    bench.deliver(&waits).await;
    held(&bench, waits.id).await;
    // Nobody acknowledges from here on, as when the relay is gone.
    std::process::Command::new("kill").arg(pid).status().unwrap();
    let running = bench.context.running.clone();
    Bench::wait_for("its turn", || running.list().contains(&waits.id)).await;
    Bench::wait_for("its end", || !running.list().contains(&waits.id)).await;
    assert_eq!(bench.outcome(waits.id).await.status, Status::Expired);
    assert_eq!(times(dir.path()), 0);
}

#[tokio::test]
async fn what_waits_here_is_not_lost_because_others_remember_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 1).await;
    let (_, busy, waits) = one_waits(&mut bench, dir.path()).await;
    // A relay that was set back asks what became of it.
    bench.context.store.handed(Handed { started: vec![waits.id], ..Handed::default() });
    bench.deliver(&waits).await;
    bench.deliver(&bench.command(Action::Cancel { command: busy })).await;
    assert_eq!(bench.outcome(waits.id).await.status, Status::Succeeded);
    assert_eq!(times(dir.path()), 1);
}

/// A script sleeps in the only place (how long, and which), and another waits for it.
async fn one_waits(bench: &mut Bench, state: &Path) -> (String, CommandId, Command) {
    let nap = unique_sleep();
    let busy = bench.run(sh(&format!("sleep {nap}"))).await;
    bench.started(busy).await;
    let waits = noting(bench, state);
    bench.deliver(&waits).await;
    held(bench, waits.id).await;
    (nap, busy, waits)
}

/// The agent says that it keeps a command for later.
async fn held(bench: &Bench, id: CommandId) {
    loop {
        if let LiveUp::Holds(holds) = bench.live().await {
            assert_eq!(holds.commands, [id]);
            return;
        }
    }
}

fn pid_of(word: &str) -> Option<String> {
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_it =
            line.starts_with(b"sleep") && line.windows(word.len()).any(|w| w == word.as_bytes());
        is_it.then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

#[tokio::test]
async fn a_command_that_the_relay_saw_started_and_nobody_remembers_is_indeterminate() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let (started, sent) = (noting(&bench, dir.path()), noting(&bench, dir.path()));
    bench.context.store.handed(Handed {
        started: vec![started.id],
        sent: vec![sent.id],
        ..Handed::default()
    });
    bench.deliver(&Command { expires_ms: now_ms() - 1, ..started.clone() }).await;
    bench.deliver(&sent).await;
    assert_eq!(bench.outcome(started.id).await.status, Status::Indeterminate);
    assert_eq!(bench.outcome(sent.id).await.status, Status::Succeeded, "it was lost on its way");
    assert_eq!(times(dir.path()), 1);
}

#[tokio::test]
async fn entries_that_cannot_be_read_neither_stop_the_agent_nor_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let (damaged, later) = (noting(&bench, dir.path()), noting(&bench, dir.path()));
    for command in [&damaged, &later] {
        bench.deliver(command).await;
        bench.outcome(command.id).await;
    }
    let positions = bench.positions.clone();
    bench.crash().await;
    spoil(dir.path(), damaged.id.0.as_u128(), |_| vec![0xff, 0x00]);
    // As a later version would write that knows one more way to end.
    spoil(dir.path(), later.id.0.as_u128(), |bytes| {
        let at = bytes.windows(9).position(|w| w == b"succeeded").unwrap();
        let mut changed = bytes.to_vec();
        changed[at..at + 9].copy_from_slice(b"postponed");
        changed
    });
    let mut bench = Bench::meet(dir.path(), 8, positions).await;
    assert_eq!(bench.outcome(damaged.id).await.status, Status::Indeterminate);
    for command in [&damaged, &later] {
        let before = bench.reports_of(command.id);
        assert!(before == 0 || command.id == damaged.id, "how it ended is written there");
        bench.deliver(command).await;
        bench.until("the answer", |b| b.reports_of(command.id) > before).await;
        assert_eq!(bench.outcome(command.id).await.status, Status::Indeterminate);
    }
    assert_eq!(times(dir.path()), 2);
}

fn spoil(state: &Path, key: u128, change: impl Fn(&[u8]) -> Vec<u8>) {
    const LEDGER: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("ledger");
    let database = Database::create(state.join("agent.redb")).unwrap();
    let txn = database.begin_write().unwrap();
    {
        let mut table = txn.open_table(LEDGER).unwrap();
        let changed = change(table.get(key).unwrap().unwrap().value());
        table.insert(key, changed.as_slice()).unwrap();
    }
    txn.commit().unwrap();
}

#[tokio::test]
async fn a_relay_that_names_what_no_memory_can_hold_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), 8).await;
    let spool = Spool::new(bench.context.store.clone());
    let epoch = spool.epoch();
    for (epoch, through) in [(u64::MAX, 1), (1, u64::MAX), (i64::MAX as u64 + 1, 1)] {
        let there = ReportAck { lane: Lane::Urgent, epoch, through };
        assert_eq!(spool.welcome(&[there]).unwrap(), Continuity::Impossible);
    }
    assert_eq!(spool.epoch(), epoch);
    assert_eq!(spool.welcome(&bench.positions).unwrap(), Continuity::Holds);
}
