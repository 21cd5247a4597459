//! Lists that change while they are found.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{DeviceQuery, query::Checked, store};
use crate::{
    db::{Db, Scope},
    testing::TestApp,
};
use sqlx::AssertSqlSafe;
use unifyit_protocol::ids::DeviceId;
use uuid::Uuid;

/// Finds a page, and changes the database before the first statement of it that reads
/// computers: those before have read sums.
async fn list_while(app: &TestApp, query: &DeviceQuery, change: String) -> (Vec<Uuid>, i64) {
    async fn list(db: Db, query: Checked) -> (Vec<Uuid>, i64) {
        let mut tx = db.tenant(&Scope::Platform).await.unwrap();
        let page = store::list(&mut tx, &query).await.unwrap();
        (page.items.iter().map(|item| item.id).collect(), page.total)
    }
    let mut owner = app.test.owner().await;
    let lock = "BEGIN; LOCK TABLE device_lines IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut owner).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut owner).await.unwrap();
    let listed = tokio::spawn(list(app.state.db.clone(), query.check().unwrap()));
    loop {
        let waits = "SELECT count(*) > 0 FROM pg_locks \
            WHERE NOT granted AND relation = 'device_lines'::regclass";
        if sqlx::query_scalar(waits).fetch_one(&mut owner).await.unwrap() {
            break;
        }
        assert!(!listed.is_finished(), "it reads no computers");
        tokio::task::yield_now().await;
    }
    sqlx::raw_sql("COMMIT").execute(&mut owner).await.unwrap();
    listed.await.unwrap()
}

/// A fleet of seven, some of which are not connected.
async fn fleet(app: &TestApp, away: usize) -> Vec<Uuid> {
    let place = app.place("Acme").await;
    let mut all = vec![place.device.0];
    for n in 0..6 {
        let id = DeviceId::generate();
        app.device(&place, id, &format!("pc-{n}")).await;
        all.push(id.0);
    }
    all.sort_unstable();
    sqlx::query("UPDATE devices SET online = false WHERE id = ANY($1)")
        .bind(&all[..away])
        .execute(&mut app.test.owner().await)
        .await
        .unwrap();
    all
}

#[tokio::test]
async fn a_list_by_state_does_not_end_where_a_relay_drops_meanwhile() {
    let app = TestApp::new().await;
    let all = fleet(&app, 3).await;
    let sort = Some("state".to_owned());
    let by_state = DeviceQuery { sort, limit: Some(6), ..DeviceQuery::default() };
    let drops = "UPDATE relays SET online = false".to_owned();
    let (ids, total) = list_while(&app, &by_state, drops).await;
    assert_eq!((ids.as_slice(), total), (&all[..6], 7));
}

#[tokio::test]
async fn all_that_matches_is_listed_where_more_comes_to_match_after_it_was_counted() {
    let app = TestApp::new().await;
    let all = fleet(&app, 6).await;
    let state = Some("online".to_owned());
    let online = DeviceQuery { state, ..DeviceQuery::default() };
    let come = "UPDATE devices SET online = true".to_owned();
    let (mut ids, total) = list_while(&app, &online, come).await;
    ids.sort_unstable();
    assert_eq!((ids, total), (all, 7));
}
