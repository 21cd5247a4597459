//! What the daemon keeps up for itself, each in a loop of its own. What it observes
//! stands in [`crate::features`].

use super::parts::Router;
use crate::{
    apart::within,
    clock::{self, frame_ms, now_ms},
    config::Settings,
    enroll::{Renewal, own_identity, renew, renewal_due},
    identity::{Identity, PrivateKey},
    link::spool::Spool,
    platform::{self, Alarm},
    store::{META, Store},
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use unifyit_protocol::{codec, config::DeviceConfig};

const CONFIG: &str = "device config";
const SHIFT: &str = "shift of samples";
/// Samples unacknowledged for this long go to disk, at most once a minute.
const SETTLE_EVERY: Duration = Duration::from_secs(60);
const SETTLE_AGE_MS: u64 = 20_000;
/// Below this much free space samples stay in memory: what is left of the disk
/// is for commands and their outcomes (G6).
const LOW_SPACE: u64 = 32 << 20;
/// How long the disk may take to say how full it is.
const DISK_ANSWERS: Duration = Duration::from_secs(3);
const RENEW_LOOK: Duration = Duration::from_secs(3600);
const RENEW_RETRY: Duration = Duration::from_secs(300);

/// The settings that the cloud pushed last.
pub(super) fn load_config(store: &Store) -> DeviceConfig {
    store
        .read(|tables| {
            let table = tables.open_table(META)?;
            let saved = table.get(CONFIG)?;
            Ok(saved.map(|bytes| codec::decode(bytes.value())).transpose()?)
        })
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "the last settings cannot be read; the usual ones hold");
            None
        })
        .unwrap_or_default()
}

/// Keeps pushed settings for the next start.
pub(super) async fn keep_config(store: Store, mut config: watch::Receiver<DeviceConfig>) {
    while config.changed().await.is_ok() {
        let present = config.borrow_and_update().clone();
        let kept = store.write(move |txn| {
            let bytes = codec::encode(&present)?;
            txn.tables.open_table(META)?.insert(CONFIG, bytes.as_slice())?;
            Ok(())
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, "settings could not be kept");
        }
    }
}

/// How far samples of the last run were from the site's time; 0 when unknown.
pub(super) fn load_shift(store: &Store) -> i64 {
    let read = store.read(|tables| {
        let table = tables.open_table(META)?;
        Ok(table.get(SHIFT)?.and_then(|b| b.value().try_into().ok()).map(i64::from_be_bytes))
    });
    read.ok().flatten().unwrap_or(0)
}

/// Keeps it for the next run, which sends what this one could not.
pub(super) async fn keep_shift(store: Store) {
    loop {
        clock::moved().await;
        let shift = clock::shift_ms(u64::MAX).to_be_bytes();
        let kept = store.write(move |txn| {
            txn.tables.open_table(META)?.insert(SHIFT, shift.as_slice())?;
            Ok(())
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, "how far the clock is off could not be kept");
        }
    }
}

/// Renews the certificate in time, or when the relay asks.
pub(super) async fn renewal(
    settings: Settings,
    sender: watch::Sender<Arc<Identity>>,
    identity: watch::Receiver<Arc<Identity>>,
    key: Arc<PrivateKey>,
    router: Arc<Router>,
    given: mpsc::Sender<(Identity, PrivateKey)>,
) {
    let mut asked = false;
    loop {
        let present = Arc::clone(&identity.borrow());
        let pause = match renewal_due(&present.certificate, now_ms()) {
            Renewal::NotBefore(due_ms) if !asked => until(due_ms),
            state => {
                let addresses =
                    if settings.https.is_empty() { &present.https } else { &settings.https };
                match renew(&settings.state, &present, &key, addresses).await {
                    Ok(renewed) => {
                        tracing::info!("the agent's certificate was renewed");
                        asked = false;
                        let next = renewal_due(&renewed.certificate, now_ms());
                        sender.send_replace(Arc::new(renewed));
                        match next {
                            Renewal::NotBefore(due_ms) => until(due_ms),
                            // A relay that issues what is due at once is not
                            // asked without end.
                            Renewal::Due | Renewal::Overdue => RENEW_RETRY,
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, ?state, "the certificate could not be renewed");
                        RENEW_RETRY
                    }
                }
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = router.renew.notified() => asked = true,
            () = router.own_identity.notified() => {
                let present = Arc::clone(&identity.borrow());
                let addresses =
                    if settings.https.is_empty() { &present.https } else { &settings.https };
                match own_identity(&settings.state, &present, &key, addresses).await {
                    Ok(own) => drop(given.send(own).await),
                    Err(error) => {
                        tracing::warn!(%error, "this computer could not get an identity of its own");
                    }
                }
            }
        }
    }
}

/// The pause until a moment, but never longer than to the next look: clocks are
/// set, and computers sleep.
fn until(due_ms: u64) -> Duration {
    let left = Duration::from_millis(due_ms.saturating_sub(now_ms()));
    left.clamp(Duration::from_secs(1), RENEW_LOOK)
}

/// Once a minute: samples to disk that the relay did not take; a sign of life to
/// the service manager as often as it wants.
pub(super) async fn settle(spool: Spool, state: PathBuf) {
    let mut alarm = Alarm::every(SETTLE_EVERY);
    let watchdog = platform::watchdog_interval();
    let mut low = false;
    let mut life = Alarm::every(watchdog.unwrap_or(Duration::from_secs(3600)));
    loop {
        tokio::select! {
            () = alarm.ring() => {
                let path = state.clone();
                let free = within(DISK_ANSWERS, move || platform::free_space(&path)).await;
                // What does not answer is as it was.
                if let Ok(Ok((free, _))) = free {
                    low = free < LOW_SPACE;
                }
                if low {
                    tracing::warn!("the disk is nearly full; samples are kept in memory only");
                    continue;
                }
                let old = frame_ms().saturating_sub(SETTLE_AGE_MS);
                if let Err(error) = spool.settle(old).await {
                    tracing::error!(%error, "samples cannot be written; they stay in memory");
                }
            }
            () = life.ring() => if watchdog.is_some() {
                platform::notify("WATCHDOG=1");
            },
        }
    }
}
