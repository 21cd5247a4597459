//! What a crash leaves, and what the next start makes of it (G3).

use crate::bench::{Bench, gone, runs, sh, unique_sleep};
use unifyit_protocol::{command::Action, outcome::Status};

#[tokio::test]
async fn a_command_under_way_in_a_crash_is_indeterminate_ended_and_never_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let (nap, ledger) = (unique_sleep(), dir.path().join("ledger"));
    let mut bench = Bench::start(dir.path(), 8).await;
    let body = format!("echo ran >> {}; setsid sleep {nap} & wait", ledger.display());
    let command = bench.command(Action::Script(sh(&body)));
    bench.deliver(&command).await;
    bench.until("the process", |_| runs(&nap)).await;
    bench.crash().await;
    let mut bench = Bench::start(dir.path(), 8).await;
    gone(&nap).await;
    let outcome = bench.outcome(command.id).await;
    assert_eq!(outcome.status, Status::Indeterminate);
    bench.deliver(&command).await;
    let before = bench.reports_of(command.id);
    bench.until("the answer", |b| b.reports_of(command.id) > before).await;
    assert_eq!(bench.events.last().unwrap().status, Status::Indeterminate);
    assert_eq!(std::fs::read_to_string(ledger).unwrap(), "ran\n");
}

#[tokio::test]
async fn a_stopped_agent_ends_its_scripts_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let nap = unique_sleep();
    let mut bench = Bench::start(dir.path(), 8).await;
    let id = bench.run(sh(&format!("sleep {nap}"))).await;
    bench.started(id).await;
    bench.context.stop.cancel();
    let outcome = bench.outcome(id).await;
    assert_eq!(outcome.status, Status::Failed);
    assert!(outcome.reason.unwrap().contains("stopped"));
    tokio::time::timeout(std::time::Duration::from_secs(20), &mut bench.executor)
        .await
        .expect("the executor does not end")
        .unwrap();
    gone(&nap).await;
}

#[tokio::test]
async fn after_a_crash_what_hides_is_found_even_if_its_keeper_could_not_act() {
    let dir = tempfile::tempdir().unwrap();
    let (near, far) = (unique_sleep(), unique_sleep());
    let mut bench = Bench::start(dir.path(), 8).await;
    let hides = format!("env -i PATH=\"$PATH\" setsid sleep {far}");
    let id = bench.run(sh(&format!("{hides} & kill -STOP $PPID; sleep {near}"))).await;
    bench.started(id).await;
    bench.until("the processes", |_| runs(&near) && runs(&far)).await;
    bench.crash().await;
    let mut bench = Bench::start(dir.path(), 8).await;
    // It says so when something is left, so nothing is.
    let outcome = bench.outcome(id).await;
    assert_eq!(outcome.status, Status::Indeterminate);
    assert!(outcome.reason.unwrap().ends_with("It is not run again by itself."));
    assert!(!runs(&near) && !runs(&far));
}

#[tokio::test]
async fn a_keeper_that_gets_no_order_ends_with_the_agent() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut keeper = tokio::process::Command::new(env!("CARGO_BIN_EXE_unifyit-agent"))
        .args(["internal", "keep"])
        .stdin(std::process::Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    drop(ours);
    assert!(keeper.wait().await.unwrap().success());
}
