//! Connections of browsers and clients, each within bounds.
//!
//! A connection holds its place from the accept to the last byte, also when it
//! has become a WebSocket. When all places are taken, newcomers wait in the
//! system's queue; that is counted and logged. A head that does not arrive
//! whole in its time ends its connection, so that silent ones free their place.

use axum::{Router, body::Body, extract::ConnectInfo};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{IntCounter, IntGauge, Registry};
use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// The bound is logged at most this often.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// Rest after an accept that failed: out of file descriptors, most likely.
const REST: Duration = Duration::from_millis(500);

/// What a server allows.
#[derive(Debug, Clone, Copy)]
pub struct ServerBounds {
    /// Open connections at a time, WebSockets included.
    pub connections: usize,
    /// Time for a request's head to arrive, also on a connection that was kept.
    pub head: Duration,
}

impl Default for ServerBounds {
    fn default() -> Self {
        Self { connections: 4096, head: Duration::from_secs(20) }
    }
}

/// An HTTP/1.1 server.
#[derive(Debug)]
pub struct Server {
    bounds: ServerBounds,
    open: IntGauge,
    full: IntCounter,
}

impl Server {
    /// A server whose figures stand in a registry.
    ///
    /// # Errors
    /// [`prometheus::Error`] when the registry has such figures already.
    pub fn new(bounds: ServerBounds, registry: &Registry) -> Result<Self, prometheus::Error> {
        let open = IntGauge::new("unifyit_http_connections", "Open HTTP connections.")?;
        let full = IntCounter::new(
            "unifyit_http_connections_full_total",
            "Times that a connection had to wait because all places were taken.",
        )?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(full.clone()))?;
        Ok(Self { bounds, open, full })
    }

    /// Serves until cancelled, then finishes the requests under way.
    pub async fn run(self, listener: TcpListener, router: Router, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.bounds.connections));
        let under_way = TaskTracker::new();
        let mut said: Option<Instant> = None;
        loop {
            let place = match places.clone().try_acquire_owned() {
                Ok(place) => place,
                Err(_) => {
                    self.full.inc();
                    if said.is_none_or(|at| at.elapsed() > SAID_EVERY) {
                        said = Some(Instant::now());
                        tracing::warn!(
                            connections = self.bounds.connections,
                            "All HTTP connections are taken; newcomers wait."
                        );
                    }
                    let waited = stop.run_until_cancelled(places.clone().acquire_owned()).await;
                    let Some(Ok(place)) = waited else { break };
                    place
                }
            };
            let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { break };
            match accepted {
                Ok((tcp, peer)) => {
                    let tcp = Held::new(tcp, place, self.open.clone());
                    let serving = serve(tcp, peer, router.clone(), self.bounds.head, stop.clone());
                    under_way.spawn(serving);
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

async fn serve(
    tcp: Held,
    peer: SocketAddr,
    router: Router,
    head: Duration,
    stop: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(tcp), service)
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

/// A connection with its place, which it gives back when it is closed.
struct Held {
    tcp: TcpStream,
    open: IntGauge,
    _place: OwnedSemaphorePermit,
}

impl Held {
    fn new(tcp: TcpStream, place: OwnedSemaphorePermit, open: IntGauge) -> Self {
        // Keystrokes must not wait for a full packet.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
        open.inc();
        Self { tcp, open, _place: place }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
