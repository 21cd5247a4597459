//! The agent as a process: how it is told to end, and that it is no service yet.

use super::Unsupported;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Stops the service and keeps it from starting again.
///
/// # Errors
/// [`Unsupported`], as a sentence's middle.
pub fn remove_service(_root: &Path) -> Result<Vec<PathBuf>, String> {
    Err(Unsupported("removing the service").to_string())
}

/// Tells the service manager. The agent is no service yet, so none listens.
pub fn notify(_state: &str) {}

/// How often the service manager wants a sign of life: none does.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    None
}

/// Waits until the agent is to end, and says by what.
///
/// # Errors
/// What the system answers.
pub async fn terminate_signal() -> io::Result<&'static str> {
    tokio::signal::ctrl_c().await.map(|()| "Ctrl-C")
}

/// All threads share the process's one heap anyway.
pub fn share_heap() {}

/// Gives nothing back: Windows trims what rests by itself.
pub fn rest(_uptime_ms: u64) {}
