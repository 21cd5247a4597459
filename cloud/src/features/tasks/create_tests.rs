//! Making a task: claimed once, counted once, and told as it is stored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::tests::{queued, script, technician};
use crate::{
    db::Scope,
    testing::{Place, TestApp},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use unifyit_protocol::ids::{DeviceId, TaskId};
use uuid::Uuid;

/// Signed commands of the organization so far.
async fn counted(app: &TestApp, place: &Place) -> i64 {
    let mut tx = app.test.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::query_scalar("SELECT command_counter FROM organization_keys WHERE organization_id = $1")
        .bind(place.organization.0)
        .fetch_one(&mut *tx)
        .await
        .unwrap()
}

#[tokio::test]
async fn of_two_requests_at_once_under_one_key_one_acts_and_both_are_answered_alike() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "once")];
    let input = json!({ "targets": { "device_ids": [place.device] }, "action": script("true") });
    let ask = || app.ask("POST", "/tasks", &headers, Some(&input));
    let (one, two) = tokio::join!(ask(), ask());
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (202, 202), "{} {}", one.body, two.body);
    assert_eq!(one.body, two.body);
    assert_eq!((queued(&app, &place).await.len(), counted(&app, &place).await), (1, 1));
    // What would be refused today is answered as it was.
    let mut tx = app.test.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::query("UPDATE devices SET revoked_at = now()").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ask().await.body, one.body);
    let other = json!({ "targets": { "device_ids": [place.device] }, "action": script("false") });
    let misuse = app.ask("POST", "/tasks", &headers, Some(&other)).await;
    assert_eq!(misuse.status.as_u16(), 422, "{}", misuse.body);
    assert_eq!(counted(&app, &place).await, 1, "nothing is taken for what is not done");
}

#[tokio::test]
async fn every_command_has_a_counter_of_its_own_however_its_targets_are_named() {
    let app = TestApp::new().await;
    let (alpha, beta) = (app.place("alpha").await, app.place("beta").await);
    let (both, _) = app.key("technician", Scope::Platform).await;
    let one = json!({ "device_ids": [alpha.device] });
    let several = json!({ "device_ids": [alpha.device, beta.device] });
    let all = json!({ "all": true });
    for targets in [&one, &several, &all, &one] {
        let input = json!({ "targets": targets, "action": script("true") });
        let made = app.by_key(&both, "POST", "/tasks", Some(&input)).await;
        assert_eq!(made.status.as_u16(), 202, "{}", made.body);
    }
    for (place, expected) in [(&alpha, vec![1, 2, 3, 4]), (&beta, vec![1, 2])] {
        let commands = queued(&app, place).await;
        let counters: Vec<u64> =
            commands.iter().map(|c| c.signed.peek().unwrap().counter).collect();
        assert_eq!(counters, expected);
        assert_eq!(counted(&app, place).await, i64::try_from(expected.len()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_commands_made_at_once_each_has_a_counter_and_none_is_left_out() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let mut asked = Vec::new();
    for n in 0..16 {
        // Of several people, whose requests do not wait behind each other.
        let bearer = format!("Bearer {}", technician(&app, &place).await);
        let targets = match n % 2 {
            0 => json!({ "device_ids": [place.device] }),
            _ => json!({ "all": true }),
        };
        asked.push((
            bearer,
            format!("key-{n}"),
            json!({ "targets": targets, "action": script("true") }),
        ));
    }
    let made = asked.iter().map(async |(bearer, key, input)| {
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key.as_str())];
        app.ask("POST", "/tasks", &headers, Some(input)).await
    });
    for made in futures::future::join_all(made).await {
        assert_eq!(made.status.as_u16(), 202, "{}", made.body);
    }
    let commands = queued(&app, &place).await;
    let mut counters: Vec<u64> =
        commands.iter().map(|command| command.signed.peek().unwrap().counter).collect();
    counters.sort_unstable();
    assert_eq!(counters, (1..=16).collect::<Vec<_>>());
    assert_eq!(counted(&app, &place).await, 16);
}

#[tokio::test]
async fn whose_output_comes_is_known_with_the_answer() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let input = json!({ "targets": { "device_ids": [place.device] }, "action": script("true") });
    let made = app.by_key(&key, "POST", "/tasks", Some(&input)).await;
    let id: Uuid = made.body["id"].as_str().unwrap().parse().unwrap();
    let command = queued(&app, &place).await[0].command;
    let outputs = app.state.watches.outputs();
    assert_eq!(outputs.task(place.site, command, place.device), Some(TaskId(id)));
    assert_eq!(outputs.task(place.site, command, DeviceId::generate()), None);
    outputs.forget(place.site);
    assert_eq!(outputs.task(place.site, command, place.device), None);
}

#[tokio::test]
async fn an_audit_row_is_told_live_and_kept_with_the_time_at_which_it_was_written() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let mut live = app.state.db.bus().subscribe();
    let input = json!({ "targets": { "device_ids": [place.device] }, "action": script("true") });
    let made = app.by_key(&key, "POST", "/tasks", Some(&input)).await;
    assert_eq!(made.status.as_u16(), 202, "{}", made.body);
    let mut told = Vec::new();
    while let Ok(event) = live.try_recv() {
        let wire: Value = serde_json::from_str(&event.text).unwrap();
        if wire["kind"] == "audit.added" {
            told.push((event.id.unwrap(), wire["data"].clone()));
        }
    }
    let [(number, told)] = <[_; 1]>::try_from(told).unwrap();
    let mut tx = app.test.db.tenant(&Scope::Platform).await.unwrap();
    let (id, at): (Uuid, OffsetDateTime) =
        sqlx::query_as("SELECT id, at FROM audit_log WHERE action = 'task.create'")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
    let kept: Value = sqlx::query_scalar("SELECT payload FROM events WHERE id = $1")
        .bind(number)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    for data in [&told, &kept] {
        assert_eq!(data["id"], json!(id));
        let said = OffsetDateTime::parse(data["at"].as_str().unwrap(), &Rfc3339).unwrap();
        assert_eq!(said, at, "{data}");
        assert_eq!((&data["action"], &data["target"]), (&json!("task.create"), &json!("1 device")));
    }
}
