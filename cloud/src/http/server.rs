//! Connections of browsers and clients, each within bounds.
//!
//! A connection holds its place from the accept to the last byte, also when it
//! has become a WebSocket. When all places are taken, newcomers wait in the
//! system's queue; an address that has its share is closed at once. Both are
//! counted and logged. A head that does not arrive whole in its time, and an
//! answer that is not read, end their connection. With TLS, so does a handshake that
//! is not done in the time of a head.

mod held;
mod places;

use super::{Networks, Problem};
use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    response::{IntoResponse, Response},
};
use held::Held;
use http::{Request, Version, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use places::Addresses;
use prometheus::{IntCounter, IntGauge, Registry};
use std::{convert::Infallible, fmt, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// A bound is logged at most this often.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// Rest after an accept that failed: out of file descriptors, most likely.
const REST: Duration = Duration::from_millis(500);
/// Longest head of a request, in bytes. Each connection buffers as much.
const MAX_HEAD: usize = 64 * 1024;

/// What a server allows.
#[derive(Debug, Clone)]
pub struct ServerBounds {
    /// Open connections at a time, WebSockets included.
    pub connections: usize,
    /// Of these, how many one address may hold (an IPv6 /64 is one).
    pub each_address: usize,
    /// Addresses before which others stand; they may hold most places.
    pub proxies: Networks,
    /// Time for a request's head to arrive, also on a connection that was kept.
    pub head: Duration,
    /// How long a client may leave an answer unread.
    pub unread: Duration,
}

impl Default for ServerBounds {
    fn default() -> Self {
        Self {
            connections: 4096,
            each_address: 512,
            proxies: Networks::default(),
            head: Duration::from_secs(20),
            unread: Duration::from_secs(30),
        }
    }
}

/// An HTTP/1.1 server, in the clear or behind TLS.
pub struct Server {
    bounds: ServerBounds,
    tls: Option<TlsAcceptor>,
    open: IntGauge,
    full: IntCounter,
    refused: IntCounter,
    stalled: IntCounter,
    unshaken: IntCounter,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl Server {
    /// A server whose figures begin with `name`, in a registry.
    ///
    /// # Errors
    /// [`prometheus::Error`] when the registry has such figures already.
    pub fn new(
        bounds: ServerBounds,
        name: &str,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let counter = |what: &str, help: &str| {
            let counter = IntCounter::new(format!("{name}_{what}"), help)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let open = IntGauge::new(format!("{name}_connections"), "Open HTTP connections.")?;
        registry.register(Box::new(open.clone()))?;
        let full = counter(
            "connections_full_total",
            "Times that a connection had to wait because all places were taken.",
        )?;
        let refused = counter(
            "connections_refused_total",
            "Connections closed at once because their address held its share of places.",
        )?;
        let stalled = counter(
            "connections_stalled_total",
            "Connections broken off because the client did not read its answer.",
        )?;
        let unshaken = counter(
            "handshakes_failed_total",
            "Connections on which no TLS handshake was done, or not in its time.",
        )?;
        Ok(Self { bounds, tls: None, open, full, refused, stalled, unshaken })
    }

    /// The same server behind TLS, when there is an acceptor.
    #[must_use]
    pub fn behind(self, tls: Option<TlsAcceptor>) -> Self {
        Self { tls, ..self }
    }

    /// Serves until cancelled, then finishes the requests under way.
    pub async fn run(self, listener: TcpListener, router: Router, stop: CancellationToken) {
        let bounds = &self.bounds;
        let all = Arc::new(Semaphore::new(bounds.connections));
        let each = Addresses::new(bounds.connections, bounds.each_address, bounds.proxies.clone());
        let under_way = TaskTracker::new();
        let (mut all_taken, mut share_taken) = (Seldom::default(), Seldom::default());
        loop {
            let permit = match all.clone().try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => {
                    self.full.inc();
                    if all_taken.due() {
                        tracing::warn!(
                            connections = bounds.connections,
                            "All HTTP connections are taken; newcomers wait."
                        );
                    }
                    let waited = stop.run_until_cancelled(all.clone().acquire_owned()).await;
                    let Some(Ok(permit)) = waited else { break };
                    permit
                }
            };
            let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { break };
            match accepted {
                Ok((tcp, peer)) => {
                    let Some(place) = each.take(peer.ip(), permit) else {
                        self.refused.inc();
                        if share_taken.due() {
                            tracing::warn!(
                                address = %peer.ip(),
                                "An address holds its share of HTTP connections; it gets no more."
                            );
                        }
                        continue;
                    };
                    let (open, stalled) = (self.open.clone(), self.stalled.clone());
                    let tcp = Held::new(tcp, place, bounds.unread, open, stalled);
                    let served = Served {
                        peer,
                        router: router.clone(),
                        head: bounds.head,
                        stop: stop.clone(),
                    };
                    match &self.tls {
                        None => under_way.spawn(served.speak(tcp)),
                        Some(tls) => {
                            under_way.spawn(served.shake(tcp, tls.clone(), self.unshaken.clone()))
                        }
                    };
                }
                // The client's own doing, before we came to it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::error!(%error, "a connection could not be accepted");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        under_way.close();
        under_way.wait().await;
    }
}

/// Says something at most once in a while.
#[derive(Default)]
struct Seldom(Option<Instant>);

impl Seldom {
    fn due(&mut self) -> bool {
        let due = self.0.is_none_or(|at| at.elapsed() > SAID_EVERY);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// What one connection is served with.
struct Served {
    peer: SocketAddr,
    router: Router,
    head: Duration,
    stop: CancellationToken,
}

impl Served {
    async fn shake(self, tcp: Held, tls: TlsAcceptor, unshaken: IntCounter) {
        let shaking = timeout(self.head, tls.accept(tcp));
        let peer = self.peer;
        match self.stop.clone().run_until_cancelled(shaking).await {
            Some(Ok(Ok(tcp))) => self.speak(tcp).await,
            Some(Ok(Err(error))) => {
                unshaken.inc();
                tracing::debug!(%peer, %error, "a TLS handshake failed");
            }
            Some(Err(_)) => {
                unshaken.inc();
                tracing::debug!(%peer, "a TLS handshake took too long");
            }
            None => {}
        }
    }

    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { peer, router, head, stop } = self;
        let service = service_fn(move |request| answer(router.clone(), peer, request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection broke");
        }
    }
}

async fn answer(
    router: Router,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    // RFC 9112, 3.2: whom a request is for must be said once.
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        let said = "Send one `Host` header with each request.";
        return Ok(Problem::malformed(said).into_response());
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}

#[cfg(test)]
mod tests;
