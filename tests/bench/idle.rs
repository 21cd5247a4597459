//! What a connected agent costs its computer while nobody asks anything of it.

use crate::report::{Report, cpu_s, mb};
use anyhow::{Context, Result};
use std::time::Duration;
use unifyit_tests::stack::Stack;

/// First inventories are behind the agent by then.
const SETTLE: Duration = Duration::from_secs(30);
const MEASURE: Duration = Duration::from_secs(60);

pub(crate) async fn agent(stack: &mut Stack, report: &mut Report) -> Result<()> {
    let agent = stack.agents[0].process().context("the agent runs")?;
    let pid = agent.pid();
    println!("agent at rest ({} s)", (SETTLE + MEASURE).as_secs());
    tokio::time::sleep(SETTLE).await;
    let before = cpu_s(pid)?;
    tokio::time::sleep(MEASURE).await;
    let spent = cpu_s(pid)? - before;
    let memory = agent.memory()?;
    report.goal("agent, memory (PSS)", mb(memory), "≤ 4 MB", memory <= 4_000_000);
    report.goal("agent, CPU a minute", format!("{spent:.2} s"), "≤ 0.02 s", spent <= 0.02);
    Ok(())
}
