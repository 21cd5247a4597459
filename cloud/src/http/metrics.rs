//! Figures of the process for Prometheus: requests, database, sockets. Other
//! parts of the cloud add theirs to the same registry.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};
use std::{sync::Arc, time::Duration};

/// The registry and the spine's own figures. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    sockets: IntGauge,
    resets: IntCounterVec,
    rights: IntGauge,
    connections: IntGauge,
    idle: IntGauge,
}

impl Metrics {
    /// Makes the registry.
    ///
    /// # Errors
    /// [`prometheus::Error`] when a name is used twice: a fault of the program.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("unifyit_http_requests_total", "HTTP requests answered."),
            &["method", "route", "status"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("unifyit_http_request_seconds", "Time to answer a request.")
                .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0]),
            &["route"],
        )?;
        let sockets = IntGauge::new("unifyit_event_sockets", "Open event sockets.")?;
        let resets = IntCounterVec::new(
            Opts::new("unifyit_event_resets_total", "Times that an event socket had to refetch."),
            &["why"],
        )?;
        let rights = IntGauge::new(
            "unifyit_rights_held",
            "Terminals and sockets whose right is asked for again and again.",
        )?;
        let connections = IntGauge::new("unifyit_db_connections", "Open database connections.")?;
        let idle = IntGauge::new("unifyit_db_connections_idle", "Idle database connections.")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(resets.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        for gauge in [&sockets, &rights, &connections, &idle] {
            registry.register(Box::new(gauge.clone()))?;
        }
        Ok(Self(Arc::new(Inner {
            registry,
            requests,
            seconds,
            sockets,
            resets,
            rights,
            connections,
            idle,
        })))
    }

    /// Where other parts register their own figures.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Open event sockets.
    #[must_use]
    pub fn sockets(&self) -> &IntGauge {
        &self.0.sockets
    }

    /// Counts an event socket that was told to refetch, by the reason.
    pub fn reset(&self, why: &'static str) {
        self.0.resets.with_label_values(&[why]).inc();
    }

    /// Terminals and sockets that hold a right.
    #[must_use]
    pub fn rights(&self) -> &IntGauge {
        &self.0.rights
    }

    /// Counts an answered request.
    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let status = status.to_string();
        self.0.requests.with_label_values(&[method, route, status.as_str()]).inc();
        self.0.seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// The page that Prometheus reads.
    #[must_use]
    pub fn page(&self, (connections, idle): (u32, usize)) -> String {
        self.0.connections.set(connections.into());
        self.0.idle.set(i64::try_from(idle).unwrap_or(i64::MAX));
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.0.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics page could not be written");
        }
        text
    }
}
