//! A thousand devices at one site.

use anyhow::Result;
use serde_json::json;
use unifyit_tests::{
    api::{bash, live::Events},
    sim::{Fleet, FleetSpec},
    stack::Stack,
    wait::{self, secs},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_for_a_thousand_devices_shows_its_progress_and_completes() -> Result<()> {
    let devices = 1000;
    let mut stack = Stack::for_test(0).await?;
    let site = stack.site()?;
    let token = stack.api.install_token(&site, "agent", 1000).await?.token;
    let spec = FleetSpec { devices, token: Some(token), file: None, seed: 1 };
    let fleet = Fleet::start(&spec).await?;
    fleet.online(devices, secs(120)).await?;
    wait::until("the cloud to see all of them", secs(90), || async {
        let page = stack.api.devices(&format!("site_id={site}&state=online&limit=1")).await?;
        Ok((page.total == Some(1000)).then_some(()))
    })
    .await?;

    let mut events = Events::open(&stack.api).await?;
    let script = bash("# sim: ms=200 spread_ms=3000 print=done");
    let task = stack.api.submit(json!({"site_ids": [site]}), script).await?;
    let mut seen = Vec::new();
    events
        .find("progress up to the end", secs(90), |event| {
            if event.kind != "task.changed" || event.data["id"] != task.as_str() {
                return None;
            }
            seen.push(event.data["counts"]["succeeded"].as_u64().unwrap_or(0));
            (event.data["status"] == "done").then_some(())
        })
        .await?;
    let steps = seen.iter().filter(|n| **n > 0 && **n < 1000).count();
    assert!(steps >= 3, "progress was shown on the way: {seen:?}");

    let done = stack.api.finished(&task, secs(30)).await?;
    assert_eq!((done.total, done.count("succeeded")), (1000, 1000), "{:?}", done.counts);
    assert_eq!(fleet.stats().finished.get(), 1000, "each device ran it once");
    assert_eq!(fleet.stats().refused.get(), 0);

    // All that the devices report becomes durable: nothing piles up.
    wait::until("every report to be acknowledged", secs(60), || async {
        let stats = fleet.stats();
        Ok((stats.acked.get() >= stats.samples.get()).then_some(()))
    })
    .await?;
    fleet.stop().await;
    wait::until("the cloud to see them leave", secs(60), || async {
        let page = stack.api.devices(&format!("site_id={site}&state=online&limit=1")).await?;
        Ok((page.total == Some(0)).then_some(()))
    })
    .await?;
    stack.check_alive()
}
