//! Live tunnels: bytes between a stream of the cloud and a device's live topics.
//!
//! The cloud opens a stream and sends the signed command that opens the
//! terminal; the relay hands it to the device and says so, then carries frames
//! both ways. Flow control is end to end (credits between viewer and terminal);
//! what the relay itself holds is bounded, and a tunnel whose viewer does not
//! keep up is ended with a sentence that says so. However a tunnel ends, the device
//! is told, then or when it next speaks of it: a terminal is open for nobody never
//! for long.

use crate::{
    broker::BrokerHandle,
    telemetry::Telemetry,
    uplink::framing::{self, FrameSink},
};
use bytes::{Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt as _};
use libp2p::PeerId;
use libp2p_stream::IncomingStreams;
use prometheus::{IntCounter, IntGauge};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    command::Action,
    envelope::Decoded,
    ids::{DeviceId, TunnelId},
    lan::Deliver,
    live::{LiveDown, LiveUp, MAX_LIVE, TunnelClosed},
    topics::Down,
    tunnel::{Accepted, TunnelFrame, TunnelOpen},
};

/// Tunnels open at a time.
const MAX_TUNNELS: usize = 128;
/// Frames from a device that wait for the cloud.
const QUEUE: usize = 128;
/// How long the cloud may take for its first frame.
const OPENING: Duration = Duration::from_secs(10);

const OFFLINE: &str = "The device is offline.";
const WENT_OFFLINE: &str = "The device went offline.";
const TOO_SLOW: &str = "The connection was too slow for what the terminal wrote.";
const LEFT: &str = "The viewer's connection ended.";
const TOO_MANY: &str = "The site relay has too many open terminals. Close one and try again.";

/// All open tunnels. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tunnels(Arc<Shared>);

struct Shared {
    broker: BrokerHandle,
    open: Mutex<HashMap<TunnelId, Entry>>,
    count: IntGauge,
    ended: IntCounter,
}

struct Entry {
    device: DeviceId,
    frames: mpsc::Sender<LiveUp>,
    /// Why the relay itself ended it.
    end: CancellationToken,
    reason: Option<&'static str>,
}

impl Tunnels {
    pub(crate) fn new(broker: BrokerHandle, telemetry: &Telemetry) -> Self {
        Self(Arc::new(Shared {
            broker,
            open: Mutex::default(),
            count: telemetry.gauge("tunnels_open", "Terminals and transfers open."),
            ended: telemetry
                .counter("tunnels_cut", "Tunnels ended because a side was too slow or went."),
        }))
    }

    /// Takes streams of the cloud until cancelled. Streams of anyone else are
    /// dropped.
    pub(crate) async fn serve(
        self,
        mut inbound: IncomingStreams,
        cloud: PeerId,
        cancel: CancellationToken,
    ) {
        loop {
            let next = tokio::select! {
                () = cancel.cancelled() => return,
                next = inbound.next() => next,
            };
            let Some((peer, stream)) = next else { return };
            if peer == cloud {
                let tunnels = self.clone();
                let cancel = cancel.child_token();
                tokio::spawn(async move {
                    tokio::select! {
                        () = cancel.cancelled() => {}
                        () = tunnels.carry(stream) => {}
                    }
                });
            }
        }
    }

    /// A device sent a live frame.
    pub(crate) fn device_wrote(&self, device: DeviceId, frame: LiveUp) {
        let tunnel = match &frame {
            LiveUp::Data(data) if data.data.len() > MAX_LIVE => return,
            LiveUp::Data(data) => data.tunnel,
            LiveUp::Closed(closed) => closed.tunnel,
            LiveUp::Credit(credit) => credit.tunnel,
            LiveUp::Output(_) | LiveUp::Holds(_) => return,
        };
        let mut open = self.open();
        let Some(entry) = open.get_mut(&tunnel).filter(|e| e.device == device) else {
            drop(open);
            // Its end was not heard: the device was away then, or the relay began anew.
            if !matches!(frame, LiveUp::Closed(_)) {
                self.left(device, tunnel, LEFT);
            }
            return;
        };
        if entry.frames.try_send(frame).is_err() {
            entry.cut(TOO_SLOW);
            self.0.ended.inc();
        }
    }

    /// A device's session ended: so do its tunnels.
    pub(crate) fn device_gone(&self, device: DeviceId) {
        for entry in self.open().values_mut().filter(|e| e.device == device) {
            entry.cut(WENT_OFFLINE);
            self.0.ended.inc();
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<TunnelId, Entry>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn carry(&self, stream: libp2p::Stream) {
        let (mut frames, mut sink) = framing::split(stream);
        let Ok(Some(Ok(first))) = timeout(OPENING, frames.next()).await else { return };
        let Ok(Decoded::Known(TunnelFrame::Open(open))) = TunnelFrame::decode(&first) else {
            return;
        };
        let device = open.device;
        match self.start(open) {
            Ok((tunnel, from_device, end)) => {
                let knows = send(&mut sink, TunnelFrame::Accepted(Accepted {})).await
                    && self.pipe((tunnel, device), from_device, &end, &mut frames, &mut sink).await;
                let entry = self.open().remove(&tunnel);
                self.0.count.set(i64::try_from(self.open().len()).unwrap_or(i64::MAX));
                let reason = entry.and_then(|e| e.reason);
                if !knows {
                    self.left(device, tunnel, reason.unwrap_or(LEFT));
                }
                if let Some(reason) = reason {
                    let closed = TunnelClosed { tunnel, reason: reason.to_owned() };
                    let told = send(&mut sink, TunnelFrame::Closed(closed));
                    drop(timeout(OPENING, told).await);
                }
            }
            Err((tunnel, reason)) => {
                send(&mut sink, TunnelFrame::Closed(TunnelClosed { tunnel, reason })).await;
            }
        }
        drop(timeout(OPENING, SinkExt::<Bytes>::close(&mut sink)).await);
    }

    /// Enters the tunnel and hands the command to the device.
    fn start(
        &self,
        open: TunnelOpen,
    ) -> Result<(TunnelId, mpsc::Receiver<LiveUp>, CancellationToken), (TunnelId, String)> {
        let TunnelOpen { device, command } = open;
        let tunnel = match command.peek().map(|c| c.action) {
            Ok(Action::Terminal(terminal)) => terminal.tunnel,
            _ => {
                let none = TunnelId(uuid::Uuid::nil());
                return Err((none, "The command does not open a terminal.".to_owned()));
            }
        };
        let refuse = |reason: &str| (tunnel, reason.to_owned());
        let payload = Deliver::Command(command).encode().map_err(|e| refuse(&e.to_string()))?;
        let (frames, from_device) = mpsc::channel(QUEUE);
        let end = CancellationToken::new();
        {
            let mut open = self.open();
            if open.len() >= MAX_TUNNELS {
                return Err(refuse(TOO_MANY));
            }
            if open.contains_key(&tunnel) {
                return Err(refuse("The terminal is open already."));
            }
            open.insert(tunnel, Entry { device, frames, end: end.clone(), reason: None });
            self.0.count.set(i64::try_from(open.len()).unwrap_or(i64::MAX));
        }
        if self.0.broker.send(device, Down::Command, payload.into()).is_err() {
            self.open().remove(&tunnel);
            return Err(refuse(OFFLINE));
        }
        Ok((tunnel, from_device, end))
    }

    /// Carries frames until an end. Whether the device knows of it.
    async fn pipe(
        &self,
        (tunnel, device): (TunnelId, DeviceId),
        mut from_device: mpsc::Receiver<LiveUp>,
        end: &CancellationToken,
        frames: &mut (impl Stream<Item = io::Result<BytesMut>> + Unpin),
        sink: &mut (impl Sink<Bytes> + Unpin),
    ) -> bool {
        loop {
            tokio::select! {
                () = end.cancelled() => return false,
                Some(frame) = from_device.recv() => {
                    // A cloud that does not read keeps nothing from ending.
                    let flow = tokio::select! {
                        () = end.cancelled() => return false,
                        flow = up(frame, &mut from_device, sink) => flow,
                    };
                    match flow {
                        Flow::Goes => {}
                        Flow::Closed => return true,
                        Flow::Broken => return false,
                    }
                }
                frame = frames.next() => {
                    let frame = match frame {
                        Some(Ok(bytes)) => TunnelFrame::decode(&bytes),
                        _ => return false,
                    };
                    match frame {
                        Ok(Decoded::Known(TunnelFrame::Closed(closed))) => {
                            self.down(device, LiveDown::Close(closed));
                            return true;
                        }
                        Ok(Decoded::Known(frame)) => {
                            if of_tunnel(&frame, tunnel)
                                && let Some(down) = to_device(frame)
                                && !self.down(device, down)
                            {
                                if let Some(entry) = self.open().get_mut(&tunnel) {
                                    entry.cut(WENT_OFFLINE);
                                }
                                return false;
                            }
                        }
                        Ok(Decoded::Unknown(_)) => {}
                        Err(_) => return false,
                    }
                }
            }
        }
    }

    fn down(&self, device: DeviceId, frame: LiveDown) -> bool {
        let Ok(bytes) = frame.encode() else { return false };
        self.0.broker.send(device, Down::Live, bytes.into()).is_ok()
    }

    /// There is no viewer: the device must not keep a terminal open for nobody.
    fn left(&self, device: DeviceId, tunnel: TunnelId, reason: &str) {
        let reason = reason.to_owned();
        self.down(device, LiveDown::Close(TunnelClosed { tunnel, reason }));
    }
}

impl Entry {
    fn cut(&mut self, reason: &'static str) {
        self.reason.get_or_insert(reason);
        self.end.cancel();
    }
}

/// What became of a tunnel when frames were passed on.
enum Flow {
    Goes,
    /// The device closed it.
    Closed,
    /// The way to the cloud is gone.
    Broken,
}

/// Passes on what the device wrote: all that waits in one flush.
async fn up(
    first: LiveUp,
    rest: &mut mpsc::Receiver<LiveUp>,
    sink: &mut (impl Sink<Bytes> + Unpin),
) -> Flow {
    let mut frame = Some(first);
    while let Some(one) = frame {
        let (one, last) = match one {
            LiveUp::Data(data) => (TunnelFrame::Data(data), false),
            LiveUp::Credit(credit) => (TunnelFrame::Credit(credit), false),
            LiveUp::Closed(closed) => (TunnelFrame::Closed(closed), true),
            LiveUp::Output(_) | LiveUp::Holds(_) => return Flow::Goes,
        };
        let Ok(bytes) = one.encode() else { return Flow::Broken };
        if sink.feed(Bytes::from(bytes)).await.is_err() {
            return Flow::Broken;
        }
        if last {
            drop(sink.flush().await);
            return Flow::Closed;
        }
        frame = rest.try_recv().ok();
    }
    if sink.flush().await.is_ok() { Flow::Goes } else { Flow::Broken }
}

/// A stream carries its own tunnel only.
fn of_tunnel(frame: &TunnelFrame, tunnel: TunnelId) -> bool {
    match frame {
        TunnelFrame::Data(data) => data.tunnel == tunnel && data.data.len() <= MAX_LIVE,
        TunnelFrame::Resize(resize) => resize.tunnel == tunnel,
        TunnelFrame::Credit(credit) => credit.tunnel == tunnel,
        _ => false,
    }
}

fn to_device(frame: TunnelFrame) -> Option<LiveDown> {
    match frame {
        TunnelFrame::Data(data) => Some(LiveDown::Data(data)),
        TunnelFrame::Resize(resize) => Some(LiveDown::Resize(resize)),
        TunnelFrame::Credit(credit) => Some(LiveDown::Credit(credit)),
        _ => None,
    }
}

async fn send(sink: &mut FrameSink, frame: TunnelFrame) -> bool {
    match frame.encode() {
        Ok(bytes) => sink.send(Bytes::from(bytes)).await.is_ok(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
