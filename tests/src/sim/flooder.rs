//! A device that has more to tell than real ones: batch after batch of samples,
//! each sent when the one before is durable at the relay.

use super::{
    Connection, Enroller, Identity,
    machine::{Machine, Meter},
    now_ms,
};
use crate::api::Api;
use anyhow::Result;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;
use unifyit_protocol::{
    codec,
    envelope::Decoded,
    lan::{DownControl, Hello, UpControl},
    lane::Lane,
    report::{Report, ReportBatch, Sequenced},
    topics::Up,
};

/// Reports in a batch.
pub const BATCH: u64 = 32;

/// Enrols devices for a flood at a site.
///
/// # Errors
/// When one is refused.
pub async fn enrol_at(api: &Api, site: &str, name: &str, devices: u64) -> Result<Vec<Identity>> {
    let uses = u32::try_from(devices)?;
    let token = api.install_token(site, "agent", uses).await?.token;
    let enroller = Enroller::new(&token)?;
    let mut identities = Vec::new();
    for seed in 0..devices {
        identities.push(enroller.enroll(&format!("{name}-{seed}"), seed).await?);
    }
    Ok(identities)
}

/// A connected device with its meter.
#[derive(Debug)]
pub struct Flooder {
    connection: Connection,
    topic: String,
    meter: Meter,
    epoch: u64,
    sent: u64,
}

impl Flooder {
    /// Connects and is welcomed.
    ///
    /// # Errors
    /// When it is not.
    pub async fn open(identity: &Identity) -> Result<Self> {
        let mut connection = Connection::open(identity, Arc::new(identity.tls()?)).await?;
        let epoch = now_ms();
        let hello = UpControl::Hello(Hello {
            agent_version: "bench".into(),
            epoch,
            hostname: identity.hostname.clone(),
            now_ms: epoch,
            running: Vec::new(),
            heeds_handed: false,
            instance: uuid::Uuid::nil(),
        });
        connection.publish(&Up::Hello.topic(identity.device), hello.encode()?).await?;
        wait_for(&mut connection, |message| matches!(message, DownControl::Welcome(_))).await?;
        let machine = Machine::new(identity.seed, 1);
        let meter = Meter::new(&machine, identity.seed, epoch);
        let topic = Up::Report.topic(identity.device);
        Ok(Self { connection, topic, meter, epoch, sent: 0 })
    }

    /// Columns of each sample.
    #[must_use]
    pub fn columns(&self) -> u64 {
        self.meter.series().series.len() as u64
    }

    /// Sends one batch of samples, each at the time that `at` gives for its
    /// number (from 0), and returns how long it took to be durable.
    ///
    /// # Errors
    /// When the relay does not acknowledge it.
    pub async fn batch(&mut self, at: impl Fn(u64) -> u64) -> Result<Duration> {
        let prev = self.sent;
        let mut reports = Vec::new();
        for seq in prev + 1..=prev + BATCH {
            let report = match seq {
                1 => Report::Series(self.meter.series()),
                _ => Report::Sample(self.meter.sample(at(seq - 2))),
            };
            reports.push(Sequenced { seq, body: report.encode()? });
        }
        let through = prev + BATCH;
        let epoch = self.epoch;
        let batch = ReportBatch { epoch, lane: Lane::Metrics, prev, shift_ms: Some(0), reports };
        let began = Instant::now();
        self.connection.publish(&self.topic, codec::encode(&batch)?).await?;
        wait_for(&mut self.connection, |message| {
            matches!(message, DownControl::Ack(ack)
                if ack.lane == Lane::Metrics && ack.epoch == epoch && ack.through >= through)
        })
        .await?;
        self.sent = through;
        Ok(began.elapsed())
    }

    /// Disconnects.
    pub async fn close(self) {
        self.connection.close().await;
    }
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
