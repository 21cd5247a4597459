//! What begins while a commit is being synced.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::store::{FILE, StoreError, tests::Rig, txn::Txn};
use std::sync::mpsc;

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
