//! Start, signals, end.
//!
//! One object owns the cancellation and the tasks. The first SIGTERM or SIGINT
//! begins the drain: the HTTP server takes no more connections, sockets are
//! told, the gateway and jobs finish what they hold. What has not ended within
//! [`DRAIN`] is abandoned; every effect is a transaction, so that is safe.

use serde::Serialize;
use std::{fs, io, net::SocketAddr, path::Path, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long ending may take.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Owns the end of the process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// Cancelled when the process is to end.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task that the end waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Cancels [`Lifecycle::stop`] at the first SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When the system does not let us listen for signals.
    pub fn listen(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("asked to stop; finishing what is under way");
            notify(&[sd_notify::NotifyState::Stopping]);
            stop.cancel();
        });
        Ok(())
    }

    /// Tells the service manager that the service serves.
    pub fn ready(&self) {
        notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Waits for the tasks, but not for ever.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "some tasks did not end in time");
        }
    }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

/// Where the process can be reached, written to `runtime.json` in the state
/// folder: with port 0 nobody else knows.
#[derive(Debug, Serialize)]
pub struct Runtime {
    /// Address of the HTTP server.
    pub http: SocketAddr,
    /// Address of metrics and readiness.
    pub admin: SocketAddr,
    /// Multiaddresses listened on.
    pub libp2p: Vec<String>,
    /// The cloud's peer id.
    pub peer_id: String,
}

impl Runtime {
    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let temporary = state.join("runtime.json.new");
        fs::write(&temporary, text)?;
        fs::rename(temporary, state.join("runtime.json"))
    }
}
