//! Ports of the processes of a stack: fixed ones for people, free ones for tests.
//!
//! Tests take theirs from below the range that the kernel gives to outgoing
//! connections, so that a restarted process finds its port free. What one test process
//! took no other takes until that one has ended, also while nobody listens there yet.

use anyhow::{Context, Result, bail};
use rand::random_range;
use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as LocalAddr, UnixListener},
    },
    sync::{Mutex, PoisonError},
};

/// One port for each listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Cloud: console and API.
    pub http: u16,
    /// Cloud: relays, TCP and UDP.
    pub libp2p: u16,
    /// Relay: devices.
    pub mqtt: u16,
    /// Relay: enrolment and blobs.
    pub https: u16,
    /// Relay: local UI.
    pub ui: u16,
    /// Relay: metrics and health.
    pub admin: u16,
    /// Relay: package cache.
    pub cache: u16,
    /// Cloud: metrics and readiness.
    #[serde(default = "usual_cloud_admin")]
    pub cloud_admin: u16,
}

/// Of a stack whose file does not name it.
fn usual_cloud_admin() -> u16 {
    9465
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            http: 8080,
            libp2p: 4001,
            mqtt: 8883,
            https: 8443,
            ui: 9443,
            admin: 9464,
            cache: 3142,
            cloud_admin: usual_cloud_admin(),
        }
    }
}

impl Ports {
    /// Consecutive ports from `base` on.
    #[must_use]
    pub fn from_base(base: u16) -> Self {
        Self {
            http: base,
            libp2p: base + 1,
            mqtt: base + 2,
            https: base + 3,
            ui: base + 4,
            admin: base + 5,
            cache: base + 6,
            cloud_admin: base + 7,
        }
    }

    /// Eight ports that are free.
    ///
    /// # Errors
    /// When no free stretch is found.
    pub fn free() -> Result<Self> {
        for _ in 0..200 {
            let ports = Self::from_base(random_range(10_000..32_000));
            let named = ports.named();
            let claims: Option<Vec<_>> = named.iter().map(|(_, port)| claim(*port)).collect();
            if let Some(claims) = claims {
                hold(claims);
                return Ok(ports);
            }
        }
        bail!("no eight free ports in a row were found between 10000 and 32000")
    }

    /// Says which port is taken, and what to do.
    ///
    /// # Errors
    /// When one is.
    pub fn check(&self) -> Result<()> {
        for (what, port) in self.named() {
            if !is_free(port) {
                bail!(
                    "Port {port} ({what}) is taken by another program. Stop that program \
                     (`ss -lntup 'sport = {port}'` names it), or use other ports: \
                     make run PORTS=20000."
                );
            }
        }
        Ok(())
    }

    fn named(&self) -> [(&'static str, u16); 8] {
        [
            ("console", self.http),
            ("cloud, for relays", self.libp2p),
            ("relay, for devices", self.mqtt),
            ("relay, for enrolment", self.https),
            ("relay, local UI", self.ui),
            ("relay, metrics", self.admin),
            ("relay, package cache", self.cache),
            ("cloud, metrics", self.cloud_admin),
        ]
    }
}

fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}

/// Claims that last as long as this process.
static HELD: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// The claim to a port that is free and that no other process claims: a name of the
/// kernel's own, which is gone with the process that has it, however that ends.
fn claim(port: u16) -> Option<UnixListener> {
    let name = LocalAddr::from_abstract_name(format!("unifyit-test-port-{port}")).ok()?;
    let claim = UnixListener::bind_addr(&name).ok()?;
    is_free(port).then_some(claim)
}

fn hold(claims: impl IntoIterator<Item = UnixListener>) {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).extend(claims);
}

/// One free port.
///
/// # Errors
/// When none is found.
pub fn free_port() -> Result<u16> {
    let tries = || (0..200).map(|_| random_range(10_000..32_000));
    let found = tries().find_map(|port| Some((port, claim(port)?)));
    let (port, claim) = found.context("no free port was found between 10000 and 32000")?;
    hold([claim]);
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_taken_is_taken_by_nobody_else_although_nobody_listens() {
        let port = free_port().unwrap();
        assert!(is_free(port), "nobody listens at it");
        assert!(claim(port).is_none(), "but it is somebody's");
    }
}
