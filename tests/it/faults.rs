//! `kill -9` at random moments under load. The scripts themselves write the
//! ledger; nothing acknowledged may be missing from it, nothing may stand in it
//! twice, and everything finds its way back by itself.
//!
//! `UNIFYIT_SOAK` sets the number of kills (5 otherwise).

use crate::{ledger::judge, outage::unbroken_but};
use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use unifyit_tests::{
    api::{Api, bash},
    stack::Stack,
    wait::{self, secs},
};

/// By when a site is surely reached again. A relay that met a cloud that died
/// again and again pauses for half a minute, and one that takes a dead cloud for
/// a slow one needs some seconds more.
const REACHED: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Agent,
    Relay,
    Cloud,
}

fn rounds() -> u64 {
    std::env::var("UNIFYIT_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_of_the_agent_loses_nothing_and_runs_nothing_twice() -> Result<()> {
    survive(Victim::Agent).await
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_of_the_relay_loses_nothing_and_runs_nothing_twice() -> Result<()> {
    survive(Victim::Relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_of_the_cloud_loses_nothing_and_runs_nothing_twice() -> Result<()> {
    survive(Victim::Cloud).await
}

async fn survive(victim: Victim) -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let key = stack.api.create_key("load").await?.key;
    let ledger = stack.folder().join("ledger");
    let load = Load::start(stack.api.clone(), key.clone(), device.clone(), ledger);

    let began = SystemTime::now();
    for round in 0..rounds() {
        // A random moment is the point here, so this is no wait for a condition.
        let pause = Duration::from_millis(rand::random_range(300..2500));
        tokio::time::sleep(pause).await;
        match victim {
            Victim::Agent => {
                stack.agents[0].kill9();
                stack.agents[0].start()?;
            }
            Victim::Relay => {
                stack.relay.kill9();
                stack.relay.start().await?;
            }
            Victim::Cloud => {
                stack.cloud.kill9();
                stack.cloud.start().await?;
                // A site notices its cloud's death after some seconds, for the network
                // tells nobody: without this most kills would meet a dead line.
                if rand::random_bool(0.5) {
                    let task = submit(&stack.api, &key, &device, "true").await?;
                    stack.api.finished(&task, REACHED).await.context("the site is cut off")?;
                }
            }
        }
        println!("round {}: killed {victim:?} after {pause:?}", round + 1);
    }
    let (over, accepted) = (SystemTime::now(), load.stop().await?);
    assert!(accepted.len() as u64 > rounds(), "there was load: {}", accepted.len());

    stack.devices_online(1).await?;
    let outcomes = outcomes(&stack.api, &accepted).await?;
    let indeterminate: BTreeSet<u64> = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.status == "indeterminate")
        .map(|(number, _)| *number)
        .collect();
    // What was under way when the agent died is reported as such; nothing else is.
    if victim == Victim::Agent {
        assert!(indeterminate.len() as u64 <= rounds() * 8, "{indeterminate:?}");
    } else {
        assert!(indeterminate.is_empty(), "the agent lived on: {indeterminate:?}");
    }
    let acked: BTreeSet<u64> =
        accepted.keys().filter(|number| !indeterminate.contains(number)).copied().collect();
    let verdict = judge(&acked, read_ledger(&stack.folder().join("ledger"))?);
    println!("{victim:?}: {verdict}, {} indeterminate", indeterminate.len());
    assert!(verdict.lost.is_empty(), "acknowledged and never run: {verdict:?}");
    assert!(verdict.repeated.is_empty(), "run more than once: {verdict:?}");
    for (number, outcome) in &outcomes {
        if !indeterminate.contains(number) {
            assert_eq!(outcome.status, "succeeded", "script {number}: {outcome:?}");
            assert_eq!(outcome.output, format!("{number}\n"), "output of script {number}");
        }
    }
    // A load is what lies between two looks: an agent that never lives for so long has none.
    let began = if victim == Victim::Agent { began } else { over };
    unbroken_but(&stack.api, &device, began, over).await?;
    stack.check_alive()
}

#[derive(Debug)]
struct ScriptOutcome {
    status: String,
    output: String,
}

/// Waits for the end of every accepted script and for what it printed: outcomes
/// travel ahead of output. Of a script whose end is unclear nothing may come.
async fn outcomes(
    api: &Api,
    accepted: &BTreeMap<u64, String>,
) -> Result<BTreeMap<u64, ScriptOutcome>> {
    let mut outcomes = BTreeMap::new();
    for (number, task) in accepted {
        api.finished(task, REACHED).await.with_context(|| format!("script {number}"))?;
        let what = format!("the output of script {number}");
        let target = wait::until(&what, REACHED, || async {
            let task = api.task(task).await?;
            let target = task.targets.into_iter().next().context("one target")?;
            let told = !target.output.is_empty() || target.status == "indeterminate";
            Ok(told.then_some(target))
        })
        .await?;
        outcomes.insert(*number, ScriptOutcome { status: target.status, output: target.output });
    }
    Ok(outcomes)
}

fn read_ledger(path: &Path) -> Result<Vec<u64>> {
    let text = fs::read_to_string(path)?;
    text.lines()
        .map(|line| line.parse().with_context(|| format!("a torn line: {line:?}")))
        .collect()
}

/// Submits small scripts, one after the other, until stopped. Each order has an
/// idempotency key and is repeated with it until the cloud accepts it, as a
/// careful client does.
struct Load {
    going: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<BTreeMap<u64, String>>>,
}

impl Load {
    fn start(api: Api, key: String, device: String, ledger: PathBuf) -> Self {
        let going = Arc::new(AtomicBool::new(true));
        let until = Arc::clone(&going);
        let task = tokio::spawn(async move {
            let mut accepted = BTreeMap::new();
            let mut number = 0;
            while until.load(Ordering::Relaxed) {
                number += 1;
                let body = format!("echo {number} >> {}; echo {number}", ledger.display());
                let id = submit(&api, &key, &device, &body).await?;
                accepted.insert(number, id);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(accepted)
        });
        Self { going, task }
    }

    async fn stop(self) -> Result<BTreeMap<u64, String>> {
        self.going.store(false, Ordering::Relaxed);
        self.task.await?
    }
}

async fn submit(api: &Api, key: &str, device: &str, body: &str) -> Result<String> {
    let http = reqwest::Client::builder().no_proxy().timeout(secs(10)).build()?;
    let order = json!({
        "targets": {"device_ids": [device]}, "action": bash(body), "expires_in_s": 3600,
    });
    let idempotency = uuid::Uuid::new_v4().to_string();
    let url = format!("{}/api/v1/tasks", api.base());
    wait::until("the cloud to accept a task", secs(60), || async {
        let answer = http
            .request(Method::POST, &url)
            .bearer_auth(key)
            .header("idempotency-key", &idempotency)
            .json(&order)
            .send()
            .await?
            .error_for_status()?;
        let accepted: Value = answer.json().await?;
        Ok(accepted["id"].as_str().map(str::to_owned))
    })
    .await
}
