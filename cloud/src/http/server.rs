//! Connections of browsers and clients, each within bounds.
//!
//! A connection holds its place from the accept to the last byte, also when it
//! has become a WebSocket. When all places are taken, one on which no whole request
//! has come gives way, then a request that takes long, else newcomers wait in the system's queue; an address that has its share
//! is closed at once. All are counted and logged. A head that does not arrive whole in
//! its time, and an answer that is not read, end their connection. With TLS, so does a
//! handshake that is not done in the time of a head.

mod answer;
mod held;
mod places;
mod question;

use super::{Networks, Problem, seldom::Seldom};
use answer::Answer;
use axum::{Router, body::Body, extract::ConnectInfo, response::IntoResponse};
use held::{Held, Stalled};
use http::{Request, Response, StatusCode, Version, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use places::{Addresses, Place, Room};
use prometheus::{IntCounter, IntGauge, Registry};
use question::Question;
use std::{convert::Infallible, fmt, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// Rest after an accept that failed: out of file descriptors, most likely.
const REST: Duration = Duration::from_millis(500);
/// How often a newcomer who waits looks for somebody who can give way.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Longest head of a request, in bytes. Each connection buffers as much.
const MAX_HEAD: usize = 64 * 1024;

/// What a server allows.
#[derive(Debug, Clone)]
pub struct ServerBounds {
    /// Open connections at a time, WebSockets included.
    pub connections: usize,
    /// Of these, how many one address may hold (an IPv6 /64 is one; a /48 has four
    /// times as much, but no more than half of all unless one address may have that).
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
    evicted: IntCounter,
    stalled: Stalled,
    unshaken: IntCounter,
    said: Said,
}

/// What was said lately.
#[derive(Default)]
struct Said {
    all_taken: Seldom,
    share_taken: Seldom,
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
            "Connections closed at once because their address or network held its share of places.",
        )?;
        let evicted = counter(
            "connections_evicted_total",
            "Connections closed for a newcomer, because all places were taken, or those of its network.",
        )?;
        let total = counter(
            "connections_stalled_total",
            "Connections broken off because the client did not read its answer.",
        )?;
        let unshaken = counter(
            "handshakes_failed_total",
            "Connections on which no TLS handshake was done, or not in its time.",
        )?;
        let (stalled, said) = (Stalled { total, said: Arc::default() }, Said::default());
        Ok(Self { bounds, tls: None, open, full, refused, evicted, stalled, unshaken, said })
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
        loop {
            let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else { break };
            match accepted {
                Ok((tcp, peer)) => {
                    let held = self.placed(&all, &each, (&tcp, peer));
                    let Some(held) = stop.run_until_cancelled(held).await else { break };
                    let Some(held) = held else { continue };
                    let place = held.0.clone();
                    place.opened();
                    let (open, stalled) = (self.open.clone(), self.stalled.clone());
                    let tcp = Held::new((tcp, peer), held, bounds.unread, open, stalled);
                    let served = Served {
                        peer,
                        place,
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

    /// A place and a permit for a newcomer, or none for one who is refused or has gone.
    async fn placed(
        &self,
        all: &Arc<Semaphore>,
        each: &Addresses,
        (tcp, peer): (&TcpStream, SocketAddr),
    ) -> Option<(Place, OwnedSemaphorePermit)> {
        let free = each.take(peer.ip());
        // Whoever gives way here does so with its place and its permit.
        let given = free.is_none();
        let over = || each.take_over(peer.ip()).inspect(|_| self.evicted.inc());
        let Some(place) = free.or_else(over) else {
            self.refuse(peer);
            return None;
        };
        let permit = self.permit(all, each, (tcp, peer), given).await?;
        Some((place, permit))
    }

    /// A permit for a newcomer; waits for it where all are taken, at first for the one that
    /// was `given`. None for one whose address has what it can have, and for one who has
    /// gone meanwhile.
    async fn permit(
        &self,
        all: &Arc<Semaphore>,
        each: &Addresses,
        (tcp, peer): (&TcpStream, SocketAddr),
        mut given: bool,
    ) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = all.clone().try_acquire_owned() {
            return Some(permit);
        }
        self.full.inc();
        loop {
            let room =
                if std::mem::take(&mut given) { Room::None } else { each.make_room(peer.ip()) };
            if let Some(times) = self.said.all_taken.due() {
                tracing::warn!(
                    connections = self.bounds.connections,
                    ?room,
                    times,
                    "All HTTP connections are taken; those that ask nothing give way, or newcomers wait."
                );
            }
            match room {
                Room::Refused => {
                    self.refuse(peer);
                    return None;
                }
                Room::Made(_) => self.evicted.inc(),
                Room::None => {}
            }
            tokio::select! {
                permit = timeout(LOOK_EVERY, all.clone().acquire_owned()) => {
                    if let Ok(permit) = permit {
                        return permit.ok();
                    }
                }
                () = gone(tcp) => return None,
            }
        }
    }

    fn refuse(&self, peer: SocketAddr) {
        self.refused.inc();
        if let Some(times) = self.said.share_taken.due() {
            tracing::warn!(last = %peer.ip(), times,
                "An address or its network holds its share of HTTP connections; it gets no more.");
        }
    }
}

/// Waits until a newcomer goes who has said nothing. Of one who has, nothing more is seen
/// before that is read.
async fn gone(tcp: &TcpStream) {
    if tcp.peek(&mut [0]).await.is_ok_and(|bytes| bytes > 0) {
        std::future::pending().await
    }
}

/// What one connection is served with.
struct Served {
    peer: SocketAddr,
    place: Place,
    router: Router,
    head: Duration,
    stop: CancellationToken,
}

impl Served {
    async fn shake(self, tcp: Held, tls: TlsAcceptor, unshaken: IntCounter) {
        let shaking = timeout(self.head, tls.accept(tcp));
        let (peer, place, stop) = (self.peer, self.place.clone(), self.stop.clone());
        let shaken = tokio::select! {
            shaken = stop.run_until_cancelled(shaking) => shaken,
            () = place.evicted() => None,
        };
        drop(place);
        match shaken {
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
        let Self { peer, place, router, head, stop } = self;
        let standing = place.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let request = request.map(|body| Question::new(body, standing.clone()));
            answer(router.clone(), peer, standing.clone(), request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = place.evicted() => return,
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
    place: Place,
    request: Request<Question>,
) -> Result<Response<Answer>, Infallible> {
    // RFC 9112, 3.2: whom a request is for must be said once.
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let response = if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        let said = "Send one `Host` header with each request.";
        Problem::malformed(said).into_response()
    } else {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let Ok(response) = router.oneshot(request).await;
        response
    };
    // What has become a socket waits for no request.
    let socket = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if socket {
        place.upgraded();
    }
    Ok(response.map(|body| Answer::new(body, (!socket).then_some(place))))
}

#[cfg(test)]
mod tests;
