//! `/events`: what the actor may see, as it happens.
//!
//! A socket follows the bus. It first gets what it missed since the id that it
//! names: from the bus's memory, else from the table (`replay`), else it is told to
//! refetch (`reset`), which is counted by its reason. The table is read from some time before the id, because
//! an event with a lower number may have been committed later; every event is
//! a state or carries its own identity, so that hearing it twice does no harm.
//!
//! A socket that does not keep up is told to refetch and goes on from there. It holds no
//! memory but the bus's and one message, and what it missed while it is told of that: for
//! half a minute and one message, after which it is to refetch. It is told only what its actor
//! may read, and ends with its actor's right. What a browser says is read at a pace,
//! and what it wants to watch is looked up at one, however often it changes its mind;
//! the first few times at once. A person has so many sockets at once.

use super::{
    Audience, Event, Replay, WatchGuard,
    pace::{Pace, at, due},
    replay::{self, Kept, Missed},
};
use crate::{
    auth::{Right, Use},
    authz::Can,
    context::{AppState, Ctx},
    db::{DbError, Place},
    http::{Problem, Query, seldom::Seldom},
};
use axum::{
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    response::Response,
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::HashSet, time::Duration};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, MissedTickBehavior},
};
use unifyit_protocol::ids::{DeviceId, RelayId, TaskId};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// A message must be taken by the browser within this time.
const SEND: Duration = Duration::from_secs(20);
/// A ping this often; two unanswered ones end the socket.
const PING: Duration = Duration::from_secs(25);
/// Between two changes of what is watched, after the first few: each costs a transaction and may reach
/// every relay's session.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// Between two messages of a browser, after the first few: those that it sends meanwhile wait in its line.
const HEAR_EVERY: Duration = Duration::from_millis(50);
/// Longest message accepted from a browser.
const MAX_MESSAGE: usize = 16 * 1024;
const MAX_DEVICES: usize = 64;
const MAX_TASKS: usize = 8;

/// Sockets that were told to refetch.
static RESETS: Seldom = Seldom::new();

/// Routes of the spine's own socket.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Where to resume.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Resume {
    /// Id of the last event received.
    after: Option<i64>,
}

/// Live events over a WebSocket
///
/// Sends `{"id","kind","at","data"}`. Takes `{"watch":{"devices":[…],"tasks":[…]}}`.
/// A person has at most 32 of them open at once, at most 16 of those by API keys.
#[utoipa::path(get, path = "/events", tag = "events", params(Resume),
    responses((status = 101, description = "The socket is open"), (status = "4XX", body = Problem)))]
async fn events(
    ctx: Ctx,
    Query(resume): Query<Resume>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    ctx.require(Can::VIEW)?;
    let seat = ctx.state.sockets.events.take(ctx.actor.sender())?;
    Ok(upgrade.max_message_size(MAX_MESSAGE).on_upgrade(move |socket| async move {
        let gauge = ctx.state.metrics.sockets().clone();
        gauge.inc();
        let right = ctx.state.rights.hold(&ctx.actor, Use::Shows);
        let watch = Wish::default();
        let (looks, hearing) = (Pace::new(WATCH_EVERY), Pace::new(HEAR_EVERY));
        let session = Session { ctx, socket, watch, guard: None, wanted: None, looks, hearing };
        session.run(right, resume.after).await;
        gauge.dec();
        drop(seat);
    }))
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct Wish {
    #[serde(default)]
    devices: HashSet<Uuid>,
    #[serde(default)]
    tasks: HashSet<Uuid>,
}

#[derive(Debug, Deserialize)]
struct FromBrowser {
    watch: Wish,
}

struct Session {
    ctx: Ctx,
    socket: WebSocket,
    watch: Wish,
    guard: Option<WatchGuard>,
    /// What the browser asked for and has not got yet.
    wanted: Option<Wish>,
    /// How often its wishes are looked up.
    looks: Pace,
    /// How often its messages are read.
    hearing: Pace,
}

/// Why a socket ends.
enum End {
    Gone,
    Said(&'static str),
}

impl Session {
    async fn run(mut self, mut right: Right, after: Option<i64>) {
        // Its end comes also while something is being sent or looked up.
        let end = tokio::select! {
            ended = self.serve(after) => ended.err(),
            why = right.ended() => Some(End::Said(why)),
        };
        if let Some(End::Said(reason)) = end {
            let frame = CloseFrame { code: close_code::AWAY, reason: reason.into() };
            let _ = self.send(Message::Close(Some(frame))).await;
        }
    }

    async fn serve(&mut self, after: Option<i64>) -> Result<(), End> {
        let bus = self.ctx.state.db.bus().clone();
        let (replay, mut live) = match after {
            Some(id) => bus.resume(id),
            None => (Replay::Complete(Vec::new()), bus.subscribe()),
        };
        match replay {
            Replay::Complete(missed) => self.replay(Kept::new(missed)).await?,
            Replay::Unknown => self.replay_stored(after.unwrap_or_default()).await?,
        }
        let stop = self.ctx.state.stop.clone();
        let mut ping = tokio::time::interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Err(End::Said("The server is restarting.")),
                event = live.recv() => match event {
                    Ok(event) => self.pass(&event).await?,
                    Err(RecvError::Lagged(missed)) => {
                        tracing::debug!(missed, "an event socket fell behind");
                        self.reset("behind").await?;
                    }
                    Err(RecvError::Closed) => return Err(End::Said("The server is restarting.")),
                },
                message = at(self.hearing.next(), self.socket.recv()) => {
                    heard = Instant::now();
                    self.hearing.took();
                    match message {
                        Some(Ok(Message::Text(text))) => self.hear(text.as_str())?,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
                        Some(Ok(_)) => {}
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() > 2 * PING + SEND {
                        return Err(End::Gone);
                    }
                    self.send(Message::Ping(Vec::new().into())).await?;
                }
                () = due(self.wanted.is_some(), &self.looks) => self.wish().await?,
            }
        }
    }

    async fn pass(&mut self, event: &Event) -> Result<(), End> {
        let wanted = match event.audience {
            Audience::All => true,
            Audience::Device(DeviceId(id)) => self.watch.devices.contains(&id),
            Audience::Task(TaskId(id)) => self.watch.tasks.contains(&id),
        };
        let actor = &self.ctx.actor;
        if wanted && actor.may(event.needs) && actor.scope.sees(&event.place) {
            self.send(Message::Text(event.text.to_string().into())).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match tokio::time::timeout(SEND, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(End::Gone),
        }
    }

    /// Tells the browser to refetch.
    async fn reset(&mut self, why: &'static str) -> Result<(), End> {
        self.ctx.state.metrics.reset(why);
        if let Some(times) = RESETS.due() {
            tracing::info!(why, times, "An event socket was told to refetch.");
        }
        let at = self.ctx.now();
        let reset = Event::new(None, "reset", Place::default(), at, &Value::Null);
        self.send(Message::Text(reset.text.to_string().into())).await
    }

    /// Tells what was missed, or to refetch where the browser takes too long for it.
    async fn replay(&mut self, mut missed: Kept) -> Result<(), End> {
        while let Some(event) = missed.next() {
            self.pass(&event).await?;
        }
        if missed.given_up() { self.reset("unread").await } else { Ok(()) }
    }

    /// Sends what the table has after an id, or `reset` when it no longer has it or that
    /// costs too much.
    async fn replay_stored(&mut self, after: i64) -> Result<(), End> {
        match replay::read(&self.ctx, after).await {
            Ok(Missed::Events(missed)) => self.replay(missed).await,
            Ok(Missed::Refetch(why)) => self.reset(why).await,
            Err(error) => {
                tracing::warn!(%error, "missed events could not be read");
                self.reset("failed").await
            }
        }
    }

    /// Notes what the browser wants to watch.
    fn hear(&mut self, text: &str) -> Result<(), End> {
        let Ok(FromBrowser { watch }) = serde_json::from_str(text) else {
            return Err(End::Said("The message was not understood."));
        };
        if watch.devices.len() > MAX_DEVICES || watch.tasks.len() > MAX_TASKS {
            return Err(End::Said("At most 64 devices and 8 tasks can be watched."));
        }
        let same = self.wanted.is_none() && watch == self.watch;
        self.wanted = (!same).then_some(watch);
        Ok(())
    }

    /// Takes over what the browser wants to watch; what it may not see is left out.
    async fn wish(&mut self) -> Result<(), End> {
        let Some(watch) = self.wanted.take() else { return Ok(()) };
        self.looks.took();
        match self.visible(&watch).await {
            Ok((devices, tasks)) => {
                self.watch = Wish {
                    devices: devices.iter().map(|(_, device)| device.0).collect(),
                    tasks: tasks.iter().map(|task| task.0).collect(),
                };
                // The new registration before the end of the old one, so that
                // what is in both never flickers.
                self.guard = Some(self.ctx.state.watches.register(devices, tasks));
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "a watch could not be looked up");
                Err(End::Said("The database cannot be reached."))
            }
        }
    }

    async fn visible(
        &mut self,
        wish: &Wish,
    ) -> Result<(Vec<(RelayId, DeviceId)>, Vec<TaskId>), DbError> {
        // Most watch nothing, or one kind of thing: somebody waits for what comes next.
        let (mut devices, mut tasks) = (Vec::<(Uuid, Uuid)>::new(), Vec::<Uuid>::new());
        if wish.devices.is_empty() && wish.tasks.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let mut tx = self.ctx.state.db.tenant_by_keys(&self.ctx.actor.scope).await?;
        if !wish.devices.is_empty() {
            devices = sqlx::query_as(
                "SELECT r.id, d.id FROM devices d JOIN relays r ON r.site_id = d.site_id \
                 AND r.revoked_at IS NULL WHERE d.id = ANY($1) AND d.revoked_at IS NULL",
            )
            .bind(wish.devices.iter().copied().collect::<Vec<_>>())
            .fetch_all(&mut *tx)
            .await?;
        }
        if !wish.tasks.is_empty() {
            tasks = sqlx::query_scalar("SELECT id FROM tasks WHERE id = ANY($1)")
                .bind(wish.tasks.iter().copied().collect::<Vec<_>>())
                .fetch_all(&mut *tx)
                .await?;
        }
        let devices = devices.into_iter().map(|(r, d)| (RelayId(r), DeviceId(d))).collect();
        Ok((devices, tasks.into_iter().map(TaskId).collect()))
    }
}
