//! Clocks that are wrong: of devices, relays and the cloud, at start and set while
//! they run. Everything goes on by the cloud's time, each wrong clock is named, and
//! all is well the moment it is right. A ledger is the judge: each script ran once.
//!
//! `UNIFYIT_CLOCKS` sets the rounds of the long variant (5 otherwise), and `UNIFYIT_SOAK_ONLY`
//! chooses among its combinations (`[(Relay, "+1d")], while`). Where the library
//! of the package faketime is missing these tests fail, unless
//! `UNIFYIT_WITHOUT_FAKETIME=1` says that they are to be left out.

use crate::{
    ledger::{assert_once, note},
    soak::Soak,
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use unifyit_tests::{
    api::{live::Terminal, types::Device},
    stack::{Stack, program::can_set_clocks},
    wait::{self, secs},
};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// Whether these tests are left out on purpose.
fn left_out() -> Result<bool> {
    if can_set_clocks() {
        return Ok(false);
    }
    ensure!(
        std::env::var_os("UNIFYIT_WITHOUT_FAKETIME").is_some(),
        "the package faketime is not installed, so no clock can be set off; install it, or set \
         UNIFYIT_WITHOUT_FAKETIME=1 to leave the tests of clocks out"
    );
    println!("left out: UNIFYIT_WITHOUT_FAKETIME is set");
    Ok(true)
}

/// A script that is valid for a minute runs, and says when in the right time; it notes
/// its number.
async fn a_script_runs(stack: &Stack, device: &str, number: &mut u64) -> Result<()> {
    *number += 1;
    let body = note(stack, *number);
    let action = json!({"kind": "script", "interpreter": "sh", "body": body, "timeout_s": 30});
    let body = json!({"targets": {"device_ids": [device]}, "action": action, "expires_in_s": 60});
    let before = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let task: Value = stack.api.post("/tasks", &body).await?;
    let task = task["id"].as_str().context("no id")?.to_owned();
    let done = stack.api.finished(&task, secs(50)).await?;
    let target = &done.targets[0];
    ensure!(target.status == "succeeded", "it {}: {:?}", target.status, target.reason);
    let task: Value = stack.api.get(&format!("/tasks/{task}")).await?;
    let started = task["targets"][0]["started_at"].as_str().context("no start")?;
    let started = u64::try_from(humantime_s(started)?)?;
    ensure!(started + 2 >= before && started <= before + 60, "it started at {started}, {before}");
    Ok(())
}

/// Seconds since 1970 of `2026-11-28T18:04:05.123Z`.
fn humantime_s(text: &str) -> Result<i64> {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    Ok(OffsetDateTime::parse(text, &Rfc3339)?.unix_timestamp())
}

async fn a_terminal_works(stack: &Stack, device: &str) -> Result<()> {
    let mut terminal = Terminal::open(&stack.api, device, 80, 24).await?;
    terminal.send(b"echo sum=$((40+2))\r").await?;
    terminal.expect("sum=42", secs(15)).await?;
    terminal.send(b"exit\r").await?;
    terminal.closed(secs(15)).await.map(|_| ())
}

async fn is_ahead(stack: &Stack, device: &str, by: i64) -> Result<Device> {
    // A clock that was set often is told once a minute.
    wait::until(&format!("{device} to be known as {by} ms ahead"), secs(90), || async {
        let device = stack.api.device(device).await?;
        let near = device.clock_ahead_ms.abs_diff(by) < 20_000;
        ensure!(near, "it is {} ms ahead", device.clock_ahead_ms);
        Ok(Some(device))
    })
    .await
}

async fn relay_is_ahead(stack: &Stack, by: i64) -> Result<()> {
    let site = stack.site()?;
    wait::until(&format!("the relay to be known as {by} ms ahead"), secs(40), || async {
        let relay = stack.api.site(&site).await?.relay.context("no relay")?;
        ensure!(relay.online, "it is offline");
        let near = relay.clock_ahead_ms.abs_diff(by) < 20_000;
        ensure!(near, "it is {} ms ahead", relay.clock_ahead_ms);
        Ok(Some(()))
    })
    .await
}

/// Titles of the points about clocks.
async fn clock_points(stack: &Stack) -> Result<Vec<String>> {
    let overview: Value = stack.api.get("/overview").await?;
    let points = overview["attention"].as_array().context("no attention")?;
    let of_clocks = points.iter().filter(|p| p["kind"] == "clock_wrong");
    Ok(of_clocks.filter_map(|p| p["title"].as_str().map(str::to_owned)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_with_wrong_clocks_work_are_named_and_are_well_once_set_right() -> Result<()> {
    if left_out()? {
        return Ok(());
    }
    let mut number = 0;
    let mut stack = Stack::for_test(3).await?;
    let known = stack.devices_online(3).await?;
    let off = [("+20m", 20 * MINUTE), ("-15m", -15 * MINUTE), ("+400d", 400 * DAY)];
    let mut devices = Vec::new();
    for (agent, (text, _)) in stack.agents.iter_mut().zip(off) {
        agent.stop();
        agent.set_clock(text)?;
        agent.start()?;
    }
    for (_, by) in off {
        let device = wait::until("the wrong clock to be known", secs(60), || async {
            for device in &known {
                let now = stack.api.device(&device.id).await?;
                if now.state == "online" && now.clock_ahead_ms.abs_diff(by) < 20_000 {
                    return Ok(Some(now.id));
                }
            }
            Ok(None)
        });
        devices.push(device.await?);
    }
    for device in &devices {
        a_script_runs(&stack, device, &mut number).await?;
        a_terminal_works(&stack, device).await?;
    }
    let points = clock_points(&stack).await?;
    assert_eq!(points.len(), 3, "{points:?}");
    let behind =
        |p: &String| p.ends_with("behind.") && (p.contains("15 min") || p.contains("14 min"));
    assert!(points.iter().any(behind), "{points:?}");
    for agent in &stack.agents {
        agent.set_clock("+0")?;
    }
    for device in &devices {
        is_ahead(&stack, device, 0).await?;
        a_script_runs(&stack, device, &mut number).await?;
    }
    assert_eq!(clock_points(&stack).await?, Vec::<String>::new());
    assert_once(&stack, 1..=number)?;
    stack.check_alive()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_goes_on_under_a_relay_that_shows_another_year() -> Result<()> {
    if left_out()? {
        return Ok(());
    }
    let mut number = 0;
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    for (text, by) in [("+2d", 2 * DAY), ("-400d", -400 * DAY)] {
        stack.relay.stop();
        stack.relay.set_clock(text)?;
        stack.relay.start().await?;
        relay_is_ahead(&stack, by).await?;
        stack.devices_online(1).await?;
        a_script_runs(&stack, &device, &mut number).await?;
        // The device is not blamed, or not any more.
        wait::until("the relay alone to be named", secs(75), || async {
            let points = clock_points(&stack).await?;
            ensure!(points.len() == 1, "{points:?}");
            Ok(Some(()))
        })
        .await?;
    }
    stack.relay.set_clock("+0")?;
    relay_is_ahead(&stack, 0).await?;
    is_ahead(&stack, &device, 0).await?;
    a_script_runs(&stack, &device, &mut number).await?;
    a_terminal_works(&stack, &device).await?;
    assert_once(&stack, 1..=number)?;
    stack.check_alive()
}

/// Whose clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Agent,
    Relay,
    Cloud,
}

async fn set(stack: &mut Stack, whose: Whose, off: &str, restart: bool) -> Result<()> {
    match whose {
        Whose::Agent => {
            stack.agents[0].set_clock(off)?;
            if restart {
                stack.agents[0].stop();
                stack.agents[0].start()?;
            }
        }
        Whose::Relay => {
            stack.relay.set_clock(off)?;
            if restart {
                stack.relay.stop();
                stack.relay.start().await?;
            }
        }
        Whose::Cloud => {
            stack.cloud.set_clock(off)?;
            if restart {
                stack.cloud.stop();
                stack.cloud.start().await?;
            }
            // Sessions are dated by the clock that was just set.
            let (email, password) = (stack.saved.email.clone(), stack.saved.password.clone());
            stack.api.login(&email, &password).await?;
        }
    }
    stack.relay_online().await?;
    stack.devices_online(1).await.map(|_| ())
}

/// Clocks that are wrong together, and by how much.
type Wrong = Vec<(Whose, &'static str)>;

/// Every clock alone by every span, and two at once: the same way, apart, and far.
fn combinations() -> Vec<Wrong> {
    const ALL: [Whose; 3] = [Whose::Agent, Whose::Relay, Whose::Cloud];
    const OFF: [&str; 7] = ["+1h", "-1h", "-70m", "+1d", "-1d", "+3650d", "-3650d"];
    const TWO: [(&str, &str); 4] =
        [("+1h", "+1h"), ("+1d", "-1d"), ("-70m", "+3650d"), ("-3650d", "-1h")];
    let alone = ALL.into_iter().flat_map(|whose| OFF.map(|off| vec![(whose, off)]));
    let pairs = [[0, 1], [1, 2], [0, 2]].into_iter();
    let together =
        pairs.flat_map(|[a, b]| TWO.map(|(one, other)| vec![(ALL[a], one), (ALL[b], other)]));
    alone.chain(together).collect()
}

/// One combination: all works while the clocks are wrong, and once they are right.
async fn endure(
    stack: &mut Stack,
    device: &str,
    wrong: &Wrong,
    restart: bool,
    number: &mut u64,
) -> Result<()> {
    for (whose, off) in wrong {
        set(stack, *whose, off, restart).await?;
    }
    if wrong.iter().any(|(whose, _)| *whose == Whose::Cloud) {
        // The cloud's own start times are by its own clock.
        *number += 1;
        let task = stack.api.run_script(device, &note(stack, *number)).await?;
        let done = stack.api.finished(&task, secs(90)).await?;
        ensure!(done.targets[0].status == "succeeded", "{:?}", done.targets[0]);
    } else {
        a_script_runs(stack, device, number).await?;
    }
    a_terminal_works(stack, device).await?;
    for (whose, _) in wrong {
        set(stack, *whose, "+0", false).await?;
    }
    is_ahead(stack, device, 0).await?;
    relay_is_ahead(stack, 0).await?;
    a_script_runs(stack, device, number).await.context("right again")?;
    a_terminal_works(stack, device).await?;
    assert_once(stack, 1..=*number)
}

/// One device, and clocks that can be set while the programs run.
async fn set_up() -> Result<(Stack, String)> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    for whose in [Whose::Agent, Whose::Relay, Whose::Cloud] {
        set(&mut stack, whose, "+0", true).await?;
    }
    Ok((stack, device))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes hours: make soak runs it"]
async fn soak_clocks() -> Result<()> {
    if left_out()? {
        return Ok(());
    }
    let mut soak = Soak::new("clocks");
    let (mut stack, mut device) = set_up().await?;
    let mut number = 0;
    for _ in 0..Soak::rounds("UNIFYIT_CLOCKS") {
        for wrong in combinations() {
            for restart in [false, true] {
                let when = if restart { "at start" } else { "while it runs" };
                let name = format!("{wrong:?}, {when}");
                if !soak.wants(&name) {
                    continue;
                }
                let logs = stack.folder().join("logs");
                let round = endure(&mut stack, &device, &wrong, restart, &mut number);
                if !soak.round(&name, logs, round).await? {
                    drop(stack);
                    (stack, device) = set_up().await?;
                    number = 0;
                }
            }
        }
    }
    stack.check_alive()?;
    soak.end()
}
