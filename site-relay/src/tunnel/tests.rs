//! However a tunnel ends, the device hears of it.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use futures::stream;
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use unifyit_protocol::live::TunnelData;

/// A way to the cloud that takes nothing: it breaks, or it never has room.
struct Way {
    breaks: bool,
}

impl Sink<Bytes> for Way {
    type Error = io::Error;
    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.breaks { Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) } else { Poll::Pending }
    }
    fn start_send(self: Pin<&mut Self>, _: Bytes) -> io::Result<()> {
        Ok(())
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn data(tunnel: TunnelId) -> LiveUp {
    LiveUp::Data(TunnelData { tunnel, seq: 1, data: b"x".to_vec() })
}

fn tunnels() -> (Tunnels, DeviceId, TunnelId) {
    let (device, tunnel) = (DeviceId::generate(), TunnelId::generate());
    let broker = BrokerHandle::detached();
    broker.connect(device);
    (Tunnels::new(broker, &Telemetry::new()), device, tunnel)
}

/// The tunnel that a device is told to close.
fn told(tunnels: &Tunnels, device: DeviceId) -> Option<TunnelId> {
    let (kind, payload) = tunnels.0.broker.next_for(device)?;
    assert_eq!(kind, Down::Live);
    match LiveDown::decode(&payload).unwrap() {
        Decoded::Known(LiveDown::Close(closed)) => Some(closed.tunnel),
        _ => None,
    }
}

#[tokio::test]
async fn a_device_that_speaks_of_a_tunnel_that_nobody_knows_is_told_that_it_is_over() {
    let (tunnels, device, tunnel) = tunnels();
    tunnels.device_wrote(device, data(tunnel));
    assert_eq!(told(&tunnels, device), Some(tunnel));
    let closed = TunnelClosed { tunnel, reason: String::new() };
    tunnels.device_wrote(device, LiveUp::Closed(closed));
    assert_eq!(told(&tunnels, device), None, "it said so itself");
}

#[tokio::test]
async fn a_way_that_breaks_or_stands_still_does_not_end_a_tunnel_behind_its_devices_back() {
    let (tunnels, device, tunnel) = tunnels();
    for breaks in [true, false] {
        let (frames, from_device) = mpsc::channel(4);
        let end = CancellationToken::new();
        frames.try_send(data(tunnel)).unwrap();
        let mut silent = stream::pending();
        let mut way = Way { breaks };
        let pipe = tunnels.pipe((tunnel, device), from_device, &end, &mut silent, &mut way);
        let cut = async {
            // The frame is taken, and finds no room.
            while !breaks && frames.capacity() < 4 {
                tokio::task::yield_now().await;
            }
            if !breaks {
                end.cancel();
            }
        };
        let (knows, ()) = tokio::join!(pipe, cut);
        assert!(!knows, "so the device is told");
    }
    let (frames, from_device) = mpsc::channel(4);
    let closed = TunnelClosed { tunnel, reason: String::new() };
    frames.try_send(LiveUp::Closed(closed)).unwrap();
    let (mut silent, mut way) = (stream::pending(), futures::sink::drain());
    let end = CancellationToken::new();
    assert!(tunnels.pipe((tunnel, device), from_device, &end, &mut silent, &mut way).await);
}
