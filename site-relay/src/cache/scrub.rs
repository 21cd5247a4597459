//! Looking after what lies on the disk. Once a night every body is read from the
//! disk itself, past the system's memory of it, so that a block that went bad
//! under a file that nobody has written to is found before a client is sent it:
//! clients of proven files are served by the kernel, without a look.

use super::{Cache, content::Body};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::{io, sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes a second: 50 GB in an hour.
const RATE: u64 = 16_000_000;
/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(60);

impl Cache {
    /// Looks at everything once in each stretch of off hours, until `stop`.
    pub(super) async fn look_after(self: &Arc<Self>, stop: &CancellationToken) {
        let mut done = true;
        loop {
            if !self.is_off_hours() {
                done = false;
            } else if !done {
                tokio::select! {
                    () = stop.cancelled() => return,
                    found = self.scrub() => {
                        done = true;
                        tracing::info!(found, "The package cache looked for damage on its disk.");
                        let cache = Arc::clone(self);
                        let tidied = tokio::task::spawn_blocking(move || cache.forget_names());
                        if let Ok(Err(error)) = tidied.await {
                            tracing::warn!(%error, "The package cache could not forget names of files that are gone.");
                        }
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Reads every body from the disk. What is damaged is dropped, and fetched
    /// again when it is asked for. Returns how many were.
    pub async fn scrub(self: &Arc<Self>) -> usize {
        let Ok(contents) = self.index.contents() else { return 0 };
        let mut found = 0;
        let mut due = Instant::now();
        for (hash, content) in contents {
            let Some(body) = self.contents.get(&hash) else { continue };
            let read = tokio::task::spawn_blocking(move || past_memory(&body)).await;
            if matches!(&read, Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData
                || error.raw_os_error() == Some(libc::EIO))
            {
                self.drop_damaged(&hash, content.size);
                found += 1;
            }
            due = due.max(Instant::now()) + Duration::from_micros(content.size * 1_000_000 / RATE);
            tokio::time::sleep_until(due).await;
        }
        found
    }
}

fn past_memory(body: &Body) -> io::Result<()> {
    // Where the system keeps its copy all the same, that copy is looked at.
    let _advice = posix_fadvise(body.file(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    let (mut at, mut block) = (0, Vec::new());
    while at < body.size() {
        body.block(at, &mut block)?;
        at += block.len() as u64;
    }
    Ok(())
}
