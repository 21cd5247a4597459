//! An HTTP/1.1 server of files that can be told how its next answers go wrong.
//!
//! Each path has a queue of faults; every GET that would send a body takes one.

use super::pose::Pose;
use crate::stack::ports::free_port;
use anyhow::Result;
use bytes::Bytes;
use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// How one answer goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection ends after so many body bytes.
    Cut(usize),
    /// Nothing more comes after so many body bytes, and the connection stays.
    Stall(usize),
    /// The length claimed is another one; no validators are sent.
    Claim(usize),
    /// As many bits as this are flipped in the body.
    Flip(u32),
    /// An error of this status.
    Status(u16),
    /// Other content is published after so many body bytes, and the connection
    /// ends.
    Swap(usize, Bytes),
}

#[derive(Debug, Clone)]
struct File {
    body: Bytes,
    etag: String,
    modified: String,
    faults: VecDeque<Fault>,
}

#[derive(Debug, Default)]
struct State {
    files: Mutex<HashMap<String, File>>,
    gets: Mutex<HashMap<String, u64>>,
    version: AtomicU64,
    ranges: AtomicU64,
    sent: AtomicU64,
    rate: AtomicU64,
    fresh_s: AtomicU64,
    pose: Mutex<Option<Pose>>,
    gone: AtomicBool,
}

/// The server; it ends when dropped.
#[derive(Debug)]
pub struct Upstream {
    /// `host:port`.
    pub authority: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Starts one on a free port of the loopback.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        // apt-cacher-ng refuses ports above 32767.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let listener = TcpListener::bind(address).await?;
        let authority = listener.local_addr()?.to_string();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    // Who breaks off is one of the faults under test.
                    let _ = connection(stream, &state).await;
                });
            }
        });
        Ok(Self { authority, state, task })
    }

    /// The address of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority)
    }

    /// Publishes content under a path, in place of what was there.
    pub fn put(&self, path: &str, body: Bytes) {
        self.state.put(path, body);
    }

    /// Takes a path away.
    pub fn remove(&self, path: &str) {
        lock(&self.state.files).remove(path);
    }

    /// Lets the next answers for a path go wrong.
    pub fn fail(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        if let Some(file) = lock(&self.state.files).get_mut(path) {
            file.faults.extend(faults);
        }
    }

    /// From now on all goes well again.
    pub fn behave(&self) {
        self.state.rate.store(0, Ordering::Relaxed);
        self.state.fresh_s.store(0, Ordering::Relaxed);
        self.pose(None);
        self.state.gone.store(false, Ordering::Relaxed);
        for file in lock(&self.state.files).values_mut() {
            file.faults.clear();
        }
    }

    /// Bytes a second to each connection; 0 means no limit.
    pub fn rate(&self, bytes_per_s: u64) {
        self.state.rate.store(bytes_per_s, Ordering::Relaxed);
    }

    /// Seconds of freshness that answers grant; 0 means that they say nothing.
    pub fn fresh(&self, seconds: u64) {
        self.state.fresh_s.store(seconds, Ordering::Relaxed);
    }

    /// Whether every connection is closed unanswered.
    pub fn gone(&self, gone: bool) {
        self.state.gone.store(gone, Ordering::Relaxed);
    }

    /// Lets somebody else answer everything in its place.
    pub fn pose(&self, pose: Option<Pose>) {
        *lock(&self.state.pose) = pose;
    }

    /// Body bytes sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }

    /// Answers that began at a path's first byte.
    #[must_use]
    pub fn gets(&self, path: &str) -> u64 {
        lock(&self.state.gets).get(path).copied().unwrap_or(0)
    }

    /// Answers that began elsewhere.
    #[must_use]
    pub fn ranges(&self) -> u64 {
        self.state.ranges.load(Ordering::Relaxed)
    }
}

impl State {
    fn put(&self, path: &str, body: Bytes) {
        // Every version has a date of its own, so that caches that know only
        // dates can tell them apart.
        let version = self.version.fetch_add(1, Ordering::Relaxed);
        let date = OffsetDateTime::from_unix_timestamp(1_700_000_000 + version.cast_signed())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let modified = date.format(&Rfc2822).unwrap_or_default().replace("+0000", "GMT");
        let etag = format!("\"v{version}\"");
        let file = File { body, etag, modified, faults: VecDeque::new() };
        lock(&self.files).insert(path.to_owned(), file);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or("/");
    let path = target
        .strip_prefix("http://")
        .and_then(|rest| rest.find('/').and_then(|at| rest.get(at..)))
        .unwrap_or(target);
    let path = decoded(path);
    let headers = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Ok(Some(Request { method, path, headers }))
}

/// A path as servers of files read it.
fn decoded(path: &str) -> String {
    let mut out = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        let hex = hex.and_then(|h| u8::from_str_radix(h, 16).ok()).filter(|_| *byte == b'%');
        out.push(hex.unwrap_or(*byte));
        rest = after.get(if hex.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    String::from_utf8_lossy(&out).replace("/./", "/")
}

async fn connection(stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        if state.gone.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !answer(&mut stream, &request, state).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// `Ok(false)` when the connection is to end.
async fn answer(
    stream: &mut BufReader<TcpStream>,
    request: &Request,
    state: &State,
) -> io::Result<bool> {
    let pose = lock(&state.pose).clone();
    if let Some(pose) = pose {
        stream.write_all(pose.answer().as_bytes()).await?;
        return Ok(true);
    }
    let Some(file) = lock(&state.files).get(&request.path).cloned() else {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?;
        return Ok(true);
    };
    let etag_fits = request.header("if-none-match").map(|v| v == file.etag);
    let date_fits = request.header("if-modified-since").map(|v| v == file.modified);
    if etag_fits.or(date_fits) == Some(true) {
        let head = format!(
            "HTTP/1.1 304 Not Modified\r\netag: {}\r\nlast-modified: {}\r\n\r\n",
            file.etag, file.modified
        );
        stream.write_all(head.as_bytes()).await?;
        return Ok(true);
    }
    let fault = match request.method.as_str() {
        "HEAD" => None,
        _ => lock(&state.files).get_mut(&request.path).and_then(|f| f.faults.pop_front()),
    };
    if let Some(Fault::Status(status)) = fault {
        let head = format!("HTTP/1.1 {status} Trouble\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        return Ok(true);
    }
    let part = part(request, &file);
    if request.method != "HEAD" {
        match part {
            Some(_) => drop(state.ranges.fetch_add(1, Ordering::Relaxed)),
            None => *lock(&state.gets).entry(request.path.clone()).or_default() += 1,
        }
    }
    let (start, end) = part.unwrap_or((0, file.body.len()));
    let head = head(&file, part, fault.as_ref(), state.fresh_s.load(Ordering::Relaxed));
    stream.write_all(head.as_bytes()).await?;
    if request.method == "HEAD" {
        return Ok(true);
    }
    let mut body = file.body.slice(start..end);
    if let Some(Fault::Flip(bits)) = fault {
        body = flipped(&body, bits);
    }
    let limit = match &fault {
        Some(Fault::Cut(after) | Fault::Stall(after) | Fault::Swap(after, _)) => *after,
        _ => usize::MAX,
    };
    send(stream, &body[..limit.min(body.len())], state).await?;
    match fault {
        Some(Fault::Cut(_) | Fault::Claim(_)) => Ok(false),
        Some(Fault::Stall(_)) => {
            // Until the other side has had enough.
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            Ok(false)
        }
        Some(Fault::Swap(_, next)) => {
            state.put(&request.path, next);
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// The range asked for, when `If-Range` lets it hold.
fn part(request: &Request, file: &File) -> Option<(usize, usize)> {
    let holds = request.header("if-range").is_none_or(|v| v == file.etag || v == file.modified);
    let (first, last) = request.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let start: usize = first.parse().ok()?;
    let end = last.parse::<usize>().map_or(file.body.len(), |l| (l + 1).min(file.body.len()));
    (holds && start < end).then_some((start, end))
}

fn head(file: &File, part: Option<(usize, usize)>, fault: Option<&Fault>, fresh_s: u64) -> String {
    let total = file.body.len();
    let mut head = match part {
        Some((start, end)) => format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{}/{total}\r\n",
            end - 1
        ),
        None => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    let length = match (fault, part) {
        (Some(Fault::Claim(length)), _) => *length,
        (_, Some((start, end))) => end - start,
        (_, None) => total,
    };
    head += &format!("content-type: application/octet-stream\r\ncontent-length: {length}\r\n");
    if fresh_s > 0 {
        head += &format!("cache-control: max-age={fresh_s}\r\n");
    }
    if !matches!(fault, Some(Fault::Claim(_))) {
        head += &format!("etag: {}\r\nlast-modified: {}\r\n", file.etag, file.modified);
    }
    head + "accept-ranges: bytes\r\n\r\n"
}

fn flipped(body: &Bytes, bits: u32) -> Bytes {
    let mut wrong = body.to_vec();
    let length = wrong.len();
    for n in 0..bits as usize {
        if let Some(byte) = wrong.get_mut((n * 7919 + length / 2) % length.max(1)) {
            *byte ^= 1 << (n % 8);
        }
    }
    wrong.into()
}

async fn send(stream: &mut BufReader<TcpStream>, body: &[u8], state: &State) -> io::Result<()> {
    let rate = state.rate.load(Ordering::Relaxed);
    let piece = match rate {
        0 => 256 * 1024,
        rate => usize::try_from(rate / 50).unwrap_or(usize::MAX).clamp(1024, 256 * 1024),
    };
    let started = tokio::time::Instant::now();
    let mut sent = 0_u64;
    for piece in body.chunks(piece) {
        stream.write_all(piece).await?;
        stream.flush().await?;
        sent += piece.len() as u64;
        state.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        let rate = state.rate.load(Ordering::Relaxed);
        if let Some(due_us) = sent.saturating_mul(1_000_000).checked_div(rate) {
            tokio::time::sleep_until(started + Duration::from_micros(due_us)).await;
        }
    }
    Ok(())
}
