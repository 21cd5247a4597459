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
    envelope::Envelope,
    ids::{DeviceId, RelayId, TokenId},
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

/// An entry that is told from others by its number.
fn entry(number: u64) -> DownRecord {
    DownRecord::RevokeToken(TokenId(uuid::Uuid::from_u128(number.into())))
}

async fn queue(world: &World, place: &Place, relay: RelayId, record: &DownRecord) {
    let mut tx = world.db.db.tenant(&place.scope()).await.unwrap();
    downlink::append(&mut tx, relay, record).await.unwrap();
    tx.commit().await.unwrap();
}

async fn down(world: &World, place: &Place, relay: RelayId, number: u64) {
    queue(world, place, relay, &entry(number)).await;
}

/// Receives downlink entries until `number` came, acknowledging none.
async fn entries(lane: &mut crate::link::testing::FakeLane, until: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.last() != Some(&until) {
        let Some(Frame::Data(data)) = lane.recv().await else { continue };
        for (_, body) in data.numbered() {
            let record = DownRecord::decode(&body).unwrap();
            if let unifyit_protocol::envelope::Decoded::Known(DownRecord::RevokeToken(token)) =
                record
            {
                seen.push(u64::try_from(token.0.as_u128()).unwrap());
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
    assert_eq!(world.scalar::<i64>("SELECT sum(records)::int8 FROM gaps").await, 3);
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM gaps").await, 1);
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
    for number in 1..=3 {
        down(&world, &world.place, enrolment.relay, number).await;
    }
    world.restart().await;
    let relay = FakeRelay::connect_as(keypair, &world.address, world.peer).await;
    let mut lane = relay.lane(1).await;
    assert_eq!(entries(&mut lane, 3).await, [1, 2, 3]);
    // Not acknowledged: all of it comes again.
    drop(lane);
    let mut lane = relay.lane(1).await;
    assert_eq!(entries(&mut lane, 3).await, [1, 2, 3]);
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
    for number in 1..=200 {
        down(&world, &world.place, enrolment.relay, number).await;
    }
    let expected: Vec<u64> = (1..=200).collect();
    assert_eq!(entries(&mut lane, 200).await, expected);
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

/// Records by their numbers until `through`, and how many were skipped.
async fn numbers(lane: &mut crate::link::testing::FakeLane, through: u64) -> (Vec<u64>, u64) {
    let (mut seen, mut skipped) = (Vec::new(), 0);
    loop {
        let Some(Frame::Data(data)) = lane.recv().await else { continue };
        let end = data.through();
        skipped += data.skipped;
        seen.extend(data.numbered().map(|(seq, _)| seq));
        if end == Some(through) {
            return (seen, skipped);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_restored_from_an_older_copy_is_told_in_a_new_epoch() {
    let (world, ledger) = world().await;
    let (relay, enrolment) = world.enrolled(&world.place).await;
    for number in 1..=3 {
        down(&world, &world.place, enrolment.relay, number).await;
    }
    let mut lane = relay.lane(1).await;
    let epoch = lane.hello.as_ref().unwrap().epoch;
    entries(&mut lane, 3).await;
    lane.send(Frame::Ack(Ack { lane: Lane::Urgent, epoch, through: 3 })).await;
    world.until("all of it is deleted", "SELECT count(*) = 0 FROM downlink").await;
    drop(lane);

    down(&world, &world.place, enrolment.relay, 4).await;
    let resume = Resume { positions: vec![Ack { lane: Lane::Urgent, epoch, through: 1 }] };
    let mut lane = relay.lane_at(2, resume).await;
    assert_eq!(entries(&mut lane, 4).await, [4]);
    assert!(ledger.changes.lock().unwrap().contains(&RelayChange::Restored));
    let begun = world.scalar::<i64>("SELECT down_epoch FROM relays").await.unsigned_abs();
    assert!(begun > epoch, "a new epoch");
    down(&world, &world.place, enrolment.relay, 5).await;
    assert_eq!(entries(&mut lane, 5).await, [5]);

    // In the middle of a session nothing is lost that was acknowledged.
    lane.send(Frame::Ack(Ack { lane: Lane::Urgent, epoch: begun, through: 2 })).await;
    lane.send(Frame::Resume(Resume::default())).await;
    while lane.recv().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_gone_from_the_table_are_stepped_over() {
    let (world, _) = world().await;
    let (relay, enrolment) = world.enrolled(&world.place).await;
    for number in 1..=5 {
        down(&world, &world.place, enrolment.relay, number).await;
    }
    let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
    sqlx::query("DELETE FROM downlink WHERE seq IN (1, 3, 5)").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let mut lane = relay.lane(1).await;
    assert_eq!(numbers(&mut lane, 5).await, (vec![2, 4], 3));
    drop(lane);
    let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
    sqlx::query("DELETE FROM downlink").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let mut lane = relay.lane(1).await;
    assert_eq!(numbers(&mut lane, 5).await, (vec![], 5));
    down(&world, &world.place, enrolment.relay, 7).await;
    assert_eq!(numbers(&mut lane, 6).await, (vec![6], 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_an_absent_relay_is_superseded_expires_and_goes_with_it() {
    let (world, _) = world().await;
    let (_relay, enrolment) = world.enrolled(&world.place).await;
    let device = DeviceId::generate();
    for revision in 1..=3 {
        let config = DownRecord::Config(SiteConfig { revision, ..SiteConfig::default() });
        queue(&world, &world.place, enrolment.relay, &config).await;
        queue(&world, &world.place, enrolment.relay, &DownRecord::RevokeDevice(device)).await;
    }
    let kinds = "SELECT string_agg(kind || seq, ',' ORDER BY seq) FROM downlink";
    assert_eq!(world.scalar::<String>(kinds).await, "config5,revoke_device6");
    let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
    sqlx::query("UPDATE downlink SET expires_at = now() - interval '1 hour' WHERE seq = 5")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(!downlink::prune(&world.db.db).await.unwrap());
    assert_eq!(world.scalar::<String>(kinds).await, "revoke_device6");
    let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
    sqlx::query("UPDATE relays SET revoked_at = now()").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    downlink::prune(&world.db.db).await.unwrap();
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM downlink").await, 0);
}

/// Entries reach the session in whatever order their transactions' threads are
/// scheduled, and may be older than the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_handed_over_out_of_turn_is_not_sent_in_anothers_place() {
    let (world, _) = world().await;
    let (relay, enrolment) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(1).await;
    down(&world, &world.place, enrolment.relay, 1).await;
    assert_eq!(entries(&mut lane, 1).await, [1]);
    let epoch = world.scalar::<i64>("SELECT down_epoch FROM relays").await.unsigned_abs();
    let body: Arc<[u8]> = entry(666).encode().unwrap().into();
    for (epoch, seq) in [(epoch - 1, 2), (epoch + 1, 2), (epoch, 1), (epoch, 3)] {
        let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
        let row = crate::db::DownRow { epoch, seq, body: body.clone() };
        tx.hand_to_relay(enrolment.relay, row);
        tx.commit().await.unwrap();
    }
    down(&world, &world.place, enrolment.relay, 2).await;
    down(&world, &world.place, enrolment.relay, 3).await;
    assert_eq!(entries(&mut lane, 3).await, [2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_a_lane_that_came_later_end_no_session_and_are_counted() {
    #[derive(serde::Serialize)]
    struct Later {
        lane: &'static str,
        epoch: u64,
        through: u64,
    }
    let (world, _) = world().await;
    let (relay, _) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(1).await;
    assert_eq!(lane.hello.as_ref().unwrap().lanes, Some(Lane::ALL.to_vec()));
    let later = Later { lane: "event_logs", epoch: 1, through: 1 };
    lane.send_bytes(Envelope::pack(4, &later).unwrap()).await;
    lane.push(Lane::Urgent, vec![note("a")]).await;
    assert_eq!(world.scalar::<String>(NOTES).await, "a");
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
