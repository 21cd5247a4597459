//! Tasks through the API, down to what a relay would get.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::jobs;
use crate::{
    db::Scope,
    testing::{Place, TestApp},
};
use serde_json::{Value, json};
use unifyit_protocol::{
    command::{Action, Targets},
    envelope::Decoded,
    grant::{self, Trust},
    ids::{CommandId, DeviceId, SiteId},
    link::{DeliverCommand, DownRecord},
    signing::PublicKey,
};

pub(super) fn script(body: &str) -> Value {
    json!({ "kind": "script", "interpreter": "bash", "body": body })
}

pub(super) async fn technician(app: &TestApp, place: &Place) -> String {
    app.key("technician", Scope::Organization(place.partner, place.organization)).await.0
}

/// What waits for the place's relay.
pub(super) async fn queued(app: &TestApp, place: &Place) -> Vec<DeliverCommand> {
    let mut tx = app.test.db.tenant(&Scope::Platform).await.unwrap();
    let bodies: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT body FROM downlink WHERE relay_id = $1 ORDER BY seq")
            .bind(place.relay.0)
            .fetch_all(&mut *tx)
            .await
            .unwrap();
    tx.commit().await.unwrap();
    bodies
        .iter()
        .filter_map(|body| match DownRecord::decode(body).unwrap() {
            Decoded::Known(DownRecord::Command(command)) => Some(command),
            _ => None,
        })
        .collect()
}

async fn authority(app: &TestApp, place: &Place) -> PublicKey {
    let mut tx = app.test.db.tenant(&Scope::Platform).await.unwrap();
    let key: Vec<u8> =
        sqlx::query_scalar("SELECT public_key FROM organization_keys WHERE organization_id = $1")
            .bind(place.organization.0)
            .fetch_one(&mut *tx)
            .await
            .unwrap();
    PublicKey(key.try_into().unwrap())
}

pub(super) async fn run(app: &TestApp, sql: &'static str) {
    let mut tx = app.test.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::query(sql).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_task_is_one_signed_command_a_site_and_is_told_in_full() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    for n in 0..4 {
        app.device(&place, DeviceId::generate(), &format!("more-{n}")).await;
    }
    let key = technician(&app, &place).await;
    let input = json!({ "name": "Greet", "targets": { "site_ids": [place.site] }, "action": script("echo hi") });
    let made = app.by_key(&key, "POST", "/tasks", Some(&input)).await;
    assert_eq!(made.status.as_u16(), 202, "{}", made.body);
    let id = made.body["id"].as_str().unwrap().to_owned();

    let commands = queued(&app, &place).await;
    assert_eq!(commands.len(), 1);
    assert_eq!(commands[0].devices.len(), 5);
    let trust = Trust {
        authority: &authority(&app, &place).await,
        organization: place.organization,
        site: place.site,
        now_ms: app.state.clock.now_ms(),
    };
    let command = grant::authorize(&commands[0].signed, trust, grant::Scope::Execute).unwrap();
    assert_eq!(command.targets, Targets::Site(place.site));
    assert_eq!(command.counter, 1);
    let Action::Script(script) = command.action else { panic!() };
    assert_eq!(script.body, "echo hi");

    let task = app.by_key(&key, "GET", &format!("/tasks/{id}"), None).await.body;
    assert_eq!((&task["status"], &task["total"]), (&json!("running"), &json!(5)));
    assert_eq!(task["counts"]["pending"], 5);
    assert_eq!(task["counts"]["refused"], 0);
    assert_eq!(task["targets"].as_array().unwrap().len(), 5);

    run(&app, "INSERT INTO task_output SELECT task_id, device_id, 0, partner_id, organization_id, site_id, 1, 'hi\\377'::bytea FROM task_targets").await;
    run(&app, "UPDATE task_targets SET status = 'succeeded', exit_code = 0, output_len = 3").await;
    let groups = app.by_key(&key, "GET", &format!("/tasks/{id}/groups"), None).await.body;
    assert_eq!(groups["items"][0]["count"], 5, "{groups}");
    assert_eq!(groups["items"][0]["output_sample"], "hi\u{fffd}");
    let page = app.by_key(&key, "GET", &format!("/tasks/{id}/targets?limit=2"), None).await.body;
    assert_eq!(page["items"][0]["output"], "hi\u{fffd}");
    assert!(page["next_cursor"].is_string());
    let next =
        format!("/tasks/{id}/targets?limit=3&cursor={}", page["next_cursor"].as_str().unwrap());
    let page = app.by_key(&key, "GET", &next, None).await.body;
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next_cursor"]), (3, &Value::Null));
    let output = format!("/tasks/{id}/targets/{}/output", place.device);
    let output = app.by_key(&key, "GET", &output, None).await;
    assert_eq!(output.headers["content-type"], "application/octet-stream");

    jobs::sweep(&app.test.db).await.unwrap();
    let list = app.by_key(&key, "GET", "/tasks", None).await.body;
    assert_eq!(list["items"][0]["status"], "done");
    let of_device = format!("/devices/{}/tasks", place.device);
    let of_device = app.by_key(&key, "GET", &of_device, None).await.body;
    assert_eq!(of_device["items"][0]["target"]["status"], "succeeded", "{of_device}");
    let cancel = app.by_key(&key, "POST", &format!("/tasks/{id}/cancel"), None).await;
    assert_eq!(cancel.status.as_u16(), 409);
}

#[tokio::test]
async fn a_repeated_request_runs_once_and_named_devices_are_signed_by_name() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "once")];
    let input = json!({ "targets": { "device_ids": [place.device] }, "action": script("true") });
    let first = app.ask("POST", "/tasks", &headers, Some(&input)).await;
    let second = app.ask("POST", "/tasks", &headers, Some(&input)).await;
    assert_eq!((first.status.as_u16(), first.body), (202, second.body));
    let commands = queued(&app, &place).await;
    assert_eq!(commands.len(), 1);
    let command = commands[0].signed.peek().unwrap();
    assert_eq!(command.targets, Targets::Devices(vec![place.device]));
}

#[tokio::test]
async fn what_is_outside_the_scope_or_out_of_bounds_is_refused_with_a_sentence() {
    let app = TestApp::new().await;
    let (place, other) = (app.place("alpha").await, app.place("beta").await);
    let key = technician(&app, &place).await;
    let own = json!({ "device_ids": [place.device] });
    let mut long = script("true");
    long["timeout_s"] = json!(90_000);
    for (targets, action, expires, said) in [
        (json!({ "device_ids": [place.device, other.device] }), script("true"), 60, "1 of the 2"),
        (json!({ "site_ids": [other.site] }), script("true"), 60, "No device matches"),
        (json!({ "site_ids": [SiteId::generate()] }), script("true"), 60, "No device matches"),
        (json!({}), script("true"), 60, "No devices are named"),
        (own.clone(), script("  "), 60, "empty"),
        (own.clone(), script(&"x".repeat(200_000)), 60, "128 KiB"),
        (own.clone(), script("a\0b"), 60, "NUL"),
        (own.clone(), script("a\r\nb\n"), 60, "CR LF"),
        (own.clone(), long, 60, "24 hours"),
        (own.clone(), script("true"), 40 * 24 * 3600, "31 days"),
    ] {
        let input = json!({ "targets": targets, "action": action, "expires_in_s": expires });
        let answer = app.by_key(&key, "POST", "/tasks", Some(&input)).await;
        assert_eq!(answer.status.as_u16(), 422, "{said}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{detail} / {said}");
    }
    assert!(queued(&app, &place).await.is_empty());
    // `all` is all that the actor sees.
    let input = json!({ "targets": { "all": true }, "action": script("true") });
    let made = app.by_key(&key, "POST", "/tasks", Some(&input)).await;
    assert_eq!(made.status.as_u16(), 202);
    assert!(queued(&app, &other).await.is_empty());
    let theirs = technician(&app, &other).await;
    let hidden = format!("/tasks/{}", made.body["id"].as_str().unwrap());
    assert_eq!(app.by_key(&theirs, "GET", &hidden, None).await.status.as_u16(), 404);
}

#[tokio::test]
async fn a_cancel_is_signed_and_names_the_command_to_stop() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let input = json!({ "targets": { "all": true }, "action": script("sleep 600") });
    let made = app.by_key(&key, "POST", "/tasks", Some(&input)).await.body;
    let cancel = format!("/tasks/{}/cancel", made["id"].as_str().unwrap());
    let cancelled = app.by_key(&key, "POST", &cancel, None).await;
    assert_eq!(cancelled.status.as_u16(), 202, "{}", cancelled.body);
    // The device has not said so yet.
    assert_eq!(cancelled.body["status"], "running");
    let commands = queued(&app, &place).await;
    let stop = commands[1].signed.verify(&authority(&app, &place).await).unwrap();
    let Action::Cancel { command } = stop.action else { panic!() };
    assert_eq!(command, commands[0].command);
    assert_ne!(stop.id, CommandId(command.0));
    run(&app, "UPDATE task_targets SET status = 'cancelled'").await;
    jobs::sweep(&app.test.db).await.unwrap();
    let task = format!("/tasks/{}", made["id"].as_str().unwrap());
    let task = app.by_key(&key, "GET", &task, None).await.body;
    assert_eq!(task["status"], "cancelled");
}

#[tokio::test]
async fn targets_that_nobody_answers_for_expire() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let input = json!({ "targets": { "all": true }, "action": script("true"), "expires_in_s": 10 });
    let made = app.by_key(&key, "POST", "/tasks", Some(&input)).await.body;
    jobs::sweep(&app.test.db).await.unwrap();
    let path = format!("/tasks/{}", made["id"].as_str().unwrap());
    assert_eq!(app.by_key(&key, "GET", &path, None).await.body["status"], "running");
    run(&app, "UPDATE tasks SET expires_at = now() - interval '2 minutes'").await;
    for _ in 0..2 {
        jobs::sweep(&app.test.db).await.unwrap();
    }
    let task = app.by_key(&key, "GET", &path, None).await.body;
    assert_eq!((&task["status"], &task["counts"]["expired"]), (&json!("done"), &json!(1)));
}

#[tokio::test]
async fn pieces_of_output_that_overlap_are_read_once() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let input = json!({ "targets": { "all": true }, "action": script("true") });
    let id = app.by_key(&key, "POST", "/tasks", Some(&input)).await.body["id"].clone();
    let id = id.as_str().unwrap();
    // Each byte told by many pieces, then a hole.
    run(
        &app,
        "INSERT INTO task_output SELECT task_id, device_id, n, partner_id, organization_id, site_id, 1, \
             substring(convert_to(repeat('0123456789', 20), 'UTF8') FROM n + 1 FOR 100) \
         FROM task_targets, unnest('{0,1,2,30,99,100,150,400}'::int[]) n",
    )
    .await;
    run(&app, "UPDATE task_targets SET status = 'succeeded', output_len = 500").await;
    let whole = "0123456789".repeat(20);
    let targets = app.by_key(&key, "GET", &format!("/tasks/{id}/targets"), None).await.body;
    assert_eq!(targets["items"][0]["output"], whole);
    let output = format!("/tasks/{id}/targets/{}/output", place.device);
    assert_eq!(app.by_key(&key, "GET", &output, None).await.body, whole);
    let of_device = format!("/devices/{}/tasks", place.device);
    let tasks = app.by_key(&key, "GET", &of_device, None).await.body;
    assert_eq!(tasks["items"][0]["target"]["output_len"], 500, "{tasks}");
}

#[tokio::test]
async fn what_waits_ends_with_the_right_of_who_asked_for_it() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    for end in [
        "UPDATE users SET disabled_at = now()",
        "UPDATE memberships SET role = 'viewer'",
        "UPDATE api_keys SET revoked_at = now()",
        "UPDATE organizations SET deleted_at = now()",
    ] {
        let key = technician(&app, &place).await;
        let input = json!({ "targets": { "all": true }, "action": script("sleep 600") });
        let made = app.by_key(&key, "POST", "/tasks", Some(&input)).await;
        assert_eq!(made.status.as_u16(), 202, "{}", made.body);
        let before = queued(&app, &place).await.len();
        jobs::end_with_rights(&app.state).await.unwrap();
        assert_eq!(queued(&app, &place).await.len(), before, "nothing has ended before {end}");
        run(&app, end).await;
        jobs::end_with_rights(&app.state).await.unwrap();
        jobs::end_with_rights(&app.state).await.unwrap();
        let commands = queued(&app, &place).await;
        assert_eq!(commands.len(), before + 1, "{end} stops it once");
        let stop = commands[before].signed.peek().unwrap();
        assert!(
            matches!(stop.action, Action::Cancel { command } if command == commands[before - 1].command)
        );
        run(&app, "UPDATE organizations SET deleted_at = NULL").await;
    }
}

#[tokio::test]
async fn actions_and_targets_are_objects() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    for (targets, action) in [
        (json!({ "all": true }), json!(["script", { "interpreter": "sh", "body": "true" }])),
        (json!({ "all": true }), json!(["script", "sh", "true"])),
        (json!([[], [], [], null, true]), script("true")),
    ] {
        let input = json!({ "targets": targets, "action": action });
        let answer = app.by_key(&key, "POST", "/tasks", Some(&input)).await;
        assert_eq!(answer.status.as_u16(), 422, "{input}: {}", answer.body);
    }
}
