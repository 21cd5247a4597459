//! Scripts: what they print, how they end, what they may use.

use crate::bench::{Bench, gone, sh, unique_sleep};
use std::time::{Duration, Instant};
use unifyit_protocol::{
    command::{Action, Interpreter, Script},
    live::LiveUp,
    outcome::{Status, Stream},
};

#[tokio::test]
async fn output_appears_piece_by_piece_and_the_exit_code_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let body = "for i in 1 2 3; do echo line$i; sleep 0.3; done; exit 3";
    let id = bench.run(Script { interpreter: Interpreter::Bash, ..sh(body) }).await;
    let mut seen = Vec::new();
    for n in 1..=3 {
        let LiveUp::Output(chunk) = bench.live().await else { panic!("no output") };
        assert_eq!(chunk.data, format!("line{n}\n").into_bytes());
        seen.push(Instant::now());
    }
    assert!(seen[2] - seen[0] > Duration::from_millis(300), "it came all at once");
    let outcome = bench.outcome(id).await;
    assert_eq!((outcome.status, outcome.exit_code), (Status::Failed, Some(3)));
    assert_eq!(outcome.output_len, 18);
    assert_eq!(bench.text(id), "line1\nline2\nline3\n");
    let first = bench.events.iter().find(|e| e.command == id).unwrap();
    assert_eq!(first.status, Status::Running);
}

#[tokio::test]
async fn both_streams_arguments_and_variables_reach_where_they_belong() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let script = Script {
        args: vec!["a b".into(), "$(id)".into()],
        env: vec![("GREETING".into(), "hello; rm".into())],
        folder: Some("/".into()),
        ..sh("echo \"$1|$2|$GREETING|$PWD\"; echo err >&2; echo ${SECRET-none}")
    };
    let id = bench.run(script).await;
    let outcome = bench.outcome(id).await;
    assert_eq!(outcome.status, Status::Succeeded);
    assert!(bench.text(id).contains("a b|$(id)|hello; rm|/\n"), "{}", bench.text(id));
    let errors = bench.chunks.iter().filter(|c| c.stream == Stream::Stderr);
    assert_eq!(errors.map(|c| c.data.clone()).collect::<Vec<_>>().concat(), b"err\n");
}

#[tokio::test]
async fn a_hundred_megabytes_are_cut_visibly_and_the_script_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let body = "head -c 100000000 /dev/zero | tr '\\0' x; echo done >&2; exit 5";
    let id = bench.run(Script { output_limit: 100_000, ..sh(body) }).await;
    let outcome = bench.outcome(id).await;
    assert_eq!(outcome.exit_code, Some(5), "the pipe was blocked");
    assert_eq!(outcome.output_cut, 100_000_000 + 5 - 100_000);
    let output = bench.output(id);
    assert_eq!(output.len() as u64, outcome.output_len);
    assert!(output.len() < 100_200);
    let text = String::from_utf8_lossy(&output[100_000..]).into_owned();
    assert_eq!(text, "\n[output cut: 99900005 more bytes were not kept]\n");
}

#[tokio::test]
async fn at_its_time_limit_the_whole_group_ends_also_what_hides_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let (near, far) = (unique_sleep(), unique_sleep());
    let body = format!("sleep {near} & setsid sleep {far} & echo up; wait");
    let id = bench.run(Script { timeout_s: 1, ..sh(&body) }).await;
    let outcome = bench.outcome(id).await;
    assert_eq!(outcome.status, Status::TimedOut);
    assert!(outcome.reason.unwrap().contains("1 s"));
    gone(&near).await;
    gone(&far).await;
    assert_eq!(bench.text(id), "up\n");
}

#[tokio::test]
async fn a_script_that_ignores_the_request_to_end_is_ended_by_force() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let nap = unique_sleep();
    let body = format!("trap '' TERM; while true; do sleep {nap}; done");
    let id = bench.run(Script { timeout_s: 1, ..sh(&body) }).await;
    assert_eq!(bench.outcome(id).await.status, Status::TimedOut);
    gone(&nap).await;
}

#[tokio::test]
async fn a_process_left_behind_that_holds_the_pipes_does_not_hold_the_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let nap = unique_sleep();
    let id = bench.run(sh(&format!("sleep {nap} & echo left"))).await;
    let outcome = bench.outcome(id).await;
    assert_eq!(outcome.status, Status::Succeeded);
    // It was left on purpose, as a service would be; the test cleans up.
    assert!(crate::bench::runs(&nap), "a background process was ended with its script");
    unifyit_agent::platform::kill_marked(&id.to_string());
    gone(&nap).await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let nobody = bench.run(Script { user: Some("no-such-user".into()), ..sh("true") }).await;
    let nowhere = bench.run(Script { folder: Some("/no/such".into()), ..sh("true") }).await;
    let outcome = bench.outcome(nobody).await;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(outcome.reason.unwrap(), "This computer has no user named no-such-user.");
    let outcome = bench.outcome(nowhere).await;
    assert_eq!(outcome.reason.unwrap(), "The folder /no/such does not exist.");
}

#[tokio::test]
async fn a_signal_is_named_in_the_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let id = bench.run(sh("kill -SEGV $$")).await;
    let outcome = bench.outcome(id).await;
    assert_eq!((outcome.status, outcome.exit_code), (Status::Failed, None));
    assert!(outcome.reason.unwrap().contains("SIGSEGV"));
}

#[tokio::test]
async fn a_script_runs_as_the_chosen_user_with_a_folder_of_its_own() {
    if !unifyit_agent::platform::is_administrator() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let body = "id -un; test -w . && echo writable; cat /etc/shadow 2>/dev/null || echo denied";
    let id = bench.run(Script { user: Some("nobody".into()), ..sh(body) }).await;
    let outcome = bench.outcome(id).await;
    assert_eq!(bench.text(id), "nobody\nwritable\ndenied\n", "{outcome:?}");
}

#[tokio::test]
async fn nothing_is_left_of_a_script_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let id = bench.run(sh("echo x > file; echo $PWD")).await;
    bench.outcome(id).await;
    assert!(!bench.text(id).is_empty());
    assert_eq!(std::fs::read_dir(dir.path().join("work")).unwrap().count(), 0);
}

/// Ways for a process to hide from whoever wants to end it with its script.
fn hiding(nap: [&str; 6]) -> String {
    let [env, user, fork, deaf, login, gone] = nap;
    format!(
        "env -i PATH=\"$PATH\" setsid sh -c 'trap \"\" TERM HUP; sleep {env}' &\n\
         su -s /bin/sh nobody -c 'sleep {user}' &\n\
         (env -i PATH=\"$PATH\" setsid sh -c 'sleep {fork} & exit' &)\n\
         setsid sh -c 'trap \"\" TERM; sleep {deaf}' &\n\
         su - root -s /bin/sh -c 'sleep {login}' &\n\
         env -i PATH=\"$PATH\" setsid nohup sleep {gone} >/dev/null 2>&1 &\n\
         echo up; sleep {env}\n"
    )
}

async fn all_run(naps: &[String]) {
    Bench::wait_for("all that hides", || naps.iter().all(|n| crate::bench::runs(n))).await;
}

#[tokio::test]
async fn at_its_limit_and_when_cancelled_nothing_is_left_however_it_hides() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let naps: Vec<String> = (0..6).map(|_| unique_sleep()).collect();
    let body = hiding([0, 1, 2, 3, 4, 5].map(|i| naps[i].as_str()));
    let id = bench.run(sh(&body)).await;
    bench.started(id).await;
    all_run(&naps).await;
    bench.deliver(&bench.command(Action::Cancel { command: id })).await;
    let outcome = bench.outcome(id).await;
    // The outcome says that all was ended, so all is gone by then.
    assert_eq!((outcome.status, outcome.reason), (Status::Cancelled, None));
    for nap in &naps {
        assert!(!crate::bench::runs(nap), "{nap} is left");
    }
    // Long enough for all to hide before it, also on a busy machine.
    let id = bench.run(Script { timeout_s: 8, ..sh(&body) }).await;
    bench.started(id).await;
    all_run(&naps).await;
    let outcome = bench.outcome(id).await;
    assert_eq!(outcome.status, Status::TimedOut);
    assert_eq!(outcome.reason.unwrap(), "It was ended at its time limit of 8 s.");
    assert!(naps.iter().all(|n| !crate::bench::runs(n)));
}

#[tokio::test]
async fn a_script_that_ends_its_keeper_is_ended_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let nap = unique_sleep();
    let body = format!("setsid sleep {nap} & kill -9 $PPID; sleep {nap}");
    let id = bench.run(sh(&body)).await;
    let outcome = bench.outcome(id).await;
    assert_eq!(outcome.status, Status::Indeterminate, "what nobody saw is not known");
    assert!(outcome.reason.unwrap().starts_with("How it ended is unknown"));
    assert!(!crate::bench::runs(&nap));
}

#[tokio::test]
async fn a_user_whose_look_up_or_folder_fails_is_told_so() {
    if !unifyit_agent::platform::is_administrator() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let folder = Some("/root".into());
    let id = bench.run(Script { user: Some("nobody".into()), folder, ..sh("true") }).await;
    let outcome = bench.outcome(id).await;
    let reason = outcome.reason.unwrap();
    assert!(reason.starts_with("The folder /root could not be entered"), "{reason}");
    let id = bench
        .run(Script {
            user: Some("nobody".into()),
            ..sh("ls -ld .. | cut -c1-10; ps -o sid= -p $$ | grep -cx \" *$$\"")
        })
        .await;
    assert_eq!(bench.outcome(id).await.status, Status::Succeeded, "{}", bench.text(id));
    // Its folder is not its own, and it has no terminal of the agent's.
    assert_eq!(bench.text(id), "drwx--x--x\n1\n");
}

#[tokio::test]
async fn a_shell_hears_of_its_childrens_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let body = "grep SigBlk /proc/self/status; sleep 0.1 & wait; echo over";
    let id = bench.run(Script { timeout_s: 10, ..sh(body) }).await;
    assert_eq!(bench.outcome(id).await.status, Status::Succeeded);
    assert_eq!(bench.text(id), "SigBlk:\t0000000000000000\nover\n");
}

#[tokio::test]
async fn a_script_that_was_saved_on_windows_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let body = "\u{feff}set -e\r\nif true\r\nthen echo ok\r\nfi\r\n";
    for interpreter in [Interpreter::Sh, Interpreter::Bash] {
        let id = bench.run(Script { interpreter, ..sh(body) }).await;
        let outcome = bench.outcome(id).await;
        assert_eq!((outcome.status, bench.text(id).as_str()), (Status::Succeeded, "ok\n"));
    }
    // One carriage return that its author put there stays.
    let id = bench.run(sh("printf '%s' 'a\r\nb' | od -An -c\n")).await;
    bench.outcome(id).await;
    assert!(bench.text(id).contains("\\r"), "{}", bench.text(id));
}

/// The runtime of a test stands in for the agent: while it is blocked it neither
/// hears of the script's end nor of its time limit.
#[tokio::test]
async fn a_script_that_ended_in_time_is_not_timed_out_by_an_agent_that_slept() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), 8).await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(bench.run(Script { timeout_s: 3, ..sh("sleep 0.2") }).await);
    }
    for id in &ids {
        bench.started(*id).await;
    }
    tokio::task::yield_now().await;
    std::thread::sleep(Duration::from_millis(3500));
    for id in ids {
        assert_eq!(bench.outcome(id).await.status, Status::Succeeded);
    }
}
