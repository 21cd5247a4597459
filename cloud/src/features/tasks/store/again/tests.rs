//! A command for more devices than a message to a relay can name.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    db::Scope,
    features::tasks::tests::{queued, run, script, technician},
    testing::{Place, TestApp},
};
use serde_json::json;

/// A command for the site's device and as many more, which were all sent it.
async fn lost(app: &TestApp, place: &Place, key: &str, more: i32) -> CommandId {
    let targets = json!({ "site_ids": [place.site] });
    let input = json!({ "name": "Greet", "targets": targets, "action": script("echo hi") });
    let made = app.by_key(key, "POST", "/tasks", Some(&input)).await;
    assert_eq!(made.status.as_u16(), 202, "{}", made.body);
    let id = queued(app, place).await[0].command;
    let mut tx = app.test.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::query(
        "INSERT INTO task_targets (task_id, command_id, device_id, partner_id, organization_id, site_id) \
         SELECT task_id, id, gen_random_uuid(), partner_id, organization_id, site_id \
         FROM commands, generate_series(1, $2) WHERE id = $1",
    )
    .bind(id.0)
    .bind(more)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    run(app, "UPDATE task_targets SET status = 'sent'").await;
    run(app, "DELETE FROM downlink").await;
    id
}

fn identity(place: &Place) -> RelayIdentity {
    RelayIdentity {
        id: place.relay,
        partner: place.partner,
        organization: place.organization,
        site: place.site,
    }
}

#[tokio::test]
async fn a_command_for_more_devices_than_a_message_names_keeps_no_other_from_being_sent_again() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let many = lost(&app, &place, &key, 20_000).await;
    lost(&app, &place, &key, 40_000).await;
    let few = lost(&app, &place, &key, 1).await;
    let relay = identity(&place);
    let mut tx = app.test.db.tenant(&relay.scope()).await.unwrap();
    let sent = send_again(&mut tx, &relay, &HashSet::new(), None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(sent, 2);
    let again = queued(&app, &place).await;
    let named: Vec<_> = again
        .iter()
        .map(|c| (c.command, c.devices.len(), c.handed.len(), c.unheard.len()))
        .collect();
    assert_eq!(named, [(many, 20_001, 20_001, 20_001), (few, 2, 2, 2)]);
}

#[tokio::test]
async fn what_was_made_after_a_relay_had_gone_was_handed_to_nobody() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let command = lost(&app, &place, &key, 0).await;
    run(&app, "UPDATE devices SET online = true").await;
    run(&app, "UPDATE task_targets SET status = 'pending'").await;
    let relay = identity(&place);
    let gone = [
        ("UPDATE relays SET online = false, state_since = now() - interval '1 hour'", 0),
        ("UPDATE relays SET online = false, state_since = now()", 1),
    ];
    for (gone, handed) in gone {
        run(&app, gone).await;
        let mut tx = app.test.db.tenant(&relay.scope()).await.unwrap();
        assert_eq!(send_again(&mut tx, &relay, &HashSet::new(), None).await.unwrap(), 1);
        let held = HashSet::from([command.0]);
        assert_eq!(had(&mut tx, &relay, &held).await.unwrap().len(), handed, "{gone}");
        tx.commit().await.unwrap();
        let again = queued(&app, &place).await;
        assert_eq!(again[0].handed.len(), handed, "{gone}");
        run(&app, "DELETE FROM downlink").await;
    }
}

#[tokio::test]
async fn a_session_that_only_seems_to_live_ends_with_the_next_one() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let command = lost(&app, &place, &key, 0).await;
    run(&app, "UPDATE task_targets SET status = 'pending'").await;
    // The session before ended an hour ago; the last one began then and was killed, and
    // the device came to it after the command was made.
    run(
        &app,
        "INSERT INTO presence_log (partner_id, organization_id, site_id, relay_id, online, at) \
         SELECT partner_id, organization_id, site_id, id, false, now() - interval '1 hour' FROM relays",
    )
    .await;
    run(
        &app,
        "INSERT INTO presence_log (partner_id, organization_id, site_id, device_id, online, at) \
         SELECT partner_id, organization_id, site_id, id, true, now() FROM devices",
    )
    .await;
    run(
        &app,
        "UPDATE relays SET online = true, state_since = now() - interval '50 minutes', \
             connected_since = now() - interval '50 minutes'",
    )
    .await;
    let relay = identity(&place);
    let mut tx = app.test.db.tenant(&relay.scope()).await.unwrap();
    assert_eq!(send_again(&mut tx, &relay, &HashSet::new(), None).await.unwrap(), 1);
    tx.commit().await.unwrap();
    let again = queued(&app, &place).await;
    assert_eq!((again[0].command, again[0].handed.len()), (command, 1));
}
