//! Newest loads beside the lanes, and what a cloud of before gets in their place.

use super::{Lanes, PATIENCE, audit, cloud, start, until};
use crate::{store::tests::Rig, travel::Ripe};
use std::sync::Arc;
use tokio::time::timeout;
use unifyit_protocol::{
    ids::DeviceId,
    lane::{Lane, Resume},
    link::{Frame, Watch},
    telemetry::newest::{Listener, Load, Newest},
};

/// The next frame of newest loads, with the one behind it.
async fn told(lanes: &mut Lanes) -> (Newest, Frame) {
    loop {
        if let Frame::Newest(newest) = lanes.next().await {
            return (newest, lanes.next().await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_go_to_a_cloud_that_takes_them_and_minutes_to_one_that_does_not() {
    let mut cloud = cloud("/ip4/127.0.0.1/tcp/0").await;
    let run = start(Rig::new(), &cloud);
    let (mut lanes, _, _) = Lanes::accept(&mut cloud, Resume::default()).await;
    let up = run.state.clone();
    until("the session runs", || up.borrow().up).await;
    let now_ms = run.rig.store.now_ms();
    assert!(run.travel.ripe(now_ms, false).before < u64::MAX, "minutes wait");

    let device = DeviceId::generate();
    let mut listener = Listener::default();
    for (age, cpu) in [(20, 123), (10, 124)] {
        let load = Load { at_s: now_ms / 1000 - age, cpu: Some(cpu), memory: None, disk: Some(7) };
        run.loads.send_replace(Arc::new(vec![(device, load)]));
        let (newest, behind) = told(&mut lanes).await;
        assert_eq!(listener.hear(&newest).unwrap(), [(device, load)]);
        assert!(matches!(behind, Frame::ClockAsk(_)), "the clocks are compared with it");
    }
    lanes.send(Frame::Watch(Watch { devices: vec![device] })).await;
    let wanted = || run.travel.ripe(now_ms, false).wanted.contains(&device);
    until("the relay knows that somebody looks", wanted).await;

    // The cloud is one of before from here on.
    drop(lanes);
    let (mut lanes, _, _) = Lanes::accept_as(&mut cloud, Resume::default(), false).await;
    until("minutes travel as they end", || run.travel.ripe(now_ms, false) == Ripe::all()).await;
    assert!(!run.travel.mirrored());
    run.loads
        .send_replace(Arc::new(vec![(device, Load { at_s: now_ms / 1000, ..Load::default() })]));
    run.rig.store.audit(audit("marker")).await;
    let seen = async {
        loop {
            match lanes.next().await {
                Frame::Newest(_) => return false,
                Frame::Data(data) if data.lane == Lane::Urgent => return true,
                _ => {}
            }
        }
    };
    assert!(timeout(PATIENCE, seen).await.unwrap(), "it is told nothing that it does not know");
    run.cancel.cancel();
}
