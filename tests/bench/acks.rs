//! How many reports a second the relay makes durable, and how long each waits
//! for that (G1).

use crate::report::{Report, ms, quantile};
use anyhow::Result;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use unifyit_tests::{
    sim::{
        Identity,
        flooder::{BATCH, Flooder, enrol_at},
        now_ms,
    },
    stack::Stack,
};

const DEVICES: u64 = 32;
const MEASURE: Duration = Duration::from_secs(10);

pub(crate) async fn measure(stack: &Stack, report: &mut Report) -> Result<()> {
    println!("durable acks ({DEVICES} devices, {} s)", MEASURE.as_secs());
    let identities = enrol_at(&stack.api, &stack.site()?, "flood", DEVICES).await?;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for identity in identities {
        tasks.spawn(Box::pin(until(identity, began + MEASURE)));
    }
    let mut waits = Vec::new();
    while let Some(done) = tasks.join_next().await {
        waits.extend(done??);
    }
    let elapsed = began.elapsed().as_secs_f64();
    let reports = waits.len() as u64 * BATCH;
    #[expect(clippy::cast_precision_loss, reason = "shown without digits")]
    let rate = reports as f64 / elapsed;
    let p99 = quantile(&mut waits, 0.99);
    report.goal(
        "relay, durable acks",
        format!("{rate:.0}/s"),
        "≥ 20,000/s (Mosquitto's safest 176/s)",
        rate >= 20_000.0,
    );
    let met = p99 <= Duration::from_millis(30);
    report.goal("relay, wait for an ack, p99", ms(p99), "≤ 30 ms", met);
    Ok(())
}

/// Sends until a moment; returns how long each batch waited.
async fn until(identity: Identity, end: Instant) -> Result<Vec<Duration>> {
    let mut device = Flooder::open(&identity).await?;
    let start = now_ms();
    let mut waits = Vec::new();
    while Instant::now() < end {
        waits.push(device.batch(|number| start + number).await?);
    }
    device.close().await;
    Ok(waits)
}
