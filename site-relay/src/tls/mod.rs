//! TLS for the relay's listeners: mutual, with the site's own authority, and
//! bounded in time and number until a peer has proven itself.
//!
//! [`gate`] holds the half-open connections within bounds, [`verify`] decides
//! about client certificates, and [`Listener`] joins both with a socket.

pub mod gate;
pub mod verify;

use crate::identity::{ca::SiteCa, server::ServerCertificate};
use gate::{Gate, Slot};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};
use verify::GraceVerifier;

/// Idle time after which the system probes whether a peer is still there.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// Waiting time after a failed accept, when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a listener could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The port is taken or may not be used.
    #[error("cannot listen on {address} for {what}: {source}. {hint}")]
    Bind {
        /// What for.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
        /// How to mend it.
        hint: &'static str,
    },
    /// The configuration was refused.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// No certificate, no connection.
    Required,
    /// Those who have one show it; newcomers have none yet.
    Optional,
    /// Nobody is asked: browsers.
    None,
}

/// TLS settings of a listener: server certificate by resolver, clients checked
/// against the site's authority alone.
///
/// Sessions are not resumed: a resumed session would keep a certificate alive
/// without looking at it, and each stored ticket costs memory.
///
/// # Errors
/// [`TlsError::Setup`].
pub fn server_config(
    ca: &SiteCa,
    certificate: Arc<ServerCertificate>,
    clients: ClientCertificate,
    grace_days: u32,
) -> Result<Arc<ServerConfig>, TlsError> {
    let setup = |e: &dyn std::fmt::Display| TlsError::Setup(e.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| setup(&e))?;
    let builder = match clients {
        ClientCertificate::None => builder.with_no_client_auth(),
        ClientCertificate::Required | ClientCertificate::Optional => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.certificate().clone()).map_err(|e| setup(&e))?;
            let mut verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            if clients == ClientCertificate::Optional {
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier.build().map_err(|e| setup(&e))?;
            let verifier = GraceVerifier::new(verifier, grace_days, certificate.clock());
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
    };
    let mut config = builder.with_cert_resolver(certificate);
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A bound TCP socket behind a gate.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    gate: Gate,
}

impl Listener {
    /// Binds.
    ///
    /// # Errors
    /// [`TlsError::Bind`] with how to mend it.
    pub async fn bind(
        what: &'static str,
        address: SocketAddr,
        gate: Gate,
    ) -> Result<Self, TlsError> {
        Ok(Self { socket: bind(what, address).await?, gate })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection that the gate lets in. Never fails: what goes wrong
    /// with one connection, or for want of descriptors, is waited out.
    pub async fn accept(&self) -> (TcpStream, IpAddr, Slot) {
        loop {
            let (stream, peer) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let ip = peer.ip().to_canonical();
            let Some(slot) = self.gate.enter(ip) else { continue };
            tune(&stream);
            return (stream, ip, slot);
        }
    }
}

/// Binds a TCP listener.
///
/// # Errors
/// [`TlsError::Bind`] with how to mend it.
pub async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, TlsError> {
    TcpListener::bind(address).await.map_err(|source| {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "Another program uses this port: find it with `ss -ltnp`, stop it, or choose another port in relay.toml under [listen]."
            }
            io::ErrorKind::PermissionDenied => {
                "Ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another port in relay.toml under [listen]."
            }
            io::ErrorKind::AddrNotAvailable => {
                "This machine does not have that address; use 0.0.0.0 for all of its addresses."
            }
            _ => "Check the address in relay.toml under [listen].",
        };
        TlsError::Bind { what, address, source, hint }
    })
}

fn tune(stream: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY);
    let socket = socket2::SockRef::from(stream);
    if let Err(error) = stream.set_nodelay(true).and(socket.set_tcp_keepalive(&keepalive)) {
        tracing::debug!(%error, "a socket option was refused");
    }
}
