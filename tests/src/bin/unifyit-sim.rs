//! Simulated devices from the command line.

use anyhow::Result;
use clap::Parser;
use std::{path::PathBuf, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use unifyit_tests::sim::{Fleet, FleetSpec};

/// Simulated devices that speak the real protocol with a real relay.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// An agent install token with enough uses. Not needed when --file has all devices.
    #[arg(long, env = "UNIFYIT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How many devices.
    #[arg(long, default_value_t = 200)]
    devices: usize,
    /// Where the devices' identities are kept, so that the next start brings them back.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Grows names, inventories and metrics.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Devices whose every word is made to do harm where it is shown.
    #[arg(long)]
    hostile: bool,
    /// Seconds between lines of numbers; 0 for none.
    #[arg(long, default_value_t = 10)]
    report_s: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("UNIFYIT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();
    let args = Args::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let spec =
        FleetSpec { devices: args.devices, token: args.token, file: args.file, seed: args.seed };
    let start = async {
        if args.hostile { Fleet::start_hostile(&spec).await } else { Fleet::start(&spec).await }
    };
    let fleet = tokio::select! {
        fleet = Box::pin(start) => fleet?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let every = Duration::from_secs(if args.report_s == 0 { 3600 } else { args.report_s });
    let mut tick = tokio::time::interval(every);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = tick.tick() => if args.report_s > 0 {
                let s = fleet.stats();
                tracing::info!(
                    online = s.online.get(), samples = s.samples.get(), acked = s.acked.get(),
                    not_taken = s.not_taken.get(), started = s.started.get(),
                    finished = s.finished.get(), repeated = s.repeated.get(),
                    refused = s.refused.get(), "simulated devices"
                );
            }
        }
    }
    fleet.stop().await;
    Ok(())
}
