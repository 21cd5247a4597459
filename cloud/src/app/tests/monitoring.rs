//! Figures and readiness, and what a stranger can make of them.

use crate::{
    context::AppState,
    db::{Cause, Db, DbError, DbOptions, Scope},
    events::LocalBus,
    http::{Problem, health},
    testing::TestApp,
};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use http_body_util::BodyExt;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use std::{sync::Arc, time::Duration};
use tower::ServiceExt;

async fn monitor(state: &AppState, path: &str) -> (StatusCode, String) {
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let response = health::admin(state.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn words_that_a_stranger_makes_up_become_no_figures() {
    let app = TestApp::new().await;
    let before = monitor(&app.state, "/metrics").await.1.len();
    for n in 0..200 {
        let method = Method::from_bytes(format!("M{n}{}", "X".repeat(2000)).as_bytes()).unwrap();
        let path = format!("/made/up/{n}");
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        app.send(request).await;
    }
    let (status, page) = monitor(&app.state, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("method=\"other\"") && !page.contains("XXXX"));
    assert!(page.len() < before + 4096, "the page grew from {before} to {} bytes", page.len());
}

#[tokio::test]
async fn figures_and_readiness_are_not_for_everybody() {
    let app = TestApp::new().await;
    for path in ["/metrics", "/readyz"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        assert_eq!(app.send(request).await.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(monitor(&app.state, path).await.0, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn readiness_tells_that_the_database_cannot_write_and_why() {
    for (setting, cause) in [
        ("temp_file_limit = '64kB'", Cause::Exhausted),
        ("default_transaction_read_only = on", Cause::ReadOnly),
    ] {
        let app = TestApp::new().await;
        let mut owner = app.test.owner().await;
        let name: String = sqlx::query_scalar("SELECT current_database()::text")
            .fetch_one(&mut owner)
            .await
            .unwrap();
        let change = format!("ALTER DATABASE {name} SET {setting}");
        sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut owner).await.unwrap();
        let options = DbOptions {
            url: app.test.app_url.clone(),
            connections: 2,
            patience: Duration::from_secs(20),
        };
        let db = Db::new(&options, Arc::new(LocalBus::default())).unwrap();
        let (status, said) = monitor(&AppState { db, ..app.state.clone() }, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{setting}: {said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["cause"], cause.sentence(), "{setting}");
    }
    let app = TestApp::new().await;
    app.state.db.close().await;
    let (status, said) = monitor(&app.state, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.contains(Cause::Away.sentence()), "{said}");
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_one() {
    let app = TestApp::new().await;
    for (code, expected) in [
        ("53100", Cause::DiskFull),
        ("53200", Cause::Exhausted),
        ("25006", Cause::ReadOnly),
        ("58030", Cause::Faulty),
        ("57P01", Cause::Away),
    ] {
        let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
        let raise =
            format!("DO $$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = '{code}'; END $$");
        let error = sqlx::raw_sql(AssertSqlSafe(raise)).execute(&mut *tx).await.unwrap_err();
        let error = DbError::from(error);
        assert!(
            matches!(error, DbError::Unavailable { cause, .. } if cause == expected),
            "{error}"
        );
        let problem = Problem::from(error);
        assert_eq!(problem.status, 503);
        assert!(problem.detail.contains(expected.sentence()), "{}", problem.detail);
        assert!(!problem.detail.contains("as told"), "internals stay inside");
    }
}
