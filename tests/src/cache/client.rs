//! A client that tells a whole answer from a fragment, byte by byte.

use anyhow::{Context, Result, bail};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Longest time that one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came.
#[derive(Debug)]
pub struct Got {
    /// Status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The bytes, as many as came.
    pub body: Vec<u8>,
    /// Whether the answer came to its proper end.
    pub whole: bool,
}

impl Got {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Asks a proxy for an address.
///
/// # Errors
/// When not even a head came.
pub async fn get(proxy: SocketAddr, url: &str, headers: &[(&str, &str)]) -> Result<Got> {
    timeout(PATIENCE, ask(proxy, url, headers)).await.context("no answer in time")?
}

/// A connection from another address of the loopback.
///
/// # Errors
/// When it cannot be made.
pub async fn connect_from(from: SocketAddr, to: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // A small window: a client that reads nothing is felt at once.
    socket.set_recv_buffer_size(4096)?;
    socket.bind(from)?;
    Ok(socket.connect(to).await?)
}

/// The request as it goes over the wire.
#[must_use]
pub fn request(url: &str, headers: &[(&str, &str)]) -> String {
    let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let mut text = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text + "Connection: close\r\n\r\n"
}

async fn ask(proxy: SocketAddr, url: &str, headers: &[(&str, &str)]) -> Result<Got> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.write_all(request(url, headers).as_bytes()).await?;
    let mut all = Vec::new();
    let head_end = loop {
        if let Some(at) = all.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut all).await? == 0 || all.len() > 64 * 1024 * 1024 {
            bail!("the answer has no head");
        }
    };
    let head = String::from_utf8_lossy(all.get(..head_end).unwrap_or_default()).into_owned();
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok())
        .context("the answer has no status")?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut got = Got { status, headers, body: all.split_off(head_end), whole: false };
    let length = got.header("content-length").and_then(|n| n.parse::<usize>().ok());
    let chunked = got.header("transfer-encoding").is_some();
    loop {
        if length.is_some_and(|length| got.body.len() >= length) {
            break;
        }
        match stream.read_buf(&mut got.body).await {
            Ok(0) if length.is_none() && !chunked => {
                got.whole = true;
                return Ok(got);
            }
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    if chunked {
        (got.body, got.whole) = unchunk(&got.body);
    } else {
        // More than was announced is as wrong as less.
        got.whole = length == Some(got.body.len());
    }
    Ok(got)
}

/// Joins chunks; says whether the last one came.
fn unchunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(line) = raw.windows(2).position(|w| w == b"\r\n") else { return (body, false) };
        let (size, rest) = raw.split_at(line);
        let size = std::str::from_utf8(size)
            .ok()
            .and_then(|text| usize::from_str_radix(text.split(';').next()?.trim(), 16).ok());
        let Some(size) = size else { return (body, false) };
        let rest = rest.get(2..).unwrap_or_default();
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(rest.get(..size.min(rest.len())).unwrap_or_default());
        match rest.get(size + 2..) {
            Some(next) => raw = next,
            None => return (body, false),
        }
    }
}
