//! What a relay that was put back to an older copy is told of who had its commands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{
    compare_tests::{open_task, tell, waiting},
    tests::{presence, world},
};
use crate::{
    db::Scope,
    link::{now_ms, testing::World},
};
use std::collections::BTreeSet;
use unifyit_protocol::{
    compare::{SiteHolds, SiteKnown, TellAgain},
    ids::{CommandId, DeviceId},
    lane::Lane,
    link::{DownRecord, UpRecord},
};

async fn run(world: &World, sql: &'static str) {
    let mut tx = world.db.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

fn asks(commands: &[CommandId]) -> SiteHolds {
    let commands = commands.to_vec();
    SiteHolds { at_ms: now_ms(), commands, asks: true, ..SiteHolds::default() }
}

/// What waits for the relay of who had what.
async fn answers(world: &World) -> Vec<SiteKnown> {
    let waiting = waiting(world).await.into_iter();
    let known = waiting.filter_map(|record| match record {
        DownRecord::Known(known) if known.answered || !known.had.is_empty() => Some(known),
        _ => None,
    });
    known.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_relay_is_told_of_the_youngest_commands_that_still_hold() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    let mut commands = Vec::new();
    for _ in 0..8 {
        commands.push(open_task(&world, device).await);
    }
    // The youngest is over: it says nothing of any that is not.
    let over = "UPDATE commands SET expires_at = now() - interval '1 minute' \
                WHERE id = (SELECT max(id::text) FROM commands)::uuid";
    sqlx::query(over).execute(&mut world.db.owner().await).await.unwrap();
    let mut holds = SiteHolds { at_ms: now_ms(), asks: true, ..SiteHolds::default() };
    holds.commands.clone_from(&commands);
    tell(&mut lane, holds).await;
    let told: Vec<CommandId> =
        answers(&world).await.iter().flat_map(|k| &k.had).map(|h| h.command).collect();
    commands.pop();
    commands.reverse();
    commands.truncate(6);
    assert_eq!(told, commands);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_relay_is_told_who_had_the_commands_that_it_holds() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let devices = [(); 4].map(|()| DeviceId::generate());
    lane.push(Lane::Urgent, devices.map(|device| presence(device, true)).to_vec()).await;
    let mut commands = Vec::new();
    for (device, status) in devices.into_iter().zip(["pending", "sent", "succeeded", "succeeded"]) {
        let command = open_task(&world, device).await;
        let mut tx = world.db.db.tenant(&Scope::Platform).await.unwrap();
        sqlx::query("UPDATE task_targets SET status = $2 WHERE device_id = $1")
            .bind(device.0)
            .bind(status)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        commands.push(command);
    }
    // Of one only its target is kept.
    run(
        &world,
        "DELETE FROM commands WHERE task_id IN (SELECT task_id FROM task_targets \
         WHERE status = 'succeeded')",
    )
    .await;
    // It does not hold the last one.
    let held = commands[..3].to_vec();
    let told = |asks| SiteHolds {
        at_ms: now_ms(),
        devices: devices.to_vec(),
        online: vec![0b1111],
        commands: held.clone(),
        asks,
        ..SiteHolds::default()
    };
    tell(&mut lane, told(false)).await;
    assert!(answers(&world).await.is_empty(), "it has them in its own memory");
    tell(&mut lane, told(true)).await;
    let answers = answers(&world).await;
    let had = answers.iter().flat_map(|known| &known.had);
    let had: BTreeSet<_> = had.map(|h| (h.command, h.device, h.started)).collect();
    // The first was connected when its command was made: it may have had it.
    let expected = [(0, false), (1, false), (2, true)];
    let expected = expected.map(|(n, started)| (commands[n], devices[n], started));
    assert_eq!(had, BTreeSet::from(expected));
    assert!(answers.last().unwrap().answered, "what it waits for ends");
}

/// Two commands, each for the same two devices.
async fn two_for_two(world: &World, devices: [DeviceId; 2]) -> Vec<CommandId> {
    let commands = vec![open_task(world, devices[0]).await, open_task(world, devices[0]).await];
    let more = "INSERT INTO task_targets (task_id, command_id, device_id, partner_id, \
             organization_id, site_id, status) \
         SELECT task_id, command_id, $1, partner_id, organization_id, site_id, 'sent' FROM task_targets";
    sqlx::query(more).bind(devices[1].0).execute(&mut world.db.owner().await).await.unwrap();
    commands
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_devices_of_a_site_had_is_told_before_nothing_follows() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let devices = [(); 2].map(|()| DeviceId::generate());
    lane.push(Lane::Urgent, devices.map(|device| presence(device, true)).to_vec()).await;
    let commands = two_for_two(&world, devices).await;
    tell(&mut lane, asks(&commands)).await;
    let answers = answers(&world).await;
    let had: BTreeSet<_> =
        answers.iter().flat_map(|known| &known.had).map(|h| (h.command, h.device)).collect();
    let all = commands.iter().flat_map(|command| devices.map(|device| (*command, device)));
    assert_eq!(had, all.collect());
    assert_eq!(answers.len(), 2);
    assert!(answers[1].answered && answers[1].had.is_empty(), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_takes_the_place_of_the_one_before() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    let mut commands = Vec::new();
    for _ in 0..4 {
        commands.push(open_task(&world, device).await);
    }
    let held = |n: usize| asks(&commands[n..]);
    // At once and one after the other, each time of other commands.
    let several = (0..3).map(|n| UpRecord::Holds(Box::new(held(n)))).collect();
    lane.push(Lane::Urgent, several).await;
    tell(&mut lane, held(3)).await;
    let told: Vec<_> = answers(&world).await;
    let had: Vec<_> = told.iter().flat_map(|k| &k.had).map(|had| had.command).collect();
    assert_eq!(had, &commands[3..]);
    assert_eq!(told.len(), 2, "{told:?}");
    let written = "SELECT down_seq FROM relays";
    let before = world.scalar::<i64>(written).await;
    // Of a batch, only what it says last is answered.
    let several = (0..3).map(|n| UpRecord::Holds(Box::new(held(n)))).collect();
    lane.push(Lane::Urgent, several).await;
    assert_eq!(world.scalar::<i64>(written).await - before, 3, "settings and two of an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_through_commands_for_an_answer_ends_somewhere() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    let old = open_task(&world, device).await;
    let wide = open_task(&world, device).await;
    // None of these was ever there.
    run(
        &world,
        "INSERT INTO task_targets (task_id, command_id, device_id, partner_id, organization_id, site_id) \
         SELECT t.task_id, t.command_id, gen_random_uuid(), t.partner_id, t.organization_id, t.site_id \
         FROM (SELECT * FROM task_targets ORDER BY command_id DESC LIMIT 1) t, generate_series(1, 40)",
    )
    .await;
    tell(&mut lane, asks(&[old, wide])).await;
    let told = answers(&world).await;
    assert!(told.last().unwrap().answered, "{told:?}");
    assert!(!told.iter().flat_map(|k| &k.had).any(|had| had.command == old), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_relay_that_takes_nothing_is_bounded() {
    let (world, relay, _lane, _ticker) = world().await;
    let place = crate::link::RelayIdentity {
        id: unifyit_protocol::ids::RelayId(world.scalar("SELECT id FROM relays").await),
        partner: world.place.partner,
        organization: world.place.organization,
        site: world.place.site,
    };
    run(
        &world,
        "UPDATE relays SET down_seq = down_seq + 5000; \
         INSERT INTO downlink (relay_id, seq, partner_id, organization_id, site_id, body, kind, key) \
         SELECT id, down_seq - n, partner_id, organization_id, site_id, '', 'tell_series', gen_random_uuid() \
         FROM relays, generate_series(0, 2046) n",
    )
    .await;
    let again =
        |device| DownRecord::TellAgain(TellAgain { series: vec![device], ..TellAgain::default() });
    let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
    let (first, second) = (again(DeviceId::generate()), again(DeviceId::generate()));
    crate::link::downlink::append(&mut tx, place.id, &first).await.expect("there is room for one");
    crate::link::downlink::append(&mut tx, place.id, &first).await.expect("and for it again");
    let full = crate::link::downlink::append(&mut tx, place.id, &second).await;
    assert!(matches!(full, Err(crate::link::downlink::AppendError::Full(_))), "{full:?}");
    // Nobody is kept from revoking.
    let out = DownRecord::RevokeDevice(DeviceId::generate());
    crate::link::downlink::append(&mut tx, place.id, &out).await.unwrap();
    tx.commit().await.unwrap();
    let asked = "SELECT count(*) FROM downlink WHERE kind = 'tell_series'";
    assert_eq!(world.scalar::<i64>(asked).await, 2048);
    drop(relay);
}
