//! Records are applied once, in order, and nothing stops a lane.

use super::Ledger;
use crate::link::{
    RelayChange, downlink,
    testing::{FakeRelay, Place, World, eventually, request},
};
use std::sync::Arc;
use unifyit_protocol::{
    config::SiteConfig,
    enroll::EnrollRelayAnswer,
    ids::{DeviceId, RelayId},
    lane::{Ack, Lane, Resume},
    link::{DownRecord, Ephemeral, Frame, SiteAudit, UpRecord},
    telemetry::Sample,
};

async fn world() -> (World, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::default());
    let records = ledger.clone();
    (World::new(|_, _, _| Arc::new(records)).await, ledger)
}

fn note(text: &str) -> UpRecord {
    UpRecord::Audit(SiteAudit {
        at_ms: 1,
        action: "note".into(),
        actor: "test".into(),
        detail: text.into(),
    })
}

const NOTES: &str = "SELECT coalesce(string_agg(address, ',' ORDER BY id), '') FROM presence_log \
                     WHERE address <> ''";

async fn down(world: &World, place: &Place, relay: RelayId, revision: u64) {
    let mut tx = world.db.db.tenant(&place.scope()).await.unwrap();
    let config = SiteConfig { revision, ..SiteConfig::default() };
    downlink::append(&mut tx, relay, &DownRecord::Config(config)).await.unwrap();
    tx.commit().await.unwrap();
}

/// Receives downlink records until `revision` came, acknowledging none.
async fn revisions(lane: &mut crate::link::testing::FakeLane, until: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.last() != Some(&until) {
        let Some(Frame::Data(data)) = lane.recv().await else { continue };
        for (_, body) in data.numbered() {
            let record = DownRecord::decode(&body).unwrap();
            if let unifyit_protocol::envelope::Decoded::Known(DownRecord::Config(config)) = record {
                seen.push(config.revision);
            }
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_applied_once_however_often_they_come() {
    let (world, ledger) = world().await;
    let (relay, _) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(7).await;
    lane.push(Lane::Urgent, vec![note("a"), note("b")]).await;
    let bodies = |names: &[&str]| names.iter().map(|n| note(n).encode().unwrap()).collect();
    // The same frame again, one that overlaps, and one that is ahead of a hole.
    let again = lane.data(Lane::Urgent, 0, bodies(&["a", "b"]));
    lane.send(again).await;
    let overlap = lane.data(Lane::Urgent, 1, bodies(&["b", "c"]));
    lane.send(overlap).await;
    let ahead = lane.data(Lane::Urgent, 9, bodies(&["z"]));
    lane.send(ahead).await;
    let mut resumed = None;
    while resumed.is_none() {
        if let Some(Frame::Resume(resume)) = lane.recv().await {
            resumed = Some(resume);
        }
    }
    world.until("c is there", "SELECT EXISTS (SELECT FROM presence_log WHERE address = 'c')").await;
    assert_eq!(world.scalar::<String>(NOTES).await, "a,b,c");

    // A second session repeats everything: the cursor in the database knows.
    drop(lane);
    let mut lane = relay.lane(7).await;
    let stands = Ack { lane: Lane::Urgent, epoch: 7, through: 3 };
    assert_eq!(lane.resume.positions, vec![stands]);
    let all = lane.data(Lane::Urgent, 0, bodies(&["a", "b", "c", "d"]));
    lane.send(all).await;
    world.until("d is there", "SELECT EXISTS (SELECT FROM presence_log WHERE address = 'd')").await;
    assert_eq!(world.scalar::<String>(NOTES).await, "a,b,c,d");
    let changes = ledger.changes.lock().unwrap().clone();
    assert_eq!(changes[..2], [RelayChange::Enrolled, RelayChange::Online]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_epoch_starts_its_numbers_anew() {
    let (world, _) = world().await;
    let (relay, _) = world.enrolled(&world.place).await;
    relay.lane(7).await.push(Lane::State, vec![note("old")]).await;
    let mut lane = relay.lane(8).await;
    lane.push(Lane::State, vec![note("new")]).await;
    assert_eq!(world.scalar::<String>(NOTES).await, "old,new");
    let cursor = world.scalar::<i64>("SELECT epoch FROM lane_cursors WHERE lane = 'state'").await;
    assert_eq!(cursor, 8);
    // What is left of the old epoch on a restored disk is refused as known.
    lane.epoch = 7;
    let late = lane.data(Lane::State, 0, vec![note("late").encode().unwrap()]);
    lane.send(late).await;
    lane.epoch = 8;
    lane.push(Lane::State, vec![note("last")]).await;
    assert_eq!(world.scalar::<String>(NOTES).await, "old,new,last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_applied_is_skipped_and_leaves_a_gap() {
    let (world, _) = world().await;
    let (relay, _) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(1).await;
    let bad = UpRecord::Audit(SiteAudit {
        at_ms: 1,
        action: "bad".into(),
        actor: String::new(),
        detail: String::new(),
    });
    let later_kind = unifyit_protocol::envelope::Envelope::pack(999, &1u8).unwrap();
    let bodies = vec![
        note("a").encode().unwrap(),
        b"garbage".to_vec(),
        bad.encode().unwrap(),
        note("nul \0 byte").encode().unwrap(),
        later_kind,
        note("b").encode().unwrap(),
    ];
    let ack = lane.push_raw(Lane::Urgent, bodies).await;
    assert_eq!(ack.through, 6);
    assert_eq!(world.scalar::<String>(NOTES).await, "a,b");
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM gaps").await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_downlink_waits_for_the_relay_and_survives_restarts_of_both() {
    let (mut world, _) = world().await;
    let keypair = libp2p::identity::Keypair::generate_ed25519();
    let relay = FakeRelay::connect_as(keypair.clone(), &world.address, world.peer).await;
    let token = world.sign(&world.relay_token(&world.place).await).await;
    let EnrollRelayAnswer::Accepted(enrolment) = relay.enroll(request(&token)).await else {
        panic!("not enrolled")
    };
    drop(relay);
    for revision in 1..=3 {
        down(&world, &world.place, enrolment.relay, revision).await;
    }
    world.restart().await;
    let relay = FakeRelay::connect_as(keypair, &world.address, world.peer).await;
    let mut lane = relay.lane(1).await;
    assert_eq!(revisions(&mut lane, 3).await, [1, 2, 3]);
    // Not acknowledged: all of it comes again.
    drop(lane);
    let mut lane = relay.lane(1).await;
    assert_eq!(revisions(&mut lane, 3).await, [1, 2, 3]);
    let epoch = lane.hello.as_ref().unwrap().epoch;
    lane.send(Frame::Ack(Ack { lane: Lane::Urgent, epoch, through: 2 })).await;
    world.until("what is acknowledged is deleted", "SELECT count(*) = 1 FROM downlink").await;
    drop(lane);
    // The relay says that it has all three: only its acknowledgement was lost.
    let resume = Resume { positions: vec![Ack { lane: Lane::Urgent, epoch, through: 3 }] };
    let _lane = relay.lane_at(1, resume).await;
    world.until("the rest is deleted", "SELECT count(*) = 0 FROM downlink").await;
    assert!(world.link.online(enrolment.relay));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nudge_sends_at_once_and_in_order() {
    let (world, _) = world().await;
    let (relay, enrolment) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(1).await;
    for revision in 1..=200 {
        down(&world, &world.place, enrolment.relay, revision).await;
    }
    let expected: Vec<u64> = (1..=200).collect();
    assert_eq!(revisions(&mut lane, 200).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_ahead_of_a_restored_database_gets_a_new_epoch() {
    let (world, _) = world().await;
    let (relay, enrolment) = world.enrolled(&world.place).await;
    let lane = relay.lane(1).await;
    let epoch = lane.hello.as_ref().unwrap().epoch;
    drop(lane);
    down(&world, &world.place, enrolment.relay, 5).await;
    let resume = Resume { positions: vec![Ack { lane: Lane::Urgent, epoch, through: 90 }] };
    let mut lane = relay.lane_at(1, resume).await;
    loop {
        let Some(Frame::Data(data)) = lane.recv().await else { continue };
        assert!(data.epoch > epoch, "a new epoch");
        assert_eq!(data.prev, 0);
        break;
    }
}

/// Entries reach the session in whatever order their transactions' threads are
/// scheduled, and may be older than the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_handed_over_out_of_turn_is_not_sent_in_anothers_place() {
    let (world, _) = world().await;
    let (relay, enrolment) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(1).await;
    down(&world, &world.place, enrolment.relay, 1).await;
    assert_eq!(revisions(&mut lane, 1).await, [1]);
    let epoch = world.scalar::<i64>("SELECT down_epoch FROM relays").await.unsigned_abs();
    let forged = SiteConfig { revision: 666, ..SiteConfig::default() };
    let body: Arc<[u8]> = DownRecord::Config(forged).encode().unwrap().into();
    for (epoch, seq) in [(epoch - 1, 2), (epoch + 1, 2), (epoch, 1), (epoch, 3)] {
        let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
        let row = crate::db::DownRow { epoch, seq, body: body.clone() };
        tx.hand_to_relay(enrolment.relay, row);
        tx.commit().await.unwrap();
    }
    down(&world, &world.place, enrolment.relay, 2).await;
    down(&world, &world.place, enrolment.relay, 3).await;
    assert_eq!(revisions(&mut lane, 3).await, [2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoking_a_relay_closes_its_connection_and_keeps_it_out() {
    let (world, _) = world().await;
    let (relay, enrolment) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(1).await;
    let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
    sqlx::query("UPDATE relays SET revoked_at = now()").execute(&mut *tx).await.unwrap();
    tx.nudge_relay(enrolment.relay);
    tx.commit().await.unwrap();
    let mut said = String::new();
    while let Some(frame) = lane.recv().await {
        if let Frame::Goodbye(goodbye) = frame {
            said = goodbye.reason;
        }
    }
    assert!(said.contains("revoked"), "{said}");
    eventually("the connection is closed", || async { relay.closed.is_cancelled().then_some(()) })
        .await;
    world.until("it is offline", "SELECT NOT online FROM relays").await;
    if let Some(mut lane) = relay.try_lane(1, Resume::default()).await {
        assert_eq!(lane.recv().await, None);
    }
    assert!(!world.link.online(enrolment.relay));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_stream_of_a_relay_takes_over() {
    let (world, ledger) = world().await;
    let (relay, _) = world.enrolled(&world.place).await;
    let mut first = relay.lane(1).await;
    let mut second = relay.lane(1).await;
    while first.recv().await.is_some() {}
    second.push(Lane::Urgent, vec![note("a")]).await;
    assert_eq!(world.scalar::<String>(NOTES).await, "a");
    assert!(!ledger.changes.lock().unwrap().contains(&RelayChange::Offline));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_items_pass_and_the_relay_learns_who_is_watched() {
    let (world, ledger) = world().await;
    let (relay, enrolment) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(1).await;
    let device = DeviceId::generate();
    let guard = world.watches.register(vec![(enrolment.relay, device)], vec![]);
    let watched = loop {
        if let Some(Frame::Watch(watch)) = lane.recv().await {
            break watch.devices;
        }
    };
    assert_eq!(watched, [device]);
    let sample = Sample { at_ms: 1, table: 1, values: vec![] };
    lane.send(Frame::Ephemeral(vec![Ephemeral::Sample(device, sample)])).await;
    eventually("the sample is passed on", || async {
        (*ledger.live.lock().unwrap() == 1).then_some(())
    })
    .await;
    drop(guard);
    let watched = loop {
        if let Some(Frame::Watch(watch)) = lane.recv().await {
            break watch.devices;
        }
    };
    assert!(watched.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_in_place_of_a_relay_cannot_speak_for_it() {
    let (world, _) = world().await;
    let (_relay, _) = world.enrolled(&world.place).await;
    let stranger = FakeRelay::connect(&world.address, world.peer).await;
    if let Some(mut lane) = stranger.try_lane(1, Resume::default()).await {
        assert_eq!(lane.recv().await, None);
    }
}
