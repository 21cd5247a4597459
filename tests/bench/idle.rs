//! What a connected agent costs its computer while nobody asks anything of it.

use crate::report::{Report, cpu_s, mb};
use anyhow::{Context, Result};
use std::{
    fs,
    time::{Duration, Instant},
};
use unifyit_protocol::config::DeviceConfig;
use unifyit_tests::stack::Stack;

/// First inventories are behind the agent by then.
const SETTLE: Duration = Duration::from_secs(30);
const MEASURE: Duration = Duration::from_secs(60);
/// What happens within this is one moment.
const MOMENT: Duration = Duration::from_millis(100);

pub(crate) async fn agent(stack: &mut Stack, report: &mut Report) -> Result<()> {
    let agent = stack.agents[0].process().context("the agent runs")?;
    let pid = agent.pid();
    println!("agent at rest ({} s)", (SETTLE + MEASURE).as_secs());
    tokio::time::sleep(SETTLE).await;
    let before = cpu_s(pid)?;
    let woken = moments_awake(pid).await?;
    let spent = cpu_s(pid)? - before;
    let memory = agent.memory()?;
    report.goal("agent, memory (PSS)", mb(memory), "≤ 4 MB", memory <= 4_000_000);
    report.goal("agent, CPU a minute", format!("{spent:.2} s"), "≤ 0.02 s", spent <= 0.02);
    let every: u64 = DeviceConfig::default().collect_every_s.into();
    let collections = MEASURE.as_secs() / every;
    report.goal(
        "agent, moments at which it wakes, a minute",
        woken.to_string(),
        &format!("≤ {collections}, one a collection"),
        woken <= collections,
    );
    Ok(())
}

/// How many moments there are, during the time of the measurement, at which the
/// agent's thread does something after it slept. A collection with its answers is one.
async fn moments_awake(pid: i32) -> Result<u64> {
    let until = Instant::now() + MEASURE;
    let (mut before, mut awake, mut moments) = (sleeps(pid)?, false, 0);
    while Instant::now() < until {
        tokio::time::sleep(MOMENT).await;
        let now = sleeps(pid)?;
        let woke = now != before;
        moments += u64::from(woke && !awake);
        (before, awake) = (now, woke);
    }
    Ok(moments)
}

/// How often a process's main thread went to sleep.
fn sleeps(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Ok(count.context("the system does not count")?.trim().parse()?)
}
