//! Documents over the service: composed with their origins, locked, and refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use crate::{
    db::Scope,
    features::sites,
    testing::{Answer, Place, TestApp},
};
use axum::http::StatusCode;
use serde_json::{Value, json};
use unifyit_protocol::{envelope::Decoded, ids::SiteId, link::DownRecord};

struct World {
    app: TestApp,
    place: Place,
    admin: String,
}

async fn world() -> World {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (admin, _) = app.key("admin", Scope::Partner(place.partner)).await;
    World { app, place, admin }
}

impl World {
    fn path(&self, level: &str, topic: &str) -> String {
        let id = match level {
            "partners" => self.place.partner.0,
            "organizations" => self.place.organization.0,
            "sites" => self.place.site.0,
            _ => self.place.device.0,
        };
        format!("/settings/{level}/{id}/{topic}")
    }

    async fn ask(&self, method: &str, level: &str, topic: &str, body: Option<Value>) -> Answer {
        self.app.by_key(&self.admin, method, &self.path(level, topic), body.as_ref()).await
    }

    async fn put(&self, level: &str, fields: Value, locked: &[&str]) -> Answer {
        let body = json!({"fields": fields, "locked": locked});
        self.ask("PUT", level, "collection", Some(body)).await
    }

    async fn pace(&self, level: &str) -> Value {
        let read = self.ask("GET", level, "collection", None).await;
        assert_eq!(read.status, StatusCode::OK, "{}", read.body);
        read.body["effective"][0].clone()
    }

    /// The last settings that wait for the relay.
    async fn sent(&self) -> Option<unifyit_protocol::config::SiteConfig> {
        let mut tx = self.app.test.db.tenant(&Scope::Platform).await.unwrap();
        let bodies: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT body FROM downlink WHERE kind = 'config' ORDER BY seq")
                .fetch_all(&mut *tx)
                .await
                .unwrap();
        bodies.last().map(|body| match DownRecord::decode(body).unwrap() {
            Decoded::Known(DownRecord::Config(config)) => config,
            other => panic!("{other:?}"),
        })
    }

    /// One run of the job.
    async fn reconcile(&self) {
        let state = &self.app.state;
        let mut jobs = state.features.iter().flat_map(|feature| feature.jobs);
        let job = jobs.find(|job| job.name == "settings").unwrap();
        (job.run)(state.clone()).await.unwrap();
    }

    async fn run(&self, sql: &'static str) {
        let mut tx = self.app.test.db.tenant(&Scope::Platform).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_value_says_where_it_comes_from_and_the_nearest_wins() {
    let world = world().await;
    let usual = world.pace("devices").await;
    assert_eq!((&usual["value"], &usual["origin"]), (&json!(10), &Value::Null));
    assert_eq!(usual["unit"], "s");
    world.put("partners", json!({"collect_every_s": 60}), &[]).await;
    let partners = world.pace("devices").await;
    assert_eq!(partners["value"], 60);
    let origin = &partners["origin"];
    assert_eq!((&origin["level"], &origin["name"]), (&json!("partner"), &json!("Acme")));
    assert!(origin["by"].as_str().unwrap().starts_with("key:test"), "{origin}");
    assert!(origin["at"].is_string());
    world.put("sites", json!({"collect_every_s": 30}), &[]).await;
    assert_eq!(world.pace("devices").await["origin"]["level"], "site");
    assert_eq!(world.pace("organizations").await["value"], 60);
    world.put("devices", json!({"collect_every_s": 5}), &[]).await;
    assert_eq!(world.pace("devices").await["value"], 5);
    assert_eq!(world.pace("sites").await["value"], 30);

    let gone = world.ask("DELETE", "devices", "collection", None).await;
    assert_eq!(gone.body["effective"][0]["value"], 30, "{}", gone.body);
    let log = world.app.by_key(&world.admin, "GET", "/audit", None).await.body;
    assert_eq!(log["items"][0]["action"], "settings.set");
    assert_eq!(log["items"][0]["target"], "device Acme-1");
    assert_eq!(log["items"][0]["detail"], "collection: collect_every_s no longer set");
}

#[tokio::test]
async fn what_is_locked_above_holds_below_and_the_old_endpoint_says_so() {
    let world = world().await;
    world.put("sites", json!({"collect_every_s": 30}), &[]).await;
    world.put("organizations", json!({"collect_every_s": 60}), &["collect_every_s"]).await;
    let pace = world.pace("sites").await;
    assert_eq!((&pace["value"], &pace["locked"]["level"]), (&json!(60), &json!("organization")));
    let refused = world.put("sites", json!({"collect_every_s": 31}), &[]).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let why = refused.body["errors"]["collect_every_s"].as_str().unwrap();
    assert!(why.contains("locked above"), "{why}");
    let config = format!("/sites/{}/config", world.place.site);
    let body = json!({"collect_every_s": 31, "inventory_every_s": 900});
    let refused = world.app.by_key(&world.admin, "PUT", &config, Some(&body)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.body);
}

#[tokio::test]
async fn a_pin_is_replaced_and_never_taken_away_so_that_no_earlier_one_comes_back() {
    let world = world().await;
    let pin = format!("/sites/{}/ui-pin", world.place.site);
    let set = world.app.by_key(&world.admin, "PUT", &pin, Some(&json!({"pin": "123456"}))).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT, "{}", set.body);
    for (method, level, body) in [
        ("DELETE", "sites", None),
        ("PUT", "sites", Some(json!({"fields": {}, "locked": []}))),
        ("PUT", "organizations", Some(json!({"fields": {}, "locked": ["pin"]}))),
    ] {
        let refused = world.ask(method, level, "local_ui", body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {level}");
        assert!(refused.body["errors"]["pin"].is_string(), "{}", refused.body);
    }
    assert!(!world.sent().await.unwrap().ui_pin_hash.is_empty());
}

#[tokio::test]
async fn a_new_site_is_composed_once_more_for_who_changed_something_above_it_meanwhile() {
    let world = world().await;
    let body = json!({"organization_id": world.place.organization.0, "name": "New"});
    let made = world.app.by_key(&world.admin, "POST", "/sites", Some(&body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    // As if that had been committed where the site was not seen yet.
    world
        .run(
            "INSERT INTO settings (spot, topic, level, partner_id, fields) SELECT id, 'collection', \
             'partner', id, '{\"collect_every_s\": {\"value\": 60}}' FROM partners LIMIT 1",
        )
        .await;
    world.reconcile().await;
    let site = made.body["id"].as_str().unwrap();
    let shown = world.app.by_key(&world.admin, "GET", &format!("/sites/{site}"), None).await;
    assert_eq!(shown.body["config"]["collect_every_s"], 60, "{}", shown.body);
}

#[tokio::test]
async fn old_endpoints_and_documents_are_one_truth() {
    let world = world().await;
    let config = format!("/sites/{}/config", world.place.site);
    let body = json!({"collect_every_s": 20, "inventory_every_s": 900});
    let site = world.app.by_key(&world.admin, "PUT", &config, Some(&body)).await;
    assert_eq!(site.body["config"], body);
    let read = world.ask("GET", "sites", "collection", None).await;
    // What is as it would be anyway is left to follow what is above.
    assert_eq!(read.body["document"]["fields"], json!({"collect_every_s": 20}));
    world.put("sites", json!({"inventory_every_s": 60}), &[]).await;
    let path = format!("/sites/{}", world.place.site);
    let site = world.app.by_key(&world.admin, "GET", &path, None).await;
    assert_eq!(site.body["config"], json!({"collect_every_s": 10, "inventory_every_s": 60}));
    let sent = world.sent().await.unwrap();
    assert_eq!((sent.device.collect_every_s, sent.device.inventory_every_s), (10, 60));

    let cache = json!({"fields": {"hosts": ["Deb.Debian.org"]}});
    let put = world.ask("PUT", "sites", "package_cache", Some(cache)).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.body);
    let path = format!("/sites/{}/package-cache", world.place.site);
    let cache = world.app.by_key(&world.admin, "GET", &path, None).await;
    assert_eq!(cache.body["hosts"], json!(["deb.debian.org"]));
    let refused = json!({"fields": {"hosts": ["*.org"], "remaps": 7}});
    let refused = world.ask("PUT", "sites", "package_cache", Some(refused)).await;
    let errors = refused.body["errors"].as_object().unwrap();
    assert_eq!(errors.keys().collect::<Vec<_>>(), ["hosts", "remaps"]);
}

#[tokio::test]
async fn a_secret_is_kept_hashed_and_never_shown() {
    let world = world().await;
    let put = |pin: Value| {
        world.ask("PUT", "partners", "local_ui", Some(json!({"fields": {"pin": pin}})))
    };
    assert_eq!(put(json!("111111")).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let set = put(json!("824193")).await;
    assert_eq!(set.body["document"]["fields"]["pin"], json!({"set": true}), "{}", set.body);
    assert_eq!(set.body["effective"][0]["value"], json!({"set": true}));
    let again = put(json!({"set": true})).await;
    assert_eq!(again.body, set.body);
    world.reconcile().await;
    let first = world.sent().await.unwrap().ui_pin_hash;
    assert!(first.starts_with("$argon2id$"), "{first}");
    let log = world.app.by_key(&world.admin, "GET", "/audit", None).await.body.to_string();
    assert!(!log.contains("824193") && !log.contains("argon2"), "{log}");
    let device = world.ask("GET", "devices", "local_ui", None).await;
    assert_eq!(device.status, StatusCode::UNPROCESSABLE_ENTITY, "relays act on it");
}

#[tokio::test]
async fn nobody_writes_above_their_own_place_and_all_see_what_counts_there() {
    let world = world().await;
    let Place { partner, organization, site, .. } = world.place;
    world.put("partners", json!({"collect_every_s": 60}), &[]).await;
    let (own, _) = world.app.key("technician", Scope::Site(partner, organization, site)).await;
    let body = json!({"fields": {"collect_every_s": 7}});
    for (method, body) in [("PUT", Some(&body)), ("DELETE", None)] {
        for level in ["partners", "organizations"] {
            let said = world.app.by_key(&own, method, &world.path(level, "collection"), body).await;
            let none_there = method == "DELETE" && level == "organizations";
            let expected = if none_there { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(said.status, expected, "{method} {level}: {}", said.body);
        }
    }
    let path = world.path("sites", "collection");
    let read = world.app.by_key(&own, "GET", &path, None).await;
    assert_eq!(read.body["effective"][0]["origin"]["level"], "partner", "{}", read.body);
    let put = world.app.by_key(&own, "PUT", &path, Some(&body)).await;
    assert_eq!(put.body["effective"][0]["value"], 7, "{}", put.body);
    // Another partner's documents count for nobody else.
    let other = world.app.place("Other").await;
    let (stranger, _) = world.app.key("admin", Scope::Partner(other.partner)).await;
    let path = format!("/settings/sites/{}/collection", other.site);
    let read = world.app.by_key(&stranger, "GET", &path, None).await;
    assert_eq!(read.body["effective"][0]["origin"], Value::Null);
}

#[tokio::test]
async fn a_change_for_many_sites_reaches_each_relay_by_the_job() {
    let world = world().await;
    let second = SiteId::generate();
    let mut tx = world.app.test.db.tenant(&Scope::Platform).await.unwrap();
    let (partner, organization) = (world.place.partner, world.place.organization);
    sites::store::create(&mut tx, partner, organization, second, "B").await.unwrap();
    tx.commit().await.unwrap();
    let nudged = world.app.state.reconcile.clone();
    let nudge = nudged.notified();
    world.put("organizations", json!({"collect_every_s": 33}), &[]).await;
    nudge.await;
    assert!(world.sent().await.is_none());
    world.reconcile().await;
    assert_eq!(world.sent().await.unwrap().device.collect_every_s, 33);
    let b = world.app.by_key(&world.admin, "GET", &format!("/sites/{second}"), None).await;
    assert_eq!(b.body["config"]["collect_every_s"], 33);

    // What it was sent and did not acknowledge is sent again; once it has it, no more.
    world.run("DELETE FROM downlink").await;
    world.reconcile().await;
    assert!(world.sent().await.is_none(), "it was sent a moment ago");
    let older = "UPDATE relays SET settings_sent_at = now() - interval '3 minutes', \
        settings_acknowledged = 1, status = '{\"settings_revision\": 1}'";
    world.run(older).await;
    world.reconcile().await;
    let revision = world.sent().await.unwrap().revision;
    assert!(revision > 1);
    world.run("DELETE FROM downlink").await;
    world.run("UPDATE relays SET settings_sent_at = now() - interval '3 minutes', settings_acknowledged = 9").await;
    world.reconcile().await;
    assert!(world.sent().await.is_none());
}
