//! Publishes reports and live frames, and sends again what nobody acknowledged.

use super::{live::LiveQueue, spool::Spool};
use crate::{clock::uptime_ms, platform};
use rumqttc::{AsyncClient, QoS};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{sleep, sleep_until};
use unifyit_protocol::{ids::DeviceId, lan::ReportAck, lane::Lane, topics::Up};

/// Pause after the spool could not be read.
const RETRY: Duration = Duration::from_secs(5);

/// Publishes what waits, most urgent first.
pub(super) async fn pump_up(
    device: DeviceId,
    client: AsyncClient,
    spool: Spool,
    live: Arc<LiveQueue>,
) {
    let (report, fast) = (Up::Report.topic(device), Up::Live.topic(device));
    let publish = async |topic: &str, bytes: Vec<u8>| {
        client.publish(topic, QoS::AtMostOnce, false, bytes).await.is_ok()
    };
    loop {
        let now = Instant::now();
        let next = match spool.next_batch(Some(Lane::Urgent), now) {
            Ok(Some(batch)) => Ok(Some((&report, batch))),
            Ok(None) => match live.take_next() {
                Some(frame) => Ok(Some((&fast, frame))),
                None => spool.next_batch(None, now).map(|b| b.map(|b| (&report, b))),
            },
            Err(error) => Err(error),
        };
        match next {
            Ok(Some((topic, bytes))) => {
                if !publish(topic, bytes).await {
                    return;
                }
            }
            Ok(None) => tokio::select! {
                () = spool.changed() => {}
                () = live.ready() => {}
                // Only what is under way is waited for: at rest nothing wakes.
                () = until(spool.stale_at()) => spool.retry_stale(Instant::now()),
            },
            Err(error) => {
                tracing::error!(%error, "the spool cannot be read");
                sleep(RETRY).await;
            }
        }
    }
}

/// Takes what the relay acknowledged. The last of it is the last thing that a
/// collection brings with it.
pub(super) fn acked(spool: &Spool, ack: &ReportAck) {
    spool.acked(ack, Instant::now());
    if spool.is_drained() {
        platform::rest(uptime_ms());
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
