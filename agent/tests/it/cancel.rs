//! Cancelling, waiting, holding, and repeated deliveries.

use crate::bench::{Bench, gone, sh, unique_sleep};
use std::time::Duration;
use unifyit_agent::clock::now_ms;
use unifyit_protocol::{command::Action, ids::CommandId, outcome::Status};

#[tokio::test]
async fn a_running_script_is_cancelled_with_everything_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let nap = unique_sleep();
    let id = bench.run(sh(&format!("sleep {nap}"))).await;
    bench.started(id).await;
    let cancel = bench.command(Action::Cancel { command: id });
    bench.deliver(&cancel).await;
    assert_eq!(bench.outcome(id).await.status, Status::Cancelled);
    assert_eq!(bench.outcome(cancel.id).await.status, Status::Succeeded);
    gone(&nap).await;
}

#[tokio::test]
async fn a_waiting_script_that_is_cancelled_never_starts() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 1).await;
    let nap = unique_sleep();
    let busy = bench.run(sh(&format!("sleep {nap}"))).await;
    bench.started(busy).await;
    let mark = dir.path().join("ran");
    let waits = bench.run(sh(&format!("touch {}", mark.display()))).await;
    bench.deliver(&bench.command(Action::Cancel { command: waits })).await;
    assert_eq!(bench.outcome(waits).await.status, Status::Cancelled);
    bench.deliver(&bench.command(Action::Cancel { command: busy })).await;
    assert_eq!(bench.outcome(busy).await.status, Status::Cancelled);
    let after = bench.run(sh("true")).await;
    bench.outcome(after).await;
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_command_cancelled_before_it_arrives_never_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let mark = dir.path().join("ran");
    let late = bench.command(Action::Script(sh(&format!("touch {}", mark.display()))));
    bench.deliver(&bench.command(Action::Cancel { command: late.id })).await;
    assert_eq!(bench.outcome(late.id).await.status, Status::Cancelled);
    let before = bench.reports_of(late.id);
    bench.deliver(&late).await;
    bench.until("the answer", |b| b.reports_of(late.id) > before).await;
    assert!(bench.events.iter().all(|e| e.command != late.id || e.status == Status::Cancelled));
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_repeated_delivery_is_answered_and_not_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let ledger = dir.path().join("ledger");
    let command = bench.command(Action::Script(sh(&format!("echo ran >> {}", ledger.display()))));
    bench.deliver(&command).await;
    let outcome = bench.outcome(command.id).await;
    let before = bench.reports_of(command.id);
    for _ in 0..5 {
        bench.deliver(&command).await;
    }
    bench.until("the answers", |b| b.reports_of(command.id) == before + 5).await;
    assert_eq!(bench.events.last().unwrap(), &outcome);
    assert_eq!(std::fs::read_to_string(ledger).unwrap(), "ran\n");
}

#[tokio::test]
async fn a_command_for_later_starts_when_its_time_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let mut command = bench.command(Action::Script(sh("true")));
    command.not_before_ms = now_ms() + 400;
    bench.deliver(&command).await;
    bench.deliver(&command).await;
    let outcome = bench.outcome(command.id).await;
    let started = bench.events.iter().find(|e| e.command == command.id).unwrap();
    assert!(started.at_ms >= command.not_before_ms);
    assert_eq!(outcome.status, Status::Succeeded);
    assert_eq!(bench.reports_of(command.id), 2, "it ran twice");
}

#[tokio::test]
async fn refused_commands_are_reported_but_a_flood_of_them_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let genuine = bench.command(Action::Script(sh("true")));
    for _ in 0..500 {
        let mut forged = bench.command(Action::Script(sh("true")));
        forged.organization = unifyit_protocol::ids::OrganizationId::generate();
        bench.deliver(&forged).await;
    }
    bench.deliver(&genuine).await;
    assert_eq!(bench.outcome(genuine.id).await.status, Status::Succeeded);
    let refused = bench.events.iter().filter(|e| e.status == Status::Refused).count();
    assert!((1..=100).contains(&refused), "{refused} refusals were reported");
}

#[tokio::test]
async fn more_scripts_than_may_run_at_once_wait_for_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 2).await;
    let log = dir.path().join("log");
    let body = format!(
        "n=$(ls -d {0}.* 2>/dev/null | wc -l); echo $n >> {0}; mkdir {0}.$$; sleep 0.1; rmdir {0}.$$",
        log.display()
    );
    let mut ids: Vec<CommandId> = Vec::new();
    for _ in 0..6 {
        ids.push(bench.run(sh(&body)).await);
    }
    for id in ids {
        let outcome = tokio::time::timeout(Duration::from_secs(60), bench.outcome(id)).await;
        assert_eq!(outcome.unwrap().status, Status::Succeeded);
    }
    let seen = std::fs::read_to_string(log).unwrap();
    assert_eq!(seen.lines().count(), 6);
    assert!(seen.lines().all(|n| n.trim().parse::<u32>().unwrap() <= 1), "{seen}");
}
