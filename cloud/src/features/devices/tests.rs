//! How lists of computers are asked of the database; what they answer is tested through
//! the whole service (`app/tests/lists.rs`).

#![allow(clippy::unwrap_used, reason = "tests")]

use super::{DeviceQuery, store};
use crate::{db::Scope, testing::TestApp};
use unifyit_protocol::ids::DeviceId;

/// A plan for any values expects a page of a tenth of what matches, and every tag to be
/// as frequent as the others: it reads all computers to find a few.
#[tokio::test]
async fn lists_and_facets_are_planned_for_what_is_asked_however_often_it_is_asked() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    for n in 0..12 {
        app.device(&place, DeviceId::generate(), &format!("pc-{}", n % 2)).await;
    }
    let mut owner = app.test.owner().await;
    sqlx::query("UPDATE devices SET tags = ARRAY['lab'], online = false WHERE hostname = 'pc-1'")
        .execute(&mut owner)
        .await
        .unwrap();
    let db = &app.state.db;
    let mut tx = db.tenant(&Scope::Platform).await.unwrap();
    let query = |tag: &str, q: &str| DeviceQuery {
        tag: Some(tag.to_owned()),
        q: Some(q.to_owned()),
        ..DeviceQuery::default()
    };
    for (tag, q) in [("lab", ""), ("", "pc-1")].into_iter().cycle().take(16) {
        let checked = query(tag, q).check().unwrap();
        store::list(&mut tx, &checked).await.unwrap();
        store::facets(&mut tx, &checked).await.unwrap();
    }
    let by_load = DeviceQuery { sort: Some("cpu_pct".to_owned()), ..query("", "pc-1") };
    let by_state = DeviceQuery { sort: Some("-state".to_owned()), ..DeviceQuery::default() };
    for query in [by_load, by_state] {
        let page = store::list(&mut tx, &query.check().unwrap()).await.unwrap();
        assert_eq!(page.items.len(), usize::try_from(page.total).unwrap());
    }
    let plans: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements \
         WHERE statement ~ '(devices|device_lines|device_loads|device_lines_with\\(.*\\)) d' AND cardinality(parameter_types) > 0",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    assert!(plans.iter().filter(|(.., custom)| *custom >= 8).count() >= 4, "{plans:?}");
    assert!(plans.iter().all(|(_, generic, _)| *generic == 0), "{plans:?}");
    let asked = |words: &str| plans.iter().filter(|(sql, ..)| sql.contains(words)).count();
    assert_eq!(asked("d.cpu_pct AS sort_key"), 0, "few are looked up by themselves: {plans:?}");
    assert_eq!(asked("FROM device_loads d WHERE d.id = ANY"), 1, "and so: {plans:?}");
    assert_eq!(asked("COLLATE \"C\" AS sort_key"), 1, "an end is looked for once: {plans:?}");
    assert_eq!(asked("ORDER BY d.id"), 2, "two states of three have computers: {plans:?}");
    // What no index answers reads the small tables, not the computers.
    let wide = |(sql, ..): &&(String, i64, i64)| sql.contains("FROM devices d WHERE");
    let walked = |(sql, ..): &&(String, i64, i64)| sql.contains("ORDER BY d.name_key");
    assert!(plans.iter().filter(wide).all(|plan| walked(&plan)), "{plans:?}");
    // What else is asked on the connection keeps its plans.
    tx.commit().await.unwrap();
    let question = || sqlx::query_as::<_, (String,)>("SELECT current_setting('plan_cache_mode')");
    for _ in 0..8 {
        assert_eq!(db.lookup(question).await.unwrap(), Some(("force_generic_plan".to_owned(),)));
    }
    let mut tx = db.tenant(&Scope::Platform).await.unwrap();
    assert_eq!(question().fetch_one(&mut *tx).await.unwrap().0, "auto");
}
