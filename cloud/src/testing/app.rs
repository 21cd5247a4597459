//! The whole HTTP service over a test database, asked in-process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

use super::TestDb;
use crate::{
    app,
    auth::{ApiKeySecret, Passwords, Rights},
    config::Config,
    context::{AppState, Clock, Sockets},
    db::Scope,
    downloads::Downloads,
    events::Watches,
    features,
    http::{
        limits::Limits,
        metrics::Metrics,
        server::{Server, ServerBounds},
        shares::Shares,
        turns::Turns,
    },
    jobs::Old,
    link::{Gateway, LinkDeps, LinkLimits, LinkMetrics, LinkOptions},
    reports::Reporting,
    trust::{MasterKey, Trust},
};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use http_body_util::BodyExt;
use prometheus::Registry;
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use unifyit_protocol::ids::{DeviceId, OrganizationId, PartnerId, RelayId, SiteId};
use uuid::Uuid;

pub struct TestApp {
    pub test: Arc<TestDb>,
    pub state: AppState,
    router: Router,
    folder: Arc<tempfile::TempDir>,
}

/// A partner with one organization, site, relay and device.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub partner: PartnerId,
    pub organization: OrganizationId,
    pub site: SiteId,
    pub relay: RelayId,
    pub device: DeviceId,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl TestApp {
    pub async fn new() -> Self {
        // Whatever packages this machine has are not the test's.
        Self::with(Config { downloads: "nowhere".into(), ..Config::default() }).await
    }

    pub async fn with(config: Config) -> Self {
        let test = super::database().await;
        let folder = tempfile::tempdir().unwrap();
        let config = Config { state: folder.path().into(), ..config };
        let (watches, metrics) = (Watches::default(), Metrics::new().unwrap());
        let trust = Trust::new(MasterKey::from_bytes(&[7; 32]).unwrap());
        let gateway = Gateway::bind(
            LinkOptions {
                listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
                announce: Vec::new(),
                state: folder.path().into(),
                limits: LinkLimits::default(),
            },
            LinkDeps {
                db: test.db.clone(),
                trust: trust.clone(),
                watches: watches.clone(),
                records: Arc::new(Reporting::of(app::FEATURES, &test.db, &watches).0),
                metrics: LinkMetrics::new(metrics.registry()).unwrap(),
            },
        )
        .await
        .unwrap();
        let state = AppState {
            features: app::FEATURES,
            db: test.db.clone(),
            old: Old::new(test.db.clone(), metrics.registry()).unwrap(),
            watches,
            link: gateway.link(),
            reconcile: Arc::default(),
            trust,
            downloads: Downloads::publish(&config.downloads, folder.path()).unwrap(),
            rights: Rights::new(config.session_idle_hours, metrics.rights().clone()),
            passwords: Passwords::new().unwrap(),
            limits: Limits::new(&config).unwrap(),
            shares: Shares::new(1).unwrap(),
            sockets: Sockets::default(),
            turns: Turns::new(config.database_connections).unwrap(),
            metrics,
            stop: CancellationToken::new(),
            config: Arc::new(config),
            clock: Clock::system(),
        };
        let (test, folder) = (Arc::new(test), Arc::new(folder));
        Self { router: app::router(state.clone()), test, state, folder }
    }

    /// The same over other services.
    pub fn over(&self, state: AppState) -> Self {
        let (test, folder) = (self.test.clone(), self.folder.clone());
        Self { router: app::router(state.clone()), test, state, folder }
    }

    /// Serves it on a port as well, for what needs a connection.
    pub async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = Server::new(ServerBounds::default(), "test", &Registry::new()).unwrap();
        tokio::spawn(server.run(listener, self.router.clone(), self.state.stop.clone()));
        at
    }

    /// Makes a partner with everything below it.
    pub async fn place(&self, name: &str) -> Place {
        let place = Place {
            partner: PartnerId::generate(),
            organization: OrganizationId::generate(),
            site: SiteId::generate(),
            relay: RelayId::generate(),
            device: DeviceId::generate(),
        };
        let Place { partner, organization, site, relay, device } = place;
        let mut tx = self.test.db.tenant(&Scope::Platform).await.unwrap();
        let authority = self.state.trust.new_authority(organization).unwrap();
        features::tenants::store::create_partner(&mut tx, partner, name).await.unwrap();
        features::tenants::store::create_organization(
            &mut tx,
            partner,
            organization,
            name,
            &authority,
        )
        .await
        .unwrap();
        features::sites::store::create(&mut tx, partner, organization, site, name).await.unwrap();
        sqlx::query(
            "INSERT INTO relays (id, partner_id, organization_id, site_id, peer_id, down_epoch, online, \
                 lan_https, ca_fingerprint) VALUES ($1, $2, $3, $4, $5, 1, true, '{10.0.0.2:8443}', $6)",
        )
        .bind(relay.0)
        .bind(partner.0)
        .bind(organization.0)
        .bind(site.0)
        .bind(format!("peer-{relay}"))
        .bind(vec![5u8; 32])
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        self.device(&place, device, &format!("{name}-1")).await;
        place
    }

    /// Adds an online device to a place's site.
    pub async fn device(&self, place: &Place, id: DeviceId, hostname: &str) {
        let mut tx = self.test.db.tenant(&Scope::Platform).await.unwrap();
        sqlx::query(
            "INSERT INTO devices (id, partner_id, organization_id, site_id, hostname, online, os_name) \
             VALUES ($1, $2, $3, $4, $5, true, 'Debian')",
        )
        .bind(id.0)
        .bind(place.partner.0)
        .bind(place.organization.0)
        .bind(place.site.0)
        .bind(hostname)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }

    /// Makes an API key with a role at a scope, of a person who has both; returns
    /// it with its id.
    pub async fn key(&self, role: &str, scope: Scope) -> (String, Uuid) {
        let email = format!("{}@keys.example", Uuid::new_v4().simple());
        let owner = self.person(&email, "none", role, scope).await;
        let (key, id) = self.key_of(owner, role, scope).await;
        (key, id)
    }

    /// Makes an API key of a person.
    pub async fn key_of(&self, owner: Uuid, role: &str, scope: Scope) -> (String, Uuid) {
        let (secret, id, place) =
            (ApiKeySecret::generate().unwrap(), Uuid::now_v7(), scope.place());
        let mut tx = self.test.db.tenant(&scope).await.unwrap();
        sqlx::query(
            "INSERT INTO api_keys (id, key_hash, name, hint, role, scope, partner_id, organization_id, \
                 site_id, created_by, owner_id, maker) VALUES ($1, $2, 'test', 'uak_', $3, $4, $5, $6, $7, $8, $8, \
                 (SELECT email FROM users WHERE id = $8))",
        )
        .bind(id)
        .bind(secret.hash())
        .bind(role)
        .bind(scope.kind())
        .bind(place.partner)
        .bind(place.organization)
        .bind(place.site)
        .bind(owner)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        (secret.text(), id)
    }

    /// Makes a user who signs in with `password`.
    pub async fn user(&self, email: &str, password: &str, role: &str, scope: Scope) -> Uuid {
        let hash = self.state.passwords.hash(password.to_owned().into(), &[]).await.unwrap();
        self.person(email, &hash, role, scope).await
    }

    /// Makes a user with a hash of a password.
    async fn person(&self, email: &str, hash: &str, role: &str, scope: Scope) -> Uuid {
        let (id, place) = (Uuid::now_v7(), scope.place());
        let mut tx = self.test.db.tenant(&scope).await.unwrap();
        sqlx::query(
            "INSERT INTO users (id, partner_id, organization_id, site_id, email, password_hash) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id)
        .bind(place.partner)
        .bind(place.organization)
        .bind(place.site)
        .bind(email)
        .bind(hash)
        .execute(&mut *tx)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO memberships (id, user_id, role, scope, partner_id, organization_id, site_id) \
             VALUES ($1, $1, $2, $3, $4, $5, $6)",
        )
        .bind(id)
        .bind(role)
        .bind(scope.kind())
        .bind(place.partner)
        .bind(place.organization)
        .bind(place.site)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        id
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Asks with headers; `path` is below the API's prefix.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", app::API));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    /// Asks with an API key.
    pub async fn by_key(
        &self,
        key: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let bearer = format!("Bearer {key}");
        self.ask(method, path, &[("authorization", &bearer)], body).await
    }
}
