//! A connection with its place.
//!
//! Whoever asks and does not read makes the kernel keep the answer: with its
//! usual send buffer that is megabytes for each connection. So little that is
//! unsent is kept, and a connection on which a write makes no progress for a
//! while is broken off.

use super::places::Place;
use crate::http::seldom::Seldom;
use prometheus::{IntCounter, IntGauge};
use socket2::SockRef;
use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};

/// Unsent bytes that the kernel keeps of a connection before writers wait. What
/// is sent and not yet acknowledged comes on top, as fast lines need.
const UNSENT: u32 = 128 * 1024;

/// Those that are broken off because they do not read: counted, and named in the log.
#[derive(Debug, Clone)]
pub(super) struct Stalled {
    pub(super) total: IntCounter,
    pub(super) said: Arc<Seldom>,
}

/// A connection with its place, which it gives back when it is closed.
pub(super) struct Held {
    tcp: TcpStream,
    peer: SocketAddr,
    open: IntGauge,
    stalled: Stalled,
    patience: Duration,
    /// Runs while a write waits; ended by its progress.
    waiting: Option<Pin<Box<Sleep>>>,
    place: Place,
    _permit: OwnedSemaphorePermit,
}

impl Held {
    pub(super) fn new(
        (tcp, peer): (TcpStream, SocketAddr),
        (place, permit): (Place, OwnedSemaphorePermit),
        patience: Duration,
        open: IntGauge,
        stalled: Stalled,
    ) -> Self {
        // Keystrokes must not wait for a full packet.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
        if let Err(error) = SockRef::from(&tcp).set_tcp_notsent_lowat(UNSENT) {
            tracing::debug!(%error, "a connection keeps the system's send buffer");
        }
        open.inc();
        Self { tcp, peer, open, stalled, patience, waiting: None, place, _permit: permit }
    }

    /// Passes on how a write went; one that has waited too long has failed.
    fn judged<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(cx));
        self.stalled.total.inc();
        if let Some(times) = self.stalled.said.due() {
            tracing::warn!(last = %self.peer, times,
                "A client did not read its answer; its connection was broken off.");
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
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
        let written = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.judged(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        self.judged(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever flushes, TLS as well, has first written all that they hold.
        let flushed = Pin::new(&mut self.tcp).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.place.written();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
