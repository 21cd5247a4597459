//! What goes to devices ahead of commands: the time by which those are dated.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::{Fanout, Message, tests::deliver};
use crate::{
    broker::BrokerHandle,
    clock::{SiteClock, tests::Set},
    store::tests::{Rig, START_MS},
    telemetry::Telemetry,
};
use std::sync::atomic::Ordering;
use unifyit_protocol::{envelope::Decoded, lan::DownControl, topics::Down};

#[tokio::test]
async fn a_time_that_was_just_set_goes_to_a_device_ahead_of_a_command() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let machine = Set::default();
    machine.own.store(START_MS, Ordering::Relaxed);
    let clock = SiteClock::new(Box::new(machine));
    let broker = BrokerHandle::detached();
    broker.connect(device);
    let parts = (rig.store.clone(), clock.clone());
    let mut fanout = Fanout::load(parts, broker.clone(), &Telemetry::new()).await.unwrap();
    let mut heard = async || {
        let deliver = deliver(vec![device], START_MS + 60_000);
        let new = rig.store.write(move |txn| txn.take_command(deliver)).await.unwrap().unwrap();
        fanout.take(Message::New(vec![new])).await;
        std::iter::from_fn(|| broker.next_for(device)).collect::<Vec<_>>()
    };
    let kinds: Vec<Down> = heard().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [Down::Command], "nobody set it");
    clock.learn(START_MS - 3_600_000, 0);
    let [(_, time), (kind, _)] = heard().await.try_into().unwrap();
    assert_eq!(kind, Down::Command);
    let Decoded::Known(DownControl::Clock(told)) = DownControl::decode(&time).unwrap() else {
        panic!("another word")
    };
    assert_eq!((told.asked_ms, told.now_ms), (None, START_MS - 3_600_000));
}
