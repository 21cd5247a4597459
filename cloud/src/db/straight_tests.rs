//! What straight SQL as the application role reaches of tenants that are not its own: no
//! row of any table may be read, changed or deleted, whatever the transaction's settings
//! name, and no other role may be taken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::Scope;
use crate::{
    features,
    testing::{Place, TestApp},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use unifyit_protocol::ids::{DeviceId, OrganizationId, SiteId};

/// A table with the columns that hold its rows' ancestors.
#[derive(sqlx::FromRow)]
struct Table {
    name: String,
    partner: String,
    organization: Option<String>,
    site: Option<String>,
}

/// Level, partner, organization and site, as the transaction's settings have them.
type Settings = [String; 4];

async fn tables(owner: &mut PgConnection) -> Vec<Table> {
    sqlx::query_as(
        "SELECT * FROM (SELECT c.relname::text AS name, \
             CASE WHEN c.relname = 'partners' THEN 'id' ELSE a.has[1] END AS partner, \
             CASE WHEN c.relname = 'organizations' THEN 'id' ELSE a.has[2] END AS organization, \
             CASE WHEN c.relname = 'sites' THEN 'id' ELSE a.has[3] END AS site \
         FROM pg_class c, LATERAL (SELECT array_agg((SELECT attname::text FROM pg_attribute \
             WHERE attrelid = c.oid AND attname = word) ORDER BY at) AS has \
             FROM unnest(ARRAY['partner_id', 'organization_id', 'site_id']) WITH ORDINALITY w (word, at)) a \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r') t \
         WHERE partner IS NOT NULL ORDER BY name",
    )
    .fetch_all(owner)
    .await
    .unwrap()
}

impl Table {
    /// The condition of rows that are outside of what the settings name.
    fn outside(&self, [_, partner, organization, site]: &Settings) -> String {
        if partner.is_empty() {
            return "true".to_owned();
        }
        let columns = [Some(&self.partner), self.organization.as_ref(), self.site.as_ref()];
        let differs =
            columns.into_iter().zip([partner, organization, site]).filter_map(|(column, own)| {
                let column = column.filter(|_| !own.is_empty())?;
                Some(format!("{column} IS DISTINCT FROM '{own}'::uuid"))
            });
        differs.collect::<Vec<_>>().join(" OR ")
    }
}

/// Statements that reach rows outside, as table and verb. One that the role may not
/// make at all reaches none.
async fn reached(app: &mut PgConnection, tables: &[Table], settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    for table in tables {
        let (name, outside) = (&table.name, table.outside(settings));
        for (verb, statement) in [
            ("read", format!("SELECT 1 FROM {name} WHERE {outside}")),
            ("change", format!("UPDATE {name} SET {0} = {0} WHERE {outside}", table.partner)),
            ("delete", format!("DELETE FROM {name} WHERE {outside}")),
        ] {
            let mut tx = app.begin().await.unwrap();
            for (setting, value) in
                ["scope", "partner_id", "organization_id", "site_id"].into_iter().zip(settings)
            {
                let set = format!("SET LOCAL app.{setting} = '{value}'");
                sqlx::query(AssertSqlSafe(set)).execute(&mut *tx).await.unwrap();
            }
            let done = sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await;
            let rows = match done {
                Ok(done) => done.rows_affected(),
                Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some("42501") => 0,
                // Rows that others point to were found.
                Err(sqlx::Error::Database(e)) if e.is_foreign_key_violation() => 1,
                Err(error) => panic!("{verb} {name}: {error}"),
            };
            if rows > 0 {
                found.push(format!("{verb} {name}"));
            }
        }
    }
    found
}

/// A place with a sibling site and a sibling organization, each with a computer.
async fn with_siblings(app: &TestApp) -> Place {
    let own = app.place("Own").await;
    let beside = Place { site: SiteId::generate(), ..own };
    let other = Place { organization: OrganizationId::generate(), site: SiteId::generate(), ..own };
    let authority = app.state.trust.new_authority(other.organization).unwrap();
    let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
    let (partner, organization) = (own.partner, other.organization);
    features::tenants::store::create_organization(&mut tx, partner, organization, "O", &authority)
        .await
        .unwrap();
    for Place { organization, site, .. } in [beside, other] {
        features::sites::store::create(&mut tx, partner, organization, site, "S").await.unwrap();
    }
    tx.commit().await.unwrap();
    for place in [beside, other] {
        app.device(&place, DeviceId::generate(), "beside").await;
    }
    own
}

#[tokio::test]
async fn straight_sql_reaches_no_row_of_a_sibling_or_a_foreign_tenant() {
    let app = TestApp::new().await;
    let (own, foreign) = (with_siblings(&app).await, app.place("Foreign").await);
    for place in [own, foreign] {
        let Place { partner, organization, site, .. } = place;
        app.key("admin", Scope::Partner(partner)).await;
        app.key("viewer", Scope::Organization(partner, organization)).await;
        app.key("viewer", Scope::Site(partner, organization, site)).await;
    }
    let mut owner = app.test.owner().await;
    let tables = tables(&mut owner).await;
    let mut sql = PgConnection::connect(&app.test.app_url).await.unwrap();
    let Place { partner, organization, site, .. } = own;
    let shapes = [
        Scope::Partner(partner),
        Scope::Organization(partner, organization),
        Scope::Site(partner, organization, site),
        // Crossing: ids of two tenants in one line lend the rows of neither.
        Scope::Organization(partner, foreign.organization),
        Scope::Site(partner, organization, foreign.site),
        Scope::Site(partner, foreign.organization, foreign.site),
    ];
    let mut shapes = Vec::from(shapes.map(|scope| scope.settings()));
    shapes.push(Settings::default());
    // A word alone names nobody.
    shapes.push(["partner".to_owned(), String::new(), String::new(), String::new()]);
    for settings in &shapes {
        let found = reached(&mut sql, &tables, settings).await;
        assert_eq!(found, Vec::<String>::new(), "with {settings:?}");
    }
    // What it finds when a table's policy lets everything through.
    sqlx::query("CREATE POLICY lax ON devices TO unifyit_app USING (true)")
        .execute(&mut owner)
        .await
        .unwrap();
    for settings in &shapes {
        let found = reached(&mut sql, &tables, settings).await;
        assert!(found.contains(&"read devices".to_owned()), "with {settings:?}: {found:?}");
        assert!(found.contains(&"change devices".to_owned()), "with {settings:?}: {found:?}");
    }
}

#[tokio::test]
async fn the_application_role_takes_no_other_role() {
    let app = TestApp::new().await;
    let others: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(rolname) FROM pg_roles WHERE rolname <> 'unifyit_app'",
    )
    .fetch_all(&mut app.test.owner().await)
    .await
    .unwrap();
    assert!(others.contains(&"unifyit_definer".to_owned()));
    let mut sql = PgConnection::connect(&app.test.app_url).await.unwrap();
    for role in others {
        let set = AssertSqlSafe(format!("SET ROLE {role}"));
        let code = match sqlx::query(set).execute(&mut sql).await {
            Err(sqlx::Error::Database(error)) => error.code().map(|code| code.into_owned()),
            other => panic!("{role}: {other:?}"),
        };
        // Refused, or another test's role that has gone meanwhile.
        assert!(matches!(code.as_deref(), Some("42501" | "22023")), "{role}: {code:?}");
    }
}
