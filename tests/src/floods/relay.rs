//! The relay of another customer, with as much to tell as its devices can give it:
//! three days of samples of many devices at once, into the cloud that others work with.

use super::{Figures, Length, Others, memory};
use crate::{
    sim::{
        flooder::{BATCH, Flooder, enrol_at},
        now_ms,
    },
    stack::{Stack, ports::Ports, relay::Relay},
};
use anyhow::{Result, ensure};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::task::JoinSet;

const DEVICES: u64 = 16;
const HOURS: u64 = 72;
/// Between two samples, as agents take them.
const EVERY_MS: u64 = 10_000;

/// Floods, and says what it did to the others.
///
/// # Errors
/// When one of the others was refused or broken off, or the relay was put out.
pub async fn flood(stack: &mut Stack, length: Length) -> Result<Figures> {
    let organization = stack.api.create_organization("Flood AG").await?;
    let site = stack.api.create_site(&organization, "Flood").await?;
    let token = stack.api.install_token(&site, "relay", 1).await?.token;
    let (folder, logs) = (stack.folder().join("flood"), stack.folder().join("logs"));
    let mut relay = Relay::configure(&folder, &logs, Ports::free()?)?;
    relay.enroll(&token, "123456")?;
    relay.start().await?;
    let identities = enrol_at(&stack.api, &site, "flood", DEVICES).await?;
    let others = Others::at_work(stack, length.quiet).await?;
    let before = memory(stack);

    let (until, batches) = (Instant::now() + length.flood, Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for identity in identities {
        let batches = Arc::clone(&batches);
        tasks.spawn(Box::pin(async move {
            let mut device = Flooder::open(&identity).await?;
            let first = (now_ms() / 60_000 - HOURS * 60) * 60_000;
            for _ in 0..HOURS * 3_600_000 / EVERY_MS / BATCH {
                if Instant::now() >= until {
                    break;
                }
                device.batch(|number| first + number * EVERY_MS).await?;
                batches.fetch_add(1, Ordering::Relaxed);
            }
            device.close().await;
            anyhow::Ok(())
        }));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let during = memory(stack);
    let (quiet, meanwhile) = others.went_on(stack).await?;
    let sent = relay.metric("uplink_sent_bytes_total").await? as u64;
    ensure!(sent > 0, "nothing reached the cloud");
    let batches = batches.load(Ordering::Relaxed);
    let extent = format!("{batches} batches of {BATCH} samples, {} kB to the cloud", sent / 1000);
    Ok(Figures::new(quiet, meanwhile, [before, during]).of(extent))
}
