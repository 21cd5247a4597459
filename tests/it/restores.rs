//! Put back to an older copy: a relay's disk, the cloud's database. Everything works
//! again by itself, revocations and settings hold, presence is true, what was lost
//! stands as a gap, open commands end in what is known, and nothing runs twice.
//!
//! `UNIFYIT_RESTORES` sets the rounds of the long variant (5 otherwise).

use crate::{
    copies::{LET_IN, WELL, copy_database, copy_relay, set_back_database, set_back_relay},
    ledger::{assert_once, lets_go, note, waits},
    soak::Soak,
};
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use unifyit_tests::{
    api::Api,
    stack::{Stack, agent::Agent},
    wait::{self, secs},
};

/// What an agent logs when it is turned away for good.
const REFUSED: &str = "the relay refuses this computer";

async fn ends(api: &Api, task: &str, status: &str) -> Result<()> {
    let task = api.finished(task, WELL).await?;
    let target = task.targets.first().context("one target")?;
    ensure!(target.status == status, "{target:?}");
    Ok(())
}

async fn state(api: &Api, device: &str, expected: &str) -> Result<()> {
    wait::until(&format!("a device to be {expected}"), WELL, || async {
        let state = api.device(device).await?.state;
        ensure!(state == expected, "it is {state}");
        Ok(Some(()))
    })
    .await
}

async fn collect_every(stack: &Stack, seconds: u32) -> Result<()> {
    let path = format!("/sites/{}/config", stack.site()?);
    let body = json!({ "collect_every_s": seconds, "inventory_every_s": 900 });
    stack.api.call(Method::PUT, &path, Some(&body)).await.map(drop)
}

/// Has an agent join and returns its id.
async fn join(stack: &Stack, agent: &mut Agent, known: &[String]) -> Result<String> {
    let token = stack.api.install_token(&stack.site()?, "agent", 1).await?;
    agent.enroll(&token.token)?;
    agent.start()?;
    let devices = stack.devices_online(known.len() + 1).await?;
    let new = devices.into_iter().find(|d| !known.contains(&d.id));
    Ok(new.context("a device more")?.id)
}

/// The relay has heard of it by now: who was revoked comes, and is turned away.
async fn is_refused(stack: &mut Stack, device: &str) -> Result<()> {
    for agent in &mut stack.agents {
        if !agent.command(&["doctor"])?.outcome("")?.text.contains(device) {
            continue;
        }
        agent.stop();
        agent.start()?;
        let process = agent.process().context("a running agent")?;
        let log = || process.log_tail(64 * 1024);
        wait::until_true("the relay to refuse it", secs(20), || log().contains(REFUSED)).await?;
        ensure!(!log().contains(LET_IN), "it was let in: {}", log());
        return Ok(());
    }
    anyhow::bail!("no agent is {device}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_restored_from_an_older_copy_is_told_what_it_forgot() -> Result<()> {
    let mut stack = Stack::for_test(2).await?;
    let both = stack.devices_online(2).await?;
    let (stays, goes) = (both[0].id.clone(), both[1].id.clone());
    copy_relay(&mut stack).await?;
    stack.devices_online(2).await?;

    // All of this is unknown to the copy.
    ends(&stack.api, &stack.api.run_script(&stays, &note(&stack, 1)).await?, "succeeded").await?;
    collect_every(&stack, 20).await?;
    stack.api.delete(&format!("/devices/{goes}")).await?;
    let logs = stack.folder().join("logs");
    let mut newcomer = Agent::configure(&stack.folder().join("newcomer"), &logs)?;
    let comes = join(&stack, &mut newcomer, std::slice::from_ref(&stays)).await?;
    let open = stack.api.run_script(&stays, &waits(&stack, 2)).await?;
    wait::until("the slow script to run", secs(20), || async {
        Ok((stack.api.task(&open).await?.count("running") == 1).then_some(()))
    })
    .await?;

    set_back_relay(&mut stack)?;
    lets_go(&stack)?;
    stack.relay.start().await?;
    ends(&stack.api, &open, "succeeded").await?;
    ends(&stack.api, &stack.api.run_script(&stays, &note(&stack, 3)).await?, "succeeded").await?;
    ends(&stack.api, &stack.api.run_script(&comes, &note(&stack, 4)).await?, "succeeded").await?;
    assert_once(&stack, [1, 2, 3, 4])?;
    state(&stack.api, &goes, "revoked").await?;
    is_refused(&mut stack, &goes).await?;
    let gaps = stack
        .postgres
        .sql("select count(*) from gaps where device_id is null and from_at < to_at")?;
    assert_eq!(gaps, "4", "a gap a lane, as long as the copy is old");
    // Nothing spins: an idle relay costs a few transactions in this time, which is
    // longer than connections keep their counts to themselves.
    let count = "select xact_commit from pg_stat_database where datname = 'unifyit'";
    let before: u64 = stack.postgres.sql(count)?.parse()?;
    tokio::time::sleep(secs(12)).await;
    let after: u64 = stack.postgres.sql(count)?.parse()?;
    assert!(after - before < 1200, "{} transactions in twelve seconds", after - before);
    stack.check_alive()
}

/// What is on a device is known.
async fn inventoried(stack: &Stack, device: &str) -> Result<()> {
    wait::until("a whole inventory", WELL, || async {
        let told = format!(
            "select count(distinct section) > 1 from inventory_entries where device_id = '{device}'"
        );
        Ok((stack.postgres.sql(&told)? == "t").then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_an_older_copy_learns_what_the_site_knows() -> Result<()> {
    let mut stack = Stack::for_test(2).await?;
    let both = stack.devices_online(2).await?;
    stack.agents[0].stop();
    let asleep = wait::until("one of them to be offline", secs(30), || async {
        for device in &both {
            if stack.api.device(&device.id).await?.state == "offline" {
                return Ok(Some(device.id.clone()));
            }
        }
        Ok(None)
    })
    .await?;
    let goes = both.iter().map(|d| d.id.clone()).find(|id| *id != asleep).context("two devices")?;
    let open = stack.api.run_script(&asleep, &note(&stack, 1)).await?;
    copy_database(&mut stack).await?;
    stack.relay_online().await?;

    // All of this is unknown to the copy.
    stack.agents[0].start()?;
    ends(&stack.api, &open, "succeeded").await?;
    ends(&stack.api, &stack.api.run_script(&goes, &note(&stack, 2)).await?, "succeeded").await?;
    collect_every(&stack, 20).await?;
    stack.api.delete(&format!("/devices/{goes}")).await?;
    state(&stack.api, &asleep, "online").await?;
    inventoried(&stack, &asleep).await?;
    wait::until("the relay to know all that", secs(20), || async {
        Ok((stack.postgres.sql("select count(*) from downlink")? == "0").then_some(()))
    })
    .await?;

    set_back_database(&mut stack)?;
    stack.cloud.start().await?;
    stack.relay_online().await?;
    ends(&stack.api, &open, "succeeded").await?;
    state(&stack.api, &asleep, "online").await?;
    state(&stack.api, &goes, "revoked").await?;
    let site: Value = stack.api.get(&format!("/sites/{}", stack.site()?)).await?;
    assert_eq!(site["config"]["collect_every_s"], 20, "{site}");
    ends(&stack.api, &stack.api.run_script(&asleep, &note(&stack, 3)).await?, "succeeded").await?;
    assert_once(&stack, [1, 2, 3])?;
    inventoried(&stack, &asleep).await?;
    let gaps = stack.postgres.sql(
        "select count(*) from gaps where lane = 'urgent' and records > 0 and from_at < to_at",
    )?;
    assert_ne!(gaps, "0", "what the copy lacks stands as a gap from its moment on");
    stack.check_alive()
}

/// One round: a copy, twenty scripts, what was copied put back, and all of it judged.
async fn endure(
    stack: &mut Stack,
    device: &str,
    (relay, database): (bool, bool),
    number: &mut u64,
) -> Result<()> {
    if relay {
        copy_relay(stack).await?;
    }
    if database {
        copy_database(stack).await?;
    }
    stack.relay_online().await?;
    stack.devices_online(1).await?;
    let mut tasks = Vec::new();
    for _ in 0..20 {
        *number += 1;
        tasks.push((*number, stack.api.run_script(device, &note(stack, *number)).await?));
        tokio::time::sleep(Duration::from_millis(rand::random_range(20..200))).await;
    }
    if database {
        set_back_database(stack)?;
        stack.cloud.start().await?;
    }
    if relay {
        set_back_relay(stack)?;
        stack.relay.start().await?;
    }
    stack.relay_online().await?;
    // A database that was restored has forgotten these tasks.
    let mut known = Vec::new();
    for (number, task) in &tasks {
        if !database {
            ends(&stack.api, task, "succeeded").await?;
            known.push(*number);
        }
    }
    *number += 1;
    let last = stack.api.run_script(device, &note(stack, *number)).await?;
    ends(&stack.api, &last, "succeeded").await?;
    known.push(*number);
    assert_once(stack, known)?;
    state(&stack.api, device, "online").await
}

/// The relay, the database and both at once, again and again under load.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes: make soak runs it"]
async fn soak_of_restores_loses_no_command_and_runs_none_twice() -> Result<()> {
    let mut soak = Soak::new("restores");
    let mut stack = Stack::for_test(1).await?;
    let mut device = stack.first_device().await?;
    let mut number = 0;
    let combinations = [
        ("relay", (true, false)),
        ("database", (false, true)),
        ("relay and database", (true, true)),
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
