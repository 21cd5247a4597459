//! A database that is put back to an older copy under a cloud that goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{
    compare_tests::waiting,
    tests::{metrics, presence, rollup, table, world},
};
use crate::link::{now_ms, testing::World};
use unifyit_protocol::{
    compare::SiteHolds,
    ids::{DeviceId, TokenId},
    lane::Lane,
    link::{DeviceSeries, DownRecord, Enrolled, UpRecord},
};

/// What was written since the copy is gone, and the cloud does not know it.
async fn put_back(world: &World) {
    let mut owner = world.db.owner().await;
    for sql in ["DELETE FROM series_tables", "DELETE FROM devices", "DELETE FROM downlink"] {
        sqlx::query(sql).execute(&mut owner).await.unwrap();
    }
}

fn enrolled(device: DeviceId) -> UpRecord {
    let (hostname, version) = ("box".into(), "1".into());
    let token = TokenId::generate();
    UpRecord::Enrolled(Enrolled { device, hostname, version, token, at_ms: now_ms() })
}

async fn asked_for_columns(world: &World) -> Vec<(DeviceId, Option<u32>)> {
    let of = |record| match record {
        DownRecord::TellAgain(again) => again.columns().collect(),
        _ => Vec::new(),
    };
    waiting(world).await.into_iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_remembered_of_the_lost_database_is_not_believed() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    let minute = now_ms() / 60_000;
    lane.push(Lane::Urgent, vec![enrolled(device)]).await;
    for _ in 0..2 {
        // Twice: what is seen in the database is remembered.
        lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    }
    let series = UpRecord::Series(DeviceSeries { device, table: table() });
    lane.push(Lane::Metrics, vec![series]).await;
    lane.push(Lane::Metrics, vec![metrics(device, &[rollup(minute, 1)])]).await;
    put_back(&world).await;

    let mut holds = SiteHolds { at_ms: now_ms(), ..SiteHolds::default() };
    holds.devices.push(device);
    holds.note_last(true);
    lane.push(Lane::Urgent, vec![UpRecord::Holds(Box::new(holds))]).await;
    let there = "SELECT count(*) FROM devices WHERE online";
    assert_eq!(world.scalar::<i64>(there).await, 1, "it is listed, and as connected");
    lane.push(Lane::Metrics, vec![metrics(device, &[rollup(minute + 1, 1)])]).await;
    assert_eq!(asked_for_columns(&world).await, [(device, Some(table().hash()))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolment_of_a_device_whose_row_is_lost_does_not_stop_its_lane() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    for _ in 0..2 {
        lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    }
    put_back(&world).await;
    lane.push_again(Lane::Urgent, vec![enrolled(device)]).await;
    let named = "SELECT count(*) FROM devices WHERE hostname = 'box'";
    assert_eq!(world.scalar::<i64>(named).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_was_rolled_back_is_asked_again() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    let mut owner = world.db.owner().await;
    lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    // The next transaction fails at its end, and comes again.
    for sql in [
        "CREATE SEQUENCE tries",
        "CREATE FUNCTION fails_once() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
             IF nextval('public.tries') = 1 THEN \
                 RAISE EXCEPTION 'the server goes down' USING ERRCODE = '57P01'; END IF; \
             RETURN NEW; END $$",
        "CREATE TRIGGER fails_once BEFORE UPDATE ON lane_cursors FOR EACH ROW EXECUTE FUNCTION fails_once()",
    ] {
        sqlx::query(sql).execute(&mut owner).await.unwrap();
    }
    let minute = now_ms() / 60_000;
    lane.push_again(Lane::Metrics, vec![metrics(device, &[rollup(minute, 1)])]).await;
    assert_eq!(asked_for_columns(&world).await, [(device, Some(table().hash()))]);
}
