//! The table of contents: every feature is listed here and nowhere else.

use crate::{
    auth,
    authz::Can,
    config::Config,
    context::{AppState, Clock, Sockets},
    db::{Db, DbError, DbOptions, MigrateError},
    downloads::Downloads,
    events::{self, LocalBus, TimelineKind, Watches},
    feature::{self, Feature},
    features,
    http::{
        Problem, assets, docs, downloads, health, layers,
        limits::Limits,
        metrics::Metrics,
        server::{Server, ServerBounds},
        shares::Shares,
        tls::{self, Certificates},
        turns::Turns,
    },
    jobs::{self, Old},
    keeping::{Kept, settings},
    lifecycle::{Lifecycle, Runtime},
    link::{Gateway, LinkDeps, LinkLimits, LinkMetrics, LinkOptions},
    reports::Reporting,
};
use anyhow::Context;
use axum::{Router, extract::DefaultBodyLimit, middleware, response::IntoResponse};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tower_http::compression::{
    CompressionLayer, Predicate,
    predicate::{DefaultPredicate, NotForContentType},
};
use utoipa::openapi::{ComponentsBuilder, ContactBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

/// Largest request body in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// Prefix of the API.
pub const API: &str = "/api/v1";

/// The features, in the order in which the document lists their words, and in which each
/// takes its records of a batch.
pub const FEATURES: &[Feature] = &[
    features::audit::FEATURE,
    features::tenants::FEATURE,
    features::retention::FEATURE,
    features::settings::FEATURE,
    features::sites::FEATURE,
    features::devices::FEATURE,
    features::gaps::FEATURE,
    features::inventory::FEATURE,
    features::metrics::FEATURE,
    features::tasks::FEATURE,
    features::terminal::FEATURE,
    features::relays::FEATURE,
    features::users::FEATURE,
    features::api_keys::FEATURE,
    features::overview::FEATURE,
];

/// Routes that need a session or key.
fn protected() -> OpenApiRouter<AppState> {
    let all = FEATURES.iter().fold(OpenApiRouter::new(), |all, one| all.merge((one.routes)()));
    all.merge(events::socket::routes())
}

/// Routes before sign-in.
fn public() -> OpenApiRouter<AppState> {
    FEATURES.iter().fold(OpenApiRouter::new(), |all, one| all.merge((one.public_routes)()))
}

/// The API document.
#[must_use]
pub fn openapi() -> OpenApi {
    let (_, document) = described().nest(API, public().merge(protected())).split_for_parts();
    finished(document)
}

fn finished(mut document: OpenApi) -> OpenApi {
    let sources = FEATURES.iter().filter_map(|feature| feature.timeline);
    docs::list::<TimelineKind>(&mut document, sources.map(|source| source.kind.as_str()));
    docs::replace::<Kept>(&mut document, Kept::described(&settings(FEATURES)));
    docs::list::<Can>(&mut document, feature::rights(FEATURES).map(Can::as_str));
    docs::describe::<Can>(&mut document, rights_table());
    docs::tighten(&mut document);
    docs::complete(&mut document, &["/auth/login"]);
    document
}

/// Who may do what, a line each.
fn rights_table() -> String {
    let lines = feature::rights(FEATURES).map(|right| format!("- {right}\n"));
    format!(
        "What a request is about to do. Every endpoint names one. By the least role that allows it:\n\n{}",
        lines.collect::<String>().trim_end()
    )
}

fn described() -> OpenApiRouter<AppState> {
    let contact = ContactBuilder::new().name(Some("UnifyIT")).build();
    let info = InfoBuilder::new()
        .title("UnifyIT cloud")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Lists take `limit` and `cursor` and return `next_cursor`. Problems are RFC 9457 with a request id. \
             POSTs that act take an `Idempotency-Key`. What is outside your scope answers 404.",
        ))
        .contact(Some(contact))
        .build();
    // What the events socket carries stands in no route.
    let told = FEATURES.iter().fold(ComponentsBuilder::new(), |all, one| (one.told)(all)).build();
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).components(Some(told)).build())
}

/// The whole HTTP service.
pub fn router(state: AppState) -> Router {
    let guarded = protected().layer(middleware::from_fn_with_state(state.clone(), auth::require));
    let api = public().merge(guarded).layer(middleware::from_fn(layers::no_store));
    let (api, document) = described().nest(API, api).split_for_parts();
    let document = finished(document);
    let compressed = CompressionLayer::new()
        .gzip(true)
        .br(true)
        .compress_when(DefaultPredicate::new().and(NotForContentType::const_new("font/")));
    api.merge(docs::routes(&document))
        .merge(health::routes())
        .merge(downloads::routes())
        .fallback(assets::serve)
        .method_not_allowed_fallback(async || {
            Problem::new(
                axum::http::StatusCode::METHOD_NOT_ALLOWED,
                "about:blank",
                "Method not allowed",
                "This path exists, but not with this method. See /api/docs.",
            )
            .into_response()
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(state.clone(), layers::frame))
        .layer(compressed)
        .with_state(state)
}

/// Runs the cloud until it is asked to stop.
///
/// # Errors
/// With a sentence that says what to mend.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let lifecycle = Lifecycle::default();
    lifecycle.listen().context("signals cannot be received")?;
    std::fs::create_dir_all(&config.state)
        .with_context(|| format!("the state folder {} cannot be made", config.state.display()))?;
    let metrics = Metrics::new()?;
    let certificates = Certificates::of(&config, metrics.registry())?;
    let redirect = config.redirect()?;

    let db = Db::new(
        &DbOptions {
            url: config.database_url.clone(),
            connections: config.database_connections,
            patience: Duration::from_secs(5),
        },
        Arc::new(LocalBus::default()),
    )
    .context("database_url is not usable")?;
    if !await_database(&db, &lifecycle).await? {
        return Ok(());
    }

    let trust = keys::load(&db, &config).await?;
    let downloads = publish(&config).await?;
    let watches = Watches::default();
    let link_metrics = LinkMetrics::new(metrics.registry())?;
    let (records, beside) = Reporting::of(FEATURES, &db, &watches);
    let gateway = Gateway::bind(
        LinkOptions {
            listen: config.libp2p_listen.clone(),
            announce: config.announce.clone(),
            state: config.state.clone(),
            limits: LinkLimits::default(),
        },
        LinkDeps {
            db: db.clone(),
            trust: trust.clone(),
            watches: watches.clone(),
            records: Arc::new(records),
            metrics: link_metrics,
        },
    )
    .await?;
    let listener = bind(config.listen, "listen").await?;
    let http = listener.local_addr()?;
    let monitoring = bind(config.admin_listen, "admin_listen").await?;
    let admin = monitoring.local_addr()?;
    let plain = match redirect {
        Some(address) => Some(bind(address, "redirect_listen").await?),
        None => None,
    };

    let limits = Limits::new(&config)?;
    limits.register(metrics.registry())?;
    let turns = Turns::new(config.database_connections)?;
    turns.register(metrics.registry())?;
    let shares = Shares::new(config.requests_at_once)?;
    shares.register(metrics.registry())?;
    let state = AppState {
        features: FEATURES,
        db: db.clone(),
        old: Old::new(db.clone(), metrics.registry())?,
        watches,
        link: gateway.link(),
        reconcile: Arc::default(),
        trust,
        downloads,
        rights: auth::Rights::new(config.session_idle_hours, metrics.rights().clone()),
        passwords: auth::Passwords::new()?,
        limits,
        shares,
        sockets: Sockets::default(),
        turns,
        metrics,
        stop: lifecycle.stop(),
        config: Arc::new(Config { public_url: config.public_url(http), ..config }),
        clock: Clock::system(),
    };
    let (libp2p, peer_id) = (gateway.addresses(), gateway.link().peer_id());
    let runtime = Runtime { http, admin, libp2p, peer_id };
    runtime.write(&state.config.state).context("runtime.json cannot be written")?;
    tracing::info!(%http, %admin, libp2p = ?runtime.libp2p, peer = %runtime.peer_id,
        console = %state.config.public_url, "the cloud serves");

    lifecycle.spawn(gateway.run(lifecycle.stop()));
    beside.into_iter().for_each(|work| lifecycle.spawn(work(lifecycle.stop())));
    jobs::start(&lifecycle, &state);
    lifecycle.spawn(state.rights.clone().run(db.clone(), lifecycle.stop()));
    let registry = state.metrics.registry();
    let bounds = ServerBounds {
        each_address: state.config.connections_per_address,
        proxies: state.config.trusted_proxies.clone(),
        ..ServerBounds::default()
    };
    let acceptor = certificates.as_ref().map(Certificates::acceptor).transpose()?;
    let server = Server::new(bounds.clone(), "unifyit_http", registry)?.behind(acceptor);
    if let Some(certificates) = certificates {
        lifecycle.spawn(certificates.keep_fresh(lifecycle.stop()));
    }
    if let Some(plain) = plain {
        let sends_on = Server::new(bounds, "unifyit_redirect_http", registry)?;
        let router = tls::redirect(&state.config.public_url);
        lifecycle.spawn(sends_on.run(plain, router, lifecycle.stop()));
    }
    let few = ServerBounds { connections: 64, each_address: 64, ..ServerBounds::default() };
    let watched = Server::new(few, "unifyit_admin_http", registry)?;
    lifecycle.spawn(watched.run(monitoring, health::admin(state.clone()), lifecycle.stop()));
    lifecycle.spawn(server.run(listener, router(state), lifecycle.stop()));
    lifecycle.ready();
    lifecycle.stop().cancelled().await;
    lifecycle.drain().await;
    db.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; free the port or change `{setting}` (a port below 1024 takes CAP_NET_BIND_SERVICE)")
    })
}

/// Lists what agents and relays are installed from.
async fn publish(config: &Config) -> anyhow::Result<Downloads> {
    let (from, state) = (config.downloads.clone(), config.state.clone());
    let downloads = tokio::task::spawn_blocking(move || Downloads::publish(&from, &state))
        .await?
        .with_context(|| {
        format!("the packages in {} cannot be used", config.downloads.display())
    })?;
    if downloads.script().is_none() {
        tracing::warn!(folder = %config.downloads.display(),
            "no packages to hand out: install lines will only work where the programs are \
             installed already; build them with `make packages` and see `downloads` in the settings");
    }
    Ok(downloads)
}

/// Waits until the database answers and is this build's. False when asked to
/// stop meanwhile.
async fn await_database(db: &Db, lifecycle: &Lifecycle) -> anyhow::Result<bool> {
    let stop = lifecycle.stop();
    loop {
        let Some(checked) = stop.run_until_cancelled(db.check()).await else { return Ok(false) };
        match checked {
            Ok(()) => return Ok(true),
            Err(MigrateError::Db(error @ DbError::Unavailable { .. })) => {
                tracing::warn!(%error, "waiting for the database; see `unifyit-cloud doctor`");
            }
            Err(error) => return Err(error.into()),
        }
        if stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(2))).await.is_none() {
            return Ok(false);
        }
    }
}

mod keys;
#[cfg(test)]
mod tests;
