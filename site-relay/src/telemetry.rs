//! Metrics of the relay, in one Prometheus registry (`unifyit_relay_*`), and
//! the log's set-up.
//!
//! Each part registers its own metrics through [`Telemetry`] at start, so that
//! a test builds as many relays in one process as it likes.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Telemetry {
    registry: Registry,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self { registry: Registry::new() }
    }

    /// The registry itself, for parts that bring their own collectors.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Registers `unifyit_relay_<name>_total`, a counter.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        let name = &format!("{name}_total");
        self.keep(IntCounter::with_opts(opts(name, help)), || IntCounter::new("unnamed", "-"))
    }

    /// Registers `unifyit_relay_<name>_total`, counters by one label.
    #[must_use]
    pub fn counters(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        let name = &format!("{name}_total");
        self.keep(IntCounterVec::new(opts(name, help), &[label]), || {
            IntCounterVec::new(Opts::new("unnamed", "-"), &["label"])
        })
    }

    /// Registers `unifyit_relay_<name>`, a gauge.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::with_opts(opts(name, help)), || IntGauge::new("unnamed", "-"))
    }

    /// Registers `unifyit_relay_<name>`, gauges by one label.
    #[must_use]
    pub fn gauges(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(opts(name, help), &[label]), || {
            IntGaugeVec::new(Opts::new("unnamed", "-"), &["label"])
        })
    }

    /// Registers `unifyit_relay_<name>`, a histogram with the given bounds.
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() };
        self.keep(Histogram::with_opts(options), || {
            Histogram::with_opts(HistogramOpts::new("unnamed", "-"))
        })
    }

    /// Everything in Prometheus' text form.
    #[must_use]
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// A metric that cannot be registered (a name used twice, a bad name) is a
    /// mistake in this program: it is logged, and the part that asked gets a
    /// metric that nobody sees instead of a crash.
    fn keep<M: Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<M>,
        detached: impl FnOnce() -> prometheus::Result<M>,
    ) -> M {
        match made {
            Ok(metric) => {
                if let Err(error) = self.registry.register(Box::new(metric.clone())) {
                    tracing::error!(%error, "a metric was registered twice");
                }
                metric
            }
            Err(error) => {
                tracing::error!(%error, "a metric has a bad name");
                #[expect(clippy::expect_used, reason = "the names are constants of this file")]
                detached().expect("a constant metric name is valid")
            }
        }
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("unifyit_relay_{name}"), help)
}

/// Starts the log: `UNIFYIT_LOG` filters (default `info`), `UNIFYIT_LOG_FORMAT`
/// chooses `json` or `text`. Goes to standard error. A second call does nothing.
pub fn start_log() {
    let filter = EnvFilter::try_from_env("UNIFYIT_LOG").unwrap_or_else(|_| {
        EnvFilter::new("info,libp2p=warn,libp2p_quic=warn,yamux=warn,rustls=warn")
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let json = std::env::var("UNIFYIT_LOG_FORMAT").is_ok_and(|f| f.eq_ignore_ascii_case("json"));
    let started = if json { builder.json().try_init() } else { builder.try_init() };
    drop(started);
}
