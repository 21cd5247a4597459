//! What begins while a commit is being synced.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::store::{FILE, StoreError, shared::Core, tests::Rig, txn::Txn};
use std::sync::{PoisonError, atomic::Ordering, mpsc};

/// How a commit fails that a test wants to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fails {
    /// Before anything of it is in the file.
    Unwritten,
    /// With all of it in the file: only the sync says that it failed.
    Written,
}

/// Commits, or fails as a test wants it to.
pub(in crate::store) fn commit(core: &Core, tx: redb::WriteTransaction) -> Result<(), StoreError> {
    let fails = core.fails.lock().unwrap_or_else(PoisonError::into_inner).take();
    if fails != Some(Fails::Unwritten) {
        tx.commit()?;
    }
    fails.map_or(Ok(()), |how| Err(StoreError::Failed(format!("a test: {how:?}"))))
}

#[tokio::test]
async fn what_may_begin_before_a_commit_holds_does_not_wait_for_its_sync() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    rig.store.write(move |txn| txn.hello(device, "host", "1")).await.unwrap();
    let (file, kill) = (rig.folder().join(FILE), tempfile::tempdir().unwrap());
    let copy = kill.path().join(FILE);
    let ahead = move |_: &mut ()| {
        std::fs::copy(&file, &copy).unwrap();
    };
    rig.store.write_with(move |txn| txn.hello(device, "host", "2"), ahead).await.unwrap();
    assert_eq!(rig.store.device(device).unwrap().version, "2");
    let rig = rig.restore(kill);
    assert_eq!(rig.store.device(device).unwrap().version, "1", "a kill then undoes it");
}

#[tokio::test]
async fn nothing_begins_for_a_commit_that_another_job_spoils_nor_while_commits_fail() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let (tell, told) = mpsc::channel();
    let ahead = |what: &'static str| {
        let tell = tell.clone();
        move |_: &mut ()| tell.send(what).unwrap()
    };
    let spoilt = rig.store.write_with(|_| Err::<(), _>(StoreError::Closed), ahead("spoilt")).await;
    assert_eq!(spoilt, Err(StoreError::Closed));
    let says = |version: &'static str| move |txn: &mut Txn<'_>| txn.hello(device, "host", version);
    rig.store.write_with(says("2"), ahead("after a failure")).await.unwrap();
    rig.store.write_with(says("3"), ahead("after a success")).await.unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["after a success"]);
}

#[tokio::test]
async fn a_job_that_changes_nothing_says_nothing_of_a_disk_that_fails() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let (tell, told) = mpsc::channel();
    let ahead = |what: &'static str| {
        let tell = tell.clone();
        move |_: &mut ()| tell.send(what).unwrap()
    };
    let says = |version: &'static str| move |txn: &mut Txn<'_>| txn.hello(device, "host", version);
    rig.fails(Fails::Unwritten);
    rig.store.write(says("2")).await.unwrap_err();
    rig.store.write(|txn| Ok(txn.down())).await.unwrap();
    rig.store.write_with(says("3"), ahead("after a look")).await.unwrap();
    rig.store.write_with(says("4"), ahead("after a commit")).await.unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["after a commit"]);
}

#[tokio::test]
async fn nothing_begins_ahead_of_a_commit_on_a_disk_that_is_nearly_full() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let (tell, told) = mpsc::channel();
    let core = &rig.store.inner.core;
    for (version, full, short) in [("2", true, false), ("3", false, true), ("4", false, false)] {
        core.full.store(full, Ordering::Relaxed);
        core.pressure.store(short, Ordering::Relaxed);
        let tell = tell.clone();
        let ahead = move |_: &mut ()| tell.send(version).unwrap();
        let says = move |txn: &mut Txn<'_>| txn.hello(device, "host", version);
        rig.store.write_with(says, ahead).await.unwrap();
    }
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["4"]);
}
