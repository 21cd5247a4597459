//! An agent put back to an older state, its database moved away, a relay put back
//! while scripts run, and two of them at once: each open command ends in what is
//! known, and nothing runs twice.
//!
//! `UNIFYIT_RESTORES` sets the rounds of the long variant (5 otherwise).

use crate::{
    copies::{
        LET_IN, WELL, copy_agent, copy_database, copy_relay, set_back_agent, set_back_database,
        set_back_relay,
    },
    ledger::{assert_once, lets_go, waits},
    soak::Soak,
};
use anyhow::{Context, Result, ensure};
use std::{fs, time::Duration};
use unifyit_tests::{
    api::types::Target,
    stack::Stack,
    wait::{self, secs},
};

/// Scripts that an agent runs at once.
const AT_ONCE: u64 = 8;

fn note(stack: &Stack, number: u64) -> String {
    format!("echo {number} >> {}/ledger; echo did {number}", stack.folder().display())
}

fn ledger(stack: &Stack) -> Result<Vec<u64>> {
    let text = fs::read_to_string(stack.folder().join("ledger")).unwrap_or_default();
    text.lines().map(|line| line.parse().with_context(|| line.to_owned())).collect()
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
    copy_agent(&mut stack)?;
    stack.agents[0].start()?;
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
    assert_once(&stack, [1, 2, 3])?;
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
    assert_once(&stack, [100])?;
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
    assert_once(&stack, 1..=AT_ONCE + 2)?;
    stack.check_alive()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_and_the_database_set_back_at_once_run_nothing_twice() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    copy_agent(&mut stack)?;
    stack.agents[0].start()?;
    let open = stack.api.run_script(&device, &waits(&stack, 1)).await?;
    status_of(&stack, &open, "running").await?;
    copy_database(&mut stack).await?;
    stack.relay_online().await?;
    // Neither copy knows of this one, and of the other only the database does.
    works(&stack, &device, 2).await?;
    set_back_database(&mut stack)?;
    set_back_agent(&mut stack)?;
    lets_go(&stack)?;
    stack.cloud.start().await?;
    stack.agents[0].start()?;
    let target = end(&stack, &open).await?;
    ensure!(target.status == "indeterminate", "{target:?}");
    stack.devices_online(1).await?;
    works(&stack, &device, 3).await?;
    assert_once(&stack, [1, 2, 3])?;
    stack.check_alive()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_and_an_agent_set_back_at_once_run_nothing_twice() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    stack.agents[0].stop();
    wait::until("the device to be offline", secs(30), || async {
        Ok((stack.api.device(&device).await?.state == "offline").then_some(()))
    })
    .await?;
    // In both copies it waits for the device; the cloud alone hears how it ends.
    let task = stack.api.run_script(&device, &note(&stack, 1)).await?;
    wait::until("the relay to hold it", secs(20), || async {
        Ok((stack.postgres.sql("select count(*) from downlink")? == "0").then_some(()))
    })
    .await?;
    copy_agent(&mut stack)?;
    copy_relay(&mut stack).await?;
    stack.agents[0].start()?;
    let target = end(&stack, &task).await?;
    ensure!(target.status == "succeeded", "{target:?}");
    let session = "select connected_since from relays";
    let before = stack.postgres.sql(session)?;
    set_back_relay(&mut stack)?;
    set_back_agent(&mut stack)?;
    // The device is there before anything is compared.
    stack.agents[0].start()?;
    stack.relay.start().await?;
    // What was given to the session that only seems to live may have gone to the device.
    wait::until("the relay to be back", secs(30), || async {
        Ok((stack.postgres.sql(session)? != before).then_some(()))
    })
    .await?;
    stack.devices_online(1).await?;
    works(&stack, &device, 2).await?;
    let waiting = async || stack.relay.metric("fanout_waiting").await;
    wait::until("the relay to have asked what became of it", secs(30), || async {
        Ok((waiting().await? == 0.0).then_some(()))
    })
    .await?;
    let target = end(&stack, &task).await?;
    ensure!(target.status == "succeeded", "{target:?}");
    assert_once(&stack, [1, 2])?;
    stack.check_alive()
}

/// One round: copies, twenty scripts, what was copied put back, and all of it judged.
async fn endure(stack: &mut Stack, device: &str, which: Which, number: &mut u64) -> Result<()> {
    if which.relay {
        copy_relay(stack).await?;
    }
    if which.database {
        copy_database(stack).await?;
    }
    copy_agent(stack)?;
    stack.agents[0].start()?;
    stack.relay_online().await?;
    works(stack, device, *number + 1).await?;
    let bodies = (*number + 2..*number + 22).map(|n| note(stack, n)).collect();
    let tasks = submit(stack, device, bodies).await?;
    *number += 22;
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..1500))).await;
    if which.database {
        set_back_database(stack)?;
    }
    if which.relay {
        set_back_relay(stack)?;
    }
    set_back_agent(stack)?;
    if which.database {
        stack.cloud.start().await?;
    }
    if which.relay {
        stack.relay.start().await?;
    }
    stack.agents[0].start()?;
    stack.relay_online().await?;
    // What is given before its memory begins is refused.
    let process = stack.agents[0].process().context("a running agent")?;
    let connected = || process.log_tail(64 * 1024).contains(LET_IN);
    wait::until_true("the agent to be connected", WELL, connected).await?;
    // A database that was restored has forgotten these tasks.
    for task in tasks.iter().filter(|_| !which.database) {
        let target = end(stack, task).await?;
        let known = ["succeeded", "indeterminate"].contains(&target.status.as_str());
        ensure!(known, "{target:?}");
    }
    works(stack, device, *number).await?;
    assert_once(stack, [*number])
}

/// What is put back beside the agent.
#[derive(Debug, Clone, Copy)]
struct Which {
    relay: bool,
    database: bool,
}

/// The agent, alone and with the relay or the database, again and again under load.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes: make soak runs it"]
async fn soak_of_restores_of_agents_runs_nothing_twice() -> Result<()> {
    let mut soak = Soak::new("restores-agent");
    let mut stack = Stack::for_test(1).await?;
    let mut device = stack.first_device().await?;
    let mut number = 0;
    let combinations = [
        ("agent", Which { relay: false, database: false }),
        ("agent and relay", Which { relay: true, database: false }),
        ("agent and database", Which { relay: false, database: true }),
    ];
    for _ in 0..Soak::rounds("UNIFYIT_RESTORES") {
        for (name, which) in combinations {
            if !soak.wants(name) {
                continue;
            }
            let logs = stack.folder().join("logs");
            let round = endure(&mut stack, &device, which, &mut number);
            if !soak.round(name, logs, round).await? {
                drop(stack);
                stack = Stack::for_test(1).await?;
                device = stack.first_device().await?;
                number = 0;
            }
        }
    }
    stack.check_alive()?;
    soak.end()
}
