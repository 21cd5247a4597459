//! What is made ready before a command's intent is on disk, and that it waits (G3).

use crate::bench::{Bench, helper, sh};
use std::{
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use unifyit_agent::{
    platform::{Ending, KeepOrder, KeepWord, Keepers, Kept, Program, end_left},
    store::StoreError,
};
use unifyit_protocol::{
    command::Action,
    ids::CommandId,
    outcome::{CommandEvent, Status},
};

fn order(id: &str, work: &Path, body: String) -> KeepOrder {
    let program = Program::Script {
        interpreters: vec!["sh".into()],
        before: Vec::new(),
        suffix: "sh".into(),
        body,
        work: work.to_owned(),
    };
    let (args, env) = (Vec::new(), Vec::new());
    KeepOrder { command: id.into(), program, args, env, user: None, folder: None, terminal: None }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Another script from its start to its end: time enough for one that does not wait.
async fn run_another(work: &Path) {
    let id = CommandId::generate().to_string();
    let mut other = Kept::start(&helper()).unwrap();
    other.order(&order(&id, work, "exit 7".into())).await.unwrap();
    loop {
        match other.word().await {
            KeepWord::Started => {}
            word => break assert_eq!(word, KeepWord::Ended(Ending::Code(7))),
        }
    }
    assert!(other.close().await);
}

/// The disk is slow: a commit ahead of all others takes as long as a test wants.
async fn slow_disk(bench: &Bench) -> (mpsc::Sender<()>, JoinHandle<Result<(), StoreError>>) {
    let (release, held) = mpsc::channel::<()>();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let slow = bench.context.store.clone();
    let slow = tokio::spawn(async move {
        slow.write(move |_| {
            let _ = begun.send(());
            let _ = held.recv();
            Ok(())
        })
        .await
    });
    begins.await.unwrap();
    (release, slow)
}

/// A script whose intent is being synced when `meanwhile` happens: how it ends.
async fn called_off(meanwhile: impl AsyncFnOnce(&Bench, CommandId)) -> CommandEvent {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let (ran, work) = (dir.path().join("ran"), bench.context.work.clone());
    let (release, slow) = slow_disk(&bench).await;
    let id = bench.run(sh(&format!("touch {}", ran.display()))).await;
    let folder = work.join(id.to_string());
    until("the script is made ready", || folder.join("script.sh").exists()).await;
    meanwhile(&bench, id).await;
    // On one thread whoever decides has taken it by then.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(release);
    slow.await.unwrap().unwrap();
    let outcome = bench.outcome(id).await;
    until("its folder is removed", || !folder.exists()).await;
    assert!(!ran.exists(), "it ran all the same");
    outcome
}

#[tokio::test]
async fn a_script_that_is_cancelled_while_its_intent_is_synced_does_not_begin() {
    let cancel = async |bench: &Bench, command| {
        bench.deliver(&bench.command(Action::Cancel { command })).await;
    };
    let outcome = called_off(cancel).await;
    assert_eq!(outcome.status, Status::Cancelled);
    assert_eq!(outcome.reason.unwrap(), "It was cancelled before it started.");
}

#[tokio::test]
async fn a_script_whose_intent_is_synced_when_the_agent_stops_does_not_begin() {
    let outcome = called_off(async |bench: &Bench, _| bench.context.stop.cancel()).await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(outcome.reason.unwrap(), "The agent was stopped before the script started.");
}

#[tokio::test]
async fn a_keeper_that_is_left_does_no_harm_to_the_next_one_of_its_command() {
    let dir = tempfile::tempdir().unwrap();
    let id = CommandId::generate().to_string();
    let mut first = Kept::start(&helper()).unwrap();
    first.prepare(&order(&id, dir.path(), "true".into())).await.unwrap();
    let folder = dir.path().join(&id);
    until("the script is made ready", || folder.join("script.sh").exists()).await;
    let mut next = Kept::start(&helper()).unwrap();
    assert!(first.leave().await);
    assert!(!folder.exists(), "it has not cleared up yet");
    next.order(&order(&id, dir.path(), "exit 7".into())).await.unwrap();
    loop {
        match next.word().await {
            KeepWord::Started => {}
            word => break assert_eq!(word, KeepWord::Ended(Ending::Code(7))),
        }
    }
    assert!(next.close().await);
}

#[tokio::test]
async fn a_script_is_made_ready_and_begins_only_when_its_intent_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let (ran, work) = (dir.path().join("ran"), bench.context.work.clone());
    let (release, slow) = slow_disk(&bench).await;
    let id = bench.run(sh(&format!("touch {}", ran.display()))).await;
    let script = work.join(id.to_string()).join("script.sh");
    until("the script is made ready", || script.exists()).await;
    run_another(&work).await;
    assert!(!ran.exists(), "it ran before its intent was on disk");
    drop(release);
    slow.await.unwrap().unwrap();
    assert_eq!(bench.outcome(id).await.status, Status::Succeeded);
    assert!(ran.exists());
}

#[tokio::test]
async fn what_was_made_ready_is_cleared_away_when_it_is_not_to_begin() {
    let dir = tempfile::tempdir().unwrap();
    let (ran, id) = (dir.path().join("ran"), CommandId::generate().to_string());
    let mut kept = Kept::start(&helper()).unwrap();
    let body = format!("touch {}", ran.display());
    kept.prepare(&order(&id, dir.path(), body)).await.unwrap();
    let folder = dir.path().join(&id);
    until("the script is made ready", || folder.join("script.sh").exists()).await;
    drop(kept);
    until("its folder is removed", || !folder.exists()).await;
    run_another(dir.path()).await;
    assert!(!ran.exists(), "it ran although nobody let it begin");
}

#[tokio::test]
async fn a_keeper_that_was_ready_ahead_is_found_by_the_mark_of_its_command() {
    let dir = tempfile::tempdir().unwrap();
    let id = CommandId::generate().to_string();
    let keepers = Keepers::of(helper());
    keepers.make_ready();
    let mut kept = keepers.take().unwrap();
    kept.order(&order(&id, dir.path(), "exec sleep 600".into())).await.unwrap();
    assert_eq!(kept.word().await, KeepWord::Started);
    // As whoever starts after a crash does, while the socket is still held open.
    let (count, left) = tokio::task::spawn_blocking(move || end_left(&id)).await.unwrap();
    assert_eq!((count, left.as_str()), (2, ""), "the keeper and its script");
    assert_eq!(kept.word().await, KeepWord::Lost);
}
