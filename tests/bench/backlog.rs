//! A day of a whole site, gathered while the WAN was down: how fast it drains
//! into the cloud, what that costs the cloud, and what it takes at rest.

use crate::report::{Report, cpu_s};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use unifyit_tests::{
    process::descendants,
    sim::{
        Identity,
        flooder::{BATCH, Flooder, enrol_at},
        now_ms,
    },
    stack::Stack,
    wait::{self, secs},
};

const DEVICES: u64 = 50;
const HOURS: u64 = 24;
/// Between two samples, as agents take them.
const EVERY_MS: u64 = 10_000;
const SAMPLES: u64 = HOURS * 3_600_000 / EVERY_MS;
const KNOWN: &str = "SELECT count(*) FROM devices WHERE hostname LIKE 'backlog-%'";
/// Minutes in the cloud, loose and packed.
const ARRIVED: &str = "SELECT coalesce(sum(last_minute - first_minute + 1), 0)::bigint FROM \
    (SELECT first_minute, last_minute FROM metric_recent \
     UNION ALL SELECT first_minute, last_minute FROM metric_blocks) AS all_blocks";
const AT_REST: &str = "SELECT coalesce(sum(octet_length(block)), 0)::bigint FROM metric_recent";

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
pub(crate) async fn measure(stack: &mut Stack, report: &mut Report) -> Result<()> {
    println!("backlog ({HOURS} h of {DEVICES} devices)");
    let identities = enrol_at(&stack.api, &stack.site()?, "backlog", DEVICES).await?;
    // The cloud must know the devices before it is cut off.
    number_reaches(stack, KNOWN, DEVICES, secs(60)).await?;
    let before = stack.postgres.sql(ARRIVED)?.trim().parse::<u64>()?;
    stack.cloud.stop();

    let began = Instant::now();
    let first = (now_ms() / 60_000 - HOURS * 60 - 60) * 60_000;
    let mut tasks = JoinSet::new();
    for identity in identities {
        tasks.spawn(Box::pin(fill(identity, first)));
    }
    let mut columns = 0;
    while let Some(done) = tasks.join_next().await {
        columns += done??;
    }
    println!("  the relay took it in {:.1} s", began.elapsed().as_secs_f64());
    closed(stack).await?;
    println!("  and has summed it up after {:.1} s", began.elapsed().as_secs_f64());

    let database = stack.postgres.process().pid();
    let database_before = tree_cpu_s(database)?;
    let began = Instant::now();
    stack.cloud.start().await?;
    // Whole minutes only: the last batch may end within one.
    let minutes = before + DEVICES * (HOURS * 60 - 1);
    number_reaches(stack, ARRIVED, minutes, secs(300)).await?;
    let elapsed = began.elapsed().as_secs_f64();

    let cloud = cpu_s(stack.cloud.process().context("the cloud runs")?.pid())?;
    let database = tree_cpu_s(database)? - database_before;
    let samples = (columns * SAMPLES) as f64;
    let rate = samples / elapsed;
    report.goal(
        "backlog, relay to cloud, raw samples",
        format!("{rate:.0}/s"),
        "≥ 500,000/s unshaped (Zabbix proxy 50,000)",
        rate >= 500_000.0,
    );
    let a_core = samples / (cloud + database).max(0.01);
    report.goal(
        "cloud ingest, raw samples a core second",
        format!("{a_core:.0}/s"),
        "≥ 1,000,000/s, start and database counted in",
        a_core >= 1_000_000.0,
    );
    report.note("  of which cloud and database took", format!("{cloud:.1} + {database:.1} s"), "");
    let bytes: u64 = stack.postgres.sql(AT_REST)?.trim().parse()?;
    let cells = columns as f64 * (HOURS * 60) as f64;
    let each = bytes as f64 / cells;
    report.note("in the database before packing, a cell", format!("{each:.2} B"), "loose rollups");
    Ok(())
}

/// Sends a device's day; returns its columns.
async fn fill(identity: Identity, first: u64) -> Result<u64> {
    let mut device = Flooder::open(&identity).await?;
    // The very first report names the columns.
    for _ in 0..(SAMPLES + 1).div_ceil(BATCH) {
        device.batch(|number| first + number * EVERY_MS).await?;
    }
    let columns = device.columns();
    device.close().await;
    Ok(columns)
}

/// Waits until the relay has summed up every minute.
async fn closed(stack: &Stack) -> Result<()> {
    wait::until("the relay to sum up every minute", secs(300), || async {
        Ok((stack.relay.metric("minutes_open").await? < 1.0).then_some(()))
    })
    .await
}

async fn number_reaches(stack: &Stack, sql: &str, goal: u64, limit: Duration) -> Result<()> {
    wait::until(sql, limit, || async {
        let number: u64 = stack.postgres.sql(sql)?.trim().parse()?;
        Ok((number >= goal).then_some(()))
    })
    .await
}

/// Processor time of a process and all that came of it, seconds.
fn tree_cpu_s(root: i32) -> Result<f64> {
    // A process may end between the listing and the look.
    let children = descendants(root).into_iter().filter(|pid| *pid != root);
    Ok(cpu_s(root)? + children.filter_map(|pid| cpu_s(pid).ok()).sum::<f64>())
}
