//! What the cloud is told of commands that were sent.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{
    Fanout, Message,
    tests::{deliver, statuses},
};
use crate::{
    broker::BrokerHandle,
    clock::{SiteClock, tests::Set},
    store::tests::{Fails, Rig, START_MS},
    telemetry::Telemetry,
};
use std::sync::atomic::Ordering;
use tokio::time::Instant;
use unifyit_protocol::{
    ids::{CommandId, DeviceId},
    outcome::Status,
};

/// A courier that has just handed one command to devices that are there.
async fn handed(rig: &Rig, devices: &[DeviceId]) -> (Fanout, CommandId) {
    let machine = Set::default();
    machine.own.store(START_MS, Ordering::Relaxed);
    let (clock, broker) = (SiteClock::new(Box::new(machine)), BrokerHandle::detached());
    devices.iter().for_each(|device| broker.connect(*device));
    let mut fanout =
        Fanout::load((rig.store.clone(), clock), broker.clone(), &Telemetry::new()).await.unwrap();
    let deliver = deliver(devices.to_vec(), START_MS + 60_000);
    let id = deliver.command;
    let new = rig.store.write(move |txn| txn.take_command(deliver)).await.unwrap().unwrap();
    fanout.take(Message::New(vec![new])).await;
    assert!(devices.iter().all(|device| broker.next_for(*device).is_some()), "not handed out");
    (fanout, id)
}

/// What the cloud is to be told, once all that was asked of the store is done.
async fn told(rig: &Rig) -> Vec<(DeviceId, Status)> {
    rig.store.write(|_| Ok(())).await.unwrap();
    statuses(rig).await
}

#[tokio::test]
async fn only_of_devices_that_stay_silent_is_it_told_that_a_command_was_sent() {
    let rig = Rig::new();
    let (prompt, silent) = (rig.enrol().await, rig.enrol().await);
    let (mut fanout, id) = handed(&rig, &[prompt, silent]).await;
    assert_eq!(told(&rig).await, [], "it was told before anybody could answer");
    fanout.take(Message::Answered(vec![(prompt, id, Status::Running)])).await;
    fanout.unnoted.due().await;
    let due = fanout.unnoted.take(Instant::now());
    fanout.note(due).await;
    assert_eq!(told(&rig).await, [(silent, Status::Sent)]);
    assert!(fanout.unnoted.take_all().is_empty());
}

#[tokio::test]
async fn what_was_sent_is_noted_when_the_relay_ends() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let (fanout, _) = handed(&rig, &[device]).await;
    let (_handle, inbox) = super::channel();
    let cancel = tokio_util::sync::CancellationToken::new();
    cancel.cancel();
    fanout.run(inbox, cancel).await;
    assert_eq!(told(&rig).await, [(device, Status::Sent)]);
}

#[tokio::test]
async fn a_device_that_is_revoked_before_it_was_noted_is_told_as_having_had_the_command() {
    let rig = Rig::new();
    let (out, also, stays) = (rig.enrol().await, rig.enrol().await, rig.enrol().await);
    let (mut fanout, id) = handed(&rig, &[out, also, stays]).await;
    fanout.take(Message::Revoked(vec![out, also])).await;
    let ends = |device| [(device, Status::Sent), (device, Status::Indeterminate)];
    assert_eq!(told(&rig).await, [ends(out), ends(also)].concat());
    assert_eq!(fanout.unnoted.take_all(), [(id, vec![stays])]);
}

/// A courier whose note that a command was sent was lost to the disk.
async fn unnoted(rig: &Rig, device: DeviceId) -> (Fanout, CommandId) {
    let (mut fanout, id) = handed(rig, &[device]).await;
    rig.fails(Fails::Unwritten);
    let due = fanout.unnoted.take_all();
    fanout.note(due).await;
    let _shared = rig.store.write(|_| Ok(())).await;
    assert_eq!(told(rig).await, []);
    (fanout, id)
}

#[tokio::test]
async fn that_a_command_was_sent_is_noted_again_where_the_disk_failed() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let (mut fanout, _) = unnoted(&rig, device).await;
    fanout.tick().await;
    assert_eq!(told(&rig).await, [(device, Status::Sent)]);
}

#[tokio::test]
async fn a_device_that_is_revoked_where_the_disk_failed_is_told_as_having_had_the_command() {
    let rig = Rig::new();
    let out = rig.enrol().await;
    let (mut fanout, _) = unnoted(&rig, out).await;
    fanout.take(Message::Revoked(vec![out])).await;
    assert_eq!(told(&rig).await, [(out, Status::Sent), (out, Status::Indeterminate)]);
}

#[tokio::test]
async fn a_revocation_that_could_not_be_noted_forgets_nothing_of_what_was_handed_over() {
    let rig = Rig::new();
    let out = rig.enrol().await;
    let (mut fanout, _) = handed(&rig, &[out]).await;
    rig.fails(Fails::Unwritten);
    fanout.take(Message::Revoked(vec![out])).await;
    assert_eq!(told(&rig).await, []);
    // As when the inbox is read again.
    fanout.take(Message::Revoked(vec![out])).await;
    assert_eq!(told(&rig).await, [(out, Status::Sent), (out, Status::Indeterminate)]);
}

#[tokio::test]
async fn of_a_command_that_was_undone_nothing_is_noted() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let (mut fanout, id) = handed(&rig, &[device]).await;
    fanout.take(Message::Undone(vec![id])).await;
    let all = fanout.unnoted.take_all();
    assert_eq!(all, [(id, vec![device])]);
    fanout.note(all).await;
    assert_eq!(told(&rig).await, []);
}
