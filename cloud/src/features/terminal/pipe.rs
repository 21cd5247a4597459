//! The pipe between a browser's socket and a tunnel.

use super::{IDLE, LONGEST};
use crate::{
    auth::Right,
    link::{Tunnel, TunnelFrames, TunnelSink},
    reports::line,
};
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde::Deserialize;
use serde_json::json;
use std::{pin::pin, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    ids::TunnelId,
    live::{MAX_LIVE, TERMINAL_WINDOW, TunnelClosed, TunnelCredit, TunnelData, TunnelResize},
    tunnel::TunnelFrame,
};

/// A browser that takes nothing for this long is gone.
const SEND: Duration = Duration::from_secs(30);
/// A ping this often; a browser that is silent for three of them is gone.
const PING: Duration = Duration::from_secs(25);
/// Credit is returned in pieces of this many bytes, or when nothing more waits.
const CREDIT_STEP: u32 = 16 * 1024;

/// A browser's socket.
pub(super) struct Viewer {
    out: SplitSink<WebSocket, Message>,
    from: Option<SplitStream<WebSocket>>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    Resize { cols: u16, rows: u16 },
}

impl Viewer {
    pub(super) fn new(socket: WebSocket) -> Self {
        let (out, from) = socket.split();
        Self { out, from: Some(from) }
    }

    async fn send(&mut self, message: Message) -> Result<(), String> {
        match timeout(SEND, self.out.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(GONE.into()),
        }
    }

    /// Says why it is over and closes the socket.
    pub(super) async fn close(&mut self, reason: &str) {
        let said = json!({ "type": "closed", "reason": reason }).to_string();
        // The browser may have gone first.
        let _ = self.send(Message::Text(said.into())).await;
        let frame = CloseFrame { code: close_code::NORMAL, reason: line(reason, 120).into() };
        let _ = self.send(Message::Close(Some(frame))).await;
    }
}

const GONE: &str = "The viewer went away.";

/// Passes bytes both ways until one side ends; returns why, in a sentence.
pub(super) async fn run(
    viewer: &mut Viewer,
    tunnel: Tunnel,
    id: TunnelId,
    mut right: Right,
    stop: CancellationToken,
) -> String {
    let Some(from) = viewer.from.take() else { return GONE.into() };
    let (frames, sink) = tunnel.split();
    // Frames to the relay come from both directions: keystrokes and credit.
    let (to_relay, queue) = mpsc::channel::<TunnelFrame>(32);
    let (credit, more) = mpsc::channel::<u32>(32);
    let writer = tokio::spawn(write(sink, queue));
    let (typed, mut typing) = watch::channel(());
    let reader = tokio::spawn(keystrokes(from, to_relay.clone(), more, typed, id));
    let reader_stop = reader.abort_handle();
    let reason = tokio::select! {
        reason = screen(viewer, frames, &to_relay, &credit, id) => reason,
        done = reader => done.unwrap_or_else(|_| GONE.into()),
        reason = over(&mut right, &mut typing) => reason,
        () = stop.cancelled() => "The cloud is being restarted. Connect again in a moment.".into(),
    };
    reader_stop.abort();
    let closed = TunnelFrame::Closed(TunnelClosed { tunnel: id, reason: reason.clone() });
    let _ = timeout(Duration::from_secs(1), to_relay.send(closed)).await;
    drop(to_relay);
    let _ = timeout(Duration::from_secs(2), writer).await;
    reason
}

/// Waits until the terminal may no longer be open; returns why.
async fn over(right: &mut Right, typing: &mut watch::Receiver<()>) -> String {
    let mut longest = pin!(sleep(LONGEST));
    loop {
        tokio::select! {
            why = right.ended() => return why.into(),
            () = longest.as_mut() => {
                return format!(
                    "A terminal stays open for {} hours at most. Open another.",
                    LONGEST.as_secs() / 3600
                );
            }
            typed = timeout(IDLE, typing.changed()) => match typed {
                Ok(Ok(())) => right.used(),
                // The reader has ended and says why itself.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => {
                    return format!(
                        "Nothing was typed for {} minutes. Open it again to go on.",
                        IDLE.as_secs() / 60
                    );
                }
            },
        }
    }
}

async fn write(mut sink: TunnelSink, mut queue: mpsc::Receiver<TunnelFrame>) {
    while let Some(frame) = queue.recv().await {
        if sink.send(frame).await.is_err() {
            break;
        }
    }
    sink.close().await;
}

/// From the relay to the browser.
async fn screen(
    viewer: &mut Viewer,
    mut frames: TunnelFrames,
    to_relay: &mpsc::Sender<TunnelFrame>,
    credit: &mpsc::Sender<u32>,
    id: TunnelId,
) -> String {
    if let Err(gone) =
        viewer.send(Message::Text(json!({ "type": "open" }).to_string().into())).await
    {
        return gone;
    }
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut taken, mut next) = (0u32, None::<u64>);
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            _ = pings.tick() => {
                match viewer.send(Message::Ping(Bytes::new())).await {
                    Ok(()) => continue,
                    Err(gone) => return gone,
                }
            }
        };
        match frame {
            Ok(Some(TunnelFrame::Data(data))) if data.tunnel == id => {
                if next.is_some_and(|next| next != data.seq) {
                    return "Some of the terminal's output was lost on the way. Open it again."
                        .into();
                }
                next = Some(data.seq.wrapping_add(1));
                let length = u32::try_from(data.data.len()).unwrap_or(u32::MAX);
                if let Err(gone) = viewer.send(Message::Binary(data.data.into())).await {
                    return gone;
                }
                taken = taken.saturating_add(length);
                if taken >= CREDIT_STEP {
                    let more = TunnelFrame::Credit(TunnelCredit { tunnel: id, bytes: taken });
                    if to_relay.send(more).await.is_err() {
                        return "The connection to the site's relay broke.".into();
                    }
                    taken = 0;
                }
            }
            Ok(Some(TunnelFrame::Credit(more))) if more.tunnel == id => {
                // Full only when the reader has ended.
                let _ = credit.try_send(more.bytes);
            }
            Ok(Some(TunnelFrame::Closed(closed))) => return line(&closed.reason, 512),
            Ok(Some(_)) => {}
            Ok(None) => return "The connection to the site's relay was closed.".into(),
            Err(error) => return error.to_string(),
        }
    }
}

/// From the browser to the relay.
async fn keystrokes(
    mut from: SplitStream<WebSocket>,
    to_relay: mpsc::Sender<TunnelFrame>,
    mut credit: mpsc::Receiver<u32>,
    typed: watch::Sender<()>,
    id: TunnelId,
) -> String {
    let mut seq = 0;
    let mut window = TERMINAL_WINDOW;
    let mut heard = Instant::now();
    loop {
        let message = match timeout(PING, from.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) if error.to_string().contains("too long") => {
                return "A message was longer than 1 MiB. Send it in smaller pieces.".into();
            }
            Ok(_) => return GONE.into(),
            Err(_) if heard.elapsed() > 3 * PING => return GONE.into(),
            Err(_) => continue,
        };
        heard = Instant::now();
        let frame = match message {
            Message::Binary(bytes) => {
                typed.send_replace(());
                for piece in bytes.chunks(MAX_LIVE) {
                    let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
                    while let Ok(more) = credit.try_recv() {
                        window = window.saturating_add(more).min(TERMINAL_WINDOW);
                    }
                    while window < length {
                        let Some(more) = credit.recv().await else { return GONE.into() };
                        window = window.saturating_add(more).min(TERMINAL_WINDOW);
                    }
                    window -= length;
                    let data = TunnelData { tunnel: id, seq, data: piece.to_vec() };
                    seq += 1;
                    if to_relay.send(TunnelFrame::Data(data)).await.is_err() {
                        return "The connection to the site's relay broke.".into();
                    }
                }
                continue;
            }
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(Said::Resize { cols, rows }) => TunnelFrame::Resize(TunnelResize {
                    tunnel: id,
                    cols: cols.clamp(1, 1000),
                    rows: rows.clamp(1, 1000),
                }),
                Err(_) => continue,
            },
            Message::Close(_) => return "The viewer closed the terminal.".into(),
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        if to_relay.send(frame).await.is_err() {
            return "The connection to the site's relay broke.".into();
        }
    }
}
