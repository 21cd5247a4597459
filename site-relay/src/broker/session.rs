//! One connection after CONNECT: moves bytes between the socket, the dialog,
//! the device's queue and ingest, in one task with next to no memory at rest.
//!
//! Reading stops while ingest is full (the socket's own flow control then slows
//! the device), while the device exceeds its rate, and while answers wait to be
//! written; writing and closing never depend on reading.

mod intake;

use super::{
    BrokerEvent,
    dialog::{Dialog, Effect},
    handle::{Closing, Link, Table},
    limit::RateLimit,
    wire::{Fault, packet_len},
};
use bytes::{Buf, BytesMut};
use futures::future::BoxFuture;
use rumqttd::protocol::DisconnectReasonCode as Code;
use std::{
    borrow::Cow,
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::mpsc,
    time::{Duration, Instant, Sleep, sleep_until},
};

/// Bytes read at once; the buffer is on the stack, so a silent device has none.
const CHUNK: usize = 8 * 1024;
/// Unwritten bytes from which on no more is taken from the queue or the socket.
const OUT_FULL: usize = 32 * 1024;
/// A peer that takes no byte for so long is gone.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// Time for the last bytes at the end of a session.
const FAREWELL: Duration = Duration::from_secs(2);
const FAR: Duration = Duration::from_secs(24 * 3600);

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// For the metric.
    pub(super) label: &'static str,
    /// For the log and the event.
    pub(super) reason: Cow<'static, str>,
    code: Option<Code>,
}

impl End {
    fn new(label: &'static str, reason: impl Into<Cow<'static, str>>, code: Option<Code>) -> Self {
        Self { label, reason: reason.into(), code }
    }

    pub(super) fn crashed() -> Self {
        Self::new("internal", "a fault of the relay ended the session", None)
    }
}

/// A message that waits for its reading, for memory or for ingest. Gives what the
/// reading cost; `None` when the relay stops.
type Waiting = BoxFuture<'static, Option<u32>>;

pub(super) struct Session<S> {
    stream: S,
    table: Arc<Table>,
    link: Arc<Link>,
    dialog: Dialog,
    rate: RateLimit,
    events: mpsc::Sender<BrokerEvent>,
    inbox: BytesMut,
    out: BytesMut,
    unflushed: bool,
    waiting: Option<Waiting>,
    paused_until: Option<Instant>,
    heard: Instant,
    wrote: Instant,
    timer: Pin<Box<Sleep>>,
}

/// What the socket, the queue or the clock has to say.
enum Step {
    Bytes,
    Room,
    End(End),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// `inbox` holds what was read beyond CONNECT, `out` the CONNACK.
    pub(super) fn new(
        stream: S,
        table: Arc<Table>,
        link: Arc<Link>,
        dialog: Dialog,
        events: mpsc::Sender<BrokerEvent>,
        inbox: BytesMut,
        out: BytesMut,
    ) -> Self {
        let now = Instant::now();
        let rate = RateLimit::new(&table.limits, now);
        let timer = Box::pin(sleep_until(now));
        Self {
            stream,
            table,
            link,
            dialog,
            rate,
            events,
            inbox,
            out,
            unflushed: true,
            waiting: None,
            paused_until: None,
            heard: now,
            wrote: now,
            timer,
        }
    }

    /// Runs until the session ends, and says goodbye where the client can hear it.
    pub(super) async fn run(mut self) -> End {
        let end = loop {
            if let Err(end) = self.work() {
                break end;
            }
            match poll_fn(|cx| self.poll(cx)).await {
                Step::Bytes | Step::Room => {}
                Step::End(end) => break end,
            }
        };
        if self.waiting.is_some() {
            self.table.metrics.stalled.dec();
        }
        if let Some(code) = end.code {
            self.dialog.farewell(code, &end.reason, &mut self.out);
        }
        let last = async {
            self.stream.write_all_buf(&mut self.out).await?;
            self.stream.shutdown().await
        };
        let _ = tokio::time::timeout(FAREWELL, last).await;
        end
    }

    /// Takes whole packets from the inbox as long as nothing holds them up.
    fn work(&mut self) -> Result<(), End> {
        let max = self.table.limits.max_packet;
        while self.waiting.is_none() && self.paused_until.is_none() && self.out.len() < OUT_FULL {
            let Some(size) = packet_len(&self.inbox, max).map_err(faulty)? else { break };
            let packet = self.inbox.split_to(size);
            self.table.metrics.packets_in.inc();
            let pace = self.rate.count(&self.table.limits, size, Instant::now());
            self.pace(pace, "wire")?;
            let effect =
                self.dialog.take(packet, &self.table.metrics, &mut self.out).map_err(faulty)?;
            self.apply(effect)?;
        }
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
        Ok(())
    }

    fn apply(&mut self, effect: Effect) -> Result<(), End> {
        let (device, session) = (self.link.device, self.link.session);
        match effect {
            Effect::None => Ok(()),
            Effect::Goodbye => Err(End::new("goodbye", "the device disconnected", None)),
            Effect::Subscribed(subscribed) => {
                self.link.set_subscribed(subscribed);
                self.tell(BrokerEvent::Subscribed { device, session })
            }
            Effect::Publish(kind, payload) => self.message(kind, payload),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.link.waker.register(cx.waker());
        let closing = self.link.queue().closing;
        if let Some(closing) = closing {
            return Poll::Ready(Step::End(closed(closing)));
        }
        if let Poll::Ready(result) = self.poll_write(cx) {
            return Poll::Ready(match result {
                Ok(()) => Step::Room,
                Err(error) => Step::End(broken(&error)),
            });
        }
        if let Some(room) = &mut self.waiting
            && let Poll::Ready(handed) = room.as_mut().poll(cx)
        {
            self.table.metrics.stalled.dec();
            self.waiting = None;
            let Some(work) = handed else { return Poll::Ready(Step::End(stopping())) };
            return Poll::Ready(match self.worked(work) {
                Ok(()) => Step::Room,
                Err(end) => Step::End(end),
            });
        }
        let may_read = self.waiting.is_none() && self.paused_until.is_none();
        if may_read
            && self.out.len() < OUT_FULL
            && let Poll::Ready(step) = self.poll_read(cx)
        {
            return Poll::Ready(step);
        }
        self.poll_timer(cx)
    }

    /// Writes what is there. Ready when reading, held up by full output, can go
    /// on, or on failure.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let was_full = self.out.len() >= OUT_FULL;
        loop {
            self.fill();
            if self.out.is_empty() {
                break;
            }
            if !self.unflushed {
                self.unflushed = true;
                self.wrote = Instant::now();
                let stall = self.wrote + WRITE_STALL;
                if self.timer.deadline() > stall {
                    self.timer.as_mut().reset(stall);
                }
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.out) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.table.metrics.bytes_out.inc_by(count as u64);
                    self.out.advance(count);
                    self.wrote = Instant::now();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.out = BytesMut::new();
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        if was_full { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Moves messages from the queue to the output.
    fn fill(&mut self) {
        while self.out.len() < OUT_FULL {
            let Some((kind, payload)) = self.link.queue().pop() else { return };
            if self.dialog.deliver(kind, payload, &mut self.out) {
                self.table.metrics.packets_out.inc();
            } else {
                self.table.metrics.unsent.inc();
                if let Some(times) = self.table.conduct.due(self.link.device, "larger") {
                    tracing::warn!(device = %self.link.device, times,
                        "a message is larger than the device takes");
                }
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let mut chunk = [MaybeUninit::uninit(); CHUNK];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        if let Err(error) = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut chunk)) {
            return Poll::Ready(Step::End(broken(&error)));
        }
        if chunk.filled().is_empty() {
            return Poll::Ready(Step::End(End::new("closed", "the connection was closed", None)));
        }
        self.heard = Instant::now();
        self.table.metrics.bytes_in.inc_by(chunk.filled().len() as u64);
        self.inbox.extend_from_slice(chunk.filled());
        Poll::Ready(Step::Bytes)
    }

    /// The timer is set far and looked at lazily: each firing finds the next
    /// moment that matters.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if self.paused_until.is_some_and(|until| until <= now) {
                self.paused_until = None;
                self.timer.as_mut().reset(now);
                return Poll::Ready(Step::Room);
            }
            // Silence that we caused by not reading is not the device's.
            let deaf = self.waiting.is_some() || self.paused_until.is_some();
            if deaf {
                self.heard = now;
            }
            let silence = self.dialog.silence_s.map_or(FAR, Duration::from_secs);
            let stalled = self.wrote + WRITE_STALL;
            if self.heard + silence <= now {
                let reason = "nothing was heard for one and a half keep-alive times";
                return Poll::Ready(Step::End(End::new(
                    "keep_alive",
                    reason,
                    Some(Code::KeepAliveTimeout),
                )));
            }
            if self.unflushed && stalled <= now {
                return Poll::Ready(Step::End(End::new(
                    "stalled",
                    "the device does not take its messages",
                    None,
                )));
            }
            let mut next = self.heard + silence;
            if self.unflushed {
                next = next.min(stalled);
            }
            if let Some(until) = self.paused_until {
                next = next.min(until);
            }
            self.timer.as_mut().reset(next);
        }
    }
}

fn faulty(fault: Fault) -> End {
    let (label, code) = match fault {
        Fault::Malformed(_) => ("malformed", Code::MalformedPacket),
        Fault::Protocol(_)
        | Fault::Level(_)
        | Fault::Identifier
        | Fault::SmallPackets(_)
        | Fault::AuthenticationMethod => ("protocol", Code::ProtocolError),
        Fault::TooLarge(_) => ("too_large", Code::PacketTooLarge),
        Fault::Quota(_) => ("quota", Code::QuotaExceeded),
        Fault::ReceiveMaximum => ("receive_maximum", Code::ReceiveMaximumExceeded),
        Fault::TopicAlias => ("topic_alias", Code::TopicAliasInvalid),
        Fault::Retain => ("retain", Code::RetainNotSupported),
        Fault::SubscriptionIdentifier => {
            ("subscription_id", Code::SubscriptionIdentifiersNotSupported)
        }
        Fault::NotAuthorized => ("not_authorized", Code::NotAuthorized),
    };
    End::new(label, fault.to_string(), Some(code))
}

fn closed(closing: Closing) -> End {
    match closing {
        Closing::TakenOver => End::new(
            "taken_over",
            "a newer connection of the same device took over",
            Some(Code::SessionTakenOver),
        ),
        Closing::Overflow => End::new(
            "overflow",
            "the device does not keep up with its messages",
            Some(Code::QuotaExceeded),
        ),
        Closing::Administrative(reason) => {
            End::new("administrative", reason, Some(Code::AdministrativeAction))
        }
        Closing::ShuttingDown => stopping(),
    }
}

fn stopping() -> End {
    End::new("shutdown", "the relay is shutting down", Some(Code::ServerShuttingDown))
}

fn broken(error: &io::Error) -> End {
    End::new("broken", format!("the connection broke: {error}"), None)
}
