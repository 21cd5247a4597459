//! Bytes to clients: from memory, from a proven file by the kernel, from an
//! unproven file block by block, or along with a flight.

use super::{
    Cache,
    content::{BLOCK, Body},
    flight::{Phase, Streaming},
};
use nix::sys::sendfile::sendfile;
use std::{
    fs::File,
    io,
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

/// A client that takes no byte of a page or head for this long is let go.
const CLIENT_STALL: Duration = Duration::from_secs(60);
/// Bytes given to the kernel in one call.
const PIECE: u64 = 1024 * 1024;

/// Holds one connection to its share of the line.
#[derive(Debug)]
pub(super) struct Pace {
    /// A client that takes no byte of a body for this long is let go.
    stall: Duration,
    bytes_per_s: u64,
    since: Instant,
    sent: u64,
    paced: prometheus::IntCounter,
}

impl Pace {
    /// No limit when `bytes_per_s` is 0.
    #[must_use]
    pub(super) fn new(bytes_per_s: u64, stall: Duration, paced: prometheus::IntCounter) -> Self {
        Self { paced, stall, bytes_per_s, since: Instant::now(), sent: 0 }
    }

    async fn after(&mut self, bytes: u64) {
        if self.bytes_per_s == 0 {
            return;
        }
        self.sent += bytes;
        let due = Duration::from_millis(self.sent.saturating_mul(1000) / self.bytes_per_s);
        if self.since.elapsed() < due {
            self.paced.inc();
            tokio::time::sleep_until((self.since + due).into()).await;
        }
        if self.since.elapsed() > Duration::from_secs(10) {
            (self.since, self.sent) = (Instant::now(), 0);
        }
    }

    fn piece(&self) -> u64 {
        if self.bytes_per_s == 0 { PIECE } else { PIECE.min(self.bytes_per_s / 4 + 1) }
    }
}

/// Writes bytes, giving up on a client that takes none.
///
/// # Errors
/// When the client is gone or stalls.
pub(super) async fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    write_within(stream, bytes, CLIENT_STALL).await
}

async fn write_within(stream: &mut TcpStream, bytes: &[u8], stall: Duration) -> io::Result<()> {
    timeout(stall, stream.write_all(bytes)).await.map_err(|_| stalled())?
}

/// Sends `start..end` of a file by the kernel.
///
/// # Errors
/// When the client is gone or stalls, or the file is shorter than it was.
pub(super) async fn by_kernel(
    stream: &TcpStream,
    file: &File,
    start: u64,
    end: u64,
    pace: &mut Pace,
) -> io::Result<()> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut offset = i64::try_from(start).map_err(too_long)?;
    let end = i64::try_from(end).map_err(too_long)?;
    while offset < end {
        let left = u64::try_from(end - offset).unwrap_or(0).min(pace.piece());
        let count = usize::try_from(left).map_err(too_long)?;
        let sent = stream.async_io(Interest::WRITABLE, || {
            sendfile(stream.as_fd(), file.as_fd(), Some(&mut offset), count)
                .map_err(io::Error::from)
        });
        match timeout(pace.stall, sent).await.map_err(|_| stalled())?? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            sent => pace.after(sent as u64).await,
        }
    }
    Ok(())
}

/// Sends `start..end` of a stored body: by the kernel when it is proven, block
/// by block after a look at each when it is not.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when a block is damaged: nothing of that
/// block has been sent. Otherwise as [`by_kernel`].
pub(super) async fn body(
    cache: &Cache,
    stream: &mut TcpStream,
    body: Box<Body>,
    start: u64,
    end: u64,
    pace: &mut Pace,
) -> io::Result<()> {
    if body.is_proven() {
        return by_kernel(stream, body.file(), start, end, pace).await;
    }
    let whole = start == 0 && end == body.size();
    let body: Arc<Body> = Arc::from(body);
    let mut at = start;
    let mut buffer = Vec::with_capacity(BLOCK);
    while at < end {
        let shared = Arc::clone(&body);
        buffer = tokio::task::spawn_blocking(move || {
            shared.block(at, &mut buffer)?;
            io::Result::Ok(buffer)
        })
        .await
        .map_err(io::Error::other)??;
        let block_start = at - at % BLOCK as u64;
        let until = end.min(block_start + buffer.len() as u64);
        let index = |offset: u64| usize::try_from(offset - block_start).unwrap_or(usize::MAX);
        let wanted = buffer.get(index(at)..index(until)).unwrap_or_default();
        write_within(stream, wanted, pace.stall).await?;
        pace.after(until - at).await;
        at = until;
    }
    if whole {
        cache.contents.proven(&body);
    }
    Ok(())
}

/// Sends `start..end` of what a flight receives, as it arrives.
///
/// # Errors
/// [`io::ErrorKind::ConnectionAborted`] when the flight failed: the client has a
/// fragment and must see the connection break. Otherwise as [`by_kernel`].
pub(super) async fn flight(
    stream: &TcpStream,
    rx: &mut watch::Receiver<Phase>,
    streaming: &Streaming,
    start: u64,
    end: u64,
    pace: &mut Pace,
) -> io::Result<()> {
    let mut at = start;
    while at < end {
        let available = wait(rx, at).await?.min(end);
        if available <= at {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        by_kernel(stream, &streaming.file, at, available, pace).await?;
        at = available;
    }
    Ok(())
}

/// Sends a flight of unknown length in chunks (RFC 9112 section 7.1), so that a
/// broken one is recognised by its missing end.
///
/// # Errors
/// As [`flight`].
pub(super) async fn flight_chunked(
    stream: &mut TcpStream,
    rx: &mut watch::Receiver<Phase>,
    streaming: &Streaming,
    pace: &mut Pace,
) -> io::Result<u64> {
    let mut at = 0;
    loop {
        if let Phase::Whole(_, entry) | Phase::Kept(_, entry) = &*rx.borrow()
            && entry.size == at
        {
            break;
        }
        let until = wait(rx, at).await?.min(at + PIECE);
        if until == at {
            continue;
        }
        write(stream, format!("{:x}\r\n", until - at).as_bytes()).await?;
        by_kernel(stream, &streaming.file, at, until, pace).await?;
        write(stream, b"\r\n").await?;
        at = until;
    }
    write(stream, b"0\r\n\r\n").await?;
    Ok(at)
}

/// Waits until more than `at` bytes may be sent.
async fn wait(rx: &mut watch::Receiver<Phase>, at: u64) -> io::Result<u64> {
    let aborted = || io::Error::from(io::ErrorKind::ConnectionAborted);
    let phase = rx.wait_for(|p| p.available() > at || p.is_over()).await.map_err(|_| aborted())?;
    match &*phase {
        Phase::Failed(_) | Phase::Confirmed(_) | Phase::Asking => Err(aborted()),
        ready => Ok(ready.available()),
    }
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")
}
