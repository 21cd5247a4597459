//! Lines that go silent without an end, and clouds that are only busy.

use super::{Cloud, Lanes, audit, cloud, details, start, until};
use crate::store::tests::Rig;
use futures::{FutureExt as _, StreamExt as _};
use libp2p::{Multiaddr, multiaddr::Protocol};
use std::net::SocketAddr;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};
use unifyit_protocol::{
    lane::{Ack, Lane, Resume},
    link::Frame,
};

/// A way to the cloud on which the connections there are can go silent: nothing
/// arrives, nothing ends. Those that come after pass.
async fn line(cloud: &mut Cloud) -> watch::Sender<()> {
    let port = cloud.address.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    let target = SocketAddr::from(([127, 0, 0, 1], port.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    cloud.address = Multiaddr::from(at.ip()).with(Protocol::Tcp(at.port()));
    let (silence, silences) = watch::channel(());
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut silent = silences.clone();
            silent.mark_unchanged();
            tokio::spawn(async move {
                let mut to = TcpStream::connect(target).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut from, &mut to) => return,
                    _ = silent.changed() => {}
                }
                std::future::pending::<()>().await;
                drop((from, to));
            });
        }
    });
    silence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_silent_is_left_for_a_connection_beside_it() {
    let mut cloud = cloud("/ip4/127.0.0.1/tcp/0").await;
    let silence = line(&mut cloud).await;
    let rig = Rig::new();
    let told = rig.store.write(|txn| {
        txn.mem.parts.compare.told = true;
        Ok(())
    });
    told.await.unwrap();
    rig.store.audit(audit("first")).await;
    let run = start(rig, &cloud);
    let (mut lanes, _, _) = Lanes::accept(&mut cloud, Resume::default()).await;
    let data = lanes.urgent().await;
    let through = data.through().unwrap();
    let ack = Ack { lane: Lane::Urgent, epoch: data.epoch, through };
    lanes.send(Frame::Ack(ack)).await;
    let store = run.rig.store.clone();
    until("the acknowledged row is forgotten", || {
        store.lanes().borrow().of(Lane::Urgent).records == 0
    })
    .await;
    silence.send_replace(());
    run.rig.store.audit(audit("into the silence")).await;
    // No end of the first connection is seen by anybody.
    let at = Resume { positions: vec![ack] };
    let (mut second, _, _) = Lanes::accept(&mut cloud, at).await;
    assert_eq!(details(&second.urgent().await), ["into the silence"]);
    until("the session is shown", || run.state.borrow().up).await;
    let text = run.telemetry.render();
    assert!(text.contains("uplink_silent_total{outcome=\"replaced\"} 1"), "{text}");
    run.cancel.cancel();
    drop(lanes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_is_only_slow_keeps_its_relay() {
    let mut cloud = cloud("/ip4/127.0.0.1/tcp/0").await;
    let rig = Rig::new();
    rig.store.audit(audit("never acknowledged")).await;
    let run = start(rig, &cloud);
    let (mut lanes, _, _) = Lanes::accept(&mut cloud, Resume::default()).await;
    lanes.urgent().await;
    until("the relay to ask the line", || {
        run.telemetry.render().contains("uplink_silent_total{outcome=\"answered\"}")
    })
    .await;
    run.rig.store.audit(audit("another")).await;
    assert_eq!(details(&lanes.urgent().await), ["another"], "the session goes on");
    assert!(cloud.lanes.next().now_or_never().is_none(), "there is no other");
    run.cancel.cancel();
}
