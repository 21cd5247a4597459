//! Signals, cancellation and tasks, in one place.
//!
//! Every task of the relay is spawned here under a name. A task that ends
//! before it was told to ends the relay, which the service manager then starts
//! anew: a relay that is half there would look healthy and not be. Shutdown is
//! in two steps, so that what was taken in is still made durable: first
//! `accepting` ends (listeners, connections), then `running` (store, uplink).

use std::{future::Future, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Longest time for each of the two steps of a shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// Owns all tasks.
#[derive(Debug, Default)]
pub struct Lifecycle {
    accepting: CancellationToken,
    running: CancellationToken,
    outer: JoinSet<(&'static str, anyhow::Result<()>)>,
    inner: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Lifecycle {
    /// Ends when nothing more is to be taken in.
    #[must_use]
    pub fn accepting(&self) -> CancellationToken {
        self.accepting.clone()
    }

    /// Ends when what was taken in is to be made durable.
    #[must_use]
    pub fn running(&self) -> CancellationToken {
        self.running.clone()
    }

    /// Spawns a task that ends with [`Lifecycle::accepting`].
    pub fn spawn_outer<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.outer.spawn(async move { (name, task.await) });
    }

    /// Spawns a task that ends with [`Lifecycle::running`].
    pub fn spawn_inner<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.inner.spawn(async move { (name, task.await) });
    }

    /// Waits for a signal, `stop` or the end of any task, then drains.
    ///
    /// # Errors
    /// When a task failed, or ended without having been told to.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let outcome = tokio::select! {
            _ = terminate.recv() => { tracing::info!("told to stop; draining"); Ok(()) }
            _ = interrupt.recv() => { tracing::info!("interrupted; draining"); Ok(()) }
            () = stop => Ok(()),
            Some(ended) = self.outer.join_next() => early(ended),
            Some(ended) = self.inner.join_next() => early(ended),
        };
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.accepting.cancel();
        drain(&mut self.outer).await;
        self.running.cancel();
        drain(&mut self.inner).await;
        outcome
    }
}

fn early(
    ended: Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>,
) -> anyhow::Result<()> {
    match ended {
        Ok((name, Ok(()))) => Err(anyhow::anyhow!("the part \"{name}\" ended unexpectedly")),
        Ok((name, Err(error))) => Err(error.context(format!("the part \"{name}\" failed"))),
        Err(error) => Err(anyhow::anyhow!("a part of the relay crashed: {error}")),
    }
}

async fn drain(tasks: &mut JoinSet<(&'static str, anyhow::Result<()>)>) {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok((_, Ok(()))) => {}
                Ok((name, Err(error))) => {
                    tracing::warn!(part = name, %error, "ended with an error")
                }
                Err(error) => tracing::error!(%error, "a part crashed while it was stopped"),
            }
        }
    };
    if tokio::time::timeout(DRAIN, all).await.is_err() {
        tracing::warn!(left = tasks.len(), "parts did not end in time and are cut off");
        tasks.shutdown().await;
    }
}
