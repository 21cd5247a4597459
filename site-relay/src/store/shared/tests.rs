//! Files that cannot be opened, or only be looked at.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::store::{FILE, StoreError, tests::Rig};
use std::sync::atomic::Ordering;
use unifyit_protocol::lane::Lane;

#[tokio::test]
async fn a_store_whose_file_cannot_be_opened_says_why_and_goes_on_when_it_can() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let (file, aside) = (rig.folder().join(FILE), rig.folder().join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    std::fs::create_dir(&file).unwrap();
    let failed = rig.store.write::<(), _>(|_| Err(StoreError::ReadOnly)).await;
    assert_eq!(failed, Err(StoreError::ReadOnly));
    for _ in 0..2 {
        let why = rig.store.write(move |txn| txn.device_facts(device)).await.unwrap_err();
        assert!(matches!(why, StoreError::Failed(_)), "it is not stopping: {why}");
    }
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    // The attempt that finds the file is in vain; the next is not.
    let _ = rig.store.write(move |txn| txn.device_facts(device)).await;
    rig.store.write(move |txn| txn.device_facts(device)).await.unwrap();
}

#[tokio::test]
async fn a_read_only_disk_is_read_and_written_to_when_it_can_be_again() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let version = |rig: &Rig| rig.store.device(device).map(|d| d.version);
    let says =
        |version: &'static str| rig.store.write(move |txn| txn.hello(device, "host", version));
    says("1").await.unwrap();
    let epoch = |rig: &Rig| rig.store.lanes().borrow().of(Lane::Urgent).epoch();
    let before = epoch(&rig);
    let mut told = rig.store.read_only();
    let read_only = &rig.store.inner.core.read_only;
    read_only.store(true, Ordering::Relaxed);
    let failed = rig.store.write::<(), _>(|_| Err(StoreError::ReadOnly)).await;
    assert_eq!(failed, Err(StoreError::ReadOnly));
    for _ in 0..2 {
        assert_eq!(says("2").await, Err(StoreError::ReadOnly));
    }
    assert!(rig.store.is_read_only());
    assert_eq!(*told.borrow_and_update(), Some(StoreError::ReadOnly));
    let waiting = rig.waiting(Lane::Urgent).await.len();
    assert!(waiting > 0, "what was stored before is read");
    read_only.store(false, Ordering::Relaxed);
    says("3").await.unwrap();
    assert!(!rig.store.is_read_only());
    assert!(told.has_changed().unwrap(), "whoever tells the cloud hears of it");
    assert_eq!(*told.borrow_and_update(), None);
    assert!(epoch(&rig) > before, "what was seen of the disk may be gone");
    assert_eq!(version(&rig).as_deref(), Some("3"));
    let rig = rig.crash();
    assert_eq!(version(&rig).as_deref(), Some("3"), "it is in the file, not only in memory");
}
