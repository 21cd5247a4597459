//! Work that may never come back, in a thread of its own.
//!
//! One thread runs the agent, and the system may keep a call for as long as it
//! likes: a file system whose server is gone, a sensor that does not answer, a
//! directory of users that is away. Such calls are made here and left behind when
//! they take too long. Bounded: when [`MAX_LEFT`] are left behind, no more begin
//! until one has come back.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use thiserror::Error;
use tokio::sync::oneshot;

/// Threads that may be left behind at once.
pub const MAX_LEFT: usize = 32;
const STACK_BYTES: usize = 256 * 1024;

/// Threads that are at work, waited for or not.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoAnswer {
    /// It takes too long; it goes on by itself.
    #[error("it did not answer in time")]
    TooLong,
    /// Too many are left behind, or the system gives no thread.
    #[error("too many earlier questions have no answer yet")]
    TooMany,
}

struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        AT_WORK.fetch_sub(1, Ordering::Relaxed);
    }
}

fn begin(work: impl FnOnce() + Send + 'static) -> Result<(), NoAnswer> {
    if AT_WORK.fetch_add(1, Ordering::Relaxed) >= MAX_LEFT {
        AT_WORK.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!(max = MAX_LEFT, "too many questions to the system have no answer yet");
        return Err(NoAnswer::TooMany);
    }
    let counted = Counted;
    let run = move || {
        let _counted = counted;
        work();
    };
    let thread = thread::Builder::new().name("apart".into()).stack_size(STACK_BYTES).spawn(run);
    thread.map(drop).map_err(|error| {
        tracing::warn!(%error, "a thread could not be started");
        NoAnswer::TooMany
    })
}

/// Does `work` apart and waits for it, at most for `limit`.
///
/// # Errors
/// [`NoAnswer`].
pub async fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoAnswer> {
    let (answer, answered) = oneshot::channel();
    begin(move || drop(answer.send(work())))?;
    match tokio::time::timeout(limit, answered).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(NoAnswer::TooLong),
    }
}

/// As [`within`], where no runtime is.
///
/// # Errors
/// [`NoAnswer`].
pub fn within_blocking<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoAnswer> {
    let (answer, answered) = std::sync::mpsc::sync_channel(1);
    begin(move || drop(answer.send(work())))?;
    answered.recv_timeout(limit).map_err(|_| NoAnswer::TooLong)
}

/// What a piece of work is asking at the moment, and what did not answer before
/// and is therefore not asked again while the old question stands.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    at: Arc<Mutex<Option<String>>>,
    given_up: Arc<AtomicBool>,
    silent: Arc<Mutex<BTreeSet<String>>>,
}

impl Watch {
    /// For another piece of work that knows of the same silence.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self { silent: Arc::clone(&self.silent), ..Self::default() }
    }

    /// Asks one question. `None`, without asking, while an earlier one to the same
    /// has no answer.
    pub fn ask<T>(&self, whom: &str, question: impl FnOnce() -> T) -> Option<T> {
        if self.given_up.load(Ordering::Relaxed) || lock(&self.silent).contains(whom) {
            return None;
        }
        *lock(&self.at) = Some(whom.to_owned());
        let answer = question();
        *lock(&self.at) = None;
        if self.given_up.load(Ordering::Relaxed) {
            lock(&self.silent).remove(whom);
            return None;
        }
        Some(answer)
    }

    /// No longer waits for the work, and names who is silent.
    pub fn give_up(&self) -> Option<String> {
        self.given_up.store(true, Ordering::Relaxed);
        let whom = lock(&self.at).clone()?;
        lock(&self.silent).insert(whom.clone());
        // It may have answered just then.
        if lock(&self.at).is_none() {
            lock(&self.silent).remove(&whom);
            return None;
        }
        Some(whom)
    }

    /// All that do not answer.
    #[must_use]
    pub fn silent(&self) -> Vec<String> {
        lock(&self.silent).iter().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn what_does_not_come_back_is_left_behind() {
        assert_eq!(within(Duration::from_secs(60), || 7).await, Ok(7));
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let hangs = within(Duration::from_millis(1), move || held.recv().is_ok()).await;
        assert_eq!(hangs, Err(NoAnswer::TooLong));
        assert_eq!(within_blocking(Duration::from_secs(60), || 8), Ok(8));
        drop(hold);
    }

    #[tokio::test]
    async fn who_is_silent_is_named_and_left_out_until_the_answer_comes() {
        let watch = Watch::default();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (done, heard) = std::sync::mpsc::channel();
        let first = watch.fresh();
        let at_work = first.clone();
        let work = move || {
            at_work.ask("/good", || ());
            let answer = at_work.ask("/hung", || held.recv().is_ok());
            let _ = done.send((answer, at_work.ask("/next", || ())));
        };
        assert_eq!(within(Duration::from_millis(50), work).await, Err(NoAnswer::TooLong));
        assert_eq!(first.give_up().as_deref(), Some("/hung"));
        let second = watch.fresh();
        assert_eq!(second.ask("/hung", || 1), None, "it is asked again");
        assert_eq!(second.ask("/good", || 1), Some(1));
        assert_eq!(watch.silent(), ["/hung"]);
        drop(hold);
        // The work that was given up asks nobody else.
        assert_eq!(heard.recv().unwrap(), (None, None));
        assert_eq!(watch.fresh().ask("/hung", || 1), Some(1));
    }
}
