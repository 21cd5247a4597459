//! How many reports a second the relay makes durable, and how long each waits
//! for that (G1).

use crate::report::{Report, ms, quantile};
use anyhow::Result;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::timeout};
use unifyit_protocol::{
    codec,
    envelope::Decoded,
    lan::{DownControl, Hello, UpControl},
    lane::Lane,
    report::{Report as DeviceReport, ReportBatch, Sequenced},
    topics::Up,
};
use unifyit_tests::{
    sim::{
        Connection, Enroller, Identity,
        machine::{Machine, Meter},
        now_ms,
    },
    stack::Stack,
};

const DEVICES: u64 = 32;
const BATCH: u64 = 32;
const MEASURE: Duration = Duration::from_secs(10);

pub(crate) async fn measure(stack: &Stack, report: &mut Report) -> Result<()> {
    println!("durable acks ({DEVICES} devices, {} s)", MEASURE.as_secs());
    let uses = u32::try_from(DEVICES)?;
    let token = stack.api.install_token(&stack.site()?, "agent", uses).await?.token;
    let enroller = Enroller::new(&token)?;
    let mut identities = Vec::new();
    for seed in 0..DEVICES {
        identities.push(enroller.enroll(&format!("flood-{seed}"), seed).await?);
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for identity in identities {
        tasks.spawn(Box::pin(flood(identity, began + MEASURE)));
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

/// Sends batch after batch, each when the one before is durable; returns how
/// long each waited.
async fn flood(identity: Identity, end: Instant) -> Result<Vec<Duration>> {
    let mut connection = Connection::open(&identity, Arc::new(identity.tls()?)).await?;
    let epoch = now_ms();
    let hello = UpControl::Hello(Hello {
        agent_version: "bench".into(),
        epoch,
        hostname: identity.hostname.clone(),
        now_ms: epoch,
        running: Vec::new(),
    });
    connection.publish(&Up::Hello.topic(identity.device), hello.encode()?).await?;
    wait_for(&mut connection, |message| matches!(message, DownControl::Welcome(_))).await?;

    let topic = Up::Report.topic(identity.device);
    let machine = Machine::new(identity.seed, 1);
    let mut meter = Meter::new(&machine, identity.seed, epoch);
    let mut prev = 0;
    let mut waits = Vec::new();
    while Instant::now() < end {
        let mut reports = Vec::new();
        for seq in prev + 1..=prev + BATCH {
            let report = match seq {
                1 => DeviceReport::Series(meter.series()),
                _ => DeviceReport::Sample(meter.sample(epoch + seq)),
            };
            reports.push(Sequenced { seq, body: report.encode()? });
        }
        let batch = ReportBatch { epoch, lane: Lane::Metrics, prev, reports };
        let through = prev + BATCH;
        let began = Instant::now();
        connection.publish(&topic, codec::encode(&batch)?).await?;
        wait_for(&mut connection, |message| {
            matches!(message, DownControl::Ack(ack)
                if ack.lane == Lane::Metrics && ack.epoch == epoch && ack.through >= through)
        })
        .await?;
        waits.push(began.elapsed());
        prev = through;
    }
    connection.close().await;
    Ok(waits)
}

async fn wait_for(
    connection: &mut Connection,
    mut wanted: impl FnMut(&DownControl) -> bool,
) -> Result<()> {
    loop {
        let incoming = timeout(Duration::from_secs(20), connection.next()).await??;
        if let Ok(Decoded::Known(message)) = DownControl::decode(&incoming.payload)
            && wanted(&message)
        {
            return Ok(());
        }
    }
}
