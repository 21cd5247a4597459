//! What a relay holds against what the database knows, over the real link.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::tests::{presence, world};
use crate::{
    db::Scope,
    link::{
        now_ms,
        testing::{FakeLane, World},
    },
};
use unifyit_protocol::{
    command::{Action, Command, Targets},
    compare::{KnownToken, SiteHolds},
    config::{DeviceConfig, SiteConfig},
    envelope::Decoded,
    ids::{CommandId, DeviceId, TaskId, TokenId},
    lane::Lane,
    link::{DownRecord, Enrolled, Frame, Progress, UpRecord},
    outcome::{CommandEvent, Status},
    signing::Signer25519,
};

async fn run(world: &World, sql: &'static str, id: uuid::Uuid) {
    let mut tx = world.db.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::query(sql).bind(id).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

fn enrolled(device: DeviceId, token: TokenId) -> UpRecord {
    UpRecord::Enrolled(Enrolled {
        device,
        hostname: "box".into(),
        version: "1".into(),
        token,
        at_ms: now_ms(),
    })
}

pub(super) async fn tell(lane: &mut FakeLane, holds: SiteHolds) {
    lane.push(Lane::Urgent, vec![UpRecord::Holds(Box::new(holds))]).await;
}

/// All that waits for the relay, as it would get it.
pub(super) async fn waiting(world: &World) -> Vec<DownRecord> {
    let mut tx = world.db.db.tenant(&Scope::Platform).await.unwrap();
    let bodies: Vec<Vec<u8>> = sqlx::query_scalar("SELECT body FROM downlink ORDER BY seq")
        .fetch_all(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let read = |body: &Vec<u8>| match DownRecord::decode(body).unwrap() {
        Decoded::Known(record) => record,
        Decoded::Unknown(kind) => panic!("kind {kind}"),
    };
    bodies.iter().map(read).collect()
}

/// A task that is open on a device, with its signed command.
pub(super) async fn open_task(world: &World, device: DeviceId) -> CommandId {
    let (task, id) = (TaskId::generate(), CommandId::generate());
    let command = Command {
        id,
        organization: world.place.organization,
        targets: Targets::Devices(vec![device]),
        action: Action::Cancel { command: id },
        not_before_ms: now_ms(),
        expires_ms: now_ms() + 3_600_000,
        counter: 1,
        issued_ms: now_ms(),
    };
    let signed = Signer25519::from_seed(&[1; 32]).sign(&command, None).unwrap();
    let mut tx = world.db.db.tenant(&Scope::Platform).await.unwrap();
    for (sql, bytes) in [
        (
            "INSERT INTO tasks (id, partner_id, organization_id, site_id, action, created_by, created_by_id, expires_at, total) \
          SELECT $1, $4, $5, $6, '{}', 'test', $1, now() + interval '1 hour', 1 WHERE $2 IS NOT NULL AND $3 IS NOT NULL AND $7::bytea IS NULL",
            None,
        ),
        (
            "INSERT INTO commands (id, task_id, partner_id, organization_id, site_id, kind, signed, expires_at) \
          SELECT $2, $1, $4, $5, $6, 'script', $7, now() + interval '1 hour' WHERE $3 IS NOT NULL",
            Some(unifyit_protocol::codec::encode(&signed).unwrap()),
        ),
        (
            "INSERT INTO task_targets (task_id, command_id, device_id, partner_id, organization_id, site_id, status) \
          SELECT $1, $2, $3, $4, $5, $6, 'sent' WHERE $7::bytea IS NULL",
            None,
        ),
    ] {
        sqlx::query(sql)
            .bind(task.0)
            .bind(id.0)
            .bind(device.0)
            .bind(world.place.partner.0)
            .bind(world.place.organization.0)
            .bind(world.place.site.0)
            .bind(bytes)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_restored_relay_forgot_is_sent_again_once() {
    let (world, relay, mut lane, _ticker) = world().await;
    let (stays, goes) = (DeviceId::generate(), DeviceId::generate());
    let token = world.token(
        &world.place,
        unifyit_protocol::token::TokenKind::Relay {
            cloud_addresses: vec![],
            cloud_peer: String::new(),
        },
        "agent",
        now_ms() + 600_000,
        5,
    );
    let token = token.await.id;
    let joined = [
        enrolled(stays, token),
        enrolled(goes, token),
        presence(stays, true),
        presence(goes, true),
    ];
    lane.push(Lane::Urgent, joined.to_vec()).await;
    run(&world, "UPDATE devices SET revoked_at = now(), online = false WHERE id = $1", goes.0)
        .await;
    run(&world, "DELETE FROM downlink WHERE relay_id <> $1", goes.0).await;
    let command = open_task(&world, stays).await;
    // What is in flight would be acknowledged by a session; none reads from here on.
    tell(
        &mut lane,
        SiteHolds { at_ms: now_ms(), devices: vec![goes], online: vec![0], ..SiteHolds::default() },
    )
    .await;
    let told = waiting(&world).await;
    assert!(told.iter().any(|r| matches!(r, DownRecord::Config(_))), "{told:?}");
    assert!(told.contains(&DownRecord::RevokeDevice(goes)), "{told:?}");
    let known = told.iter().filter_map(|r| match r {
        DownRecord::Known(known) => Some(known),
        _ => None,
    });
    let (mut devices, mut tokens) = (Vec::new(), Vec::new());
    known.for_each(|k| {
        devices.extend(k.devices.iter().map(|d| d.device));
        tokens.extend(k.tokens.clone());
    });
    assert_eq!(devices, [stays]);
    assert_eq!(tokens, [KnownToken { token, used: 2, revoked: false }]);
    let again = told.iter().filter(
        |r| matches!(r, DownRecord::Command(c) if c.command == command && c.devices == [stays]),
    );
    assert_eq!(again.count(), 1);
    assert!(!world.scalar::<bool>("SELECT bool_or(online) FROM devices").await, "nobody is there");
    let audited = "SELECT count(*) FROM audit_log WHERE action = 'relay.compared'";
    assert_eq!(world.scalar::<i64>(audited).await, 1);

    // It holds all of it: nothing is sent but the settings.
    run(&world, "DELETE FROM downlink WHERE relay_id <> $1", goes.0).await;
    let mut holds = SiteHolds { at_ms: now_ms(), ..SiteHolds::default() };
    holds.devices.push(stays);
    holds.note_last(true);
    holds.revoked.push(goes);
    holds.tokens.push(KnownToken { token, used: 2, revoked: false });
    holds.commands.push(command);
    tell(&mut lane, holds).await;
    let told = waiting(&world).await;
    assert!(matches!(told.as_slice(), [DownRecord::Config(_)]), "{told:?}");
    assert!(world.scalar::<bool>("SELECT bool_or(online) FROM devices").await);
    drop(relay);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_database_takes_what_only_the_relay_knows() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let (here, out) = (DeviceId::generate(), DeviceId::generate());
    let kind = unifyit_protocol::token::TokenKind::Relay {
        cloud_addresses: vec![],
        cloud_peer: String::new(),
    };
    let token = world.token(&world.place, kind, "agent", now_ms() + 600_000, 5).await.id;
    lane.push(Lane::Urgent, vec![presence(here, false), presence(out, true)]).await;
    let settings = SiteConfig {
        revision: 9,
        device: DeviceConfig { revision: 9, collect_every_s: 33, ..DeviceConfig::default() },
        ui_pin_hash: "$argon2id$x".into(),
        cache_hosts: vec!["deb.debian.org".into()],
        ..SiteConfig::default()
    };
    let mut holds = SiteHolds { at_ms: now_ms(), settings, ..SiteHolds::default() };
    holds.devices.push(here);
    holds.note_last(true);
    holds.revoked.push(out);
    holds.tokens.push(KnownToken { token, used: 4, revoked: true });
    tell(&mut lane, holds).await;
    assert_eq!(
        world
            .scalar::<i64>("SELECT count(*) FROM devices WHERE online AND revoked_at IS NULL")
            .await,
        1
    );
    assert_eq!(
        world
            .scalar::<i64>(
                "SELECT count(*) FROM devices WHERE NOT online AND revoked_at IS NOT NULL"
            )
            .await,
        1
    );
    let tokens = "SELECT count(*) FROM install_tokens WHERE used = 4 AND revoked_at IS NOT NULL";
    assert_eq!(world.scalar::<i64>(tokens).await, 1);
    let taken = "SELECT concat_ws(' ', revision, desired->'collection'->>'collect_every_s', \
        desired->'local_ui'->>'pin', desired->'package_cache'->'hosts'->>0) FROM site_configs";
    assert_eq!(world.scalar::<String>(taken).await, "10 33 $argon2id$x deb.debian.org");
    // A relay that claims more than there can be changes nothing.
    let settings = SiteConfig { revision: u64::MAX, ..SiteConfig::default() };
    tell(&mut lane, SiteHolds { at_ms: now_ms(), settings, ..SiteHolds::default() }).await;
    assert_eq!(world.scalar::<i64>("SELECT revision FROM site_configs").await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_lost_what_it_acknowledged_hears_of_everything() {
    let (world, relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    lane.push(Lane::Urgent, vec![enrolled(device, TokenId::generate()), presence(device, true)])
        .await;
    let command = open_task(&world, device).await;
    let epoch = lane.hello.as_ref().unwrap().epoch;
    let through = world.scalar::<i64>("SELECT down_seq FROM relays").await.unsigned_abs();
    lane.send(Frame::Ack(unifyit_protocol::lane::Ack { lane: Lane::Urgent, epoch, through })).await;
    world.until("it is deleted", "SELECT count(*) = 0 FROM downlink").await;
    drop(lane);
    let _lane = relay.lane(2).await;
    world.until("it is told anew", "SELECT count(*) >= 3 FROM downlink").await;
    let told = waiting(&world).await;
    assert!(
        matches!(&told[..], [DownRecord::Config(_), DownRecord::Known(_), DownRecord::Command(c)] if c.command == command),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_expiry_of_a_relay_that_forgot_gives_way_to_every_end_that_the_device_tells() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    let ends = [
        (Status::Failed, "failed"),
        (Status::TimedOut, "timed_out"),
        (Status::Cancelled, "cancelled"),
        (Status::Indeterminate, "indeterminate"),
    ];
    for (end, word) in ends {
        let command = open_task(&world, device).await;
        let told = |status| {
            let event = CommandEvent { command, ..ended(status) };
            UpRecord::Progress(vec![Progress { device, event }])
        };
        lane.push(Lane::Urgent, vec![told(Status::Running)]).await;
        lane.push(Lane::Urgent, vec![told(Status::Expired)]).await;
        let newest = "SELECT status FROM task_targets ORDER BY command_id DESC LIMIT 1";
        assert_eq!(world.scalar::<String>(newest).await, "running", "it says so itself");
        // As a cloud of before has it.
        let expired = "UPDATE task_targets SET status = 'expired' WHERE command_id = $1";
        run(&world, expired, command.0).await;
        lane.push(Lane::Urgent, vec![told(end)]).await;
        assert_eq!(world.scalar::<String>(newest).await, word);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_after_its_expiry_was_told_can_still_be_stopped() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    let command = open_task(&world, device).await;
    let told = |status| {
        let event = CommandEvent { command, ..ended(status) };
        UpRecord::Progress(vec![Progress { device, event }])
    };
    let (status, closed) =
        ("SELECT status FROM task_targets", "SELECT finished_at IS NOT NULL FROM tasks");
    lane.push(Lane::Urgent, vec![told(Status::Expired)]).await;
    assert_eq!(world.scalar::<String>(status).await, "expired");
    world.until("its task is closed", closed).await;
    lane.push(Lane::Urgent, vec![told(Status::Running)]).await;
    assert_eq!(world.scalar::<String>(status).await, "running");
    world.until("its task is open", "SELECT finished_at IS NULL FROM tasks").await;
    lane.push(Lane::Urgent, vec![told(Status::Succeeded)]).await;
    world.until("its task is closed again", closed).await;
    // What has ended stays so.
    lane.push(Lane::Urgent, vec![told(Status::Running)]).await;
    assert_eq!(world.scalar::<String>(status).await, "succeeded");
}

fn ended(status: Status) -> CommandEvent {
    CommandEvent {
        command: CommandId::generate(),
        status,
        at_ms: now_ms(),
        exit_code: None,
        reason: None,
        output_len: 0,
        output_cut: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_no_longer_run_is_not_opened_again() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    let command = open_task(&world, device).await;
    let told = |status| {
        let event = CommandEvent { command, ..ended(status) };
        UpRecord::Progress(vec![Progress { device, event }])
    };
    let status = "SELECT status FROM task_targets";
    lane.push(Lane::Urgent, vec![told(Status::Expired)]).await;
    let long_ago =
        "UPDATE task_targets SET finished_at = now() - interval '4 days' WHERE command_id = $1";
    run(&world, long_ago, command.0).await;
    lane.push(Lane::Urgent, vec![told(Status::Running)]).await;
    assert_eq!(world.scalar::<String>(status).await, "expired");
    // How it ended is heard whenever that comes.
    lane.push(Lane::Urgent, vec![told(Status::Succeeded)]).await;
    assert_eq!(world.scalar::<String>(status).await, "succeeded");
}
