//! A site's package cache: what is set reaches the relay, what the relay says of it
//! is shown, and neither leaves the site's part of the hierarchy.

use crate::{
    db::Scope,
    link::{Records, RelayIdentity},
    reports::Reporting,
    testing::{Place, TestApp},
};
use axum::http::StatusCode;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use unifyit_protocol::{
    cache::{AheadFile, AheadState, CacheDay, CachePlan, CachePolicy, CacheReport},
    envelope::Decoded,
    link::{DownRecord, UpRecord},
};

fn settings() -> Value {
    json!({
        "hosts": ["repo.example.org"],
        "remaps": [{"name": "docker", "url": "https://download.docker.com/linux/"}],
        "plan": {"from": "22:00", "until": "04:30", "bytes_per_s": 1000},
        "ahead": [
            {"url": "http://repo.example.org/a.deb", "sha256": "aa".repeat(32), "size": 10},
            {"repository": "docker", "path": "/b.rpm", "sha256": "bb".repeat(32), "size": 20},
        ],
    })
}

async fn sent(app: &TestApp, place: &Place) -> Vec<DownRecord> {
    let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
    let bodies: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT body FROM downlink WHERE site_id = $1 ORDER BY seq")
            .bind(place.site.0)
            .fetch_all(&mut *tx)
            .await
            .unwrap();
    let record = |body: &Vec<u8>| match DownRecord::decode(body).unwrap() {
        Decoded::Known(record) => record,
        Decoded::Unknown(kind) => panic!("unknown kind {kind}"),
    };
    bodies.iter().map(record).collect()
}

/// What a relay of the place says, applied as its session does it.
async fn says(app: &TestApp, place: &Place, reports: Vec<CacheReport>) {
    let relay = RelayIdentity {
        id: place.relay,
        partner: place.partner,
        organization: place.organization,
        site: place.site,
    };
    let (records, _) = Reporting::of(app.state.features, &app.state.db, &app.state.watches);
    let mut tx = app.state.db.tenant(&relay.scope()).await.unwrap();
    let reports = reports.into_iter().map(UpRecord::Cache).collect();
    records.apply(&mut tx, &relay, reports).await.unwrap();
    tx.commit().await.unwrap();
}

fn day(back: i64) -> String {
    (OffsetDateTime::now_utc().date() - Duration::days(back)).to_string()
}

fn saved(back: i64, repository: &str, served: u64, fetched: u64) -> CacheDay {
    CacheDay { day: day(back), repository: repository.into(), served, fetched, hits: 3, misses: 1 }
}

#[tokio::test]
async fn what_is_set_reaches_the_relay_stands_in_the_audit_log_and_is_read_back() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let path = format!("/sites/{}/package-cache", place.site);
    let empty = app.by_key(&key, "GET", &path, None).await;
    assert_eq!((empty.status, &empty.body["plan"]), (StatusCode::OK, &Value::Null));
    let put = app.by_key(&key, "PUT", &path, Some(&settings())).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.body);
    let read = app.by_key(&key, "GET", &path, None).await;
    assert_eq!(read.body, put.body);
    assert_eq!(read.body["remaps"][0]["url"], "https://download.docker.com/linux");
    assert_eq!(read.body["ahead"][1]["url"], "/remap/docker/b.rpm");
    assert_eq!(read.body["ahead"][0]["state"], "waiting");
    let records = sent(&app, &place).await;
    let Some(DownRecord::Config(config)) = records.last() else { panic!("nothing was sent") };
    assert_eq!(config.cache_hosts, ["repo.example.org"]);
    assert_eq!(config.cache_remaps, ["docker=https://download.docker.com/linux"]);
    let plan = CachePlan { from_min: 22 * 60, until_min: 4 * 60 + 30, bytes_per_s: 1000 };
    assert_eq!(config.cache_plan, Some(plan));
    assert_eq!(config.cache_ahead.len(), 2);
    assert_eq!((config.cache_ahead[0].sha256, config.cache_ahead[0].size), ([0xaa; 32], 10));
    let log = app.by_key(&key, "GET", "/audit", None).await.body;
    let entry = &log["items"][0];
    assert_eq!(entry["action"], "site.package_cache");
    let detail = entry["detail"].as_str().unwrap();
    assert!(detail.contains("hosts added: repo.example.org; remaps added: docker="), "{detail}");

    let refused = json!({"hosts": ["*.org"]});
    let refused = app.by_key(&key, "PUT", &path, Some(&refused)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.body["detail"].as_str().unwrap().contains("`*.org`"));
    assert_eq!(app.by_key(&key, "GET", &path, None).await.body, put.body, "half of it was kept");
}

#[tokio::test]
async fn the_fullest_settings_that_are_taken_fit_a_message_to_the_relay() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let path = format!("/sites/{}/package-cache", place.site);
    let label = "x".repeat(60);
    let long = "x".repeat(490);
    let hosts: Vec<_> = (0..256).map(|n| format!("{label}.{label}.{label}.{n}.org")).collect();
    let remaps: Vec<_> = (0..128)
        .map(|n| json!({"name": format!("{n:064}"), "url": format!("https://a.org/{long}")}))
        .collect();
    let url = format!("http://a.org/{}", "x".repeat(170));
    let ahead: Vec<_> = (0..1024)
        .map(|n| json!({"url": url, "sha256": format!("{n:064x}"), "size": 1u64 << 40}))
        .collect();
    let body = json!({"hosts": hosts, "remaps": remaps, "ahead": ahead});
    let put = app.by_key(&key, "PUT", &path, Some(&body)).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.body["detail"]);
}

#[tokio::test]
async fn what_came_of_it_is_shown_and_stays_while_a_file_is_on_the_list() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let path = format!("/sites/{}/package-cache", place.site);
    app.by_key(&key, "PUT", &path, Some(&settings())).await;
    let fares = |sha256: u8, state, reason: &str| AheadFile {
        sha256: [sha256; 32],
        state,
        reason: reason.into(),
    };
    let refused = fares(0xbb, AheadState::Refused, "Not\0 allowed.");
    let report = CacheReport {
        at_ms: 5000,
        ahead: vec![fares(0xaa, AheadState::Ready, ""), refused, fares(9, AheadState::Ready, "")],
        policy: Some(CachePolicy {
            hosts: vec!["deb.debian.org".into()],
            remaps: vec!["npm=https://registry.npmjs.org".into()],
            plan: None,
            overruled: vec!["The relay's own file sets the hours.".into()],
        }),
        ..CacheReport::default()
    };
    says(&app, &place, vec![report]).await;
    let read = app.by_key(&key, "GET", &path, None).await.body;
    assert_eq!(read["ahead"].as_array().unwrap().len(), 2, "a file that nobody named appeared");
    assert_eq!(
        (&read["ahead"][0]["state"], &read["ahead"][0]["reason"]),
        (&json!("ready"), &json!(""))
    );
    assert_eq!(
        (&read["ahead"][1]["state"], &read["ahead"][1]["reason"]),
        (&json!("refused"), &json!("Not allowed."))
    );
    assert_eq!(read["in_force"]["remaps"][0]["name"], "npm");
    assert_eq!(read["in_force"]["overruled"][0], "The relay's own file sets the hours.");

    // A file that stays on the list keeps its state; one with another address does
    // not. The relay's own remaps may be named.
    let mut changed = settings();
    changed["ahead"][1] =
        json!({"url": "https://registry.npmjs.org/b.tgz", "sha256": "bb".repeat(32), "size": 20});
    let put = app.by_key(&key, "PUT", &path, Some(&changed)).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.body);
    assert_eq!(put.body["ahead"][0]["state"], "ready");
    assert_eq!(put.body["ahead"][1]["state"], "waiting");
    assert_eq!(put.body["ahead"][1]["url"], "/remap/npm/b.tgz");
}

#[tokio::test]
async fn savings_add_up_by_day_and_repository_however_often_they_are_told() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) =
        app.key("viewer", Scope::Site(place.partner, place.organization, place.site)).await;
    let days = vec![
        saved(0, "deb.debian.org", 900, 100),
        saved(0, "npm", 50, 50),
        saved(3, "deb.debian.org", 400, 400),
        saved(39, "npm", 7, 7),
        // What no honest relay says.
        saved(50, "old", 1, 1),
        saved(-5, "tomorrow", 1, 1),
        CacheDay { day: "never".into(), ..saved(0, "x", 1, 1) },
        saved(0, "", 1, 1),
    ];
    let report = CacheReport { days, ..CacheReport::default() };
    says(&app, &place, vec![report.clone(), report]).await;
    let path = format!("/sites/{}/package-cache/savings", place.site);
    let read = app.by_key(&key, "GET", &path, None).await.body;
    assert_eq!(
        read["total"],
        json!({"served_bytes": 1350, "fetched_bytes": 550, "hits": 9, "misses": 3})
    );
    let all = read["days"].as_array().unwrap();
    assert_eq!((all.len(), &read["to"]), (35, &json!(day(0))));
    assert_eq!(all[34]["served_bytes"], 950);
    assert_eq!(all[31]["fetched_bytes"], 400);
    assert_eq!(all[33]["served_bytes"], 0);
    assert_eq!(read["repositories"][0]["repository"], "deb.debian.org");
    assert_eq!(read["repositories"][0]["served_bytes"], 1300);
    let longer = app.by_key(&key, "GET", &format!("{path}?days=40"), None).await.body;
    assert_eq!(longer["total"]["served_bytes"], 1357);
    let wrong = app.by_key(&key, "GET", &format!("{path}?days=0"), None).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);

    // A relay that names ever more repositories fills no table.
    for round in 0..2 {
        let many = (0..500).map(|n| saved(0, &format!("r{round}-{n}"), 1, 1)).collect();
        says(&app, &place, vec![CacheReport { days: many, ..CacheReport::default() }]).await;
    }
    let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM cache_savings WHERE day = current_date")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
    assert!((300..=301).contains(&rows), "{rows}");
    drop(tx);
    let read = app.by_key(&key, "GET", &path, None).await.body;
    assert_eq!(read["repositories"].as_array().unwrap().len(), 100);
    assert_eq!(read["repositories"][0]["served_bytes"], 1300, "what matters most is kept");
}

#[tokio::test]
async fn neither_settings_nor_savings_are_seen_or_set_from_another_organization() {
    let app = TestApp::new().await;
    let (place, other) = (app.place("Acme").await, app.place("Other").await);
    let (key, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let (foreign, _) = app.key("admin", Scope::Partner(other.partner)).await;
    let path = format!("/sites/{}/package-cache", place.site);
    app.by_key(&key, "PUT", &path, Some(&settings())).await;
    for (method, path) in
        [("GET", path.clone()), ("GET", format!("{path}/savings")), ("PUT", path.clone())]
    {
        let body = (method == "PUT").then(settings);
        let answer = app.by_key(&foreign, method, &path, body.as_ref()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
    // A relay writes under its own site only: the same hash on another's list stays.
    let ready = AheadFile { sha256: [0xaa; 32], state: AheadState::Ready, reason: String::new() };
    let report = CacheReport { ahead: vec![ready], ..CacheReport::default() };
    says(&app, &other, vec![report]).await;
    let read = app.by_key(&key, "GET", &path, None).await.body;
    assert_eq!(read["ahead"][0]["state"], "waiting");
}
