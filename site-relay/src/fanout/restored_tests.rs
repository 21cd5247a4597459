//! A disk that was put back to an older copy: who had which command.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{
    ALONE_MS, ANSWER_MS, Fanout, Message,
    plan::{Had, Plan},
    tests::{STARTED, deliver, event, planned, says, statuses},
};
use crate::{
    broker::BrokerHandle,
    clock::{SiteClock, tests::Set},
    downlink::take_records,
    inbox::{self, NewCommand},
    store::tests::{Rig, START_MS},
    telemetry::Telemetry,
};
use std::sync::atomic::Ordering;
use unifyit_protocol::{
    compare::{KnownCommand, SiteKnown},
    ids::{CommandId, DeviceId},
    lane::{Ack, Lane},
    link::{DeliverCommand, DownRecord},
    outcome::Status,
    topics::Down,
};

const GUESSED: Had = Had::Started { heard: false };

#[tokio::test]
async fn a_command_that_was_handed_out_before_this_disks_memory_is_asked_about() {
    let rig = Rig::new();
    let (had, fresh) = (rig.enrol().await, rig.enrol().await);
    let late = deliver(vec![had, fresh], START_MS);
    let late = DeliverCommand { handed: vec![had], unheard: vec![had], ..late };
    let id = late.command;
    let new = rig.store.write(move |txn| txn.take_command(late)).await.unwrap().unwrap();
    assert_eq!((&new.devices, &new.handed), (&vec![had], &vec![had]));
    assert_eq!(statuses(&rig).await, [(fresh, Status::Expired)]);
    let mut plan = Plan::default();
    plan.add(new);
    assert!(plan.expired(START_MS + 600_000).is_empty());
    assert!(plan.silent(START_MS).is_empty(), "not before it said whether it heeds");
    plan.introduced(had, &says(&[]), START_MS);
    assert_eq!(plan.silent(START_MS + 5_000), [(had, id)]);
    assert_eq!(plan.had(had, id), Some(GUESSED));
    // The same after a restart of the relay.
    let mut plan = Plan::default();
    plan.load(rig.store.read(inbox::load).await.unwrap().remove(0), true);
    plan.introduced(had, &says(&[]), START_MS);
    assert_eq!(plan.silent(START_MS + 5_000), [(had, id)]);
    assert_eq!(plan.had(had, id), Some(GUESSED));
    // And after one that comes later than its own word.
    let runs = event(id, Status::Running);
    rig.store.write(move |txn| txn.device_event(had, runs)).await.unwrap();
    let mut plan = Plan::default();
    plan.load(rig.store.read(inbox::load).await.unwrap().remove(0), true);
    plan.introduced(had, &says(&[]), START_MS);
    assert_eq!(plan.had(had, id), Some(STARTED));
}

#[test]
fn what_the_inbox_held_at_start_waits_for_the_clouds_word_on_who_had_it() {
    let (had, never) = (DeviceId::generate(), DeviceId::generate());
    let command = CommandId::generate();
    let devices = vec![had, never];
    let payload = vec![1].into();
    let known = NewCommand {
        command,
        payload,
        expires_ms: 10_000,
        devices,
        handed: Vec::new(),
        unheard: Vec::new(),
    };
    let statuses = vec![(had, Status::Pending), (never, Status::Pending)];
    let mut plan = Plan::default();
    plan.load(inbox::Loaded { command: known, statuses }, true);
    for device in [had, never] {
        plan.introduced(device, &says(&[]), 1_000);
        assert!(plan.payload(device, command, 1_000).is_none(), "nothing goes out yet");
    }
    assert!(plan.silent(2_000).is_empty());
    let (mut after, other) = planned(&[had], 10_000);
    assert!(after.payload(had, other, 2_000).is_some(), "what comes from the cloud does");
    after.sure();
    plan.had_before(KnownCommand { command, device: had, started: true });
    plan.sure();
    let mut due = plan.silent(8_000);
    due.sort();
    let mut both = vec![(had, command), (never, command)];
    both.sort();
    assert_eq!(due, both);
    assert_eq!(plan.had(had, command), Some(STARTED), "it is asked about, not run");
    assert_eq!(plan.had(never, command), None);
    plan.had_before(KnownCommand { command, device: had, started: false });
    assert_eq!(plan.had(had, command), Some(GUESSED), "its own memory may tell");
    plan.introduced(had, &says(&[command]), 9_000);
    plan.introduced(had, &says(&[]), 9_000);
    assert_eq!(plan.had(had, command), Some(STARTED), "it said itself that it was");
    assert_eq!(plan.expired(50_000), [(command, vec![never])]);
}

#[tokio::test]
async fn a_restored_disk_takes_the_clouds_word_on_who_had_what() {
    let rig = Rig::new();
    let (pending, sent, told) = (rig.enrol().await, rig.enrol().await, rig.enrol().await);
    let deliver = deliver(vec![pending, sent, told], START_MS + 60_000);
    let command = deliver.command;
    rig.store.write(move |txn| txn.take_command(deliver)).await.unwrap().unwrap();
    rig.store.write(move |txn| txn.mark_sent(command, &[sent, told])).await.unwrap();
    let had = [(pending, false), (sent, true), (told, false), (DeviceId::generate(), true)];
    let had = had.map(|(device, started)| KnownCommand { command, device, started }).to_vec();
    let known = SiteKnown { had, answered: true, ..SiteKnown::default() };
    let records = vec![(1, DownRecord::Known(known).encode().unwrap())];
    let becomes = Ack { lane: Lane::Urgent, epoch: 5, through: 1 };
    let effects = rig.store.write(move |txn| take_records(txn, becomes, records)).await.unwrap();
    let effects = effects.unwrap();
    assert!(effects.answered);
    let heard: Vec<_> = effects.had.iter().map(|known| (known.device, known.started)).collect();
    assert_eq!(heard, [(pending, false), (sent, true), (told, false)]);
    let loaded = rig.store.read(inbox::load).await.unwrap().remove(0);
    let of = |device| loaded.statuses.iter().find(|(d, _)| *d == device).unwrap().1;
    assert_eq!([pending, sent, told].map(of), [Status::Running; 3]);
    let mut plan = Plan::default();
    plan.load(loaded, true);
    let asked = [pending, sent, told].map(|device| {
        plan.introduced(device, &says(&[]), START_MS);
        plan.had(device, command)
    });
    assert_eq!(asked, [Some(GUESSED), Some(STARTED), Some(GUESSED)]);
}

#[tokio::test]
async fn a_guess_gives_way_to_the_clouds_word_and_is_never_told_as_more() {
    let rig = Rig::new();
    let (device, other) = (rig.enrol().await, rig.enrol().await);
    let restored = deliver(vec![device, other], START_MS + 60_000);
    let command = restored.command;
    let again = DeliverCommand { handed: Vec::new(), ..restored.clone() };
    let both = vec![device, other];
    let guess = DeliverCommand { handed: both.clone(), unheard: both, ..restored };
    rig.store.write(move |txn| txn.take_command(guess)).await.unwrap().unwrap();
    // The cloud is restored, too, and asks how it fares.
    rig.store.write(move |txn| txn.take_command(again)).await.unwrap();
    let mut told = statuses(&rig).await;
    told.sort_by_key(|(device, _)| *device);
    let mut sent = vec![(device, Status::Sent), (other, Status::Sent)];
    sent.sort_by_key(|(device, _)| *device);
    assert_eq!(told, sent);
    let had = [(device, true), (other, false)];
    let had = had.map(|(device, started)| KnownCommand { command, device, started }).to_vec();
    let known = SiteKnown { had, answered: true, ..SiteKnown::default() };
    let records = vec![(1, DownRecord::Known(known).encode().unwrap())];
    let becomes = Ack { lane: Lane::Urgent, epoch: 5, through: 1 };
    let effects = rig.store.write(move |txn| take_records(txn, becomes, records)).await.unwrap();
    let heard: Vec<_> = effects.unwrap().had.iter().map(|k| (k.device, k.started)).collect();
    assert_eq!(heard, [(device, true)], "the plan follows what it lacks");
    let loaded = rig.store.read(inbox::load).await.unwrap().remove(0);
    assert_eq!(loaded.command.unheard, [other]);
}

/// A courier that was started on an inbox with one command, and the command's device.
struct Started {
    _rig: Rig,
    broker: BrokerHandle,
    machine: Set,
    fanout: Fanout,
    device: DeviceId,
    command: CommandId,
}

impl Started {
    async fn new() -> Self {
        let rig = Rig::new();
        let device = rig.enrol().await;
        let deliver = deliver(vec![device], START_MS + 600_000);
        let command = deliver.command;
        rig.store.write(move |txn| txn.take_command(deliver)).await.unwrap().unwrap();
        let (machine, broker) = (Set::default(), BrokerHandle::detached());
        machine.own.store(START_MS, Ordering::Relaxed);
        let parts = (rig.store.clone(), SiteClock::new(Box::new(machine.clone())));
        let mut fanout = Fanout::load(parts, broker.clone(), &Telemetry::new()).await.unwrap();
        broker.connect(device);
        fanout.take(Message::Ready(device, says(&[]))).await;
        Self { _rig: rig, broker, machine, fanout, device, command }
    }

    /// What goes to the device at an uptime.
    async fn at(&mut self, uptime_ms: u64) -> Vec<Down> {
        self.machine.uptime.store(uptime_ms, Ordering::Relaxed);
        self.fanout.tick().await;
        std::iter::from_fn(|| self.broker.next_for(self.device)).map(|(kind, _)| kind).collect()
    }
}

#[tokio::test]
async fn what_the_inbox_held_at_start_waits_for_the_cloud_and_not_for_ever() {
    let mut alone = Started::new().await;
    assert_eq!(alone.at(ALONE_MS - 1).await, []);
    assert_eq!(alone.at(ALONE_MS).await, [Down::Command], "no cloud is there");
    let mut current = Started::new().await;
    current.fanout.take(Message::Compared { asks: false }).await;
    assert_eq!(current.at(1).await, [Down::Command], "this disk knows all");
    for answered in [true, false] {
        let mut older = Started::new().await;
        older.fanout.take(Message::Compared { asks: true }).await;
        assert_eq!(older.at(ANSWER_MS - 1).await, [], "the cloud is asked");
        if answered {
            older.fanout.take(Message::Had { had: Vec::new(), all: true }).await;
            assert_eq!(older.at(ANSWER_MS - 1).await, [Down::Command]);
        }
        let rest = if answered { vec![] } else { vec![Down::Command] };
        assert_eq!(older.at(ANSWER_MS).await, rest);
    }
}

#[tokio::test]
async fn who_had_a_command_by_the_clouds_word_is_asked_about_it() {
    let mut older = Started::new().await;
    older.fanout.take(Message::Compared { asks: true }).await;
    let had = vec![KnownCommand { command: older.command, device: older.device, started: true }];
    older.fanout.take(Message::Had { had, all: true }).await;
    // What it had is named ahead of it: so it does not run it.
    assert_eq!(older.at(1).await, [Down::Control, Down::Command]);
}
