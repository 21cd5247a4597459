//! Signals, cancellation and tasks, in one place.
//!
//! Every part of the relay is spawned here under a name, those of the site by
//! [`crate::site`]. One that ends before it was told to ends the relay, which the
//! service manager then starts anew: a relay that is half there would look healthy and
//! not be. What a part runs [`Beside`] itself is the part's own to watch. A session with
//! the cloud is no part: its crash ends the session (G9). Shutdown is in two steps, so that what was taken in is still made durable: first
//! `accepting` ends (listeners, connections), then `running` (store, uplink).

use std::{collections::HashMap, future::Future, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{Id, JoinError, JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// Longest time for each of the two steps of a shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// Owns all tasks.
#[derive(Debug, Default)]
pub struct Lifecycle {
    accepting: CancellationToken,
    running: CancellationToken,
    outer: Parts,
    inner: Parts,
}

/// Tasks under names.
#[derive(Debug, Default)]
struct Parts {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
}

/// How a part ended.
type Ended = (&'static str, Result<anyhow::Result<()>, JoinError>);

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
        self.outer.spawn(name, task);
    }

    /// Spawns a task that ends with [`Lifecycle::running`].
    pub fn spawn_inner<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.inner.spawn(name, task);
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
            Some(ended) = self.outer.next_end() => early(ended),
            Some(ended) = self.inner.next_end() => early(ended),
        };
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.accepting.cancel();
        self.outer.drain().await;
        self.running.cancel();
        self.inner.drain().await;
        outcome
    }
}

impl Parts {
    fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    async fn next_end(&mut self) -> Option<Ended> {
        let (id, ended) = match self.tasks.join_next_with_id().await? {
            Ok((id, outcome)) => (id, Ok(outcome)),
            Err(error) => (error.id(), Err(error)),
        };
        Some((self.names.remove(&id).unwrap_or_default(), ended))
    }

    async fn drain(&mut self) {
        let all = async {
            while let Some((part, ended)) = self.next_end().await {
                match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(part, %error, "ended with an error"),
                    Err(error) => {
                        tracing::error!(part, %error, "a part crashed while it was stopped");
                    }
                }
            }
        };
        if tokio::time::timeout(DRAIN, all).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "parts did not end in time and are cut off");
            self.tasks.shutdown().await;
        }
    }
}

fn early((name, ended): Ended) -> anyhow::Result<()> {
    match ended {
        Ok(Ok(())) => Err(anyhow::anyhow!("the part \"{name}\" ended unexpectedly")),
        Ok(Err(error)) => Err(error.context(format!("the part \"{name}\" failed"))),
        Err(error) => Err(anyhow::anyhow!("the part \"{name}\" of the relay crashed: {error}")),
    }
}

/// A task that a part runs beside itself for as long as it lives: whoever has it watches
/// it with [`Beside::ended`], so that the part does not go on without it.
#[derive(Debug)]
pub(crate) struct Beside(Option<JoinHandle<()>>);

impl Beside {
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(tokio::spawn(task)))
    }

    /// Whether its end was seen.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_none()
    }

    /// Resolves when it ended, or at once when that was seen before. Its crash is one of
    /// whoever waits here.
    pub(crate) async fn ended(&mut self) {
        let Some(task) = &mut self.0 else { return };
        let ended = task.await;
        self.0 = None;
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    /// Ends it, and returns when all that it held is let go.
    pub(crate) async fn end(mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            drop(task.await);
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use std::future::pending;

    /// A relay of two steps that stop when told to, with a part that does as it likes.
    async fn relay_with<F>(outer: bool, part: F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let mut life = Lifecycle::default();
        for (name, token) in [("front", life.accepting()), ("core", life.running())] {
            let task = async move {
                token.cancelled().await;
                Ok(())
            };
            match name {
                "front" => life.spawn_outer(name, task),
                _ => life.spawn_inner(name, task),
            }
        }
        match outer {
            true => life.spawn_outer("strange", part),
            false => life.spawn_inner("strange", part),
        }
        let run = life.run(pending());
        tokio::time::timeout(Duration::from_secs(5), run).await.expect("the relay ends")
    }

    #[tokio::test]
    async fn a_part_that_ends_in_whatever_way_ends_the_relay_and_is_named() {
        for outer in [true, false] {
            let said = |ended: anyhow::Result<()>| format!("{:#}", ended.unwrap_err());
            let returned = said(relay_with(outer, async { Ok(()) }).await);
            assert_eq!(returned, "the part \"strange\" ended unexpectedly");
            let failed = said(relay_with(outer, async { Err(anyhow::anyhow!("no disk")) }).await);
            assert_eq!(failed, "the part \"strange\" failed: no disk");
            let crashed = said(relay_with(outer, async { panic!("on purpose") }).await);
            assert!(crashed.starts_with("the part \"strange\" of the relay crashed"), "{crashed}");
        }
    }

    #[tokio::test]
    async fn what_a_part_runs_beside_itself_takes_the_part_with_it() {
        let part = |beside: fn()| async move {
            let mut beside = Beside::spawn(async move { beside() });
            tokio::select! {
                () = beside.ended() => assert!(beside.is_over()),
                () = pending() => {}
            }
            beside.end().await;
            Ok(())
        };
        let crashed = relay_with(true, part(|| panic!("on purpose"))).await.unwrap_err();
        assert!(format!("{crashed:#}").contains("crashed"), "{crashed:#}");
        let returned = relay_with(true, part(|| {})).await.unwrap_err();
        assert!(format!("{returned:#}").contains("ended unexpectedly"), "{returned:#}");
    }

    #[tokio::test]
    async fn a_stop_lets_what_was_taken_in_be_made_durable() {
        let (accept, mut taken_in) = tokio::sync::oneshot::channel();
        let (durable, made) = tokio::sync::oneshot::channel();
        let mut life = Lifecycle::default();
        let (accepting, running) = (life.accepting(), life.running());
        life.spawn_outer("front", async move {
            accepting.cancelled().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = accept.send("what came last");
            Ok(())
        });
        life.spawn_inner("core", async move {
            running.cancelled().await;
            let _ = durable.send(taken_in.try_recv().ok());
            Ok(())
        });
        life.run(async {}).await.unwrap();
        assert_eq!(made.await, Ok(Some("what came last")), "the front ends first");
    }
}
