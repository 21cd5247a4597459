//! Tells open pages that what they show has changed.
//!
//! One WebSocket a page; each message is the overview, sent when it differs from
//! the last one, at most once a second. A page that does not take its messages
//! is closed by the socket's own back-pressure and connects again.

use super::{
    Ui, UiParts,
    sessions::{problem, same_origin},
    view,
};
use axum::{
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::HeaderMap,
    response::Response,
};
use http::StatusCode;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Shortest time between two messages.
const EVERY: Duration = Duration::from_secs(1);
/// A page that takes nothing for this long is let go.
const STALL: Duration = Duration::from_secs(10);
/// Bytes that a page may send; it has nothing to say.
const MAX_INCOMING: usize = 1024;

/// `GET /api/events`
pub(super) async fn handle(
    State(ui): State<Arc<Ui>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !same_origin(&headers) {
        return problem(StatusCode::FORBIDDEN, "Open this from the relay's own page.");
    }
    upgrade.max_message_size(MAX_INCOMING).on_upgrade(move |socket| tell(ui, headers, socket))
}

/// The overview as last gathered, so that many open pages cost as much as one.
#[derive(Default)]
pub(super) struct Newest(tokio::sync::Mutex<Option<(Instant, String)>>);

impl Newest {
    async fn get(&self, parts: &UiParts) -> Option<String> {
        let mut newest = self.0.lock().await;
        if let Some((at, text)) = newest.as_ref()
            && at.elapsed() < EVERY
        {
            return Some(text.clone());
        }
        let overview = view::overview(parts).await.ok()?;
        let text = serde_json::to_string(&overview).ok()?;
        *newest = Some((Instant::now(), text.clone()));
        Some(text)
    }
}

async fn tell(ui: Arc<Ui>, headers: HeaderMap, mut socket: WebSocket) {
    let mut last = String::new();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            incoming = socket.recv() => match incoming {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        }
        if !ui.sessions.still_holds(&headers, &ui.pin_hash()) {
            return;
        }
        let Some(text) = ui.newest.get(&ui.parts).await else { continue };
        if text == last {
            continue;
        }
        last = text.clone();
        match tokio::time::timeout(STALL, socket.send(Message::text(text))).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
}
