//! An HTTP upstream of files that can be told to misbehave.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// The date of every file, because many a publisher's tools set no better one.
pub const MODIFIED: &str = "Thu, 01 Oct 2026 00:00:00 GMT";

/// How the next answers go wrong.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// Break the connection after so many body bytes, this many times.
    pub cut_after: Option<(usize, u32)>,
    /// Claim this length instead of the true one.
    pub claim_length: Option<usize>,
    /// Flip a bit of the body.
    pub flip: bool,
    /// Bytes a second.
    pub rate: Option<usize>,
    /// Send bodies without a length.
    pub chunked: bool,
    /// Grant freshness for so many seconds.
    pub fresh: Option<u32>,
    /// Send no validators.
    pub no_validators: bool,
    /// Wait for a permit before each 64 KiB.
    pub gate: Option<Arc<Semaphore>>,
}

/// What somebody between here and the upstream answers in its place.
#[derive(Clone)]
pub struct Pose {
    pub status: u16,
    /// Whole lines, each with its end.
    pub headers: String,
    pub body: Vec<u8>,
}

impl Pose {
    /// A log-in page that calls itself fresh for an hour.
    pub fn page() -> Self {
        let headers = "content-type: text/html\r\ncache-control: max-age=3600\r\n".to_owned();
        let body =
            b"<!doctype html><html><body><a href=\"/login\">Log in</a></body></html>".to_vec();
        Self { status: 200, headers, body }
    }

    pub fn status(status: u16) -> Self {
        Self { status, headers: String::new(), body: Vec::new() }
    }

    pub fn redirect(to: &str) -> Self {
        Self { status: 302, headers: format!("location: {to}\r\n"), body: Vec::new() }
    }
}

#[derive(Default)]
struct State {
    /// By the path's beginning.
    poses: Vec<(String, Pose)>,
    posts: Vec<(String, Vec<String>, Vec<u8>)>,
    files: HashMap<String, (Vec<u8>, String, String)>,
    behaviour: Behaviour,
    gets: HashMap<String, u32>,
    ranges: u32,
}

#[derive(Clone)]
pub struct Upstream {
    pub authority: String,
    state: Arc<Mutex<State>>,
    task: Arc<tokio::task::JoinHandle<()>>,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let _broken = connection(stream, state).await;
                });
            }
        });
        Self { authority, state, task: Arc::new(task) }
    }

    /// From now on nobody answers.
    pub fn vanish(&self) {
        self.task.abort();
    }

    pub fn put(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.put_as(path, body, "application/octet-stream");
    }

    pub fn put_as(&self, path: &str, body: impl Into<Vec<u8>>, kind: &str) {
        let body = body.into();
        let etag = format!("\"{}\"", &blake3::hash(&body).to_hex()[..16]);
        self.state.lock().unwrap().files.insert(path.into(), (body, etag, kind.into()));
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    /// Lets somebody else answer for all paths that begin so; the last one holds.
    pub fn pose(&self, path: &str, pose: Pose) {
        self.state.lock().unwrap().poses.insert(0, (path.into(), pose));
    }

    /// The upstream answers by itself again.
    pub fn be_itself(&self) {
        self.state.lock().unwrap().poses.clear();
    }

    /// What was asked with a body: path, head lines, body.
    pub fn posts(&self) -> Vec<(String, Vec<String>, Vec<u8>)> {
        self.state.lock().unwrap().posts.clone()
    }

    /// GETs of a path that asked from its start and got a body.
    pub fn gets(&self, path: &str) -> u32 {
        self.state.lock().unwrap().gets.get(path).copied().unwrap_or(0)
    }

    pub fn ranges(&self) -> u32 {
        self.state.lock().unwrap().ranges
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority)
    }
}

async fn connection(stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let path = lines[0].split(' ').nth(1).unwrap_or("/").to_owned();
        let header = |name: &str| {
            lines.iter().find_map(|l| {
                let (n, v) = l.split_once(':')?;
                n.eq_ignore_ascii_case(name).then(|| v.trim().to_owned())
            })
        };
        if let Some(length) = header("content-length").filter(|_| lines[0].starts_with("POST ")) {
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).await?;
            state.lock().unwrap().posts.push((path.clone(), lines.clone(), body));
        }
        let pose = {
            let state = state.lock().unwrap();
            let posing = state.poses.iter().find(|(prefix, _)| path.starts_with(prefix));
            posing.map(|(_, pose)| pose.clone())
        };
        if let Some(Pose { status, headers, body }) = pose {
            *state.lock().unwrap().gets.entry(path.clone()).or_default() += 1;
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            if lines[0].starts_with("GET ") || lines[0].starts_with("POST ") {
                stream.write_all(&body).await?;
            }
            continue;
        }
        let path = plain(&path);
        let found = state.lock().unwrap().files.get(&path).cloned();
        let Some((mut body, etag, kind)) = found else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?;
            continue;
        };
        let behaviour = state.lock().unwrap().behaviour.clone();
        if header("if-none-match").as_ref() == Some(&etag) {
            stream
                .write_all(format!("HTTP/1.1 304 Not Modified\r\netag: {etag}\r\n\r\n").as_bytes())
                .await?;
            continue;
        }
        let range = header("range").filter(|_| header("if-range").is_none_or(|v| v == etag));
        let bound = |n: usize| {
            let range = range.as_ref()?.strip_prefix("bytes=")?;
            range.split('-').nth(n)?.parse::<usize>().ok()
        };
        let (from, last) = (bound(0), bound(1));
        {
            let mut state = state.lock().unwrap();
            match from {
                Some(_) => state.ranges += 1,
                None => *state.gets.entry(path.clone()).or_default() += 1,
            }
        }
        if behaviour.flip {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
        let total = body.len();
        let start = from.unwrap_or(0).min(total);
        let end = last.map_or(total, |last| (last + 1).clamp(start, total));
        let mut head = match from {
            Some(_) => format!(
                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{}/{total}\r\n",
                end.saturating_sub(1)
            ),
            None => "HTTP/1.1 200 OK\r\n".to_owned(),
        };
        head += &format!("content-type: {kind}\r\n");
        if !behaviour.no_validators {
            head += &format!("etag: {etag}\r\nlast-modified: {MODIFIED}\r\n");
        }
        if let Some(seconds) = behaviour.fresh {
            head += &format!("cache-control: max-age={seconds}\r\n");
        }
        let claimed = behaviour.claim_length.unwrap_or(end - start);
        head += &match behaviour.chunked {
            true => "transfer-encoding: chunked\r\n\r\n".to_owned(),
            false => format!("content-length: {claimed}\r\n\r\n"),
        };
        stream.write_all(head.as_bytes()).await?;
        let mut sent = 0;
        for piece in body[start..end].chunks(64 * 1024) {
            if let Some(gate) = &behaviour.gate {
                gate.acquire().await.unwrap().forget();
            }
            if let Some((after, times)) = behaviour.cut_after
                && times > 0
                && sent + piece.len() > after
            {
                let part = &piece[..after.saturating_sub(sent).min(piece.len())];
                stream.write_all(part).await?;
                stream.flush().await?;
                state.lock().unwrap().behaviour.cut_after = Some((after, times - 1));
                return Ok(());
            }
            if behaviour.chunked {
                stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
            }
            stream.write_all(piece).await?;
            if behaviour.chunked {
                stream.write_all(b"\r\n").await?;
            }
            sent += piece.len();
            if let Some(rate) = behaviour.rate {
                let pause = Duration::from_secs_f64(piece.len() as f64 / rate as f64);
                tokio::time::sleep(pause).await;
            }
        }
        if behaviour.chunked {
            stream.write_all(b"0\r\n\r\n").await?;
        }
        if behaviour.claim_length.is_some() {
            return Ok(());
        }
    }
}

/// Decodes a path as servers of files do, except for its slashes.
fn plain(path: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), path.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        match hex
            .and_then(|h| u8::from_str_radix(h, 16).ok())
            .filter(|b| *byte == b'%' && *b != b'/')
        {
            Some(decoded) => {
                out.push(decoded);
                rest = &after[2..];
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(out).unwrap()
}
