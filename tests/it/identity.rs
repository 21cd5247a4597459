//! A cloned machine: two computers with one identity are noticed, and one gets its
//! own.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use unifyit_tests::{
    stack::{Stack, agent::Agent},
    wait::{self, secs},
};

#[tokio::test(flavor = "multi_thread")]
async fn two_computers_with_one_identity_are_noticed_and_one_click_separates_them() -> Result<()> {
    let stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let mut clone = Agent::configure(&stack.folder().join("clone"), &stack.folder().join("logs"))?;
    for file in ["identity.cbor", "device.key"] {
        fs::copy(
            stack.folder().join("agent1").join(file),
            stack.folder().join("clone").join(file),
        )?;
    }
    clone.start()?;
    let detail = format!("/devices/{device}");
    let read = || async { stack.api.get::<Value>(&detail).await };
    let other = wait::until("the two computers to be noticed", secs(60), || async {
        let seen = read().await?;
        let computers = seen["computers"].as_array().cloned().unwrap_or_default();
        Ok(computers
            .iter()
            .find(|c| c["first"] == false)
            .and_then(|c| c["id"].as_str().map(str::to_owned)))
    })
    .await?;
    let overview: Value = stack.api.get("/overview").await?;
    let points = overview["attention"].as_array().context("points of attention")?;
    ensure!(points.iter().any(|p| p["kind"] == "identity_shared"), "{points:?}");
    let timeline: Value = stack.api.get(&format!("{detail}/timeline")).await?;
    ensure!(timeline.to_string().contains("device.identity_shared"), "{timeline}");

    // The first is served; nothing goes to the other.
    let task = stack.api.run_script(&device, "echo once").await?;
    let task = stack.api.finished(&task, secs(60)).await?;
    ensure!(task.targets[0].output == "once\n", "{:?}", task.targets[0]);

    stack
        .api
        .post::<Value>(&format!("{detail}/separate-identity"), &json!({ "computer": other }))
        .await
        .ok();
    let both = stack.devices_online(2).await?;
    ensure!(both.iter().any(|d| d.id == device) && both.len() == 2, "{both:?}");
    wait::until("the device to be one computer's again", secs(30), || async {
        Ok(read().await?["computers"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .await?;
    let new = both.iter().find(|d| d.id != device).context("the new device")?;
    let task = stack.api.run_script(&new.id, "echo apart").await?;
    let task = stack.api.finished(&task, secs(60)).await?;
    ensure!(task.targets[0].output == "apart\n", "{:?}", task.targets[0]);
    Ok(())
}
