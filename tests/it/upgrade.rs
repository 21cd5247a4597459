//! An installation of an earlier version, upgraded in place: first the cloud, then a
//! computer, the relay, the other computer. At each step both versions talk, and what
//! was there before stays.

use crate::outage::metrics;
use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use unifyit_tests::{
    api::live::{Events, Terminal},
    stack::Stack,
    wait::{self, secs},
};

/// What each step must be able to do, with every computer.
async fn works(stack: &Stack, step: &str) -> Result<Vec<String>> {
    let devices = stack.devices_online(stack.agents.len()).await?;
    let mut tasks = Vec::new();
    for device in &devices {
        let task = stack.api.run_script(&device.id, &format!("echo {step}; exit 3")).await?;
        let done = stack.api.finished(&task, secs(60)).await.with_context(|| step.to_owned())?;
        let target = &done.targets[0];
        ensure!(target.output == format!("{step}\n"), "{step}: {target:?}");
        ensure!(target.exit_code == Some(3), "{step}: {target:?}");
        tasks.push(task);

        let mut terminal = Terminal::open(&stack.api, &device.id, 80, 24).await?;
        terminal.send(b"echo a$((40+2))b\n").await?;
        terminal.expect("a42b", secs(30)).await.with_context(|| step.to_owned())?;

        let mut events = Events::open(&stack.api).await?;
        events.watch(&[&device.id], &[]).await?;
        let sample =
            |event: &unifyit_tests::api::live::Event| (event.kind == "device.sample").then_some(());
        events.find("a live sample", secs(30), sample).await.with_context(|| step.to_owned())?;
    }
    Ok(tasks)
}

/// The list of kinds, titles and times of all that happened to a device, oldest first.
async fn happened(stack: &Stack, device: &str) -> Result<Vec<Value>> {
    let page: Value = stack.api.get(&format!("/devices/{device}/timeline?limit=200")).await?;
    let items = page["items"].as_array().cloned().unwrap_or_default();
    let told = |item: &Value| json!([item["at"], item["kind"], item["title"], item["detail"]]);
    Ok(items.iter().rev().map(told).collect())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs of an earlier commit: tests/upgrade/run builds them"]
async fn an_installation_of_before_is_upgraded_in_place_and_both_versions_talk() -> Result<()> {
    let before = std::env::var_os("UNIFYIT_BEFORE").context("UNIFYIT_BEFORE names no folder")?;
    let mut stack = Stack::of_build(2, &PathBuf::from(before)).await?;
    let mut tasks = works(&stack, "before").await?;
    let devices = stack.devices_online(2).await?;
    let [first, second] = [&devices[0].id, &devices[1].id];
    let inventory = format!("/devices/{first}/inventory/system");
    let system: Value = wait::until("the inventory", secs(60), || async {
        let section: Value = stack.api.get(&inventory).await?;
        Ok(section["entries"]["system"].is_object().then_some(section))
    })
    .await?;
    let measured = wait::until("a minute of metrics", secs(150), || async {
        let metrics = metrics(&stack.api, first).await?;
        let minutes = metrics.series.iter().find(|series| series.name == "cpu.busy");
        let minutes = minutes.map(|series| series.avg.iter().flatten().count());
        Ok(minutes.filter(|count| *count > 0))
    })
    .await?;
    let history = happened(&stack, first).await?;
    let site = stack.saved.site.as_deref().context("the site has no id")?;
    let site = format!("/sites/{site}");
    let wish = json!({"collect_every_s": 7, "inventory_every_s": 1200});
    stack.api.call(Method::PUT, &format!("{site}/config"), Some(&wish)).await?;

    stack.cloud.stop();
    stack.cloud.build_of(None);
    stack.cloud.migrate()?;
    stack.cloud.start().await?;
    stack.relay_online().await?;
    let kept: Value = stack.api.get(&site).await?;
    ensure!(kept["config"] == wish, "what was set stays: {kept}");
    tasks.extend(works(&stack, "cloud").await?);

    stack.agents[0].stop();
    stack.agents[0].build_of(None);
    stack.agents[0].start()?;
    tasks.extend(works(&stack, "first-agent").await?);

    stack.relay.stop();
    stack.relay.build_of(None);
    stack.relay.start().await?;
    stack.relay_online().await?;
    tasks.extend(works(&stack, "relay").await?);

    stack.agents[1].stop();
    stack.agents[1].build_of(None);
    stack.agents[1].start()?;
    tasks.extend(works(&stack, "second-agent").await?);

    let later = happened(&stack, first).await?;
    ensure!(later.starts_with(&history), "{history:?} became {later:?}");
    let section: Value = stack.api.get(&inventory).await?;
    let host = |section: &Value| section["entries"]["system"]["hostname"].clone();
    ensure!(host(&section) == host(&system) && host(&section).is_string(), "{section}");
    let metrics = metrics(&stack.api, first).await?;
    let minutes = metrics.series.iter().find(|series| series.name == "cpu.busy");
    let minutes = minutes.map_or(0, |series| series.avg.iter().flatten().count());
    ensure!(minutes >= measured, "{minutes} minutes of {measured} are left");
    for task in &tasks {
        let kept = stack.api.task(task).await?;
        ensure!(kept.status == "done" && kept.targets[0].exit_code == Some(3), "{kept:?}");
    }
    ensure!(stack.devices_online(2).await?.iter().any(|device| device.id == *second));
    Ok(())
}
