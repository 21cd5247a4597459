//! What the daemon does by itself, each in a loop of its own.

use super::parts::Router;
use crate::{
    apart::within,
    clock::{self, frame_ms, jitter, now_ms},
    collect::{
        inventory::{self, FrameKind},
        metrics::Sampler,
        reader::Reader,
    },
    config::Settings,
    enroll::{Renewal, own_identity, renew, renewal_due},
    identity::{Identity, PrivateKey, instance},
    link::spool::{self, MAX_REPORT, Spool},
    platform::{self, Alarm},
    store::{META, Store},
};
use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, BufReader},
    process::Command,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use unifyit_protocol::{codec, config::DeviceConfig, lane::Lane, report::Report};

const CONFIG: &str = "device config";
const SHIFT: &str = "shift of samples";
/// Longest that reading the inventory may take.
const INVENTORY_LIMIT: Duration = Duration::from_secs(600);
/// How long its process may take to end once it has said all.
const CHILD_END: Duration = Duration::from_secs(3);
/// Seconds after which a reading that failed is tried again, at the latest.
const INVENTORY_RETRY_S: u64 = 300;
/// Most bytes of reports of one reading.
const INVENTORY_BYTES: usize = 32 << 20;
/// The first inventory waits for the first samples: they are looked at first.
const INVENTORY_START: Duration = Duration::from_secs(2);
/// Samples unacknowledged for this long go to disk, at most once a minute.
const SETTLE_EVERY: Duration = Duration::from_secs(60);
const SETTLE_AGE_MS: u64 = 20_000;
/// Below this much free space samples stay in memory: what is left of the disk
/// is for commands and their outcomes (G6).
const LOW_SPACE: u64 = 32 << 20;
const RENEW_LOOK: Duration = Duration::from_secs(3600);
const RENEW_RETRY: Duration = Duration::from_secs(300);

/// Measures at the pace that the cloud wishes.
pub(super) async fn sample(
    spool: Spool,
    mut config: watch::Receiver<DeviceConfig>,
    router: Arc<Router>,
) {
    let (mut reader, mut sampler) = (Reader::default(), Sampler::default());
    loop {
        let every = Duration::from_secs(config.borrow_and_update().collect_every_s.into());
        let mut alarm = Alarm::every(every);
        loop {
            tokio::select! {
                () = alarm.ring() => {
                    let Some(reading) = reader.read().await else { continue };
                    let at_ms = frame_ms();
                    let sampled = sampler.sample(reading, Instant::now(), at_ms);
                    if let Some(table) = sampled.table {
                        spool.push_metric(at_ms, &Report::Series(table));
                    }
                    spool.push_metric(at_ms, &Report::Sample(sampled.sample));
                    clock::look();
                }
                () = router.tell_table.notified() => sampler.tell_table(),
                changed = config.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

/// Up to 20 s, another for each agent.
fn a_while() -> Duration {
    Duration::from_millis(u64::try_from(instance().as_u128() % 20_000).unwrap_or(0))
}

/// Looks for changes of the inventory at the pace that the cloud wishes.
pub(super) async fn inventory(
    store: Store,
    settings: Settings,
    mut config: watch::Receiver<DeviceConfig>,
    router: Arc<Router>,
) {
    let mut pause = INVENTORY_START;
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            // After a restore all of a site are asked at once.
            () = router.tell_inventory.notified() => sleep(a_while()).await,
            changed = config.changed() => match changed {
                // Not a reason to look at once: wait anew, at the new pace.
                Ok(()) => {
                    let every = config.borrow_and_update().inventory_every_s;
                    pause = pause.min(Duration::from_secs(every.into()));
                    continue;
                }
                Err(_) => return,
            }
        }
        let mut every = u64::from(config.borrow_and_update().inventory_every_s);
        let asked = router.whole_inventory.swap(false, Ordering::AcqRel);
        if let Err(error) = tell_inventory(&store, &settings, asked).await {
            router.whole_inventory.fetch_or(asked, Ordering::AcqRel);
            tracing::warn!(%error, "the inventory could not be told; it is read again soon");
            every = every.min(INVENTORY_RETRY_S);
        }
        // Spread, so that a site's computers do not all look at once.
        pause = Duration::from_secs(every - every / 10 + jitter(every / 5 + 1));
    }
}

async fn tell_inventory(store: &Store, settings: &Settings, asked: bool) -> anyhow::Result<()> {
    let folder = inventory::folder(&settings.state);
    let whole = asked || Spool::new(store.clone()).state_was_lost();
    let mut command = Command::new(platform::agent_program());
    command.args(["internal", "inventory", "--folder"]).arg(&folder);
    command.arg("--log").arg(&settings.log);
    command.args(["--log-format", if settings.log_json { "json" } else { "text" }]);
    if whole {
        command.arg("--whole");
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
    let told = timeout(INVENTORY_LIMIT, take_inventory(store, &folder, out)).await;
    // It ends its sources itself, each in time; one that hangs is ended with all
    // that it started, and not waited for.
    if timeout(CHILD_END, child.wait()).await.is_err()
        && let Some(pid) = child.id()
    {
        let _ = within(CHILD_END, move || platform::end_tree(pid)).await;
        drop(child.start_kill());
    }
    told??;
    if whole {
        store
            .write(|txn| {
                txn.book.set_state_lost(false);
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// Takes what the inventory's process prints: a section's reports go to disk when
/// the section is complete, whatever becomes of those behind it.
async fn take_inventory(
    store: &Store,
    folder: &Path,
    out: impl tokio::io::AsyncRead + Unpin,
) -> anyhow::Result<()> {
    let mut out = BufReader::new(out);
    let (mut reports, mut bytes) = (Vec::new(), 0);
    loop {
        let length = usize::try_from(out.read_u32().await?)?;
        let kind = FrameKind::of(out.read_u8().await?);
        bytes += length;
        anyhow::ensure!(length <= MAX_REPORT && bytes <= INVENTORY_BYTES, "it is too long");
        let mut body = vec![0; length];
        out.read_exact(&mut body).await?;
        match kind {
            Some(FrameKind::Report) => reports.push(body),
            Some(FrameKind::Snapshot) => {
                let (part, at_ms) = (std::mem::take(&mut reports), now_ms());
                tracing::debug!(reports = part.len(), "the inventory changed");
                let write = store.write(move |txn| {
                    part.iter().try_for_each(|b| spool::append_encoded(txn, Lane::State, at_ms, b))
                });
                write.await?;
                inventory::accept_snapshot(folder, &String::from_utf8(body)?)?;
            }
            Some(FrameKind::End) => return Ok(()),
            None => anyhow::bail!("it makes no sense"),
        }
    }
}

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
                let free = within(CHILD_END, move || platform::free_space(&path)).await;
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
