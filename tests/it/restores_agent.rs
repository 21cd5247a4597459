//! An agent put back to an older state, its database moved away, a relay put back
//! while scripts run, and two of them at once: each open command ends in what is
//! known, and nothing runs twice.
//!
//! `UNIFYIT_RESTORES` sets the rounds of the long variant (5 otherwise).

use crate::ledger::judge;
use anyhow::{Context, Result, ensure};
use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};
use unifyit_tests::{
    api::types::Target,
    stack::Stack,
    wait::{self, secs},
};

/// By when all is well again.
const WELL: Duration = Duration::from_secs(75);
/// Scripts that an agent runs at once.
const AT_ONCE: u64 = 8;

/// A copy of a folder as it lies on the disk.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let done = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(done.success(), "{} was not copied", from.display());
    Ok(())
}

/// Stops the agent, copies its disk, starts it again.
async fn copy_agent(stack: &mut Stack) -> Result<()> {
    stack.agents[0].stop();
    copy(stack.agents[0].folder(), &stack.folder().join("agent-copy"))?;
    stack.agents[0].start()
}

async fn copy_relay(stack: &mut Stack) -> Result<()> {
    stack.relay.stop();
    copy(stack.relay.folder(), &stack.folder().join("relay-copy"))?;
    stack.relay.start().await
}

fn set_back_agent(stack: &mut Stack) -> Result<()> {
    stack.agents[0].kill9();
    copy(&stack.folder().join("agent-copy"), stack.agents[0].folder())
}

fn set_back_relay(stack: &mut Stack) -> Result<()> {
    stack.relay.kill9();
    copy(&stack.folder().join("relay-copy"), stack.relay.folder())
}

/// A script that notes that it ran, and runs until it is let go.
fn waits(stack: &Stack, number: u64) -> String {
    let folder = stack.folder().display();
    format!(
        "echo {number} >> {folder}/ledger; while [ ! -e {folder}/go ]; do sleep 0.05; done; echo did {number}"
    )
}

fn note(stack: &Stack, number: u64) -> String {
    format!("echo {number} >> {}/ledger; echo did {number}", stack.folder().display())
}

fn ledger(stack: &Stack) -> Result<Vec<u64>> {
    let text = fs::read_to_string(stack.folder().join("ledger")).unwrap_or_default();
    text.lines().map(|line| line.parse().with_context(|| line.to_owned())).collect()
}

fn lets_go(stack: &Stack) -> Result<()> {
    Ok(fs::write(stack.folder().join("go"), "")?)
}

async fn noted(stack: &Stack, count: usize) -> Result<()> {
    wait::until("the scripts to note that they run", secs(30), || async {
        Ok((ledger(stack)?.len() >= count).then_some(()))
    })
    .await
}

async fn submit(stack: &Stack, device: &str, bodies: Vec<String>) -> Result<Vec<String>> {
    let mut tasks = Vec::new();
    for body in bodies {
        tasks.push(stack.api.run_script(device, &body).await?);
    }
    Ok(tasks)
}

async fn end(stack: &Stack, task: &str) -> Result<Target> {
    let task = stack.api.finished(task, WELL).await?;
    task.targets.into_iter().next().context("one target")
}

/// The stack works as if nothing had been.
async fn works(stack: &Stack, device: &str, number: u64) -> Result<()> {
    let task = stack.api.run_script(device, &note(stack, number)).await?;
    let target = end(stack, &task).await?;
    ensure!(target.status == "succeeded", "{target:?}");
    Ok(())
}

fn assert_once(stack: &Stack, surely: &[u64]) -> Result<()> {
    let surely: BTreeSet<u64> = surely.iter().copied().collect();
    let verdict = judge(&surely, ledger(stack)?);
    println!("{verdict}");
    ensure!(verdict.lost.is_empty() && verdict.repeated.is_empty(), "{verdict:?}");
    Ok(())
}

async fn status_of(stack: &Stack, task: &str, wanted: &str) -> Result<()> {
    wait::until(&format!("a script to be {wanted}"), secs(30), || async {
        Ok((stack.api.task(task).await?.count(wanted) == 1).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_set_back_says_what_it_forgot() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    copy_agent(&mut stack).await?;
    works(&stack, &device, 1).await?;
    // Both are unknown to the copy; the second is open everywhere else.
    let open = stack.api.run_script(&device, &waits(&stack, 2)).await?;
    status_of(&stack, &open, "running").await?;
    set_back_agent(&mut stack)?;
    lets_go(&stack)?;
    stack.agents[0].start()?;
    let target = end(&stack, &open).await?;
    ensure!(target.status == "indeterminate", "{target:?}");
    works(&stack, &device, 3).await?;
    assert_once(&stack, &[1, 2, 3])?;
    stack.check_alive()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_database_was_moved_away_runs_nothing_again() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let bodies = (1..=AT_ONCE + 3).map(|n| waits(&stack, n)).collect();
    let tasks = submit(&stack, &device, bodies).await?;
    noted(&stack, AT_ONCE as usize).await?;
    for task in &tasks {
        wait::until("the relay to have handed all out", secs(20), || async {
            let task = stack.api.task(task).await?;
            Ok((task.count("sent") + task.count("running") == 1).then_some(()))
        })
        .await?;
    }
    stack.relay.kill9();
    lets_go(&stack)?;
    // Those that had begun end without anybody hearing of it; what then becomes
    // of those that wait is the agent's secret, were it to start them.
    let more = noted(&stack, tasks.len());
    drop(tokio::time::timeout(secs(1), more).await);
    stack.agents[0].kill9();
    fs::remove_file(stack.agents[0].folder().join("agent.redb"))?;
    stack.agents[0].start()?;
    stack.relay.start().await?;
    for task in &tasks {
        let target = end(&stack, task).await?;
        ensure!(target.status == "indeterminate", "{target:?}");
    }
    works(&stack, &device, 100).await?;
    assert_once(&stack, &[100])?;
    stack.check_alive()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_set_back_is_told_outcomes_and_output_again() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let bodies = (1..=AT_ONCE + 2).map(|n| waits(&stack, n)).collect();
    let tasks = submit(&stack, &device, bodies).await?;
    noted(&stack, AT_ONCE as usize).await?;
    copy_relay(&mut stack).await?;
    stack.devices_online(1).await?;
    // The cloud hears nothing of how they end; the relay does, and forgets it.
    stack.cloud.stop();
    // Other things are acknowledged meanwhile: samples, inventory.
    let heard =
        async |lane: &str| stack.relay.metric(&format!("outbox_records{{lane=\"{lane}\"}}")).await;
    let before = (heard("urgent").await?, heard("output").await?);
    lets_go(&stack)?;
    noted(&stack, tasks.len()).await?;
    wait::until("the relay to have heard of outcomes and output", secs(20), || async {
        let outcomes = heard("urgent").await? > before.0;
        Ok((outcomes && heard("output").await? > before.1).then_some(()))
    })
    .await?;
    set_back_relay(&mut stack)?;
    stack.relay.start().await?;
    stack.cloud.start().await?;
    for (number, task) in (1..).zip(&tasks) {
        let target = end(&stack, task).await?;
        ensure!(target.status == "succeeded", "{number}: {target:?}");
        wait::until(&format!("the output of {number}"), secs(30), || async {
            let task = stack.api.task(task).await?;
            let target = task.targets.into_iter().next().context("one target")?;
            Ok((target.output == format!("did {number}\n")).then_some(()))
        })
        .await?;
    }
    assert_once(&stack, &(1..=AT_ONCE + 2).collect::<Vec<_>>())?;
    stack.check_alive()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_and_the_database_set_back_at_once_run_nothing_twice() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    copy_agent(&mut stack).await?;
    let open = stack.api.run_script(&device, &waits(&stack, 1)).await?;
    status_of(&stack, &open, "running").await?;
    stack.cloud.stop();
    stack.postgres.copy()?;
    stack.cloud.start().await?;
    stack.relay_online().await?;
    // Neither copy knows of this one, and of the other only the database does.
    works(&stack, &device, 2).await?;
    stack.cloud.kill9();
    stack.postgres.restore()?;
    set_back_agent(&mut stack)?;
    lets_go(&stack)?;
    stack.cloud.start().await?;
    stack.agents[0].start()?;
    let target = end(&stack, &open).await?;
    ensure!(target.status == "indeterminate", "{target:?}");
    stack.devices_online(1).await?;
    works(&stack, &device, 3).await?;
    assert_once(&stack, &[1, 2, 3])?;
    stack.check_alive()
}

fn rounds() -> u64 {
    std::env::var("UNIFYIT_RESTORES").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

/// The agent, and the agent with the relay, again and again under load.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes: make soak runs it"]
async fn soak_of_agents_that_are_set_back_runs_nothing_twice() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let mut number = 0;
    for round in 0..rounds() {
        for relay in [false, true] {
            if relay {
                copy_relay(&mut stack).await?;
            }
            copy_agent(&mut stack).await?;
            stack.relay_online().await?;
            works(&stack, &device, number + 1).await?;
            let bodies = (number + 2..number + 22).map(|n| note(&stack, n)).collect();
            let tasks = submit(&stack, &device, bodies).await?;
            number += 22;
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..1500))).await;
            if relay {
                set_back_relay(&mut stack)?;
            }
            set_back_agent(&mut stack)?;
            if relay {
                stack.relay.start().await?;
            }
            stack.agents[0].start()?;
            stack.relay_online().await?;
            for task in &tasks {
                let target = end(&stack, task).await?;
                let known = ["succeeded", "indeterminate"].contains(&target.status.as_str());
                ensure!(known, "{target:?}");
            }
            works(&stack, &device, number).await?;
            println!("round {}: relay {relay}", round + 1);
            assert_once(&stack, &[number])?;
        }
    }
    stack.check_alive()
}
