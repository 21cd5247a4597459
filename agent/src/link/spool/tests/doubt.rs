//! A commit that failed, and is in the file all the same.

use super::*;

/// Several in one commit, made at `first` and after.
pub(super) async fn reports(store: &Store, first: u64, count: u64) -> Result<(), StoreError> {
    let all: Vec<_> = (first..first + count).map(|n| (n, event(n))).collect();
    store.write(move |txn| all.iter().try_for_each(|(n, e)| append(txn, Lane::Urgent, *n, e))).await
}

/// A spool that was greeted by a relay that knows nothing, and has written down so.
async fn greeted(dir: &Path) -> (Store, Spool) {
    let (store, spool) = open(dir, ROOMY);
    spool.welcome(&[]).unwrap();
    store.write(|_| Ok(())).await.unwrap();
    (store, spool)
}

#[tokio::test]
async fn what_follows_a_commit_that_only_seemed_to_fail_is_not_taken_for_what_it_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let (store, spool) = greeted(dir.path()).await;
    let mut relay = Relay::default();
    store.fails();
    assert!(reports(&store, 1, 5).await.is_err());
    report(&store, Lane::Urgent, 6).await;
    drain(&spool, &mut relay);
    for n in 7..=10 {
        report(&store, Lane::Urgent, n).await;
        drain(&spool, &mut relay);
    }
    let told: Vec<_> = relay.times(Lane::Urgent).into_iter().filter(|n| *n > 5).collect();
    assert_eq!(told, [6, 7, 8, 9, 10]);
    spool.link_lost();
    assert_eq!(spool.welcome(&relay.welcome()).unwrap(), Continuity::Holds, "it is no setback");
}

#[tokio::test]
async fn what_a_commit_wrote_of_which_nobody_knows_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), ROOMY);
    reports(&store, 1, 3).await.unwrap();
    let lane = Lane::Urgent;
    let all = store.read(|tables| first_after(tables, lane, Position::default())).unwrap();
    let first = all.unwrap().0;
    let second = Position { seq: first.seq + 1, ..first };
    let batch = store.read(|tables| disk_batch(tables, lane, Position::default(), second));
    assert_eq!(batch.unwrap().1.len(), 2);
}

#[tokio::test]
async fn an_epoch_that_only_seemed_not_to_begin_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let (store, spool) = greeted(dir.path()).await;
    let mut old = Relay::default();
    report(&store, Lane::Urgent, 1).await;
    drain(&spool, &mut old);
    let (mut fresh, before) = (Relay::default(), spool.epoch());
    let Continuity::BrokenAbove(above) = spool.welcome(&fresh.welcome()).unwrap() else {
        panic!("the loss went unnoticed")
    };
    store.fails();
    assert!(spool.start_over(above).await.is_err());
    assert!(spool.epoch() > before, "the file says so");
    // The connection was given up for it.
    spool.link_lost();
    assert_eq!(spool.welcome(&fresh.welcome()).unwrap(), Continuity::Holds);
    report(&store, Lane::Urgent, 2).await;
    drain(&spool, &mut fresh);
    assert_eq!(fresh.times(Lane::Urgent), [1, 2]);
}

#[tokio::test]
async fn samples_that_only_seemed_not_to_settle_are_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, spool) = greeted(dir.path()).await;
    for n in 1..=3 {
        spool.push_metric(n, &sample(n));
    }
    store.fails();
    assert!(spool.settle(u64::MAX).await.is_err());
    spool.settle(u64::MAX).await.unwrap();
    let metrics = book::index(Lane::Metrics);
    let entry = store.write(move |txn| Ok(txn.book.lanes[metrics])).await.unwrap();
    assert_eq!(entry.records, 3);
    assert_eq!(entry.bytes, 3 * sample(1).encode().unwrap().len() as u64);
}

#[tokio::test]
async fn an_inventory_that_may_have_been_told_is_told_anew_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, spool) = greeted(dir.path()).await;
    let tell = async |fails: bool| {
        if fails {
            store.fails();
        }
        let change = event(1);
        store.write(move |txn| append(txn, Lane::State, 1, &change)).await.is_err()
    };
    assert!(!tell(false).await);
    assert!(!spool.state_was_lost());
    assert!(tell(true).await);
    assert!(spool.state_was_lost(), "its next changes are told from what it was before");
}
