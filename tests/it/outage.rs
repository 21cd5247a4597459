//! The WAN is cut while the site works on.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use unifyit_tests::{
    api::{Api, types::Metrics},
    stack::Stack,
    wait::{self, secs},
};

/// All metrics of the last hour, by the minute.
pub(crate) async fn metrics(api: &Api, device: &str) -> Result<Metrics> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let from = now - 3_600_000;
    api.get(&format!("/devices/{device}/metrics?from={from}&to={now}&step=60")).await
}

/// Minutes for which a series has a value, in order.
pub(crate) fn minutes(metrics: &Metrics, name: &str) -> Vec<i64> {
    let Some(series) = metrics.series.iter().find(|s| s.name == name) else { return Vec::new() };
    metrics
        .times
        .iter()
        .zip(&series.avg)
        .filter(|(_, value)| value.is_some())
        .map(|(at, _)| at / 60_000)
        .collect()
}

/// Waits until minutes from before `from` to beyond it are there, and follow each other
/// without a hole or a repetition.
pub(crate) async fn unbroken(api: &Api, device: &str, from: SystemTime) -> Result<()> {
    unbroken_but(api, device, from, from).await
}

/// The same where nothing need be there of the minutes that lie wholly between `began`
/// and `from`.
pub(crate) async fn unbroken_but(
    api: &Api,
    device: &str,
    began: SystemTime,
    from: SystemTime,
) -> Result<()> {
    let minute = |at: SystemTime| -> Result<i64> {
        Ok(i64::try_from(at.duration_since(UNIX_EPOCH)?.as_secs() / 60)?)
    };
    let (began, from) = (minute(began)?, minute(from)?);
    wait::until("the chart to close", secs(180), || async {
        let metrics = metrics(api, device).await?;
        let found = minutes(&metrics, "cpu.busy");
        let (Some(first), Some(last)) = (found.first(), found.last()) else { return Ok(None) };
        let follow = found.windows(2).all(|pair| {
            let whole = pair[0] < pair[1] && pair[0] >= began && pair[1] <= from;
            pair[1] == pair[0] + 1 || whole
        });
        ensure!(*first <= from && *last > from && follow, "minute {from} in {found:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_once_and_in_order_after_the_wan_was_cut() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    wait::until("a first minute of metrics", secs(150), || async {
        let metrics = metrics(&stack.api, &device).await?;
        Ok((!minutes(&metrics, "cpu.busy").is_empty()).then_some(()))
    })
    .await?;

    let ledger = stack.folder().join("ledger");
    let script = format!(
        "for i in $(seq 1 90); do echo $i | tee -a {}; sleep 1; done; exit 7",
        ledger.display()
    );
    let task = stack.api.run_script(&device, &script).await?;
    wait::until_true("the script to start", secs(30), || ledger.exists()).await?;

    stack.cloud.stop();
    let cut = std::time::Instant::now();
    // The site works on: the script writes although nobody asks.
    wait::until("the script to go on without the WAN", secs(100), || async {
        let lines = std::fs::read_to_string(&ledger)?.lines().count();
        Ok((lines >= 80 && cut.elapsed() > Duration::from_secs(60)).then_some(()))
    })
    .await?;
    stack.cloud.start().await?;
    let back = SystemTime::now();

    stack.api.finished(&task, secs(90)).await?;
    // The outcome comes ahead of what waited in the lane of output.
    let done = wait::until("all of the output", secs(30), || async {
        let task = stack.api.task(&task).await?;
        let whole = task.targets.iter().all(|t| t.output.len() as u64 >= t.output_len);
        Ok(whole.then_some(task))
    })
    .await?;
    let target = &done.targets[0];
    let expected: String = (1..=90).map(|i| format!("{i}\n")).collect();
    assert_eq!((target.status.as_str(), target.exit_code), ("failed", Some(7)));
    assert_eq!(target.output, expected, "each line once, in order");
    assert_eq!(std::fs::read_to_string(&ledger)?, expected, "it ran once");

    // The chart reaches beyond the cut, without a hole in it.
    unbroken(&stack.api, &device, back).await?;
    let gaps = metrics(&stack.api, &device).await?.gaps;
    ensure!(gaps.is_empty(), "gaps are declared: {gaps:?}");
    let again = stack.api.run_script(&device, "echo back").await?;
    assert_eq!(stack.api.finished(&again, secs(30)).await?.targets[0].output, "back\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_for_a_device_that_is_away_waits_and_runs_once_when_it_returns() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    stack.agents[0].stop();
    wait::until("the device to be seen offline", secs(90), || async {
        Ok((stack.api.device(&device).await?.state == "offline").then_some(()))
    })
    .await?;
    let ledger = stack.folder().join("ledger");
    let script = format!("echo ran >> {}", ledger.display());
    let task = stack.api.run_script(&device, &script).await?;
    stack.relay.stop();
    stack.relay.start().await?;
    stack.agents[0].start()?;
    let done = stack.api.finished(&task, secs(60)).await?;
    assert_eq!(done.targets[0].status, "succeeded");
    assert_eq!(std::fs::read_to_string(&ledger).context("the ledger")?, "ran\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_site_reach_its_devices() -> Result<()> {
    let stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let path = format!("/sites/{}/config", stack.site()?);
    let body = json!({"collect_every_s": 1, "inventory_every_s": 900});
    stack.api.call(reqwest::Method::PUT, &path, Some(&body)).await?;
    let mut events = unifyit_tests::api::live::Events::open(&stack.api).await?;
    events.watch(&[&device], &[]).await?;
    let mut came = Vec::new();
    events
        .find("samples at the faster pace", secs(60), |event| {
            if event.kind == "device.sample" {
                came.push(std::time::Instant::now());
            }
            let n = came.len();
            let quick = n >= 4 && came[n - 1] - came[n - 4] < Duration::from_secs(6);
            quick.then_some(())
        })
        .await
}
