//! The feature that `tests/sample/run` adds to a copy, seen from outside.

use anyhow::{Result, ensure};
use serde_json::Value;
use unifyit_tests::{
    api::live::Events,
    stack::Stack,
    wait::{self, secs},
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs programs that have the feature: tests/sample/run builds them"]
async fn a_feature_that_was_added_is_told_from_the_agent_to_the_api() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let path = format!("/devices/{device}/starts");
    let first: Value = wait::until("the first start to be told", secs(60), || async {
        let starts: Value = stack.api.get(&path).await?;
        Ok(starts.get(0).is_some().then_some(starts))
    })
    .await?;
    ensure!(first.as_array().is_some_and(|all| all.len() == 1), "{first}");

    let mut events = Events::open(&stack.api).await?;
    stack.agents[0].stop();
    stack.agents[0].start()?;
    let told = events
        .find("the event of the second start", secs(60), |event| {
            (event.kind == "device.started").then(|| event.data.clone())
        })
        .await?;
    ensure!(told["device_id"] == Value::String(device.clone()), "{told}");

    let timeline: Value = stack.api.get(&format!("/devices/{device}/timeline")).await?;
    let items = timeline["items"].as_array().cloned().unwrap_or_default();
    let starts: Vec<_> = items.iter().filter(|item| item["kind"] == "start").collect();
    ensure!(starts.len() == 2 && starts[0]["title"] == "Agent started", "{timeline}");

    // It is measured when the relay next looks at its store.
    wait::until("the relay to have heard of it too", secs(90), || async {
        Ok((stack.relay.metric("starts_known").await? >= 1.0).then_some(()))
    })
    .await
}
