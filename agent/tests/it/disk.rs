//! A disk that fails for a moment: what the relay believes held here has its turn all
//! the same (G3), and output that was not stored in time is stored or told (G6).

use crate::bench::{Bench, runs, sh};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
};
use tokio::{sync::oneshot, task::JoinHandle};
use unifyit_agent::{
    clock::now_ms,
    store::{StoreError, Txn},
};
use unifyit_protocol::{
    command::{Action, Command, Script},
    ids::CommandId,
    lane::Lane,
    live::LiveUp,
    outcome::{OutputChunk, Status},
};

/// The database of a state folder, out of reach until it is mended.
struct Broken {
    file: PathBuf,
    aside: PathBuf,
}

impl Broken {
    /// From here on nothing can be read and nothing written.
    async fn of(bench: &Bench, state: &Path) -> Self {
        let file = state.join("agent.redb");
        let aside = state.join("aside");
        fs::rename(&file, &aside).unwrap();
        fs::create_dir(&file).unwrap();
        fail_once(bench).await;
        assert!(bench.context.store.read(|_| Ok(())).is_err(), "the database can be read");
        Self { file, aside }
    }

    fn mend(self) {
        fs::remove_dir(&self.file).unwrap();
        fs::rename(&self.aside, &self.file).unwrap();
    }
}

/// One job that fails, and with it all that share its commit.
async fn fail_once(bench: &Bench) {
    let full = || StoreError::Failed("no space left on device".into());
    let failed = bench.context.store.write(move |_| Err::<(), _>(full())).await;
    assert!(failed.is_err());
}

fn in_a_moment(bench: &Bench, body: &str) -> Command {
    let action = Action::Script(sh(body));
    Command { not_before_ms: now_ms() + 1_500, ..bench.command(action) }
}

async fn held(bench: &Bench, command: &Command) {
    loop {
        if let LiveUp::Holds(holds) = bench.live().await {
            assert_eq!(holds.commands, [command.id]);
            return;
        }
    }
}

#[tokio::test]
async fn a_held_command_that_could_not_be_judged_has_its_turn_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let (runs, ends) = (in_a_moment(&bench, "echo ran"), in_a_moment(&bench, "echo ran"));
    let ends = Command { expires_ms: ends.not_before_ms + 1, ..ends };
    for command in [&runs, &ends] {
        bench.deliver(command).await;
        held(&bench, command).await;
    }
    let broken = Broken::of(&bench, dir.path()).await;
    // Not before their turn has come and gone: what is tried again stands later.
    while now_ms() < ends.not_before_ms + 500 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    broken.mend();
    assert_eq!(bench.outcome(runs.id).await.status, Status::Succeeded);
    assert_eq!(bench.outcome(ends.id).await.status, Status::Expired);
}

/// Keeps the store's writer at one commit, to which nothing is added any more, until
/// told to go on.
async fn occupy(bench: &Bench) -> (mpsc::Sender<()>, JoinHandle<Result<(), StoreError>>) {
    let (go_on, wait) = mpsc::channel::<()>();
    let (begun, begins) = oneshot::channel();
    let store = bench.context.store.clone();
    let busy = tokio::spawn(async move {
        let work = move |_: &mut Txn<'_>| {
            let _somebody_waits = begun.send(());
            wait.recv().map_err(|_| StoreError::Closed)
        };
        store.write(work).await
    });
    begins.await.unwrap();
    (go_on, busy)
}

/// The intent of a command that was held fails; `meanwhile` goes ahead of that.
async fn intent_fails(bench: &Bench, command: &Command, meanwhile: impl AsyncFnOnce(&Bench)) {
    bench.deliver(command).await;
    held(bench, command).await;
    let (go_on, busy) = occupy(bench).await;
    // Its keeper is made in the moment in which its intent is handed to the writer,
    // which is busy: so the intent shares the commit of the job that fails.
    let folder = bench.context.work.join(command.id.to_string());
    Bench::wait_for("the keeper", || folder.join("script.sh").exists()).await;
    meanwhile(bench).await;
    let fails = fail_once(bench);
    let (_, sent) = tokio::join!(fails, async { go_on.send(()) });
    sent.unwrap();
    busy.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_held_command_whose_intent_was_not_stored_has_its_turn_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 1).await;
    let command = in_a_moment(&bench, "echo ran");
    intent_fails(&bench, &command, async |_| {}).await;
    assert_eq!(bench.outcome(command.id).await.status, Status::Succeeded);
    assert_eq!(bench.text(command.id), "ran\n");
}

/// Stops the processes that bear a command's mark, as a disk that hangs does.
fn freeze(command: &Command) {
    let mark = format!("UNIFYIT_COMMAND={}", command.id);
    let mut frozen = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let bears = fs::read(entry.path().join("environ")).unwrap_or_default();
        if bears.windows(mark.len()).any(|w| w == mark.as_bytes()) {
            let pid = entry.file_name().to_str().unwrap().parse().unwrap();
            frozen += usize::from(kill(Pid::from_raw(pid), Signal::SIGSTOP).is_ok());
        }
    }
    assert!(frozen > 0, "nobody bears its mark");
}

#[tokio::test]
async fn a_keeper_that_does_not_end_is_not_in_the_way_of_the_next_try() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 1).await;
    let command = in_a_moment(&bench, "echo ran");
    intent_fails(&bench, &command, async |_| freeze(&command)).await;
    let outcome = bench.outcome(command.id).await;
    assert_eq!(outcome.status, Status::Succeeded, "{:?}", outcome.reason);
    assert_eq!(bench.text(command.id), "ran\n");
}

/// A cancel, and when it is heard of.
#[derive(Clone, Copy, PartialEq)]
enum Cancelled {
    /// While the intent waits for the disk.
    Before,
    /// When the disk has refused the intent, before that is known to whoever decides.
    Between,
}

/// A command whose intent the disk refuses, and that somebody cancels meanwhile.
async fn cancelled_while_its_intent_failed(waits: bool, cancelled: Cancelled) {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 2).await;
    let mark = dir.path().join("ran");
    let in_a_moment = in_a_moment(&bench, &format!("touch {}", mark.display()));
    let not_before_ms = if waits { in_a_moment.not_before_ms } else { 0 };
    let command = Command { not_before_ms, ..in_a_moment };
    let cancel = bench.command(Action::Cancel { command: command.id });
    let other = bench.command(Action::Cancel { command: CommandId::generate() });
    let (go_on, busy) = if waits {
        bench.deliver(&command).await;
        held(&bench, &command).await;
        occupy(&bench).await
    } else {
        let occupied = occupy(&bench).await;
        bench.deliver(&command).await;
        occupied
    };
    let folder = bench.context.work.join(command.id.to_string());
    Bench::wait_for("the keeper", || folder.join("script.sh").exists()).await;
    if cancelled == Cancelled::Between {
        // Whoever decides waits for the disk too, and hears of the cancel thereafter.
        bench.deliver(&other).await;
    }
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
    bench.deliver(&cancel).await;
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
    let fails = fail_once(&bench);
    let (_, sent) = tokio::join!(fails, async { go_on.send(()) });
    sent.unwrap();
    busy.await.unwrap().unwrap();
    assert_eq!(bench.outcome(command.id).await.status, Status::Cancelled);
    // The relay does not know it held any more, or never did.
    bench.deliver(&Command { not_before_ms: 0, ..command.clone() }).await;
    let after = bench.run(sh("true")).await;
    assert_eq!(bench.outcome(after).await.status, Status::Succeeded);
    Bench::wait_for("the end", || !folder.exists()).await;
    let ends = bench.events.iter().filter(|e| e.command == command.id && e.status.is_final());
    assert!(ends.clone().all(|e| e.status == Status::Cancelled), "{:?}", ends.collect::<Vec<_>>());
    assert!(!mark.exists(), "whoever cancelled it was told that it is stopped");
}

#[tokio::test]
async fn what_was_cancelled_while_its_intent_failed_does_not_come_back() {
    cancelled_while_its_intent_failed(true, Cancelled::Before).await;
    cancelled_while_its_intent_failed(false, Cancelled::Before).await;
}

#[tokio::test]
async fn what_was_cancelled_when_its_intent_had_failed_does_not_come_back() {
    cancelled_while_its_intent_failed(true, Cancelled::Between).await;
    cancelled_while_its_intent_failed(false, Cancelled::Between).await;
}

#[tokio::test]
async fn a_command_that_was_cancelled_while_its_intent_failed_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 1).await;
    let command = in_a_moment(&bench, "echo ran");
    let cancel = async |bench: &Bench| {
        bench.deliver(&bench.command(Action::Cancel { command: command.id })).await;
        // On one thread the executor has taken it by then, and waits for the writer.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    intent_fails(&bench, &command, cancel).await;
    assert_eq!(bench.outcome(command.id).await.status, Status::Cancelled);
    assert_eq!(bench.text(command.id), "");
}

#[tokio::test]
async fn the_end_of_an_output_that_the_disk_refused_comes_with_the_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let go = dir.path().join("go");
    let waits = format!("echo one; while ! test -e {}; do sleep 0.02; done", go.display());
    let little = bench.run(sh(&format!("{waits}; echo two"))).await;
    let much = format!("{waits}; head -c 600000 /dev/zero | tr '\\0' x; echo two");
    let much = bench.run(Script { output_limit: 1 << 20, ..sh(&much) }).await;
    bench.until("the first line", |b| b.chunks.len() == 2).await;
    let broken = Broken::of(&bench, dir.path()).await;
    fs::write(&go, "").unwrap();
    // Live output needs no disk.
    let mut ended = 0;
    while ended < 2 {
        if let LiveUp::Output(OutputChunk { data, .. }) = bench.live().await {
            ended += usize::from(data.ends_with(b"two\n"));
        }
    }
    for id in [little, much] {
        Bench::wait_for("the end", || !runs(&id.to_string())).await;
    }
    broken.mend();
    let outcome = bench.outcome(little).await;
    assert_eq!((outcome.status, outcome.output_len), (Status::Succeeded, 8));
    let outcome = bench.outcome(much).await;
    bench.until("all output", |b| b.text(little) == "one\ntwo\n").await;
    // What was given up meanwhile is told, and what follows it stands at its place.
    let of_much = |b: &Bench| {
        b.chunks.iter().rfind(|c| c.command == much).map(|c| c.offset + c.data.len() as u64)
    };
    bench.until("the end", |b| of_much(b) == Some(outcome.output_len)).await;
    assert!(bench.gaps.iter().any(|g| g.lane == Lane::Output && g.count > 0), "{:?}", bench.gaps);
}
