//! Looks for changes of the inventory, and hands them to the spool.
//!
//! A process of its own reads it, so that the daemon keeps none of the memory that this
//! takes, and nothing that hangs holds it up.

use super::{FrameKind, accept_snapshot};
use crate::{
    apart::within,
    clock::{jitter, now_ms},
    config::Settings,
    feature::{Feature, Work},
    identity::instance,
    link::spool::{self, MAX_REPORT, Spool},
    platform,
    store::Store,
};
use std::{io, path::Path, process::Stdio, sync::atomic::Ordering, time::Duration};
use tokio::{
    io::{AsyncReadExt, BufReader},
    process::Command,
    time::{sleep, timeout},
};
use unifyit_protocol::lane::Lane;

/// The inventory, as a feature of the agent.
pub const FEATURE: Feature = Feature { name: "inventory", run: |work| Box::pin(run(work)) };

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
/// Up to 20 s, another for each agent.
fn a_while() -> Duration {
    Duration::from_millis(u64::try_from(instance().as_u128() % 20_000).unwrap_or(0))
}

/// Looks for changes of the inventory at the pace that the cloud wishes.
async fn run(work: Work) {
    let Work { settings, store, mut config, asks, .. } = work;
    let mut again = asks.again();
    let mut pause = INVENTORY_START;
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            // After a restore all of a site are asked at once.
            () = asks.inventory.notified() => sleep(a_while()).await,
            asked = again.changed() => match asked {
                Ok(()) => sleep(a_while()).await,
                Err(_) => return,
            },
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
        let asked = asks.whole_inventory.swap(false, Ordering::AcqRel);
        if let Err(error) = tell_inventory(&store, &settings, asked).await {
            asks.whole_inventory.fetch_or(asked, Ordering::AcqRel);
            tracing::warn!(%error, "the inventory could not be told; it is read again soon");
            every = every.min(INVENTORY_RETRY_S);
        }
        // Spread, so that a site's computers do not all look at once.
        pause = Duration::from_secs(every - every / 10 + jitter(every / 5 + 1));
    }
}

async fn tell_inventory(store: &Store, settings: &Settings, asked: bool) -> anyhow::Result<()> {
    let folder = super::folder(&settings.state);
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
                accept_snapshot(folder, &String::from_utf8(body)?)?;
            }
            Some(FrameKind::End) => return Ok(()),
            None => anyhow::bail!("it makes no sense"),
        }
    }
}
