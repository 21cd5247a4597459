//! The listener: bounded connections, bounded heads, one task a client.

use super::{
    Cache,
    request::{self, Method, NoRequest},
    respond::Answer,
    transfer::Pace,
};
use crate::lifecycle::Beside;
use bytes::BytesMut;
use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A kept-alive connection without a request is closed after this.
const IDLE: Duration = Duration::from_secs(75);
/// A head must be complete within this of its first byte, at most.
const HEAD: Duration = Duration::from_secs(15);
/// Refused connections are told of this often.
const TELL: Duration = Duration::from_secs(60);
/// Uses and savings are written this often.
const FLUSH: Duration = Duration::from_secs(30);

/// Serves clients until `stop`; then waits for those under way, a while.
pub async fn serve(cache: Arc<Cache>, listener: TcpListener, stop: CancellationToken) {
    let ahead = Beside::spawn({
        let (cache, stop) = (Arc::clone(&cache), stop.clone());
        async move {
            tokio::select! {
                () = cache.fetch_ahead(&stop) => {}
                () = cache.look_after(&stop) => {}
            }
        }
    });
    serve_beside(ahead, cache, listener, stop).await;
}

/// As [`serve`], for as long as what runs beside it does.
async fn serve_beside(
    mut ahead: Beside,
    cache: Arc<Cache>,
    listener: TcpListener,
    stop: CancellationToken,
) {
    let clients = TaskTracker::new();
    let doors = Arc::new(Doors::default());
    let mut flush = tokio::time::interval(FLUSH);
    flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            // A cache that is not looked after would seem well.
            () = ahead.ended() => break,
            _ = flush.tick() => flushed(&cache).await,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match doors.enter(&cache, peer.ip()) {
                    Some(guest) => {
                        let (cache, stop) = (Arc::clone(&cache), stop.clone());
                        clients.spawn(async move {
                            let _guest = guest;
                            tokio::select! {
                                () = stop.cancelled() => {}
                                () = client(&cache, stream) => {}
                            }
                        });
                    }
                    None => doors.refused(&cache, peer.ip()),
                },
                Err(error) => {
                    // Out of file handles, most likely: let some be closed.
                    tracing::warn!(%error, "The package cache cannot accept a connection.");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    clients.close();
    // Gone before this returns: it holds the index open.
    ahead.end().await;
    let _in_time = tokio::time::timeout(Duration::from_secs(5), clients.wait()).await;
    flushed(&cache).await;
}

async fn flushed(cache: &Arc<Cache>) {
    let cache = Arc::clone(cache);
    match tokio::task::spawn_blocking(move || cache.flush()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "The package cache could not note its savings."),
        Err(error) => tracing::warn!(%error, "The package cache could not note its savings."),
    }
}

async fn client(cache: &Arc<Cache>, mut stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut buffer = BytesMut::with_capacity(2048);
    let stall = Duration::from_secs(cache.config.client_stall_s.max(1));
    let mut pace = Pace::new(cache.config.client_bytes_per_s, stall, cache.meters.paced.clone());
    loop {
        // Waiting costs no buffer; a head, once begun, has to come quickly.
        if buffer.is_empty() {
            match tokio::time::timeout(IDLE, stream.readable()).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
        let request =
            match tokio::time::timeout(HEAD.min(stall), request::read(&mut stream, &mut buffer))
                .await
            {
                Ok(Ok(request)) => request,
                Ok(Err(NoRequest::Malformed(why))) => {
                    tracing::debug!(why, "A client of the package cache sent no request.");
                    let _gone = refuse(&mut stream).await;
                    return;
                }
                Ok(Err(NoRequest::Broken(kind))) => {
                    tracing::debug!(?kind, "A connection to the package cache broke.");
                    return;
                }
                Ok(Err(NoRequest::Closed)) => return,
                Err(_) => {
                    cache.meters.slow.inc();
                    tracing::debug!("A client of the package cache did not end its request.");
                    return;
                }
            };
        let answer = Answer { cache, stream: &mut stream, request: &request, pace: &mut pace };
        let answer = match request.method {
            Method::Post => answer.audit(&mut buffer).await,
            _ => answer.run().await,
        };
        match answer {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                if error.kind() == io::ErrorKind::TimedOut {
                    cache.meters.slow.inc();
                }
                tracing::debug!(%error, target = %request.target, "An answer of the package cache broke off.");
                reset(&stream);
                return;
            }
        }
    }
}

/// Makes the client see a broken connection, not an end: what it has is a
/// fragment.
fn reset(stream: &TcpStream) {
    let _best_effort = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn refuse(stream: &mut TcpStream) -> io::Result<()> {
    const TEXT: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 40\r\nconnection: close\r\n\r\nThis is not a request to a package cache";
    super::transfer::write(stream, TEXT.as_bytes()).await
}

/// Counts who is in.
#[derive(Debug, Default)]
struct Doors {
    inside: Mutex<HashMap<IpAddr, usize>>,
    /// When a refusal was last told.
    told: Mutex<Option<Instant>>,
}

/// One connection's place; leaving gives it back.
struct Guest {
    doors: Arc<Doors>,
    address: IpAddr,
    cache: Arc<Cache>,
}

impl Doors {
    fn enter(self: &Arc<Self>, cache: &Arc<Cache>, address: IpAddr) -> Option<Guest> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = inside.values().sum();
        let own = inside.get(&address).copied().unwrap_or(0);
        if total >= cache.config.max_connections || own >= cache.config.max_connections_per_client {
            return None;
        }
        inside.insert(address, own + 1);
        cache.meters.connections.inc();
        Some(Guest { doors: Arc::clone(self), address, cache: Arc::clone(cache) })
    }

    /// Counts a refusal, and tells of it now and then.
    fn refused(&self, cache: &Cache, address: IpAddr) {
        cache.meters.refused.inc();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() > TELL) {
            *told = Some(Instant::now());
            tracing::warn!(
                client = %address,
                total = cache.meters.refused.get(),
                "The package cache refuses connections: cache.max_connections or cache.max_connections_per_client is reached."
            );
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut inside = self.doors.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = inside.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&self.address);
            }
        }
        self.cache.meters.connections.dec();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{cache::CacheConfig, telemetry::Telemetry};

    #[tokio::test]
    async fn a_cache_that_nobody_looks_after_any_more_ends() {
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (folder, telemetry) = (tempfile::tempdir().unwrap(), Telemetry::new());
        let cache = Cache::open(CacheConfig::default(), folder.path(), telemetry.registry());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ended = Beside::spawn(async {});
        let serves = serve_beside(ended, cache.unwrap(), listener, CancellationToken::new());
        tokio::time::timeout(Duration::from_secs(20), serves).await.unwrap();
    }
}
