//! Folding the sums that are kept of computers.

use crate::{
    db::{Db, DbError, Scope},
    jobs::Job,
};
use std::time::Duration;

pub(super) const JOBS: &[Job] = &[Job {
    name: "tallies",
    period: Duration::from_secs(60),
    run: |state| Box::pin(async move { fold(&state.db).await }),
    nudged: None,
}];

/// Sites folded in one run; the next run goes on.
const SITES: i64 = 5000;

/// Adds up the differences that statements left, a row a sum.
///
/// # Errors
/// [`DbError`]; the sums are as right as before.
pub async fn fold(db: &Db) -> Result<(), DbError> {
    let mut tx = db.tenant(&Scope::Platform).await?;
    // What comes meanwhile is not deleted, and so not lost.
    sqlx::query(
        "WITH gone AS (DELETE FROM device_tallies WHERE site_id IN (SELECT site_id FROM device_tallies \
                 GROUP BY site_id, os_name, os_family, online, revoked HAVING count(*) > 1 OR sum(n) = 0 \
                 LIMIT $1) RETURNING *) \
         INSERT INTO device_tallies SELECT partner_id, organization_id, site_id, os_name, os_family, online, \
             revoked, sum(n) FROM gone GROUP BY 1, 2, 3, 4, 5, 6, 7 HAVING sum(n) <> 0",
    )
    .bind(SITES)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::fold;
    use crate::{db::Scope, testing::TestApp};
    use unifyit_protocol::ids::DeviceId;

    const TRUE: &str = "SELECT site_id, os_name, os_family, online, revoked_at IS NOT NULL, count(*) \
        FROM devices GROUP BY 1, 2, 3, 4, 5";
    const KEPT: &str = "SELECT site_id, os_name, os_family, online, revoked, sum(n)::int8 \
        FROM device_tallies GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0";

    async fn differ(app: &TestApp) -> i64 {
        let question = format!(
            "SELECT count(*) FROM (({TRUE}) EXCEPT ({KEPT})) a FULL JOIN (({KEPT}) EXCEPT ({TRUE})) b ON false"
        );
        let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
        sqlx::query_scalar(sqlx::AssertSqlSafe(question)).fetch_one(&mut *tx).await.unwrap()
    }

    async fn rows(app: &TestApp) -> i64 {
        let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM device_tallies").fetch_one(&mut *tx).await.unwrap()
    }

    #[tokio::test]
    async fn the_sums_are_those_of_the_computers_whatever_happens_to_them() {
        let app = TestApp::new().await;
        let place = app.place("Acme").await;
        for n in 0..6 {
            app.device(&place, DeviceId::generate(), &format!("pc-{n}")).await;
        }
        for change in [
            "UPDATE devices SET cpu_pct = 5",
            "UPDATE devices SET online = hostname < 'pc-2'",
            "UPDATE devices SET revoked_at = now(), online = false WHERE hostname = 'pc-3'",
            "UPDATE devices SET os_name = 'Ubuntu', os_family = 'linux' WHERE hostname > 'pc-3'",
            "DELETE FROM devices WHERE hostname = 'pc-5'",
        ] {
            let mut owner = app.test.owner().await;
            sqlx::query(change).execute(&mut owner).await.unwrap();
            assert_eq!(differ(&app).await, 0, "{change}");
        }
        let before = rows(&app).await;
        fold(&app.state.db).await.unwrap();
        assert_eq!(differ(&app).await, 0);
        assert!(rows(&app).await < before);
        // A rolled back statement leaves nothing.
        let mut tx = app.state.db.tenant(&place_scope(&place)).await.unwrap();
        sqlx::query("UPDATE devices SET online = NOT online").execute(&mut *tx).await.unwrap();
        drop(tx);
        assert_eq!(differ(&app).await, 0);
    }

    #[tokio::test]
    async fn tags_are_found_as_they_are_set() {
        let app = TestApp::new().await;
        let place = app.place("Acme").await;
        let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
        let device = format!("/devices/{}", place.device);
        for (tags, found) in [(vec!["a", "b"], 1), (vec!["b"], 0), (vec!["a"], 1), (vec![], 0)] {
            let body = serde_json::json!({ "tags": tags });
            assert_eq!(app.by_key(&key, "PATCH", &device, Some(&body)).await.status, 200);
            let list = app.by_key(&key, "GET", "/devices?tag=a", None).await.body;
            assert_eq!(list["total"], found, "{tags:?}");
            let facets = app.by_key(&key, "GET", "/devices/facets?tag=a", None).await.body;
            assert_eq!(facets["state"]["online"].as_i64().unwrap_or_default(), found);
        }
    }

    fn place_scope(place: &crate::testing::Place) -> Scope {
        Scope::Site(place.partner, place.organization, place.site)
    }
}
