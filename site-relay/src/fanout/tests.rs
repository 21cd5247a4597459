//! The courier's plan, and commands through the inbox.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::{
    Introduction,
    plan::{Had, Plan},
};
use crate::{
    downlink::take_records,
    inbox::{self, NewCommand},
    store::tests::{Rig, START_MS},
};
use unifyit_protocol::{
    command::{Action, Command, Targets},
    ids::{CommandId, DeviceId, OrganizationId},
    lane::{Ack, Lane},
    link::{DeliverCommand, DownRecord, UpRecord},
    outcome::{CommandEvent, Status},
    signing::Signer25519,
};

pub(super) const STARTED: Had = Had::Started { heard: true };

pub(super) fn deliver(devices: Vec<DeviceId>, expires_ms: u64) -> DeliverCommand {
    let id = CommandId::generate();
    let command = Command {
        id,
        organization: OrganizationId::generate(),
        targets: Targets::Devices(devices.clone()),
        action: Action::Cancel { command: CommandId::generate() },
        not_before_ms: 0,
        expires_ms,
        counter: 1,
        issued_ms: START_MS,
    };
    let signed = Signer25519::from_seed(&[7; 32]).sign(&command, None).unwrap();
    DeliverCommand {
        command: id,
        devices,
        expires_ms,
        signed,
        handed: Vec::new(),
        unheard: Vec::new(),
    }
}

pub(super) async fn statuses(rig: &Rig) -> Vec<(DeviceId, Status)> {
    let progress = rig.waiting(Lane::Urgent).await.into_iter().filter_map(|r| match r {
        UpRecord::Progress(p) => Some(p),
        _ => None,
    });
    progress.flatten().map(|p| (p.device, p.event.status)).collect()
}

pub(super) fn planned(devices: &[DeviceId], expires_ms: u64) -> (Plan, CommandId) {
    let mut plan = Plan::default();
    let command = CommandId::generate();
    plan.add(NewCommand {
        command,
        payload: vec![1].into(),
        expires_ms,
        devices: devices.to_vec(),
        handed: Vec::new(),
        unheard: Vec::new(),
    });
    (plan, command)
}

#[test]
fn a_silent_device_gets_its_command_again_until_it_answers() {
    let device = DeviceId::generate();
    let (mut plan, command) = planned(&[device], 1_000_000);
    assert!(plan.sent(device, command, 0));
    assert!(plan.silent(4_999).is_empty());
    assert_eq!(plan.silent(5_000), [(device, command)]);
    assert!(!plan.sent(device, command, 5_000), "it is told as sent once");
    assert!(plan.silent(14_999).is_empty(), "pauses grow");
    assert_eq!(plan.silent(15_000), [(device, command)]);
    assert!(plan.answered(&[(device, command, Status::Running)]).is_empty());
    assert!(plan.silent(900_000).is_empty());
    assert!(plan.open_for(device).is_empty());
    assert_eq!(plan.answered(&[(device, command, Status::Succeeded)]), [command]);
}

#[test]
fn a_command_whose_commit_failed_is_forgotten_until_the_cloud_sends_it_again() {
    let device = DeviceId::generate();
    let (mut plan, command) = planned(&[device], 1_000_000);
    plan.sent(device, command, 0);
    plan.undone(&[command]);
    assert!(plan.silent(900_000).is_empty() && plan.open_for(device).is_empty());
    assert_eq!(plan.expired(2_000_000), []);
    assert!(plan.answered(&[(device, command, Status::Running)]).is_empty());
    assert_eq!(plan.waiting(), 0);
}

#[test]
fn a_clock_that_is_set_back_keeps_no_command_from_going_out_again() {
    let device = DeviceId::generate();
    let (mut plan, command) = planned(&[device], 1_000_000_000);
    plan.sent(device, command, 86_400_000);
    assert_eq!(plan.silent(1_000), [(device, command)]);
}

#[test]
fn a_device_that_returns_gets_what_it_has_not_answered() {
    let (away, done) = (DeviceId::generate(), DeviceId::generate());
    let (mut plan, command) = planned(&[away, done], 1_000_000);
    plan.sent(done, command, 0);
    plan.answered(&[(done, command, Status::Failed)]);
    assert_eq!(plan.open_for(away), [(away, command)]);
    assert!(plan.open_for(done).is_empty());
}

#[test]
fn only_devices_that_did_not_start_expire() {
    let (offline, silent, running) =
        (DeviceId::generate(), DeviceId::generate(), DeviceId::generate());
    let (mut plan, command) = planned(&[offline, silent, running], 10_000);
    plan.sent(silent, command, 9_000);
    plan.sent(running, command, 9_000);
    plan.answered(&[(running, command, Status::Running)]);
    assert!(plan.expired(9_999).is_empty());
    assert_eq!(plan.expired(10_000), [(command, vec![offline])]);
    assert!(plan.payload(offline, command, 10_000).is_none(), "it is not handed out any more");
    assert!(plan.expired(39_999).is_empty(), "it may have started in time and tell so");
    assert_eq!(plan.expired(40_000), [(command, vec![silent])]);
    assert_eq!(plan.answered(&[(running, command, Status::Succeeded)]), [command]);
}

pub(super) fn says(running: &[CommandId]) -> Introduction {
    Introduction { running: running.to_vec(), heeds_handed: true }
}

#[test]
fn what_a_device_started_and_does_not_list_any_more_is_asked_about_even_after_its_expiry() {
    let device = DeviceId::generate();
    let (mut plan, command) = planned(&[device], 10_000);
    plan.sent(device, command, 0);
    plan.answered(&[(device, command, Status::Running)]);
    plan.introduced(device, &says(&[command]), 20_000);
    assert!(plan.silent(900_000).is_empty(), "it runs");
    plan.introduced(device, &says(&[]), 900_000);
    assert!(plan.open_for(device).is_empty(), "its report may be on the way");
    assert!(plan.silent(904_999).is_empty());
    assert_eq!(plan.silent(905_000), [(device, command)]);
    assert_eq!(plan.had(device, command), Some(STARTED));
    assert!(plan.payload(device, command, 905_000).is_some());
    assert!(plan.expired(990_000).is_empty(), "it started in time");
    assert_eq!(plan.answered(&[(device, command, Status::Indeterminate)]), [command]);
}

#[test]
fn a_device_that_would_run_what_it_forgot_is_not_asked() {
    let device = DeviceId::generate();
    let (mut plan, command) = planned(&[device], 10_000);
    plan.answered(&[(device, command, Status::Running)]);
    plan.introduced(device, &Introduction::default(), 1_000);
    assert!(plan.silent(900_000).is_empty());
    assert!(plan.payload(device, command, 2_000).is_none());
}

#[test]
fn what_a_device_keeps_for_later_is_not_sent_again_until_its_next_hello() {
    let device = DeviceId::generate();
    let (mut plan, command) = planned(&[device], 1_000_000);
    plan.sent(device, command, 0);
    plan.holds(device, &[command]);
    assert!(plan.silent(900_000).is_empty());
    plan.introduced(device, &says(&[]), 900_000);
    assert_eq!(plan.open_for(device), [(device, command)]);
    assert_eq!(plan.had(device, command), Some(Had::Sent));
}

#[tokio::test]
async fn what_was_open_on_a_revoked_device_ends_in_what_is_known() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let all = [(), (), ()].map(|()| deliver(vec![device], START_MS + 60_000));
    let ids = all.each_ref().map(|d| d.command);
    for deliver in all {
        rig.store.write(move |txn| txn.take_command(deliver)).await.unwrap().unwrap();
    }
    rig.store.write(move |txn| txn.mark_sent(ids[1], &[device])).await.unwrap();
    rig.store.write(move |txn| txn.mark_sent(ids[2], &[device])).await.unwrap();
    let done = event(ids[2], Status::Succeeded);
    rig.store.write(move |txn| txn.device_event(device, done)).await.unwrap();
    rig.store.write(move |txn| txn.end_revoked(device, &ids)).await.unwrap();
    let told: Vec<_> = statuses(&rig).await.into_iter().map(|(_, status)| status).collect();
    let (sent, ends) = told.split_at(2);
    assert_eq!(sent, [Status::Sent, Status::Sent]);
    assert_eq!(ends, [Status::Succeeded, Status::Refused, Status::Indeterminate]);
}

#[tokio::test]
async fn an_outcome_that_comes_after_the_expiry_is_passed_on_and_nothing_takes_it_back() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let deliver = deliver(vec![device], START_MS + 60_000);
    let id = deliver.command;
    rig.store.write(move |txn| txn.take_command(deliver)).await.unwrap().unwrap();
    rig.store.write(move |txn| txn.mark_sent(id, &[device])).await.unwrap();
    rig.pass_ms(120_000);
    rig.store.write(move |txn| txn.expire(id, &[device])).await.unwrap();
    for status in [Status::Succeeded, Status::Running] {
        let event = event(id, status);
        rig.store.write(move |txn| txn.device_event(device, event)).await.unwrap();
    }
    let told: Vec<_> = statuses(&rig).await.into_iter().map(|(_, status)| status).collect();
    assert_eq!(told[..3], [Status::Sent, Status::Expired, Status::Succeeded]);
    let loaded = rig.store.read(inbox::load).await.unwrap();
    assert_eq!(loaded[0].statuses, [(device, Status::Succeeded)]);
}

pub(super) fn event(command: CommandId, status: Status) -> CommandEvent {
    CommandEvent {
        command,
        status,
        at_ms: START_MS,
        exit_code: None,
        reason: None,
        output_len: 0,
        output_cut: 0,
    }
}

#[tokio::test]
async fn a_record_of_the_cloud_is_applied_once() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let record = DownRecord::Command(deliver(vec![device], START_MS + 60_000)).encode().unwrap();
    let ack = |through| Ack { lane: Lane::Urgent, epoch: 5, through };
    let (first, again) = (vec![(1, record.clone())], vec![(1, record)]);
    let one = rig.store.write(move |txn| take_records(txn, ack(1), first)).await.unwrap();
    assert_eq!(one.unwrap().commands[0].devices, [device]);
    let rig = rig.crash();
    let two = rig.store.write(move |txn| take_records(txn, ack(1), again)).await.unwrap();
    assert!(two.is_none(), "the position moved with the effect");
    let loaded = rig.store.read(inbox::load).await.unwrap();
    assert_eq!(loaded[0].statuses, [(device, Status::Pending)]);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_does_not_stop_the_next() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let good = DownRecord::RevokeDevice(device).encode().unwrap();
    let records = vec![(1, vec![0xff, 1, 2]), (2, good)];
    let becomes = Ack { lane: Lane::Urgent, epoch: 5, through: 2 };
    let effects = rig.store.write(move |txn| take_records(txn, becomes, records)).await.unwrap();
    let effects = effects.unwrap();
    assert_eq!((effects.unknown, effects.revoked), (1, vec![device]));
    assert!(rig.store.device(device).unwrap().revoked);
}

#[tokio::test]
async fn an_empty_list_means_every_device_of_the_site() {
    let rig = Rig::new();
    let (a, b, out) = (rig.enrol().await, rig.enrol().await, rig.enrol().await);
    rig.store.write(move |txn| txn.revoke_device(out)).await.unwrap();
    let deliver = deliver(Vec::new(), START_MS + 60_000);
    let new = rig.store.write(move |txn| txn.take_command(deliver)).await.unwrap().unwrap();
    let mut devices = new.devices;
    devices.sort();
    let mut want = vec![a, b];
    want.sort();
    assert_eq!(devices, want);
}

#[tokio::test]
async fn strangers_are_refused_and_late_commands_expire_at_once() {
    let rig = Rig::new();
    let (known, stranger) = (rig.enrol().await, DeviceId::generate());
    let first = deliver(vec![stranger], START_MS + 60_000);
    assert!(rig.store.write(move |txn| txn.take_command(first)).await.unwrap().is_none());
    let second = deliver(vec![known], START_MS);
    assert!(rig.store.write(move |txn| txn.take_command(second)).await.unwrap().is_none());
    assert_eq!(statuses(&rig).await, [(stranger, Status::Refused), (known, Status::Expired)]);
}

#[tokio::test]
async fn a_command_that_is_known_is_told_again_as_far_as_it_is_known() {
    let rig = Rig::new();
    let (done, waits) = (rig.enrol().await, rig.enrol().await);
    let deliver = deliver(vec![done, waits], START_MS + 60_000);
    let (id, again) = (deliver.command, deliver.clone());
    rig.store.write(move |txn| txn.take_command(deliver)).await.unwrap().unwrap();
    let event = CommandEvent {
        command: id,
        status: Status::Succeeded,
        at_ms: START_MS,
        exit_code: Some(0),
        reason: None,
        output_len: 0,
        output_cut: 0,
    };
    rig.store.write(move |txn| txn.device_event(done, event)).await.unwrap();
    assert!(rig.store.write(move |txn| txn.take_command(again)).await.unwrap().is_none());
    assert_eq!(statuses(&rig).await, [(done, Status::Succeeded), (done, Status::Succeeded)]);
}

#[tokio::test]
async fn a_finished_command_is_forgotten_only_after_its_expiry() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let deliver = deliver(vec![device], START_MS + 60_000);
    let (id, again) = (deliver.command, deliver.clone());
    rig.store.write(move |txn| txn.take_command(deliver)).await.unwrap().unwrap();
    rig.store.write(move |txn| txn.mark_sent(id, &[device])).await.unwrap();
    rig.pass_ms(120_000);
    let gone = rig.store.write(move |txn| txn.expire(id, &[device])).await.unwrap();
    assert_eq!(gone, [device]);
    rig.store.write(move |txn| txn.finish_command(id)).await.unwrap();
    assert!(rig.store.read(inbox::load).await.unwrap().is_empty());
    let repeat = rig.store.write(move |txn| txn.take_command(again)).await.unwrap();
    assert!(repeat.is_none(), "a repeat is recognised");
    let told = [Status::Sent, Status::Expired, Status::Expired].map(|status| (device, status));
    assert_eq!(statuses(&rig).await, told, "and answered");
    rig.pass_ms(2 * 3_600_000);
    assert_eq!(rig.store.write(|txn| txn.prune_inbox()).await.unwrap(), [id]);
}
