//! Words are found by their index, and by nobody who may not see the computer.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{DeviceQuery, store};
use crate::{
    db::{Scope, TenantTx},
    testing::{Place, TestApp},
};
use std::collections::BTreeSet;
use unifyit_protocol::ids::DeviceId;
use uuid::Uuid;

/// Names that mean something to LIKE, to a tokenizer, or to nobody.
const NAMES: [&str; 6] = ["50%-off", "a_b", r"back\slash", "axb", "größe", "Front Desk"];
const WORDS: [&str; 14] = [
    "50%", "0%-", "%%%", "a_b", "___", "axb", r"k\s", r"\\", "größe", "öße", "desk", "nothing",
    "debian", "pc",
];

async fn fleet(app: &TestApp, name: &str) -> Place {
    let place = app.place(name).await;
    let mut owner = app.test.owner().await;
    for name in NAMES {
        let id = DeviceId::generate();
        app.device(&place, id, "pc").await;
        sqlx::query("UPDATE devices SET name = $2, os_name = 'Debian' WHERE id = $1")
            .bind(id.0)
            .bind(name)
            .execute(&mut owner)
            .await
            .unwrap();
    }
    let revoke = "UPDATE devices SET revoked_at = now() WHERE name = 'axb'";
    sqlx::query(revoke).execute(&mut owner).await.unwrap();
    place
}

async fn ids(tx: &mut TenantTx, sql: &'static str, word: &str, revoked: bool) -> Vec<Uuid> {
    sqlx::query_scalar(sql).bind(word).bind(revoked).fetch_all(&mut **tx).await.unwrap()
}

#[tokio::test]
async fn the_index_finds_for_each_scope_what_reading_finds_under_its_policies() {
    let app = TestApp::new().await;
    let (acme, other) = (fleet(&app, "Acme").await, fleet(&app, "Other").await);
    // At other sites and organizations of the same owner.
    let elsewhere = "UPDATE device_lines SET site_id = gen_random_uuid() WHERE name_key ~ '50'; \
        UPDATE device_lines SET organization_id = gen_random_uuid() WHERE name_key ~ 'desk'";
    sqlx::raw_sql(elsewhere).execute(&mut app.test.owner().await).await.unwrap();
    let scopes = [
        Scope::Platform,
        Scope::Partner(acme.partner),
        Scope::Organization(acme.partner, acme.organization),
        Scope::Site(acme.partner, acme.organization, acme.site),
        // A site that another partner owns.
        Scope::Site(acme.partner, other.organization, other.site),
    ];
    for scope in scopes {
        let mut tx = app.state.db.tenant(&scope).await.unwrap();
        for (word, revoked) in WORDS.iter().flat_map(|word| [(word, false), (word, true)]) {
            let read = "SELECT id FROM device_lines WHERE strpos(search, $1) > 0 AND ($2 OR NOT revoked) ORDER BY id";
            let read = ids(&mut tx, read, word, revoked).await;
            let found = "SELECT id FROM device_lines_with($1, $2, 0, NULL) ORDER BY id";
            assert_eq!(
                ids(&mut tx, found, word, revoked).await,
                read,
                "{scope:?} {word} {revoked}"
            );
            let counted: i64 = sqlx::query_scalar("SELECT count_device_lines_with($1, $2)")
                .bind(word)
                .bind(revoked)
                .fetch_one(&mut *tx)
                .await
                .unwrap();
            assert_eq!(counted, i64::try_from(read.len()).unwrap(), "{scope:?} {word}");
            let tallied = "SELECT coalesce(sum(n), 0)::int8 FROM device_tallies_with($1, $2)";
            let tallied: i64 = sqlx::query_scalar(tallied)
                .bind(word)
                .bind(revoked)
                .fetch_one(&mut *tx)
                .await
                .unwrap();
            assert_eq!(tallied, counted, "{scope:?} {word}");
            let read = "SELECT id FROM device_lines WHERE strpos(search, $1) > 0 AND ($2 OR NOT revoked) \
                ORDER BY name_key DESC, id DESC LIMIT 2";
            let last = ids(&mut tx, read, word, revoked).await;
            let found = "SELECT id FROM device_lines_with($1, $2, -1, 2)";
            assert_eq!(ids(&mut tx, found, word, revoked).await, last, "{scope:?} {word}");
            let read = "SELECT id FROM device_lines WHERE strpos(search, $1) > 0 AND ($2 OR NOT revoked) \
                ORDER BY name_key, id LIMIT 2";
            let first = ids(&mut tx, read, word, revoked).await;
            let found = "SELECT id FROM device_lines_with($1, $2, 1, 2)";
            assert_eq!(ids(&mut tx, found, word, revoked).await, first, "{scope:?} {word}");
            let few = "SELECT id FROM device_lines_with($1, $2, 0, 1)";
            assert_eq!(ids(&mut tx, few, word, revoked).await.len(), first.len().min(1));
        }
    }
    // Without a scope there is nothing to see.
    let mut tx = app.state.db.unscoped().await.unwrap();
    let found = "SELECT id FROM device_lines_with($1, $2, 0, NULL)";
    assert!(ids(&mut tx, found, "pc", true).await.is_empty());
}

/// Every list that looks for a word, in each order and on each page, and facets.
#[tokio::test]
async fn what_looks_for_words_reads_no_line_in_vain() {
    let app = TestApp::new().await;
    let place = fleet(&app, "Acme").await;
    // So few lines would be found in any other way, too.
    let others = "DROP INDEX device_lines_by_os, device_lines_by_os_family, \
        device_lines_by_organization, device_lines_by_site";
    sqlx::query(others).execute(&mut app.test.owner().await).await.unwrap();
    let mut tx = app.state.db.tenant(&Scope::Partner(place.partner)).await.unwrap();
    sqlx::raw_sql("SET LOCAL enable_seqscan = off").execute(&mut *tx).await.unwrap();
    for sort in ["name", "-name", "os_name", "state", "cpu_pct", "-last_seen", "site_name"] {
        let first = DeviceQuery {
            q: Some("front desk".to_owned()),
            sort: Some(sort.to_owned()),
            ..DeviceQuery::default()
        };
        let before = scans(&mut tx).await;
        let page = store::list(&mut tx, &first.check().unwrap()).await.unwrap();
        assert_eq!((page.total, page.items.len()), (1, 1), "{sort}");
        let after = scans(&mut tx).await;
        assert!(after > before, "{sort}");
    }
    // A short word before the long one, and a part of all, which its own index finds.
    let query = |q: &str, tag: Option<&str>| DeviceQuery {
        q: Some(q.to_owned()),
        tag: tag.map(str::to_owned),
        ..DeviceQuery::default()
    };
    for (query, by_word) in [(query("ßß abc", None), true), (query("desk", Some("lab")), false)] {
        let before = scans(&mut tx).await;
        store::list(&mut tx, &query.check().unwrap()).await.unwrap();
        assert_eq!(scans(&mut tx).await > before, by_word, "{query:?}");
    }
    let query = query("desk", None);
    let before = scans(&mut tx).await;
    let facets = store::facets(&mut tx, &query.check().unwrap()).await.unwrap();
    assert_eq!(facets.os["Debian"], 1);
    assert!(scans(&mut tx).await > before);
}

/// How often this transaction asked the index of words.
async fn scans(tx: &mut TenantTx) -> i64 {
    let index = "SELECT pg_stat_get_xact_numscans('device_lines_by_words'::regclass)";
    sqlx::query_scalar(index).fetch_one(&mut **tx).await.unwrap()
}

/// The texts of all statements that the service's connections keep prepared.
async fn kept(app: &TestApp) -> BTreeSet<String> {
    let db = &app.state.db;
    let (mut held, mut texts) = (Vec::new(), BTreeSet::new());
    // All that there are: also one that is just on its way back, in whose stead another is opened.
    while held.len() < db.connections().0 as usize {
        let mut tx = db.tenant(&Scope::Platform).await.unwrap();
        let statements = "SELECT statement FROM pg_prepared_statements";
        let some: Vec<String> = sqlx::query_scalar(statements).fetch_all(&mut *tx).await.unwrap();
        texts.extend(some);
        held.push(tx);
    }
    texts
}

#[tokio::test]
async fn what_is_asked_of_lists_is_not_kept_by_the_database() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let lists = [
        "/devices?",
        "/devices?sort=-cpu_pct&",
        "/devices?sort=site_name&",
        "/devices?state=online&tag=lab&sort=state&",
        "/devices/facets?",
        "/tasks?",
        "/audit?",
    ];
    let ask = async |words: &str| {
        for list in lists {
            let path = format!("{list}q={words}");
            let answer = app.by_key(&key, "GET", &path, None).await;
            assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.body);
        }
    };
    ask("").await;
    ask("lab").await;
    let before = kept(&app).await;
    assert!(
        before.iter().any(|text| text.contains("nullif(l.seen")),
        "what is fixed is: {before:?}"
    );
    for words in ["lab+pc", "lab+pc+one", "lab+pc+one+two"] {
        ask(words).await;
    }
    let more: Vec<String> = kept(&app).await.difference(&before).cloned().collect();
    assert_eq!(more, Vec::<String>::new());
}
