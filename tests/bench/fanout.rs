//! One command to a thousand devices, beside Mosquitto handing one message to a
//! thousand subscribers, TLS against TLS; and what the devices cost the relay.

use crate::{
    mosquitto,
    report::{Report, cpu_s, mb, ms, quantile},
};
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use unifyit_tests::{
    api::bash,
    sim::{Fleet, FleetSpec, Moment, Running},
    stack::Stack,
    wait::secs,
};

const FEW: usize = 50;
const MANY: usize = 1000;
const ROUNDS: usize = 20;

pub(crate) async fn measure(stack: &mut Stack, report: &mut Report) -> Result<()> {
    let file = stack.folder().join("fleet.json");
    for devices in [FEW, MANY] {
        println!("relay with {devices} devices");
        let fleet = start(stack, devices, &file).await?;
        // First samples and inventories are behind them by then.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let memory = stack.relay.process().context("the relay runs")?.memory()?;
        let (goal, met) = match devices {
            FEW => ("≤ 30 MB (Zabbix proxy 38)", memory <= 30_000_000),
            _ => ("≤ 100 MB at 2,000", memory <= 100_000_000),
        };
        report.goal(&format!("relay, memory at {devices} agents"), mb(memory), goal, met);
        if devices == MANY {
            rounds(stack, &fleet, report).await?;
        }
        fleet.stop().await;
    }
    let mut theirs = mosquitto::fan_out(MANY, ROUNDS).await?;
    let (p50, p99) = (quantile(&mut theirs, 0.5), quantile(&mut theirs, 0.99));
    report.note("fan-out to 1,000, Mosquitto over TLS, p50", ms(p50), "publish to arrival");
    report.note("fan-out to 1,000, Mosquitto over TLS, p99", ms(p99), "neither signed nor durable");
    Ok(())
}

async fn start(stack: &Stack, devices: usize, file: &std::path::Path) -> Result<Running> {
    let uses = u32::try_from(devices)?;
    let token = stack.api.install_token(&stack.site()?, "agent", uses).await?.token;
    let file = Some(file.to_owned());
    let fleet = Fleet::start(&FleetSpec { devices, token: Some(token), file, seed: 1 }).await?;
    fleet.online(devices, secs(180)).await?;
    Ok(fleet)
}

async fn rounds(stack: &mut Stack, fleet: &Running, report: &mut Report) -> Result<()> {
    println!("fan-out to {MANY} ({ROUNDS} rounds)");
    let site = stack.site()?;
    let (tell, mut told) = mpsc::channel(8 * MANY);
    fleet.observe(Some(Box::new(move |_, moment, at| {
        // A full queue would only lose a measurement; it is sized for a round.
        let _ = tell.try_send((moment, at));
    })));
    let (mut starts, mut settled) = (Vec::new(), Vec::new());
    let relay = stack.relay.process().context("the relay runs")?.pid();
    let (cpu, all) = (cpu_s(relay)?, Instant::now());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let script = bash("# sim: ms=0 bytes=0");
        let task = stack.api.submit(json!({"site_ids": [site]}), script).await?;
        let (mut started, mut done) = (0, 0);
        let mut last = began;
        while started < MANY || done < MANY {
            let (moment, at) = tokio::time::timeout(secs(30), told.recv())
                .await
                .with_context(|| format!("{started} started and {done} settled"))?
                .context("the fleet lives")?;
            match moment {
                Moment::Started(_) => {
                    started += 1;
                    starts.push(at - began);
                }
                Moment::Arrived(_) => {}
                Moment::Settled => {
                    done += 1;
                    last = last.max(at);
                }
            }
        }
        settled.push(last - began);
        stack.api.finished(&task, secs(60)).await?;
        while told.try_recv().is_ok() {}
    }
    let (cpu, all) = (Duration::from_secs_f64(cpu_s(relay)? - cpu), all.elapsed());
    let (p50, p99) = (quantile(&mut starts, 0.5), quantile(&mut starts, 0.99));
    report.note("fan-out to 1,000, API call to start, p50", ms(p50), "signed, checked, durable");
    report.note("fan-out to 1,000, API call to start, p99", ms(p99), "");
    let worst = quantile(&mut settled, 0.99);
    let met = worst <= Duration::from_millis(250);
    report.goal("fan-out to 1,000, last durable ack, p99", ms(worst), "≤ 250 ms", met);
    let rounds = u32::try_from(ROUNDS)?;
    let of = format!("of {} that a round took on a core", ms(all / rounds));
    report.note("fan-out to 1,000, relay's CPU time a round", ms(cpu / rounds), &of);
    delivery(stack, fleet, &mut told, report).await
}

/// As Mosquitto is measured: devices that do nothing but note the arrival. In
/// the rounds before, a thousand computers' work of checking signatures and
/// answering is done by this one.
async fn delivery(
    stack: &Stack,
    fleet: &Running,
    told: &mut mpsc::Receiver<(Moment, Instant)>,
    report: &mut Report,
) -> Result<()> {
    println!("delivery to {MANY} ({ROUNDS} rounds)");
    fleet.heed(false);
    let site = stack.site()?;
    let (mut seen, mut spreads) = (HashSet::new(), Vec::new());
    for _ in 0..ROUNDS {
        let script = bash("# sim: ms=0 bytes=0");
        stack.api.submit(json!({"site_ids": [site]}), script).await?;
        let (mut first, mut arrived) = (None, 0);
        while arrived < MANY {
            let (moment, at) = tokio::time::timeout(secs(30), told.recv())
                .await
                .with_context(|| format!("{arrived} arrived"))?
                .context("the fleet lives")?;
            let Moment::Arrived(id) = moment else { continue };
            // Devices that stay silent get a command again; that is another round's.
            if first.is_none() && seen.insert(id) {
                first = Some((id, at));
            }
            if let Some((_, began)) = first.filter(|(this, _)| *this == id) {
                arrived += 1;
                spreads.push(at - began);
            }
        }
    }
    fleet.observe(None);
    let (p50, p99) = (quantile(&mut spreads, 0.5), quantile(&mut spreads, 0.99));
    report.note(
        "delivery to 1,000, first to nth arrival, p50",
        ms(p50),
        "no slower than Mosquitto",
    );
    report.note(
        "delivery to 1,000, first to nth arrival, p99",
        ms(p99),
        "no slower than Mosquitto",
    );
    Ok(())
}
