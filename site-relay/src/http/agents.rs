//! HTTPS for agents: enrolment for newcomers, everything else for devices that
//! show a certificate of the site and are admitted.
//!
//! Other parts add their routes to the router given to [`AgentHttps::serve`];
//! each request carries its [`Peer`] as an extension. Use [`only_devices`] on
//! routes that are not for newcomers.

use super::{places::Places, serve_connection};
use crate::{
    broker::Admission,
    config::{Config, HttpsLimits},
    identity::{
        Identity,
        ca::{Proof, proof_of},
        server::ServerCertificate,
    },
    telemetry::Telemetry,
    tls::{
        ClientCertificate, Listener, TlsError,
        gate::{Gate, GateMetrics},
        server_config,
    },
};
use axum::{
    Extension, Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use unifyit_protocol::ids::DeviceId;

const DRAIN: Duration = Duration::from_secs(5);

/// Who sends a request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// From where.
    pub address: IpAddr,
    /// The device that its certificate proves; newcomers have none.
    pub device: Option<(DeviceId, Proof)>,
}

/// Lets only admitted devices through to a router.
pub fn only_devices(router: Router, admission: Arc<dyn Admission>) -> Router {
    router.layer(from_fn_with_state(admission, require_device))
}

async fn require_device(
    State(admission): State<Arc<dyn Admission>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match &peer.device {
        Some((device, proof)) if admission.admit(*device, proof) => next.run(request).await,
        _ => (StatusCode::FORBIDDEN, "Only enrolled devices of this site may do this.")
            .into_response(),
    }
}

/// The listener, bound and not yet serving.
pub struct AgentHttps {
    listener: Listener,
    acceptor: TlsAcceptor,
    limits: HttpsLimits,
    refusals: GateMetrics,
}

impl std::fmt::Debug for AgentHttps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentHttps").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl AgentHttps {
    /// Binds the listener for agents.
    ///
    /// # Errors
    /// [`TlsError`] when the port or the certificates cannot be used.
    pub async fn bind(
        config: &Config,
        identity: &Identity,
        certificate: Arc<ServerCertificate>,
        telemetry: &Telemetry,
    ) -> Result<Self, TlsError> {
        let tls = server_config(
            &identity.keys.ca,
            certificate,
            ClientCertificate::Optional,
            config.certificates.grace_days,
        )?;
        let refusals = GateMetrics::new(telemetry, "https");
        Self::bind_with("agents' HTTPS", config.listen.https, config, tls, refusals).await
    }

    /// Binds the listener for browsers on the LAN, who have no certificate.
    ///
    /// # Errors
    /// [`TlsError`] when the port or the certificates cannot be used.
    pub async fn bind_ui(
        config: &Config,
        identity: &Identity,
        certificate: Arc<ServerCertificate>,
        telemetry: &Telemetry,
    ) -> Result<Self, TlsError> {
        let tls = server_config(&identity.keys.ca, certificate, ClientCertificate::None, 0)?;
        let refusals = GateMetrics::new(telemetry, "ui");
        Self::bind_with("local UI", config.listen.ui, config, tls, refusals).await
    }

    async fn bind_with(
        what: &'static str,
        address: SocketAddr,
        config: &Config,
        tls: Arc<rustls::ServerConfig>,
        refusals: GateMetrics,
    ) -> Result<Self, TlsError> {
        let limits = config.https.clone();
        let gate = Gate::new(limits.max_half_open, limits.max_half_open_per_ip, refusals.clone());
        let listener = Listener::bind(what, address, gate).await?;
        Ok(Self { listener, acceptor: tls.into(), limits, refusals })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.address()
    }

    /// Serves until cancelled.
    pub async fn serve(self, router: Router, cancel: CancellationToken) {
        let Self { listener, acceptor, limits, refusals } = self;
        let places = Places::new(limits.max_connections, limits.max_connections_per_ip);
        let time = Duration::from_secs(limits.handshake_s);
        let tasks = TaskTracker::new();
        loop {
            let (stream, address, slot) = tokio::select! {
                accepted = listener.accept() => accepted,
                () = cancel.cancelled() => break,
            };
            let (acceptor, refusals) = (acceptor.clone(), refusals.clone());
            let (router, cancel) = (router.clone(), cancel.clone());
            let places = places.clone();
            tasks.spawn(async move {
                let handshake = tokio::select! {
                    handshake = timeout(time, acceptor.accept(stream)) => handshake,
                    () = slot.evicted() => return,
                };
                let Ok(Ok(stream)) = handshake else {
                    return refusals.refused("handshake");
                };
                drop(slot);
                let _place = match places.take(address) {
                    Ok(place) => place,
                    Err(reason) => {
                        tracing::debug!(%address, reason, "a connection found no place");
                        return refusals.refused(reason);
                    }
                };
                let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                let device = certificate.and_then(|c| proof_of(c));
                let router = router.layer(Extension(Peer { address, device }));
                serve_connection(stream, router, time, cancel).await;
            });
        }
        drop(listener);
        tasks.close();
        if timeout(DRAIN, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "HTTPS connections did not end in time");
        }
    }
}
