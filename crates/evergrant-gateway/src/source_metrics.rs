//! The credential behind the gateway, as OpenMetrics text.
//!
//! Everything comes from one [`SourceStatus`], taken at scrape time, so the numbers of one scrape belong together and
//! nothing is counted twice. A time that is not known has no sample instead of a made-up zero.

use std::fmt;

use evergrant::{SourceStatus, TokenSource};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads a token source at each scrape.
#[derive(Debug)]
pub(crate) struct SourceMetrics(pub(crate) TokenSource);

impl Collector for SourceMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.0.status();
        encode_counters(&mut encoder, &status)?;
        let mut verdicts =
            encoder.encode_descriptor("verdicts", "Refusals explained, by cause", None, MetricType::Counter)?;
        for (cause, count) in &status.report.verdicts {
            ConstCounter::new(*count).encode(verdicts.encode_family(&[("cause", cause.name())])?)?;
        }
        let ready = i64::from(self.0.is_ready());
        ConstGauge::new(ready).encode(encoder.encode_descriptor(
            "ready",
            "1 while a usable token is held",
            None,
            MetricType::Gauge,
        )?)?;
        encode_times(&mut encoder, &status)
    }
}

fn encode_counters(encoder: &mut DescriptorEncoder<'_>, status: &SourceStatus) -> Result<(), fmt::Error> {
    let counters = &status.report.counters;
    for (name, help, value) in [
        ("token_requests", "Token requests sent", counters.token_requests),
        ("mints", "Token requests that brought a token", counters.mints),
        ("adoptions", "Tokens taken over from another process", counters.adoptions),
        ("token_failures", "Token requests that brought no token", counters.token_failures),
        ("refusals", "401s of the tokens of this credential", counters.refusals),
        ("passed_refusals", "401s passed on to callers", counters.passed_refusals),
        ("probes", "Probes sent", counters.probes),
        ("local_clock_steps", "Steps of this machine's calendar clock", status.clock.local_steps),
        ("server_clock_steps", "Steps of the provider's clock", status.clock.server_steps),
    ] {
        ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    Ok(())
}

fn encode_times(encoder: &mut DescriptorEncoder<'_>, status: &SourceStatus) -> Result<(), fmt::Error> {
    if let Some(left) = status.report.active.as_ref().and_then(|token| token.dead_in_s) {
        let help = "Time until the serving token may stop working";
        let gauge = encoder.encode_descriptor("token_remaining_seconds", help, None, MetricType::Gauge)?;
        ConstGauge::new(left).encode(gauge)?;
    }
    if let Some(skew) = &status.clock.local_minus_server_s {
        let help = "This machine's clock minus the provider's, at least and at most; positive is fast";
        let mut gauge = encoder.encode_descriptor("local_minus_server_seconds", help, None, MetricType::Gauge)?;
        for (end, value) in [("lo", skew.lo), ("hi", skew.hi)] {
            ConstGauge::new(value).encode(gauge.encode_family(&[("end", end)])?)?;
        }
    }
    Ok(())
}
