//! How tasks end when nobody says so, and who sees those of several customers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{
    jobs,
    tests::{run, script, technician},
};
use crate::{db::Scope, testing::TestApp};
use serde_json::{Value, json};

async fn make(app: &TestApp, key: &str, expires_in_s: u64) -> String {
    let input = json!({ "targets": { "all": true }, "action": script("true"), "expires_in_s": expires_in_s });
    let made = app.by_key(key, "POST", "/tasks", Some(&input)).await;
    assert_eq!(made.status.as_u16(), 202, "{}", made.body);
    made.body["id"].as_str().unwrap().to_owned()
}

async fn get(app: &TestApp, key: &str, path: &str) -> Value {
    app.by_key(key, "GET", path, None).await.body
}

async fn swept(app: &TestApp) {
    for _ in 0..2 {
        jobs::sweep(&app.test.db).await.unwrap();
    }
}

#[tokio::test]
async fn what_runs_beyond_its_time_without_a_word_ends_as_not_known() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let task = format!("/tasks/{}", make(&app, &key, 60).await);
    // Its limit is an hour; a device that is connected would have said so.
    run(
        &app,
        "UPDATE task_targets SET status = 'running', updated_at = now() - interval '65 minutes'",
    )
    .await;
    swept(&app).await;
    assert_eq!(get(&app, &key, &task).await["status"], "running");
    run(&app, "UPDATE task_targets SET updated_at = now() - interval '71 minutes'").await;
    run(&app, "UPDATE devices SET online = false").await;
    swept(&app).await;
    assert_eq!(get(&app, &key, &task).await["status"], "running", "it may come back");
    run(&app, "UPDATE devices SET online = true").await;
    swept(&app).await;
    let ended = get(&app, &key, &task).await;
    assert_eq!((&ended["status"], &ended["counts"]["indeterminate"]), (&json!("done"), &json!(1)));
}

#[tokio::test]
async fn a_closed_task_that_runs_on_a_device_is_opened_and_can_be_stopped() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let task = format!("/tasks/{}", make(&app, &key, 60).await);
    run(&app, "UPDATE task_targets SET status = 'expired'").await;
    swept(&app).await;
    assert_eq!(get(&app, &key, &task).await["status"], "done");
    run(&app, "UPDATE task_targets SET status = 'running'").await;
    swept(&app).await;
    assert_eq!(get(&app, &key, &task).await["status"], "running");
    let cancelled = app.by_key(&key, "POST", &format!("{task}/cancel"), None).await;
    assert_eq!(cancelled.status.as_u16(), 202, "{}", cancelled.body);
    let stops = "SELECT count(*) FROM commands WHERE kind = 'cancel'";
    let stops: i64 =
        sqlx::query_scalar(stops).fetch_one(&mut app.test.owner().await).await.unwrap();
    assert_eq!(stops, 1);
}

#[tokio::test]
async fn a_cancelled_run_of_which_nothing_is_heard_ends() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let task = format!("/tasks/{}", make(&app, &key, 60).await);
    run(&app, "UPDATE task_targets SET status = 'running'").await;
    let cancelled = app.by_key(&key, "POST", &format!("{task}/cancel"), None).await;
    assert_eq!(cancelled.status.as_u16(), 202);
    run(&app, "UPDATE tasks SET cancelled_at = now() - interval '11 minutes'").await;
    run(&app, "UPDATE task_targets SET updated_at = now() - interval '12 minutes'").await;
    swept(&app).await;
    assert_eq!(get(&app, &key, &task).await["status"], "cancelled");
}

#[tokio::test]
async fn revoking_a_device_ends_what_is_open_on_it() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let tasks = [make(&app, &key, 3600).await, make(&app, &key, 3600).await];
    let mut tx = app.test.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::query("UPDATE task_targets SET status = 'running' WHERE task_id = $1::uuid")
        .bind(&tasks[1])
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let revoke = format!("/devices/{}", place.device);
    assert_eq!(app.by_key(&key, "DELETE", &revoke, None).await.status.as_u16(), 204);
    swept(&app).await;
    for (task, ended) in tasks.iter().zip(["cancelled", "indeterminate"]) {
        let task = get(&app, &key, &format!("/tasks/{task}")).await;
        assert_eq!(
            (&task["status"], &task["counts"][ended]),
            (&json!("done"), &json!(1)),
            "{task}"
        );
    }
}

#[tokio::test]
async fn a_run_over_several_customers_is_seen_by_each_and_only_its_own_part() {
    let app = TestApp::new().await;
    let (alpha, beta, other) =
        (app.place("alpha").await, app.place("beta").await, app.place("gamma").await);
    let msp = app.key("technician", Scope::Platform).await.0;
    let input = json!({ "targets": { "device_ids": [alpha.device, beta.device] }, "action": script("true") });
    let made = app.by_key(&msp, "POST", "/tasks", Some(&input)).await.body;
    let id = made["id"].as_str().unwrap();
    for place in [&alpha, &beta] {
        let admin =
            app.key("admin", Scope::Organization(place.partner, place.organization)).await.0;
        let list = get(&app, &admin, "/tasks").await;
        assert_eq!((&list["items"][0]["id"], &list["items"][0]["total"]), (&json!(id), &json!(1)));
        let task = get(&app, &admin, &format!("/tasks/{id}")).await;
        assert_eq!(task["targets"].as_array().unwrap().len(), 1);
        let audit = get(&app, &admin, "/audit").await;
        assert_eq!(
            (&audit["items"][0]["action"], &audit["items"][0]["target"]),
            (&json!("task.create"), &json!("1 device"))
        );
        let timeline = get(&app, &admin, &format!("/devices/{}/timeline", place.device)).await;
        assert_eq!(timeline["items"][0]["kind"], "task", "{timeline}");
    }
    let theirs = technician(&app, &other).await;
    assert_eq!(
        app.by_key(&theirs, "GET", &format!("/tasks/{id}"), None).await.status.as_u16(),
        404
    );
    assert_eq!(get(&app, &theirs, "/tasks").await["items"], json!([]));
    // One of them stops it where it may.
    let own = technician(&app, &alpha).await;
    let cancelled = app.by_key(&own, "POST", &format!("/tasks/{id}/cancel"), None).await;
    assert_eq!(cancelled.status.as_u16(), 202, "{}", cancelled.body);
    let mut tx = app.test.db.tenant(&Scope::Platform).await.unwrap();
    let stops: i64 =
        sqlx::query_scalar("SELECT count(*) FROM commands WHERE kind = 'cancel' AND site_id = $1")
            .bind(alpha.site.0)
            .fetch_one(&mut *tx)
            .await
            .unwrap();
    let all: i64 = sqlx::query_scalar("SELECT count(*) FROM commands WHERE kind = 'cancel'")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!((stops, all), (1, 1));
    assert_eq!(crate::audit::verify(&mut tx).await.unwrap(), None, "every chain is whole");
}

#[tokio::test]
async fn a_loss_is_said_where_the_data_would_be() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let id = make(&app, &key, 3600).await;
    run(
        &app,
        "UPDATE task_targets SET status = 'succeeded', finished_at = now(), output_len = 200007",
    )
    .await;
    let targets = format!("/tasks/{id}/targets");
    let before = get(&app, &key, &targets).await;
    assert_eq!(before["items"][0]["output_lost"], Value::Null, "it may be on its way");
    run(&app, "INSERT INTO gaps (partner_id, organization_id, site_id, lane, records, from_at, to_at, reason) \
        SELECT partner_id, organization_id, id, 'output', 0, now() - interval '1 minute', now(), 'The disk was full.' FROM sites").await;
    let after = get(&app, &key, &targets).await;
    assert_eq!(after["items"][0]["output_lost"], "The disk was full.");
    for path in [format!("/devices/{}/gaps", place.device), format!("/sites/{}/gaps", place.site)] {
        let gaps = get(&app, &key, &path).await;
        assert_eq!(
            (&gaps["items"][0]["lane"], &gaps["items"][0]["records"]),
            (&json!("output"), &Value::Null),
            "{gaps}"
        );
    }
    let timeline = get(&app, &key, &format!("/devices/{}/timeline", place.device)).await;
    let item = timeline["items"].as_array().unwrap().iter().find(|i| i["kind"] == "gap").unwrap();
    assert_eq!(item["detail"], "Output of scripts: The disk was full.");
}

async fn stops(app: &TestApp) -> i64 {
    let stops = "SELECT count(*) FROM commands WHERE kind = 'cancel'";
    sqlx::query_scalar(stops).fetch_one(&mut app.test.owner().await).await.unwrap()
}

#[tokio::test]
async fn what_turns_out_to_run_after_its_task_was_cancelled_is_stopped_once_and_given_its_time() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let task = format!("/tasks/{}", make(&app, &key, 60).await);
    run(&app, "UPDATE task_targets SET status = 'expired', finished_at = now()").await;
    run(&app, "UPDATE tasks SET cancelled_at = now() - interval '30 minutes'").await;
    swept(&app).await;
    assert_eq!(get(&app, &key, &task).await["status"], "cancelled");
    run(&app, "UPDATE task_targets SET status = 'running', finished_at = NULL, updated_at = now()")
        .await;
    swept(&app).await;
    assert_eq!(get(&app, &key, &task).await["status"], "running");
    for _ in 0..3 {
        jobs::end_with_rights(&app.state).await.unwrap();
    }
    assert_eq!(stops(&app).await, 1, "nobody else would stop it");
    let cancelled = app.by_key(&key, "POST", &format!("{task}/cancel"), None).await;
    assert_eq!(cancelled.status.as_u16(), 202, "{}", cancelled.body);
    assert_eq!(stops(&app).await, 2, "somebody may stop it again");
    run(&app, "UPDATE task_targets SET updated_at = now() - interval '11 minutes'").await;
    swept(&app).await;
    let ended = get(&app, &key, &task).await;
    assert_eq!(
        (&ended["status"], &ended["counts"]["indeterminate"]),
        (&json!("cancelled"), &json!(1))
    );
}

#[tokio::test]
async fn what_was_stopped_where_it_ran_is_not_stopped_again() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let key = technician(&app, &place).await;
    let task = format!("/tasks/{}", make(&app, &key, 60).await);
    let cancelled = app.by_key(&key, "POST", &format!("{task}/cancel"), None).await;
    assert_eq!(cancelled.status.as_u16(), 202, "{}", cancelled.body);
    // It had started in that moment.
    run(&app, "UPDATE task_targets SET status = 'running', updated_at = now()").await;
    jobs::end_with_rights(&app.state).await.unwrap();
    assert_eq!(stops(&app).await, 1);
}
