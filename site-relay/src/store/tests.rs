//! The store through its handle: durability, enrolment, epochs, quotas.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

pub(crate) use super::actor::tests::Fails;
use super::{Quotas, StoreError, StoreHandle, StoreOptions};
use crate::sacrifice::{Expendable, make_room};
use crate::{
    devices::{DeviceRecord, EnrollDecision, NewDevice},
    presence::PresenceChange,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tempfile::TempDir;
use unifyit_protocol::{
    envelope::Decoded,
    ids::{DeviceId, TokenId},
    lane::{Ack, Lane, LaneLimits, Resume, Sender, Trim},
    link::{RelayStatus, SiteAudit, UpRecord},
};

/// 2026-01-01, a whole minute.
pub(crate) const START_MS: u64 = 1_767_225_600_000;

/// A store in a folder of its own, with a clock that the test moves.
pub(crate) struct Rig {
    folder: TempDir,
    now: Arc<AtomicU64>,
    pub(crate) store: StoreHandle,
}

/// The hash of a key that nothing else has.
fn new_key() -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(DeviceId::generate().0.as_bytes());
    key
}

impl Rig {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicU64::new(START_MS));
        let store = open(&folder, &now);
        Self { folder, now, store }
    }

    /// What a kill at this moment leaves on the disk, opened again: a copy of the
    /// file while it is open, which is never closed cleanly.
    pub(crate) fn crash(self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(self.folder.path().join(super::FILE), folder.path().join(super::FILE))
            .unwrap();
        let store = open(&folder, &self.now);
        Self { folder, now: self.now, store }
    }

    /// The same disk, as it was: what a restore from a backup gives.
    pub(crate) fn backup(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(self.folder.path().join(super::FILE), folder.path().join(super::FILE))
            .unwrap();
        folder
    }

    pub(crate) fn restore(self, folder: TempDir) -> Self {
        let store = open(&folder, &self.now);
        Self { folder, now: self.now, store }
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn pass_ms(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) fn set_back_ms(&self, ms: u64) {
        self.now.fetch_sub(ms, Ordering::Relaxed);
    }

    /// A device joins.
    pub(crate) async fn enrol(&self) -> DeviceId {
        let new = NewDevice {
            proposed: DeviceId::generate(),
            hostname: "box".into(),
            version: "1".into(),
            machine: String::new(),
            key: new_key(),
            proven: None,
            at_ms: START_MS,
        };
        match self.store.enroll_agent(TokenId::generate(), 1, new).await.unwrap() {
            EnrollDecision::Accepted { device } => device,
            other => panic!("{other:?}"),
        }
    }

    /// Makes the next commit fail.
    pub(crate) fn fails(&self, how: Fails) {
        *self.store.inner.core.fails.lock().unwrap() = Some(how);
    }

    /// All records waiting in a lane, oldest first.
    pub(crate) async fn waiting(&self, lane: Lane) -> Vec<UpRecord> {
        let mut sender = self.sender();
        sender.open(&Resume::default()).unwrap();
        let mut all = Vec::new();
        while let Some(fetch) = sender.next_fetch() {
            let rows = self.store.fetch(fetch).await.unwrap();
            let Some(data) = sender.fetched(fetch, rows, 0).unwrap() else { break };
            let ack = Ack { lane: data.lane, epoch: data.epoch, through: data.through().unwrap() };
            sender.acked(&ack, 0).unwrap();
            if ack.lane == lane {
                all.extend(data.numbered().map(|(_, body)| match UpRecord::decode(&body) {
                    Ok(Decoded::Known(record)) => record,
                    other => panic!("{other:?}"),
                }));
            }
        }
        all
    }

    pub(crate) fn sender(&self) -> Sender {
        let lanes = self.store.lanes().borrow().clone();
        let positions = Lane::ALL.into_iter().flat_map(|lane| lanes.of(lane).positions(lane));
        let mut sender = Sender::new(LaneLimits::default(), positions).unwrap();
        for lane in Lane::ALL {
            for (epoch, through) in lanes.of(lane).dropped_numbers() {
                sender.dropped(lane, epoch, through).unwrap();
            }
        }
        sender
    }
}

fn open(folder: &TempDir, now: &Arc<AtomicU64>) -> StoreHandle {
    let now = Arc::clone(now);
    let clock = Arc::new(move || now.load(Ordering::Relaxed));
    StoreHandle::open_with(folder.path(), StoreOptions { clock, ..StoreOptions::default() })
        .unwrap()
}

fn audit(detail: &str) -> SiteAudit {
    SiteAudit { at_ms: 1, action: "a".into(), actor: "b".into(), detail: detail.into() }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_kill() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    rig.store.audit(audit("kept")).await;
    let rig = rig.crash();
    assert!(rig.store.device(device).is_some_and(|d| !d.revoked));
    assert_eq!(rig.store.recent_audit(5).await.unwrap(), [audit("kept")]);
    let urgent = rig.waiting(Lane::Urgent).await;
    assert!(matches!(urgent[0], UpRecord::Enrolled(ref e) if e.device == device));
    assert_eq!(urgent[1], UpRecord::Audit(audit("kept")));
}

#[tokio::test]
async fn a_second_opener_is_told_what_to_do() {
    let rig = Rig::new();
    let error = StoreHandle::open(rig.folder.path()).unwrap_err();
    assert_eq!(error, StoreError::AlreadyOpen);
    assert!(error.to_string().contains("stop the other unifyit-relay"));
}

#[tokio::test]
async fn token_uses_are_counted() {
    let rig = Rig::new();
    let token = TokenId::generate();
    let new = |machine: &str| NewDevice {
        proposed: DeviceId::generate(),
        hostname: "h".into(),
        version: "1".into(),
        machine: machine.into(),
        key: new_key(),
        proven: None,
        at_ms: 1,
    };
    let first = rig.store.enroll_agent(token, 2, new("m1")).await.unwrap();
    let again = rig.store.enroll_agent(token, 2, new("m1")).await.unwrap();
    assert_ne!(first, again, "a machine's name gives no right to its device");
    let third = rig.store.enroll_agent(token, 2, new("m2")).await.unwrap();
    assert_eq!(third, EnrollDecision::UsedUp);
    let rig = rig.crash();
    let fourth = rig.store.enroll_agent(token, 2, new("m2")).await.unwrap();
    assert_eq!(fourth, EnrollDecision::UsedUp);
    rig.store.write(move |txn| txn.revoke_token(token)).await.unwrap();
    assert!(rig.store.token_revoked(token));
    let fifth = rig.store.enroll_agent(token, 9, new("m2")).await.unwrap();
    assert_eq!(fifth, EnrollDecision::Revoked);
}

#[tokio::test]
async fn presence_is_told_once_for_each_change() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    for online in [true, true, false, false, true] {
        let change = PresenceChange { device, online, at_ms: 5, address: String::new() };
        rig.store.write(move |txn| txn.present(&change)).await.unwrap();
    }
    let told: Vec<bool> = rig
        .waiting(Lane::Urgent)
        .await
        .into_iter()
        .filter_map(|r| match r {
            UpRecord::Presence(p) => Some(p[0].online),
            _ => None,
        })
        .collect();
    assert_eq!(told, [true, false, true]);
}

#[tokio::test]
async fn each_start_writes_in_a_later_epoch_and_leftovers_go_first() {
    let rig = Rig::new();
    rig.store.audit(audit("one")).await;
    let first = rig.store.lanes().borrow().of(Lane::Urgent).epoch();
    let rig = rig.crash();
    rig.store.audit(audit("two")).await;
    let state = rig.store.lanes().borrow().of(Lane::Urgent).clone();
    assert!(state.epoch() > first);
    assert_eq!(state.segments.len(), 2);
    assert_eq!(
        rig.waiting(Lane::Urgent).await,
        [UpRecord::Audit(audit("one")), UpRecord::Audit(audit("two"))]
    );
    let trim = Trim { lane: Lane::Urgent, epoch: first, through: 1 };
    rig.store.write(move |txn| txn.trim(&trim)).await.unwrap();
    assert_eq!(rig.store.lanes().borrow().of(Lane::Urgent).segments.len(), 1);
    assert_eq!(rig.waiting(Lane::Urgent).await, [UpRecord::Audit(audit("two"))]);
}

#[tokio::test]
async fn a_restored_disk_never_reuses_a_number_that_the_cloud_has() {
    let rig = Rig::new();
    rig.store.audit(audit("old")).await;
    let backup = rig.backup();
    rig.store.audit(audit("lost with the disk")).await;
    let epoch = rig.store.lanes().borrow().of(Lane::Urgent).epoch();
    let cloud = Resume { positions: vec![Ack { lane: Lane::Urgent, epoch, through: 2 }] };
    let rig = rig.restore(backup);
    for n in 0..5 {
        rig.store.audit(audit(&format!("new {n}"))).await;
    }
    let mut sender = rig.sender();
    sender.open(&cloud).unwrap();
    let fetch = sender.next_fetch().unwrap();
    assert!(fetch.epoch > epoch, "the cloud would take them for what it has");
    assert_eq!((fetch.after, fetch.until), (0, 5));
}

#[tokio::test]
async fn metrics_are_dropped_first_and_the_loss_is_stated() {
    let rig = Rig::new();
    let filler = "x".repeat(2000);
    let record = UpRecord::Relay(RelayStatus { version: filler, ..RelayStatus::default() });
    let body: Vec<u8> = (0..2000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    rig.store
        .write(move |txn| {
            let chunk = unifyit_protocol::telemetry::RollupBlock { table: 1, columns: body };
            for _ in 0..40 {
                let device = DeviceId::generate();
                let block = chunk.clone();
                let metrics = unifyit_protocol::link::DeviceMetrics { device, block };
                txn.append(Lane::Metrics, &UpRecord::Metrics(vec![metrics]))?;
                txn.append(Lane::State, &record)?;
            }
            Ok(())
        })
        .await
        .unwrap();
    let before = rig.store.lanes().borrow().clone();
    // The disk is full, but each lane within its quota.
    let quotas =
        Quotas { lanes: [u64::MAX / 4; 4], keep_free: u64::MAX, raw_min: 60, file: u64::MAX };
    let full = || rig.store.inner.core.full.store(true, Ordering::Relaxed);
    rig.store.maintain(quotas, false).await.unwrap();
    assert_eq!(before, *rig.store.lanes().borrow(), "a file that does not grow loses nothing");
    full();
    rig.store.maintain(quotas, false).await.unwrap();
    let after = rig.store.lanes().borrow().clone();
    assert!(after.of(Lane::Metrics).records < before.of(Lane::Metrics).records);
    assert_eq!(after.of(Lane::State).records, before.of(Lane::State).records);
    while rig.store.lanes().borrow().of(Lane::Metrics).records > 0 {
        full();
        rig.store.maintain(quotas, false).await.unwrap();
    }
    let urgent = rig.waiting(Lane::Urgent).await;
    let lost: u64 = urgent
        .iter()
        .map(|r| match r {
            UpRecord::Gap(g) if g.gap.lane == Lane::Metrics => g.gap.count,
            other => panic!("{other:?}"),
        })
        .sum();
    assert_eq!(lost, 40);
    assert_eq!(rig.waiting(Lane::State).await.len(), 40, "state goes on over the hole");
}

#[tokio::test]
async fn nothing_that_waits_is_dropped_while_there_are_files_that_can_be_fetched_again() {
    let rig = Rig::new();
    let status = UpRecord::Relay(RelayStatus::default());
    let append = move |txn: &mut super::txn::Txn<'_>| txn.append(Lane::State, &status);
    rig.store.write(append).await.unwrap();
    let state = tempfile::tempdir().unwrap();
    let telemetry = crate::telemetry::Telemetry::new();
    let blobs = crate::blobs::Blobs::open(state.path(), u64::MAX, &telemetry).unwrap();
    for name in ["a", "b"] {
        let file = std::fs::File::create(state.path().join("blobs").join(name)).unwrap();
        file.set_len(32 << 20).unwrap();
    }
    let files = || std::fs::read_dir(state.path().join("blobs")).unwrap().count();
    let expendable = Expendable::beside(state.path(), (None, state.path()), blobs);
    // A commit failed for want of space, whatever the disk says that it has.
    let quotas = Quotas { lanes: [u64::MAX / 4; 4], keep_free: 0, raw_min: 60, file: u64::MAX };
    for (left, waits) in [(1, 1), (0, 1), (0, 0)] {
        rig.store.inner.core.full.store(true, Ordering::Relaxed);
        make_room(&rig.store, quotas, &expendable).await.unwrap();
        let waiting = rig.store.lanes().borrow().of(Lane::State).records;
        assert_eq!((files(), waiting), (left, waits));
    }
}

#[tokio::test]
async fn a_lane_over_its_quota_loses_its_oldest_and_keeps_its_column_names() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    rig.store
        .write(move |txn| {
            let table = unifyit_protocol::telemetry::SeriesTable::default();
            txn.take_series(device, table)?;
            for n in 0..20u8 {
                let columns: Vec<u8> =
                    (0..1000u32).map(|i| (i * 7919 + u32::from(n)) as u8).collect();
                let block =
                    unifyit_protocol::telemetry::RollupBlock { table: u32::from(n), columns };
                let metrics = unifyit_protocol::link::DeviceMetrics { device, block };
                txn.append(Lane::Metrics, &UpRecord::Metrics(vec![metrics]))?;
            }
            Ok(())
        })
        .await
        .unwrap();
    let bytes = rig.store.lanes().borrow().of(Lane::Metrics).bytes;
    let quotas = Quotas {
        lanes: [u64::MAX / 4, u64::MAX / 4, u64::MAX / 4, bytes / 2],
        keep_free: 0,
        raw_min: 60,
        file: u64::MAX,
    };
    rig.store.maintain(quotas, false).await.unwrap();
    assert!(rig.store.lanes().borrow().of(Lane::Metrics).bytes <= bytes / 2);
    let rig = rig.crash();
    let left = rig.waiting(Lane::Metrics).await;
    assert!(matches!(left[0], UpRecord::Series(_)));
    assert!(matches!(&left[left.len() - 1], UpRecord::Metrics(m) if m[0].block.table == 19));
}

#[tokio::test]
async fn a_device_record_of_a_later_version_is_read() {
    #[derive(serde::Serialize)]
    struct Later<'a> {
        device: DeviceId,
        hostname: &'a str,
        version: &'a str,
        revoked: bool,
        colour: u8,
    }
    let device = DeviceId::generate();
    let later = Later { device, hostname: "h", version: "9", revoked: false, colour: 3 };
    let bytes = unifyit_protocol::codec::encode(&later).unwrap();
    let read: DeviceRecord = unifyit_protocol::codec::decode(&bytes).unwrap();
    assert_eq!(read.version, "9");
}

#[tokio::test]
async fn a_crash_of_the_stores_thread_is_noticed() {
    let rig = Rig::new();
    let crash = rig.store.write::<(), _>(|_| panic!("on purpose"));
    assert_eq!(crash.await, Err(StoreError::Closed));
    tokio::time::timeout(std::time::Duration::from_secs(20), rig.store.ended()).await.unwrap();
}
