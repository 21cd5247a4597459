//! The real daemon against the model relay.

use crate::{
    bench::{guard, helper, runs, sh, unique_sleep},
    relay::Relay,
};
use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use unifyit_agent::clock::now_ms;
use unifyit_protocol::{
    command::{self, Action, Targets, Terminal},
    ids::{CommandId, TunnelId},
    inventory::Section,
    live::{LiveDown, LiveUp, TunnelData},
    outcome::Status,
};

pub(crate) fn daemon(state: &Path) -> Child {
    Command::new(helper())
        .args(["--state", &state.display().to_string(), "run"])
        .env("UNIFYIT_LOG", "info")
        .env("UNIFYIT_ROOT", state.join("root"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn order(action: Action) -> command::Command {
    let (guard, _) = guard();
    command::Command {
        id: CommandId::generate(),
        organization: guard.organization,
        targets: Targets::Devices(vec![guard.device]),
        action,
        not_before_ms: 0,
        expires_ms: now_ms() + 600_000,
        counter: 1,
        issued_ms: now_ms(),
    }
}

pub(crate) async fn ask_to_end(child: &mut Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
    assert!(ended.expect("it does not end").unwrap().success());
}

async fn doctor(state: &Path) -> Output {
    let state = state.display().to_string();
    Command::new(helper()).args(["--state", &state, "doctor", "--json"]).output().await.unwrap()
}

#[tokio::test]
async fn a_daemon_reports_executes_types_and_ends_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path()).await;
    let mut child = daemon(dir.path());
    relay.until("samples", |m| m.tables >= 1 && m.sample_times.len() >= 3).await;
    let whole = |m: &crate::relay::Memory, s| m.sections.contains(&(s, true));
    relay
        .until("the inventory", |m| {
            whole(m, Section::System) && whole(m, Section::Packages) && whole(m, Section::Disks)
        })
        .await;

    let script = order(Action::Script(sh("echo here; exit 3")));
    relay.send(&script);
    relay
        .until("the outcome", |m| {
            m.events.iter().any(|e| e.command == script.id && e.exit_code == Some(3))
        })
        .await;
    relay.until("durable output", |m| m.output == b"here\n").await;
    relay.until("live output", |m| m.live.iter().any(|l| matches!(l, LiveUp::Output(_)))).await;

    let tunnel = TunnelId::generate();
    let terminal = Terminal { tunnel, cols: 80, rows: 24, user: None };
    relay.send(&order(Action::Terminal(terminal)));
    // Right behind the command: the keystrokes wait for the shell.
    let data = b"echo ty''ped\r".to_vec();
    relay.type_in(LiveDown::Data(TunnelData { tunnel, seq: 1, data }));
    relay
        .until("the echo", |m| {
            let text: Vec<u8> = m
                .live
                .iter()
                .filter_map(|l| if let LiveUp::Data(d) = l { Some(&d.data[..]) } else { None })
                .collect::<Vec<_>>()
                .concat();
            String::from_utf8_lossy(&text).contains("typed")
        })
        .await;

    let found = doctor(dir.path()).await;
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(text.contains("in use by the running agent"), "{text}");
    assert!(text.contains("accepts this computer's certificate"), "{text}");
    ask_to_end(&mut child).await;
}

#[tokio::test]
async fn what_happened_while_the_relay_was_away_arrives_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(dir.path()).await;
    let mut child = daemon(dir.path());
    let nap = unique_sleep();
    let slow = order(Action::Script(sh(&format!(
        "for i in 1 2 3 4 5 6; do echo line$i; sleep 0.5; done; : {nap}"
    ))));
    relay.send(&slow);
    relay.until("the start", |m| m.events.iter().any(|e| e.command == slow.id)).await;
    relay.stop().await;
    let before = relay.memory.lock().unwrap().sample_times.len();
    tokio::time::sleep(Duration::from_secs(4)).await;
    relay.come_back().await;
    relay
        .until("the outcome", |m| {
            m.events.iter().any(|e| e.command == slow.id && e.status == Status::Succeeded)
        })
        .await;
    relay.until("the samples", |m| m.sample_times.len() >= before + 4).await;
    {
        let memory = relay.memory.lock().unwrap();
        assert_eq!(memory.output, b"line1\nline2\nline3\nline4\nline5\nline6\n");
        assert!(memory.sample_times.is_sorted_by(|a, b| a < b), "{:?}", memory.sample_times);
        let gap = memory.sample_times.windows(2).map(|w| w[1] - w[0]).max();
        assert!(gap < Some(3000), "a hole of {gap:?} ms");
        assert_eq!((memory.gaps, memory.hellos.len()), (0, 2));
        assert_eq!(memory.events.iter().filter(|e| e.command == slow.id).count(), 2);
    }
    ask_to_end(&mut child).await;
}

#[tokio::test]
async fn a_killed_daemon_never_runs_a_command_twice() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path()).await;
    let (nap, ledger) = (unique_sleep(), dir.path().join("ledger"));
    let mut child = daemon(dir.path());
    let body = format!("echo ran >> {}; sleep {nap}", ledger.display());
    let command = order(Action::Script(sh(&body)));
    relay.send(&command);
    relay.until("the start", |m| m.events.iter().any(|e| e.command == command.id)).await;
    crate::bench::Bench::wait_for("the process", || runs(&nap)).await;
    child.kill().await.unwrap();
    // As a relay that never heard of the start would.
    relay.memory.lock().unwrap().events.clear();
    let mut child = daemon(dir.path());
    relay
        .until("the truth", |m| {
            m.events.iter().any(|e| e.command == command.id && e.status.is_final())
        })
        .await;
    crate::bench::gone(&nap).await;
    let status = |m: &crate::relay::Memory| m.events.iter().map(|e| e.status).collect::<Vec<_>>();
    let seen = status(&relay.memory.lock().unwrap());
    assert!(seen.iter().all(|s| *s == Status::Indeterminate), "{seen:?}");
    assert_eq!(std::fs::read_to_string(ledger).unwrap(), "ran\n");
    ask_to_end(&mut child).await;
}

#[tokio::test]
async fn doctor_finds_a_closed_port_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Relay::start(dir.path()).await;
    relay.stop().await;
    unifyit_agent::platform::make_private(dir.path()).unwrap();
    let found = doctor(dir.path()).await;
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.status.code(), Some(1), "{text}");
    assert!(text.contains("nothing listens on the port"), "{text}");
    let empty = tempfile::tempdir().unwrap();
    let text = String::from_utf8(doctor(empty.path()).await.stdout).unwrap();
    assert!(text.contains("unifyit-agent enroll --token"), "{text}");
}

/// Mounts a file system of which nobody answers a question, for the program behind
/// it and what it starts alone.
const SILENT_MOUNT: &str = r#"
set -e
truncate -s 1M "$1/image"; mkdir "$1/silent"
loop=$(losetup -f --show "$1/image")
exec 3<>/dev/fuse
mount -i -t fuseblk -o fd=3,rootmode=40000,user_id=0,group_id=0 "$loop" "$1/silent" || exit 77
losetup -d "$loop"
echo mounted
shift; exec "$@"
"#;

#[tokio::test]
async fn a_file_system_that_does_not_answer_stops_nothing_else() {
    let able = Path::new("/dev/fuse").exists() && Path::new("/dev/loop-control").exists();
    if !able || !unifyit_agent::platform::is_administrator() {
        println!("SKIPPED: file systems cannot be mounted here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path()).await;
    let place = tempfile::tempdir().unwrap();
    let mut child = Command::new("unshare")
        .args(["-m", "bash", "-c", SILENT_MOUNT, "bash"])
        .arg(place.path())
        .arg(helper())
        .args(["--state", &dir.path().display().to_string(), "run"])
        .env("UNIFYIT_ROOT", dir.path().join("root"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    if said.next_line().await.unwrap().is_none() {
        println!("SKIPPED: file systems cannot be mounted here");
        return;
    }
    relay.until("samples", |m| m.tables >= 1 && m.sample_times.len() >= 3).await;
    let script = order(Action::Script(sh("exit 3")));
    relay.send(&script);
    let ended = |e: &unifyit_protocol::outcome::CommandEvent| {
        e.command == script.id && e.exit_code == Some(3)
    };
    relay.until("the outcome", |m| m.events.iter().any(ended)).await;
    let told = |m: &crate::relay::Memory, s| m.sections.contains(&(s, true));
    relay.until("the inventory", |m| told(m, Section::Disks) && told(m, Section::Services)).await;
    ask_to_end(&mut child).await;
}

#[tokio::test]
async fn a_daemon_that_was_quiet_still_says_farewell() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path()).await;
    relay.memory.lock().unwrap().collect_every_s = 3600;
    let mut child = daemon(dir.path());
    relay.until("a sign of life", |m| m.signs >= 1).await;
    ask_to_end(&mut child).await;
    relay.until("the farewell", |m| m.farewells == 1).await;
}

/// Prints what the daemon costs. For the figure that counts, point
/// `UNIFYIT_AGENT_BIN` at a build with the profile `agent`.
#[tokio::test]
#[ignore = "measures for a minute"]
async fn footprint() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path()).await;
    relay.memory.lock().unwrap().collect_every_s = 10;
    let program = std::env::var_os("UNIFYIT_AGENT_BIN").map_or_else(helper, Into::into);
    let mut child = Command::new(program)
        .args(["--state", &dir.path().display().to_string(), "run"])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    relay.until("the inventory", |m| m.sections.len() >= 4 && m.sample_times.len() >= 2).await;
    let pid = child.id().unwrap();
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let spent = ticks() - before;
    let memory = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let schedule = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    println!("{spent} ticks in 60 s; in all {schedule}{memory}");
    ask_to_end(&mut child).await;
}
