//! Load for package caches: plain sockets and threads, so that the generator
//! costs little beside what it measures.

use anyhow::{Context, Result, bail, ensure};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A kept-alive connection that asks for one target, again and again.
pub(crate) struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

/// How one answer came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// Until the first byte of the body.
    pub(crate) first: Duration,
    /// Until the last.
    pub(crate) whole: Duration,
    /// Length of the body.
    pub(crate) length: u64,
    /// BLAKE3 of the body, when asked for.
    pub(crate) hash: Option<blake3::Hash>,
}

impl Client {
    /// Connects. `host` is the upstream's.
    pub(crate) fn connect(to: SocketAddr, target: &str, host: &str, buffer: usize) -> Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
        Ok(Self { stream, request, buffer: vec![0; buffer] })
    }

    /// Asks once and takes the whole answer.
    pub(crate) fn ask(&mut self, hash: bool) -> Result<Answer> {
        let began = Instant::now();
        self.stream.write_all(&self.request)?;
        let mut filled = 0;
        let head = loop {
            let free = self.buffer.get_mut(filled..).unwrap_or_default();
            let read = self.stream.read(free)?;
            ensure!(read > 0, "the connection was closed before an answer");
            filled += read;
            let seen = self.buffer.get(..filled).unwrap_or_default();
            if let Some(at) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            ensure!(filled < 16 * 1024, "the answer's head has no end");
        };
        let seen = self.buffer.get(..filled).unwrap_or_default();
        let text = String::from_utf8_lossy(seen.get(..head).unwrap_or_default());
        if !text.starts_with("HTTP/1.1 200") {
            bail!("the answer is {}", text.lines().next().unwrap_or_default());
        }
        let length: u64 = text
            .lines()
            .find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            })
            .context("the answer has no length")?;
        let mut hasher = hash.then(blake3::Hasher::new);
        let body = seen.get(head..).unwrap_or_default();
        if let Some(hasher) = &mut hasher {
            hasher.update(body);
        }
        let mut came = body.len() as u64;
        let mut first = (came > 0).then(|| began.elapsed());
        while came < length {
            let read = self.stream.read(&mut self.buffer)?;
            ensure!(read > 0, "the answer broke off after {came} of {length} bytes");
            first.get_or_insert_with(|| began.elapsed());
            if let Some(hasher) = &mut hasher {
                hasher.update(self.buffer.get(..read).unwrap_or_default());
            }
            came += read as u64;
        }
        ensure!(came == length, "the answer is longer than it says");
        let whole = began.elapsed();
        let hash = hasher.map(|h| h.finalize());
        Ok(Answer { first: first.unwrap_or(whole), whole, length, hash })
    }
}

/// Requests a second that `connections` kept-alive clients get, over `time`.
#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
pub(crate) fn requests_per_s(
    to: SocketAddr,
    target: &str,
    host: &str,
    connections: usize,
    time: Duration,
) -> Result<f64> {
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(Client::connect(to, target, host, 16 * 1024)?);
    }
    let began = Instant::now();
    let threads: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            thread::spawn(move || -> Result<()> {
                let mut own = 0;
                while !stop.load(Ordering::Relaxed) {
                    client.ask(false)?;
                    own += 1;
                }
                done.fetch_add(own, Ordering::Relaxed);
                Ok(())
            })
        })
        .collect();
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a client crashed"))??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}
