//! What the line between a site and the cloud carries while nobody looks: pings, the
//! comparison of clocks, how the relay fares, newest loads. Counted as datagrams with
//! their headers, both ways; the blocks of measurements are counted by `wire`.

use crate::report::Report;
use anyhow::{Context, Result};
use std::time::Duration;
use unifyit_tests::{
    sim::{Fleet, FleetSpec},
    stack::Stack,
    wait::secs,
};

const DEVICES: usize = 20;
/// First samples, inventories and words about the relay are behind it by then.
const SETTLE: Duration = Duration::from_secs(90);
const MEASURE: Duration = Duration::from_secs(300);
const DAY_S: f64 = 86_400.0;

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
pub(crate) async fn measure(stack: &Stack, blocks: Option<f64>, report: &mut Report) -> Result<()> {
    println!("a site of {DEVICES} devices at rest ({} s)", MEASURE.as_secs());
    let wan = stack.wan.as_ref().context("there is a line that counts")?;
    let token = stack.api.install_token(&stack.site()?, "agent", u32::try_from(DEVICES)?).await?;
    let file = Some(stack.folder().join("fleet.json"));
    let spec = FleetSpec { devices: DEVICES, token: Some(token.token), file, seed: 1 };
    let fleet = Fleet::start(&spec).await?;
    fleet.online(DEVICES, secs(180)).await?;
    tokio::time::sleep(SETTLE).await;
    let before = wan.carried();
    tokio::time::sleep(MEASURE).await;
    let after = wan.carried();
    fleet.stop().await;
    let a_day = |count: u64| count as f64 / MEASURE.as_secs_f64() * DAY_S;
    let bytes = a_day(after.0 - before.0);
    let datagrams = a_day(after.1 - before.1);
    report.note(
        "WAN, a site at rest beside its blocks, a day",
        format!("{:.2} MB", bytes / 1e6),
        &format!("{datagrams:.0} datagrams"),
    );
    let Some(blocks) = blocks else { return Ok(()) };
    for devices in [DEVICES, 200] {
        let each = blocks + bytes / devices as f64 / 1000.0;
        report.note(
            &format!("WAN, all of it, a device a day at {devices} devices"),
            format!("{each:.0} kB"),
            "blocks and the line at rest",
        );
    }
    Ok(())
}
