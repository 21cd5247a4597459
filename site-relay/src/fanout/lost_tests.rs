//! Commits that fail under the courier: what is in the file and what is not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::{
    Fanout, FanoutHandle, FanoutInbox, channel,
    plan::Had,
    reread::PAUSE_MS,
    tests::{deliver, event, says, statuses},
};
use crate::{
    broker::BrokerHandle,
    clock::{SiteClock, tests::Set},
    devices::Computer,
    downlink::{Downlink, DownlinkParts},
    inbox,
    store::tests::{Fails, Rig, START_MS},
    telemetry::Telemetry,
    uplink::session::Ended,
};
use std::sync::atomic::Ordering;
use unifyit_protocol::{
    compare::{KnownCommand, SiteKnown},
    config::{DeviceConfig, SiteConfig},
    envelope::Decoded,
    ids::{CommandId, DeviceId},
    lan::DownControl,
    lane::{Ack, Data, Lane, Resume},
    link::{DownRecord, Frame, SeparateIdentity},
    outcome::Status,
    topics::Down,
};

/// A site whose courier goes step by step.
struct Site {
    rig: Rig,
    broker: BrokerHandle,
    machine: Set,
    handle: FanoutHandle,
    inbox: FanoutInbox,
    fanout: Fanout,
    device: DeviceId,
}

impl Site {
    async fn new() -> Self {
        let rig = Rig::new();
        let device = rig.enrol().await;
        let (machine, broker) = (Set::default(), BrokerHandle::detached());
        machine.own.store(START_MS, Ordering::Relaxed);
        let clock = SiteClock::new(Box::new(machine.clone()));
        let parts = (rig.store.clone(), clock);
        let fanout = Fanout::load(parts, broker.clone(), &Telemetry::new()).await.unwrap();
        let (handle, inbox) = channel();
        Self { rig, broker, machine, handle, inbox, fanout, device }
    }

    /// A command for the device, of one minute.
    fn command(&self) -> (CommandId, DownRecord) {
        let deliver = deliver(vec![self.device], START_MS + 60_000);
        (deliver.command, DownRecord::Command(deliver))
    }

    /// The cloud sends its first records in a session of their own: where the relay
    /// stood, and what it answers.
    async fn session(&self, records: &[DownRecord]) -> (Resume, Result<Frame, Ended>) {
        self.session_from(0, records).await
    }

    /// The same with records that follow the first `prev`.
    async fn session_from(
        &self,
        prev: u64,
        records: &[DownRecord],
    ) -> (Resume, Result<Frame, Ended>) {
        let parts = DownlinkParts {
            store: self.rig.store.clone(),
            broker: self.broker.clone(),
            fanout: self.handle.clone(),
            unknown: Telemetry::new().counter("u", "u"),
        };
        let (mut downlink, resume) = Downlink::open(parts).await.unwrap();
        let records = records.iter().map(|record| record.encode().unwrap().into()).collect();
        let data = Data { lane: Lane::Urgent, epoch: 5, prev, skipped: 0, records };
        downlink.take(data).await.unwrap();
        (resume, downlink.next().await.unwrap())
    }

    /// The courier takes what it was told.
    async fn take(&mut self) {
        while let Ok(message) = self.inbox.0.try_recv() {
            self.fanout.take(message).await;
        }
    }

    /// And looks at what is due.
    async fn step(&mut self) {
        self.take().await;
        self.fanout.tick().await;
        self.rig.store.write(|_| Ok(())).await.unwrap();
    }

    fn heard(&self) -> Vec<(Down, bytes::Bytes)> {
        std::iter::from_fn(|| self.broker.next_for(self.device)).collect()
    }

    /// How many commands the device got since.
    fn delivered(&self) -> usize {
        self.heard().iter().filter(|(kind, _)| *kind == Down::Command).count()
    }

    /// How many commands the inbox holds, and how many it counts.
    async fn held(&self) -> (usize, usize) {
        let counted = self.rig.store.write(|txn| Ok(txn.mem.parts.inbox.commands)).await.unwrap();
        (self.rig.store.read(inbox::load).await.unwrap().len(), counted)
    }
}

fn named(name: u128) -> Computer {
    let instance = uuid::Uuid::from_u128(name);
    Computer { instance, address: name.to_string(), ..Computer::default() }
}

fn at(through: u64) -> Ack {
    Ack { lane: Lane::Urgent, epoch: 5, through }
}

#[tokio::test]
async fn a_command_whose_commit_failed_goes_out_once_more_when_the_cloud_sends_it_again() {
    let mut site = Site::new().await;
    site.broker.connect(site.device);
    let (_, command) = site.command();
    site.rig.fails(Fails::Unwritten);
    let (_, answer) = site.session(std::slice::from_ref(&command)).await;
    assert!(matches!(answer, Err(Ended::Store(_))), "{answer:?}");
    site.step().await;
    assert_eq!(site.delivered(), 1, "it went ahead of its commit");
    assert_eq!((site.fanout.plan.waiting(), site.held().await), (0, (0, 0)));
    let (resume, answer) = site.session(&[command]).await;
    assert!(resume.positions.is_empty(), "{resume:?}");
    assert_eq!(answer.unwrap(), Frame::Ack(at(1)));
    site.step().await;
    assert_eq!((site.delivered(), site.held().await), (1, (1, 1)));
}

#[tokio::test]
async fn a_command_that_is_in_the_file_though_its_commit_failed_comes_to_its_device() {
    let mut site = Site::new().await;
    let (_, command) = site.command();
    site.rig.fails(Fails::Written);
    let (_, answer) = site.session(std::slice::from_ref(&command)).await;
    assert!(matches!(answer, Err(Ended::Store(_))), "{answer:?}");
    site.step().await;
    // Nobody else has it: the position moved with it.
    let (resume, answer) = site.session(&[command]).await;
    assert_eq!((resume.positions, answer.unwrap()), (vec![at(1)], Frame::Ack(at(1))));
    site.broker.connect(site.device);
    site.handle.ready(site.device, says(&[]));
    site.step().await;
    assert_eq!((site.delivered(), site.held().await), (1, (1, 1)));
}

#[tokio::test]
async fn it_comes_to_its_device_also_when_the_inbox_was_looked_at_before_it_was_undone() {
    for known in [false, true] {
        let mut site = Site::new().await;
        let (_, command) = site.command();
        site.rig.fails(Fails::Written);
        assert!(site.session(std::slice::from_ref(&command)).await.1.is_err());
        if known {
            let ahead = site.inbox.0.try_recv().unwrap();
            site.fanout.take(ahead).await;
        }
        site.fanout.tick().await;
        site.take().await;
        assert_eq!(site.fanout.plan.waiting(), 0, "it was undone");
        site.machine.uptime.store(PAUSE_MS, Ordering::Relaxed);
        site.step().await;
        site.broker.connect(site.device);
        site.handle.ready(site.device, says(&[]));
        site.step().await;
        assert_eq!((site.delivered(), site.held().await), (1, (1, 1)), "known: {known}");
    }
}

#[tokio::test]
async fn who_had_a_command_is_asked_though_the_commit_that_said_so_failed() {
    let mut site = Site::new().await;
    site.broker.connect(site.device);
    let (id, command) = site.command();
    site.session(&[command]).await.1.unwrap();
    site.handle.ready(site.device, says(&[]));
    site.step().await;
    assert!(site.delivered() > 0);
    let had = vec![KnownCommand { command: id, device: site.device, started: false }];
    let known = SiteKnown { had, answered: true, ..SiteKnown::default() };
    site.rig.fails(Fails::Written);
    assert!(site.session_from(1, &[DownRecord::Known(known)]).await.1.is_err());
    site.step().await;
    assert_eq!(site.fanout.plan.had(site.device, id), Some(Had::Started { heard: false }));
    site.machine.uptime.store(30_000, Ordering::Relaxed);
    site.machine.own.store(START_MS + 30_000, Ordering::Relaxed);
    site.step().await;
    let heard = site.heard();
    let kinds: Vec<_> = heard.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Down::Control, Down::Command], "what it had goes ahead");
}

#[tokio::test]
async fn a_separation_that_was_followed_is_not_followed_again_when_a_commit_fails() {
    let mut site = Site::new().await;
    let device = site.device;
    site.rig.store.write(move |txn| txn.share(device, named(1), named(2))).await.unwrap();
    let chosen = SeparateIdentity { device, instance: uuid::Uuid::from_u128(1) };
    site.session(&[DownRecord::SeparateIdentity(chosen)]).await.1.unwrap();
    site.step().await;
    site.broker.connect(device);
    site.rig.fails(Fails::Unwritten);
    site.rig.store.write(|txn| txn.heal()).await.unwrap_err();
    site.step().await;
    let hello = bytes::Bytes::from_static(b"hello");
    assert!(site.broker.send(device, Down::Control, hello).is_ok(), "its terminals ended");
}

#[tokio::test]
async fn computers_come_again_after_a_commit_that_separated_them_and_only_seemed_to_fail() {
    let mut site = Site::new().await;
    let device = site.device;
    site.rig.store.write(move |txn| txn.share(device, named(1), named(2))).await.unwrap();
    let chosen = SeparateIdentity { device, instance: uuid::Uuid::from_u128(1) };
    site.broker.connect(device);
    site.rig.fails(Fails::Written);
    assert!(site.session(&[DownRecord::SeparateIdentity(chosen)]).await.1.is_err());
    site.step().await;
    let hello = || bytes::Bytes::from_static(b"hello");
    assert!(site.broker.send(device, Down::Control, hello()).is_err(), "it was to come again");
    // Once is enough.
    site.broker.connect(device);
    site.machine.uptime.store(PAUSE_MS, Ordering::Relaxed);
    site.rig.fails(Fails::Unwritten);
    site.rig.store.write(|txn| txn.heal()).await.unwrap_err();
    site.step().await;
    assert!(site.broker.send(device, Down::Control, hello()).is_ok());
}

#[tokio::test]
async fn a_command_that_nobody_was_to_remember_is_done_once_its_device_answered() {
    let mut site = Site::new().await;
    site.broker.connect(site.device);
    let (id, command) = site.command();
    site.rig.fails(Fails::Written);
    let (_, answer) = site.session(&[command]).await;
    assert!(answer.is_err());
    site.take().await;
    assert_eq!((site.delivered(), site.fanout.plan.waiting()), (1, 0));
    let (device, done) = (site.device, Status::Succeeded);
    site.rig.store.write(move |txn| txn.device_event(device, event(id, done))).await.unwrap();
    site.handle.answered(vec![(device, id, done)]);
    site.take().await;
    assert_eq!(site.held().await, (1, 1));
    site.step().await;
    assert_eq!((site.held().await, site.delivered()), ((0, 0), 0));
}

#[tokio::test]
async fn an_end_that_could_not_be_stored_is_noted_later() {
    let mut site = Site::new().await;
    let (_, command) = site.command();
    site.session(&[command]).await.1.unwrap();
    site.step().await;
    site.machine.uptime.store(600_000, Ordering::Relaxed);
    site.machine.own.store(START_MS + 600_000, Ordering::Relaxed);
    site.rig.fails(Fails::Unwritten);
    // Its own look afterwards may share the commit that fails.
    site.fanout.tick().await;
    let _shared = site.rig.store.write(|_| Ok(())).await;
    assert_eq!((statuses(&site.rig).await, site.fanout.plan.waiting()), (Vec::new(), 0));
    site.step().await;
    assert_eq!(statuses(&site.rig).await, [(site.device, Status::Expired)]);
    assert_eq!(site.held().await, (0, 0));
}

#[tokio::test]
async fn what_follows_a_commit_follows_one_that_only_seemed_to_fail() {
    let mut site = Site::new().await;
    site.broker.connect(site.device);
    let stays = site.rig.enrol().await;
    site.broker.connect(stays);
    let device = DeviceConfig { revision: 4, ..DeviceConfig::default() };
    let config = SiteConfig { revision: 4, device, ..SiteConfig::default() };
    let records = [DownRecord::Config(config), DownRecord::RevokeDevice(site.device)];
    site.rig.fails(Fails::Written);
    assert!(site.session(&records).await.1.is_err());
    site.step().await;
    let hello = || bytes::Bytes::from_static(b"hello");
    assert!(site.broker.send(site.device, Down::Control, hello()).is_err(), "it is out");
    let (_, told) = site.broker.next_for(stays).unwrap();
    let Decoded::Known(DownControl::Config(told)) = DownControl::decode(&told).unwrap() else {
        panic!("another word")
    };
    assert_eq!(told.revision, 4);
    assert!(site.broker.next_for(stays).is_none());
}

#[tokio::test]
async fn a_command_for_a_device_that_is_revoked_with_it_ends_at_once() {
    let mut site = Site::new().await;
    let (_, command) = site.command();
    let records = [command, DownRecord::RevokeDevice(site.device)];
    assert_eq!(site.session(&records).await.1.unwrap(), Frame::Ack(at(2)));
    site.step().await;
    assert_eq!(statuses(&site.rig).await, [(site.device, Status::Refused)]);
    assert_eq!((site.fanout.plan.waiting(), site.held().await), (0, (0, 0)));
}

#[tokio::test]
async fn what_the_inbox_said_first_is_not_handed_out_twice() {
    let mut site = Site::new().await;
    site.broker.connect(site.device);
    let (_, command) = site.command();
    site.rig.fails(Fails::Unwritten);
    site.rig.store.write(|txn| txn.heal()).await.unwrap_err();
    site.session(&[command]).await.1.unwrap();
    // The word of the commit is on its way.
    site.fanout.tick().await;
    assert_eq!(site.delivered(), 1);
    site.step().await;
    assert_eq!((site.delivered(), site.held().await), (0, (1, 1)));
}
