//! Who is shown as connected, and who may still ask for files.

use super::Ledger;
use crate::link::{
    LinkMetrics, RelayChange, framing,
    session::{self, SessionDeps},
    testing::{World, eventually},
};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use libp2p::StreamProtocol;
use std::sync::{Arc, atomic::Ordering};
use unifyit_protocol::{
    blob::{self, BlobRequest},
    codec,
    ids::{DeviceId, RelayId},
    link::{Ephemeral, Frame},
    telemetry::Sample,
};

async fn world() -> (World, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::default());
    let records = ledger.clone();
    (World::new(|_, _, _| Arc::new(records)).await, ledger)
}

async fn run(world: &World, sql: &'static str) {
    let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
    sqlx::query(sql).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_whose_going_was_not_stored_is_found_and_its_last_contact_stays() {
    let (world, ledger) = world().await;
    let (_relay, _) = world.enrolled(&world.place).await;
    run(
        &world,
        "UPDATE relays SET online = true, connected_since = now() - interval '2 hours', \
             last_contact = now() - interval '1 hour'",
    )
    .await;
    let deps = SessionDeps {
        db: world.db.db.clone(),
        records: Arc::new(ledger.clone()),
        watches: world.watches.clone(),
        link: world.link.clone(),
        metrics: LinkMetrics::new(&prometheus::Registry::new()).unwrap(),
        telling: session::refuse::Telling::default(),
    };
    session::sweep(&deps, &world.link).await.unwrap();
    let stands = "SELECT NOT online AND state_since = last_contact \
                  AND last_contact < now() - interval '59 minutes' FROM relays";
    assert!(world.scalar::<bool>(stands).await);
    assert!(ledger.changes.lock().unwrap().contains(&RelayChange::Offline));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_is_stored_before_the_next_one_begins() {
    let (world, ledger) = world().await;
    let (relay, enrolment) = world.enrolled(&world.place).await;
    for _ in 0..5 {
        let lane = relay.lane(1).await;
        world.until("it is shown", "SELECT online FROM relays").await;
        drop(lane);
        let _next = relay.lane(1).await;
        world.until("it is shown again", "SELECT online FROM relays").await;
        assert!(world.link.online(enrolment.relay));
        drop(_next);
        world.until("it is gone", "SELECT NOT online FROM relays").await;
    }
    let changes = ledger.changes.lock().unwrap().clone();
    let last: Vec<_> = changes.iter().rev().take(2).collect();
    assert_eq!(last, [&RelayChange::Offline, &RelayChange::Online]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_crashes_is_over_for_everyone() {
    let (world, ledger) = world().await;
    let (relay, enrolment) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(1).await;
    world.until("it is shown", "SELECT online FROM relays").await;
    ledger.crashes.store(true, Ordering::Relaxed);
    let sample = Sample { at_ms: 1, table: 2, values: vec![] };
    let live = Ephemeral::Sample(DeviceId::generate(), sample);
    lane.send(Frame::Ephemeral(vec![live])).await;
    world.until("it is gone", "SELECT NOT online FROM relays").await;
    assert!(!world.link.online(enrolment.relay));
    let _next = relay.lane(1).await;
    world.until("it is shown again", "SELECT online FROM relays").await;
}

#[tokio::test]
async fn a_session_whose_task_is_gone_is_not_believed_to_run() {
    let (world, _) = world().await;
    let id = RelayId::generate();
    let slot = world.link.begin(id, world.peer).await;
    assert!(world.link.online(id));
    drop(slot);
    assert!(!world.link.online(id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_relay_without_a_lane_gets_no_files() {
    let (world, _) = world().await;
    let (relay, _) = world.enrolled(&world.place).await;
    run(&world, "UPDATE relays SET revoked_at = now()").await;
    let mut control = relay.control.clone();
    let name = StreamProtocol::new(blob::PROTOCOL);
    if let Ok(stream) = control.open_stream(world.peer, name).await {
        let (mut frames, mut sink) = framing::split(stream);
        let request =
            BlobRequest { hash: [7; 32], offset: 0, length: 1, sha256: false, open: false };
        let _ = sink.send(Bytes::from(codec::encode(&request).unwrap())).await;
        assert!(!matches!(frames.next().await, Some(Ok(_))), "it is not even told what is missing");
    }
    eventually("the connection is closed", || async { relay.closed.is_cancelled().then_some(()) })
        .await;
}
