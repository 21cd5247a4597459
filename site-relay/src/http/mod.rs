//! HTTP servers of the relay: [`admin`] for metrics and health, [`agents`] for
//! enrolment and blobs. Both stand on one bounded way to serve a connection.

pub mod admin;
pub mod agents;
mod places;
mod stall;

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// Bytes that the head of a request may take.
const MAX_HEAD: usize = 16 * 1024;
/// A peer that takes nothing of an answer for so long is gone.
const WRITE_STALL: Duration = Duration::from_secs(30);

/// Serves one connection until it ends, is idle too long between or inside
/// request heads, or the relay stops.
async fn serve_connection<S>(
    stream: S,
    router: Router,
    head_time: Duration,
    cancel: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_buf_size(MAX_HEAD.max(8192))
        .serve_connection(TokioIo::new(stall::Stall::new(stream, WRITE_STALL)), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}
