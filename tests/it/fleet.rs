//! A thousand devices at one site.

use anyhow::{Context, Result};
use serde_json::json;
use std::time::{Duration, Instant};
use unifyit_tests::{
    api::{bash, live::Events},
    sim::{Fleet, FleetSpec, Running},
    stack::Stack,
    wait::{self, secs},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_for_a_thousand_devices_shows_its_progress_and_completes() -> Result<()> {
    let mut stack = Stack::for_test(0).await?;
    let site = stack.site()?;
    let fleet = thousand(&stack, &site).await?;

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
    assert!(steps >= 1, "progress was shown on the way: {seen:?}");

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

async fn thousand(stack: &Stack, site: &str) -> Result<Running> {
    let token = stack.api.install_token(site, "agent", 1000).await?.token;
    let spec = FleetSpec { devices: 1000, token: Some(token), file: None, seed: 1 };
    let fleet = Fleet::start(&spec).await?;
    fleet.online(1000, secs(120)).await?;
    wait::until("the cloud to see all of them", secs(90), || async {
        let page = stack.api.devices(&format!("site_id={site}&state=online&limit=1")).await?;
        Ok((page.total == Some(1000)).then_some(()))
    })
    .await?;
    Ok(fleet)
}

/// How long tasks follow each other, and how long before memory is compared:
/// buffers and the database's cache fill first.
const FLAT_FOR: Duration = secs(600);
const WARM_UP: Duration = secs(180);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes ten minutes: make soak runs it"]
async fn soak_of_a_thousand_devices_leaves_the_relays_memory_flat() -> Result<()> {
    let mut stack = Stack::for_test(0).await?;
    let site = stack.site()?;
    let fleet = thousand(&stack, &site).await?;
    let began = Instant::now();
    let (mut early, mut late) = (Vec::new(), Vec::new());
    let mut rounds = 0;
    while began.elapsed() < FLAT_FOR {
        let script = bash("# sim: ms=200 spread_ms=2000 print=done");
        let task = stack.api.submit(json!({"site_ids": [site]}), script).await?;
        let done = stack.api.finished(&task, secs(90)).await?;
        assert_eq!(done.count("succeeded"), 1000, "{:?}", done.counts);
        rounds += 1;
        let memory = stack.relay.process().context("the relay runs")?.memory()?;
        println!("{:>4} s: {:.1} MB", began.elapsed().as_secs(), megabytes(memory));
        let at = began.elapsed();
        if at >= FLAT_FOR - (FLAT_FOR - WARM_UP) / 3 {
            late.push(memory);
        } else if at >= WARM_UP && at < WARM_UP + (FLAT_FOR - WARM_UP) / 3 {
            early.push(memory);
        }
    }
    fleet.stop().await;
    let highest = |values: &[u64]| values.iter().copied().max().context("there were rounds");
    let (early, late) = (highest(&early)?, highest(&late)?);
    println!(
        "{rounds} tasks for 1,000 devices: at most {:.1} MB early, {:.1} MB late",
        megabytes(early),
        megabytes(late)
    );
    assert!(late <= early + early / 10, "the relay grew: {early} to {late} bytes");
    stack.check_alive()
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
