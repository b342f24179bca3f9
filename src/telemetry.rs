//! The log and the metrics. Both are the process's own, so both are set up here and once.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Format, Log};

/// Upper ends of the buckets of histograms named `…_seconds`.
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0];

/// `log.level` is no filter.
#[derive(Debug, thiserror::Error)]
#[error("{given:?} is no filter: {cause}; write a level such as info, or directives such as \"info,recado=debug\"")]
pub struct BadFilter {
    given: String,
    cause: String,
}

/// Starts the log on standard error. A second call changes nothing.
///
/// # Errors
/// [`BadFilter`].
pub fn init(log: &Log) -> Result<(), BadFilter> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(log)?).with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    let as_text = match log.format {
        Format::Auto => terminal,
        Format::Text => true,
        Format::Json => false,
    };
    // Fails only when a log stands already, as in tests.
    let _ = match as_text {
        true => builder.with_ansi(terminal).finish().try_init(),
        false => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init(),
    };
    Ok(())
}

/// The filter that `log.level` asks for.
///
/// # Errors
/// [`BadFilter`].
pub fn filter(log: &Log) -> Result<EnvFilter, BadFilter> {
    let bad = |cause: &str| BadFilter { given: log.level.clone(), cause: cause.to_owned() };
    // `EnvFilter` takes a word that is no level for the name of a module, and then logs nothing at all.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let first = log.level.split(',').next().unwrap_or_default().trim();
    if !first.contains(['=', '[', ':', '_']) && !levels.contains(&first.to_ascii_lowercase().as_str()) {
        return Err(bad("a level is one of off, error, warn, info, debug, trace"));
    }
    EnvFilter::builder().parse(&log.level).map_err(|cause| bad(&cause.to_string()))
}

/// The process's metrics.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Installs the recorder behind the macros of the crate `metrics`; every further call gives the same one.
    pub fn install() -> Self {
        static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
        let install = || {
            let builder = PrometheusBuilder::new();
            // Fails only for a list without buckets, and ours has some.
            let builder = builder
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
                .unwrap_or_else(|_| PrometheusBuilder::new());
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            // Fails only when another recorder was installed by somebody else; then this one stays empty.
            let _ = metrics::set_global_recorder(recorder);
            handle
        };
        Self(HANDLE.get_or_init(install).clone())
    }

    /// Sums up what histograms recorded. Until then they keep each value, so without it, or anybody who asks for the
    /// metrics, memory would grow with every request.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }

    /// All metrics in the text format of Prometheus: the answer of `GET /metrics`.
    pub fn render(&self) -> String {
        self.upkeep();
        self.0.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(level: &str) -> Log {
        Log { level: level.to_owned(), format: Format::Json }
    }

    #[test]
    fn a_bad_filter_is_refused_with_what_would_be_right() {
        for bad in ["loud", "infoo", "", "info,recado=loud", "recado=info=debug"] {
            let error = filter(&log(bad)).unwrap_err().to_string();
            assert!(error.contains("such as info"), "{error}");
        }
        for good in ["info", "WARN", "info,recado::engine=debug", "recado=trace", "off"] {
            filter(&log(good)).unwrap();
        }
    }

    #[test]
    fn the_log_and_the_metrics_may_be_set_up_twice() {
        init(&log("info")).unwrap();
        init(&log("debug")).unwrap();
        let first = Metrics::install();
        metrics::counter!("telemetry_test_total").increment(2);
        metrics::histogram!("telemetry_test_seconds").record(0.02);
        let text = Metrics::install().render();
        assert!(text.contains("telemetry_test_total 2"), "{text}");
        assert!(text.contains("telemetry_test_seconds_bucket{le=\"0.025\"} 1"), "{text}");
        assert_eq!(text, first.render());
    }
}
