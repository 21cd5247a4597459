//! Words to the service manager (systemd's notify protocol): one datagram each.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

/// Tells the service manager `state`, such as `READY=1`. Does nothing where no
/// service manager listens.
pub fn notify(state: &str) {
    let Ok(path) = env::var("NOTIFY_SOCKET") else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent =
        UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(state.as_bytes(), &address?));
    if let Err(error) = sent {
        tracing::debug!(%error, "the service manager does not listen");
    }
}

/// How often the service manager wants a sign of life, if it does.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    let us: u64 = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    let mine = env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse() == Ok(std::process::id()));
    (mine && us > 0).then(|| Duration::from_micros(us / 2))
}
