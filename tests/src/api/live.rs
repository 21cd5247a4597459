//! The two WebSockets: live events, and the terminal.

use super::Api;
use anyhow::{Context, Result, bail};
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(api: &Api, path: &str) -> Result<Socket> {
    let url = format!("{}/api/v1{path}", api.base()).replacen("http", "ws", 1);
    let mut request = url.as_str().into_client_request()?;
    for (name, value) in api.socket_headers() {
        request.headers_mut().insert(name, HeaderValue::from_str(&value)?);
    }
    let (socket, _) =
        connect_async(request).await.with_context(|| format!("cannot open the socket {url}"))?;
    if let MaybeTlsStream::Plain(tcp) = socket.get_ref() {
        tcp.set_nodelay(true)?;
    }
    Ok(socket)
}

/// One live event.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// Where to resume; absent for samples and output.
    #[serde(default)]
    pub id: Option<Value>,
    /// Which kind.
    pub kind: String,
    /// Content.
    #[serde(default)]
    pub data: Value,
}

/// The stream of live events.
#[derive(Debug)]
pub struct Events(Socket);

impl Events {
    /// Opens the stream.
    ///
    /// # Errors
    /// When refused.
    pub async fn open(api: &Api) -> Result<Self> {
        Ok(Self(open(api, "/events").await?))
    }

    /// Says whose samples and output are wanted.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn watch(&mut self, devices: &[&str], tasks: &[&str]) -> Result<()> {
        let text = json!({"watch": {"devices": devices, "tasks": tasks}}).to_string();
        Ok(self.0.send(Message::text(text)).await?)
    }

    /// The next event, whatever it is.
    ///
    /// # Errors
    /// When the connection ends or none comes in time.
    pub async fn next(&mut self, limit: Duration) -> Result<Event> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let message = tokio::time::timeout_at(deadline, self.0.next())
                .await
                .context("no event came in time")?
                .context("the event stream ended")??;
            match message {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(frame) => bail!("the event stream was closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next event for which `pick` gives a value.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn find<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.next(left).await.with_context(|| format!("waiting for {what}"))?;
            if let Some(found) = pick(&event) {
                return Ok(found);
            }
        }
    }
}

/// A terminal on a device.
#[derive(Debug)]
pub struct Terminal {
    socket: Socket,
    /// Bytes received and not yet looked for.
    seen: Vec<u8>,
}

impl Terminal {
    /// Opens a terminal and waits until it is there.
    ///
    /// # Errors
    /// When refused, or not opened in time.
    pub async fn open(api: &Api, device: &str, cols: u16, rows: u16) -> Result<Self> {
        let path = format!("/devices/{device}/terminal?cols={cols}&rows={rows}");
        let mut terminal = Self { socket: open(api, &path).await?, seen: Vec::new() };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
        loop {
            if let Some(text) = terminal.step(deadline).await? {
                match text["type"].as_str() {
                    Some("open") => return Ok(terminal),
                    _ => bail!("the terminal was not opened: {text}"),
                }
            }
        }
    }

    /// Types.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.send(Message::binary(bytes.to_vec())).await?)
    }

    /// Changes the window.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn resize(&mut self, cols: u16, rows: u16) -> Result<()> {
        let text = json!({"type": "resize", "cols": cols, "rows": rows}).to_string();
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// Reads until `text` has appeared, and forgets what came before its end.
    ///
    /// # Errors
    /// When it does not appear in time; the error shows what did.
    pub async fn expect(&mut self, text: &str, limit: Duration) -> Result<()> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let found = self.seen.windows(text.len()).position(|w| w == text.as_bytes());
            if let Some(at) = found {
                self.seen.drain(..at + text.len());
                return Ok(());
            }
            if let Err(error) = self.step(deadline).await {
                let seen = String::from_utf8_lossy(&self.seen).into_owned();
                return Err(error.context(format!("waiting for {text:?}; seen: {seen:?}")));
            }
        }
    }

    /// Waits for the server's farewell and returns its reason.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn closed(&mut self, limit: Duration) -> Result<String> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if let Some(text) = self.step(deadline).await?
                && text["type"] == "closed"
            {
                return Ok(text["reason"].as_str().unwrap_or_default().to_owned());
            }
        }
    }

    async fn step(&mut self, deadline: tokio::time::Instant) -> Result<Option<Value>> {
        let message = tokio::time::timeout_at(deadline, self.socket.next())
            .await
            .context("nothing came in time")?
            .context("the terminal's socket ended")??;
        match message {
            Message::Binary(bytes) => self.seen.extend_from_slice(&bytes),
            Message::Text(text) => return Ok(Some(serde_json::from_str(&text)?)),
            Message::Close(frame) => bail!("the terminal's socket was closed: {frame:?}"),
            _ => {}
        }
        Ok(None)
    }
}
