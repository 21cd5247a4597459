//! Where keepers come from: one is always ready ahead.

use super::Kept;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Gives a keeper to each command. To start one takes longer than all else on the way
/// to a script's first word, so the next is started when a command has ended, and waits.
#[derive(Debug)]
pub struct Keepers {
    program: PathBuf,
    ready: Mutex<Option<Kept>>,
}

impl Keepers {
    /// Keepers that run this program, the agent's own.
    #[must_use]
    pub fn of(program: PathBuf) -> Self {
        Self { program, ready: Mutex::new(None) }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A keeper, which waits for its order.
    ///
    /// # Errors
    /// What the system answers when one has to be started.
    pub fn take(&self) -> io::Result<Kept> {
        // Whoever waited long may have been ended meanwhile.
        let ready = self.ready().take().and_then(|mut kept| kept.is_there().then_some(kept));
        ready.map_or_else(|| Kept::start(&self.program), Ok)
    }

    /// Sees to it that the next command need not wait for its keeper's start.
    pub fn make_ready(&self) {
        let mut ready = self.ready();
        if ready.is_some() {
            return;
        }
        match Kept::start(&self.program) {
            Ok(kept) => *ready = Some(kept),
            // The next command tries again, and says so.
            Err(error) => tracing::debug!(%error, "no keeper could be started ahead"),
        }
    }

    fn ready(&self) -> MutexGuard<'_, Option<Kept>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    use std::{
        fs,
        os::unix::fs::PermissionsExt,
        time::{Duration, Instant},
    };

    /// What waits as a keeper does, for somebody who never says anything.
    fn waiting(dir: &Path) -> Keepers {
        let program = dir.join("waits");
        fs::write(&program, "#!/bin/sh\nexec cat\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        Keepers::of(program)
    }

    fn pid(keepers: &Keepers) -> u32 {
        keepers.ready().as_ref().and_then(Kept::pid).unwrap()
    }

    async fn until(mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test]
    async fn one_is_ready_ahead_and_one_that_ended_meanwhile_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let keepers = waiting(dir.path());
        keepers.make_ready();
        let first = pid(&keepers);
        keepers.make_ready();
        assert_eq!(pid(&keepers), first, "one is enough");
        assert_eq!(keepers.take().unwrap().pid(), Some(first));
        assert!(keepers.ready().is_none());
        keepers.make_ready();
        let second = pid(&keepers);
        kill(Pid::from_raw(second.cast_signed()), Signal::SIGKILL).unwrap();
        until(|| keepers.ready().as_mut().is_some_and(|kept| !kept.is_there())).await;
        assert!(keepers.take().unwrap().is_there(), "one that ended was given to a command");
    }
}
