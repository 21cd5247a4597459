//! For tests: an organization with a site, a running gateway, and a relay that
//! speaks the real protocol over real libp2p.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod relay;

pub use relay::{FakeLane, FakeRelay, hello, request};

use super::{
    Gateway, Link, LinkDeps, LinkError, LinkLimits, LinkMetrics, LinkOptions, Records, now_ms,
};
use crate::{
    db::Scope,
    events::Watches,
    testing::{self, TestDb},
    trust::{MasterKey, Trust},
};
use libp2p::{Multiaddr, PeerId};
use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    enroll::{EnrollRelayAnswer, RelayEnrolment},
    ids::{OrganizationId, PartnerId, SiteId, TokenId},
    signing::PublicKey,
    token::{InstallToken, TokenKind},
};

/// Longest wait of a test for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `check` gives a value.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A place in the hierarchy with its authority.
#[derive(Clone, Copy)]
pub struct Place {
    pub partner: PartnerId,
    pub organization: OrganizationId,
    pub site: SiteId,
    pub authority: PublicKey,
}

impl Place {
    pub fn scope(&self) -> Scope {
        Scope::Site(self.partner, self.organization, self.site)
    }
}

/// A cloud's link side, without HTTP.
pub struct World {
    pub db: TestDb,
    pub trust: Trust,
    pub watches: Watches,
    pub link: Link,
    pub place: Place,
    pub address: Multiaddr,
    pub peer: PeerId,
    cancel: CancellationToken,
    running: Option<tokio::task::JoinHandle<()>>,
    pub state: tempfile::TempDir,
    records: Arc<dyn Records>,
    limits: LinkLimits,
}

impl World {
    pub async fn new(records: impl FnOnce(&TestDb, &Trust, &Watches) -> Arc<dyn Records>) -> Self {
        Self::with_limits(LinkLimits { memory_share: 0.99, ..LinkLimits::default() }, records).await
    }

    pub async fn with_limits(
        limits: LinkLimits,
        records: impl FnOnce(&TestDb, &Trust, &Watches) -> Arc<dyn Records>,
    ) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_env("UNIFYIT_LOG"))
            .with_test_writer()
            .try_init();
        let db = testing::database().await;
        let trust = Trust::new(MasterKey::from_bytes(&[9; 32]).unwrap());
        let watches = Watches::default();
        let records = records(&db, &trust, &watches);
        let place = make_place(&db, &trust).await;
        let state = tempfile::tempdir().unwrap();
        let (link, address, running, cancel) =
            start(&db, &trust, &watches, records.clone(), state.path().into(), limits).await;
        let peer = link.peer_id().parse().unwrap();
        Self {
            db,
            trust,
            watches,
            link,
            place,
            address,
            peer,
            cancel,
            running: Some(running),
            state,
            records,
            limits,
        }
    }

    /// A second gateway over the same state, or why there is none.
    pub async fn bind(&self) -> Result<Gateway, LinkError> {
        let state = self.state.path().into();
        bind(&self.db, &self.trust, &self.watches, self.records.clone(), state, self.limits).await
    }

    /// Stops the gateway and starts it again over the same state.
    pub async fn restart(&mut self) {
        self.cancel.cancel();
        self.running.take().unwrap().await.unwrap();
        let (link, address, running, cancel) = start(
            &self.db,
            &self.trust,
            &self.watches,
            self.records.clone(),
            self.state.path().into(),
            self.limits,
        )
        .await;
        (self.link, self.address, self.cancel) = (link, address, cancel);
        self.running = Some(running);
    }

    /// A relay token for a site, stored and signed.
    pub async fn relay_token(&self, place: &Place) -> InstallToken {
        let kind = TokenKind::Relay {
            cloud_addresses: vec![self.address.to_string()],
            cloud_peer: self.peer.to_base58(),
        };
        self.token(place, kind, "relay", now_ms() + 600_000, 1).await
    }

    pub async fn token(
        &self,
        place: &Place,
        kind: TokenKind,
        row_kind: &str,
        expires_ms: u64,
        uses: u32,
    ) -> InstallToken {
        let token = InstallToken {
            id: TokenId::generate(),
            organization: place.organization,
            site: place.site,
            authority: place.authority,
            kind,
            expires_ms,
            uses,
        };
        let mut tx = self.db.db.tenant(&place.scope()).await.unwrap();
        sqlx::query(
            "INSERT INTO install_tokens (id, partner_id, organization_id, site_id, kind, uses, \
                 expires_at, created_by) VALUES ($1, $2, $3, $4, $5, $6, now() + interval '1 hour', 'test')",
        )
        .bind(token.id.0)
        .bind(place.partner.0)
        .bind(place.organization.0)
        .bind(place.site.0)
        .bind(row_kind)
        .bind(i32::try_from(uses).unwrap())
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        token
    }

    pub async fn sign(&self, token: &InstallToken) -> String {
        let mut tx = self.db.db.tenant(&Scope::Platform).await.unwrap();
        let sealed: Vec<u8> = sqlx::query_scalar(
            "SELECT sealed_seed FROM organization_keys WHERE organization_id = $1",
        )
        .bind(token.organization.0)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        self.trust.sign_token(&sealed, token).unwrap().to_string()
    }

    /// A relay that is enrolled at the place and connected, with an open lane.
    pub async fn enrolled(&self, place: &Place) -> (FakeRelay, RelayEnrolment) {
        let relay = FakeRelay::connect(&self.address, self.peer).await;
        let token = self.sign(&self.relay_token(place).await).await;
        match relay.enroll(request(&token)).await {
            EnrollRelayAnswer::Accepted(enrolment) => (relay, *enrolment),
            other => panic!("not enrolled: {other:?}"),
        }
    }

    /// One value out of the database, seen as the platform.
    pub async fn scalar<T>(&self, sql: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres>
            + sqlx::Type<sqlx::Postgres>
            + Send
            + Unpin
            + 'static,
    {
        let mut tx = self.db.db.tenant(&Scope::Platform).await.unwrap();
        let value = sqlx::query_scalar(sql).fetch_one(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        value
    }

    /// Waits until a query that counts or compares says true.
    pub async fn until(&self, what: &str, sql: &'static str) {
        eventually(what, || async { self.scalar::<bool>(sql).await.then_some(()) }).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn bind(
    db: &TestDb,
    trust: &Trust,
    watches: &Watches,
    records: Arc<dyn Records>,
    state: PathBuf,
    limits: LinkLimits,
) -> Result<Gateway, LinkError> {
    let options = LinkOptions {
        listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
        announce: vec![],
        state,
        limits,
    };
    let deps = LinkDeps {
        db: db.db.clone(),
        trust: trust.clone(),
        watches: watches.clone(),
        records,
        metrics: LinkMetrics::new(&prometheus::Registry::new()).unwrap(),
    };
    Gateway::bind(options, deps).await
}

async fn start(
    db: &TestDb,
    trust: &Trust,
    watches: &Watches,
    records: Arc<dyn Records>,
    state: PathBuf,
    limits: LinkLimits,
) -> (Link, Multiaddr, tokio::task::JoinHandle<()>, CancellationToken) {
    let gateway = bind(db, trust, watches, records, state, limits).await.unwrap();
    let (link, address) = (gateway.link(), gateway.addresses()[0].parse().unwrap());
    let cancel = CancellationToken::new();
    let running = tokio::spawn(gateway.run(cancel.clone()));
    (link, address, running, cancel)
}

/// Another organization with a site.
pub async fn make_place(db: &TestDb, trust: &Trust) -> Place {
    let (partner, organization) = (PartnerId::generate(), OrganizationId::generate());
    let authority = trust.new_authority(organization).unwrap();
    let mut tx = db.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::query("INSERT INTO partners (id, name) VALUES ($1, 'Partner')")
        .bind(partner.0)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("INSERT INTO organizations (id, partner_id, name) VALUES ($1, $2, 'Organization')")
        .bind(organization.0)
        .bind(partner.0)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO organization_keys (organization_id, partner_id, public_key, sealed_seed) \
         VALUES ($1, $2, $3, $4)",
    )
    .bind(organization.0)
    .bind(partner.0)
    .bind(authority.public.0.as_slice())
    .bind(&authority.sealed)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let place =
        Place { partner, organization, site: SiteId::generate(), authority: authority.public };
    make_site(db, &place).await;
    place
}

/// The site of a place whose organization is there already.
pub async fn make_site(db: &TestDb, place: &Place) {
    let mut tx = db.db.tenant(&Scope::Platform).await.unwrap();
    for sql in [
        "INSERT INTO sites (id, partner_id, organization_id, name) VALUES ($1, $2, $3, 'Site')",
        "INSERT INTO site_configs (site_id, partner_id, organization_id) VALUES ($1, $2, $3)",
    ] {
        sqlx::query(sql)
            .bind(place.site.0)
            .bind(place.partner.0)
            .bind(place.organization.0)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
}
