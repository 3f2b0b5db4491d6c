//! `/metrics`: the numbers of `/status` as OpenMetrics text.
//!
//! A table says which number of the status becomes which metric, and the help text of each metric names its place in
//! the status, so that the two can be read side by side; a test walks the status and fails if a number has no metric.
//! What is not known has no sample, never a made-up zero. Everything of a listener carries its `profile`.
//!
//! Source: OpenMetrics 1.0.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::Value;

use super::status::Status;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The whole text.
pub(super) fn encode(status: &Status<'_>) -> Result<String, Box<dyn std::error::Error>> {
    let mut registry = Registry::with_prefix("evergrant");
    registry.register_collector(Box::new(Picture(serde_json::to_value(status)?)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// A status as it was at scrape time.
#[derive(Debug)]
struct Picture(Value);

impl Collector for Picture {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in GATEWAY {
            metric.encode(&mut encoder, [(None, &self.0)].into_iter())?;
        }
        let listeners = self.0["listeners"].as_array().map(Vec::as_slice).unwrap_or_default();
        for metric in LISTENER {
            let each = listeners.iter().map(|listener| (listener["profile"].as_str(), listener));
            metric.encode(&mut encoder, each)?;
        }
        Ok(())
    }
}

/// A metric and where its samples come from.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    from: &'static [Place],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Counter,
    Gauge,
    /// A text: 1 for the one that holds.
    Text,
    /// `sum_s`, `count` and `buckets`.
    Histogram,
}

/// A path into the status, and the labels of the sample that is found there. A `*` in the path stands for every key of
/// an object or every element of a list; a label whose value is `*` gets the key, or the element's `source`.
type Place = (&'static str, &'static [(&'static str, &'static str)]);

type Labels = Vec<(String, String)>;

impl Metric {
    fn encode<'a>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        statuses: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
    ) -> fmt::Result {
        let paths: Vec<_> = self.from.iter().map(|(path, _)| format!("`{path}`")).collect();
        let help = format!("{} ({} in /status)", self.help, paths.join(", "));
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge | Kind::Text => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let samples = statuses.flat_map(|(profile, status)| self.samples(profile, status)).collect::<Vec<_>>();
        let mut family = encoder.encode_descriptor(self.name, &help, None, kind)?;
        match samples.as_slice() {
            [(labels, value)] if labels.is_empty() => self.sample(family, value),
            samples => samples.iter().try_for_each(|(labels, value)| self.sample(family.encode_family(labels)?, value)),
        }
    }

    /// What a status has for this metric, with its labels.
    fn samples<'a>(&self, profile: Option<&str>, status: &'a Value) -> Vec<(Labels, &'a Value)> {
        let mut samples = Vec::new();
        for (path, labels) in self.from {
            for (stars, value) in find(status, path).into_iter().filter(|(_, value)| !value.is_null()) {
                let mut stars = stars.into_iter();
                let filled = labels.iter().map(|(name, value)| {
                    let value = if *value == "*" { stars.next() } else { Some((*value).to_owned()) };
                    ((*name).to_owned(), value.unwrap_or_default())
                });
                let profile = profile.map(|profile| ("profile".to_owned(), profile.to_owned()));
                let text = (self.kind == Kind::Text).then(|| {
                    let name = self.name.rsplit('_').next().unwrap_or_default();
                    (name.to_owned(), value.as_str().unwrap_or_default().to_owned())
                });
                samples.push((profile.into_iter().chain(filled).chain(text).collect(), value));
            }
        }
        samples
    }

    fn sample(&self, sample: MetricEncoder<'_>, value: &Value) -> fmt::Result {
        match self.kind {
            Kind::Counter => ConstCounter::new(value.as_u64().unwrap_or(0)).encode(sample),
            Kind::Gauge => {
                let number = value.as_f64().unwrap_or_else(|| f64::from(u8::from(value.as_bool().unwrap_or(false))));
                ConstGauge::new(number).encode(sample)
            }
            Kind::Text => ConstGauge::new(1_i64).encode(sample),
            Kind::Histogram => encode_histogram(sample, value),
        }
    }
}

fn encode_histogram(mut sample: MetricEncoder<'_>, value: &Value) -> fmt::Result {
    let buckets = value["buckets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let buckets: Vec<_> = buckets
        .iter()
        .map(|bucket| (bucket["le_s"].as_f64().unwrap_or(f64::INFINITY), bucket["count"].as_u64().unwrap_or(0)))
        .collect();
    let (sum, count) = (value["sum_s"].as_f64().unwrap_or(0.0), value["count"].as_u64().unwrap_or(0));
    sample.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}

/// What is found at a path, with what its stars stood for.
fn find<'a>(value: &'a Value, path: &str) -> Vec<(Vec<String>, &'a Value)> {
    let mut found = vec![(Vec::new(), value)];
    for part in path.split('.') {
        found = found.into_iter().flat_map(|(stars, value)| step(stars, value, part)).collect();
    }
    found
}

fn step<'a>(stars: Vec<String>, value: &'a Value, part: &str) -> Vec<(Vec<String>, &'a Value)> {
    let with = |star: &str| stars.iter().cloned().chain([star.to_owned()]).collect::<Vec<_>>();
    match (part, value) {
        ("*", Value::Object(map)) => map.iter().map(|(key, value)| (with(key), value)).collect(),
        ("*", Value::Array(list)) => {
            list.iter().map(|value| (with(value["source"].as_str().unwrap_or_default()), value)).collect()
        }
        (key, value) => value.get(key).map(|value| (stars, value)).into_iter().collect(),
    }
}

const fn counter(name: &'static str, help: &'static str, from: &'static [Place]) -> Metric {
    Metric { name, help, kind: Kind::Counter, from }
}

const fn gauge(name: &'static str, help: &'static str, from: &'static [Place]) -> Metric {
    Metric { name, help, kind: Kind::Gauge, from }
}

/// What all listeners have in common.
const GATEWAY: &[Metric] = &[
    Metric { name: "build_version", help: "The version that runs", kind: Kind::Text, from: &[("version", &[])] },
    Metric { name: "build_commit", help: "The commit it is built from", kind: Kind::Text, from: &[("commit", &[])] },
    gauge("all_ready", "1 while every listener holds a usable token", &[("ready", &[])]),
    gauge("draining", "1 while no new requests are taken", &[("draining", &[])]),
    gauge("uptime_seconds", "Time since the start", &[("uptime_s", &[])]),
    counter(
        "reloads",
        "Times that the settings were read again",
        &[("reloads.accepted", &[("result", "accepted")]), ("reloads.rejected", &[("result", "rejected")])],
    ),
    gauge("reload_ok", "1 if the settings that were read last are in force", &[("reload.ok", &[])]),
    gauge("reload_unix_milliseconds", "When they were read", &[("reload.at_unix_ms", &[])]),
];

/// One sample for each of the slots that a token can be in.
macro_rules! slots {
    ($field:literal) => {
        &[
            (concat!("previous.", $field), &[("slot", "previous")]),
            (concat!("active.", $field), &[("slot", "active")]),
            (concat!("candidate.", $field), &[("slot", "candidate")]),
        ]
    };
}

/// What each listener has.
const LISTENER: &[Metric] = &[
    gauge("ready", "1 while a usable token is held", &[("ready", &[])]),
    Metric { name: "credential_state", help: "1 for the state that holds", kind: Kind::Text, from: &[("state", &[])] },
    counter("token_requests", "Token requests sent", &[("counters.token_requests", &[])]),
    counter("mints", "Token requests that brought a token", &[("counters.mints", &[])]),
    counter("adoptions", "Tokens taken over from another process", &[("counters.adoptions", &[])]),
    counter("token_failures", "Token requests that brought no token", &[("counters.token_failures", &[])]),
    counter("same_token_answers", "Answers with a token at hand already", &[("counters.same_token_answers", &[])]),
    counter("refusals", "401s of the tokens of this credential", &[("counters.refusals", &[])]),
    counter("passed_refusals", "401s passed on to callers", &[("counters.passed_refusals", &[])]),
    counter("credential_replays", "Requests decided to be sent again after a 401", &[("counters.replays", &[])]),
    counter("same_token_retries", "Of those, with the same token", &[("counters.same_token_retries", &[])]),
    counter("rejected_generations", "Tokens given up", &[("counters.rejected_generations", &[])]),
    counter("contradicted_claims", "JWTs whose dates are not believed", &[("counters.contradicted_claims", &[])]),
    counter("probes", "Probes sent", &[("counters.probes", &[])]),
    counter("verdicts", "Refusals explained, by cause", &[("verdicts.*", &[("cause", "*")])]),
    counter("local_clock_steps", "Steps of this machine's calendar clock", &[("clock.local_steps", &[])]),
    counter("server_clock_steps", "Steps of the provider's clock", &[("clock.server_steps", &[])]),
    gauge(
        "local_minus_server_seconds",
        "This machine's clock minus the provider's, at least and at most; positive is fast",
        &[("clock.local_minus_server_s.lo", &[("end", "lo")]), ("clock.local_minus_server_s.hi", &[("end", "hi")])],
    ),
    gauge(
        "clock_source_seconds",
        "The same by each source of the provider's time",
        &[
            ("clock.sources.*.local_minus_server_s.lo", &[("source", "*"), ("end", "lo")]),
            ("clock.sources.*.local_minus_server_s.hi", &[("source", "*"), ("end", "hi")]),
        ],
    ),
    gauge("newest_generation", "The newest token ever held", &[("newest", &[])]),
    gauge("token_generation", "Which token it is", slots!("generation")),
    gauge("token_age_seconds", "Time since it was asked for", slots!("age_s")),
    gauge("token_soft_in_seconds", "Time until a refresh starts", slots!("soft_in_s")),
    gauge("token_hard_in_seconds", "Time until callers wait for the refresh", slots!("hard_in_s")),
    gauge("token_remaining_seconds", "Time until the token may stop working", slots!("dead_in_s")),
    gauge("token_gone_in_seconds", "Time until the token has stopped working", slots!("gone_in_s")),
    gauge("token_proven", "1 if it worked, without a refusal since", slots!("is_proven")),
    gauge("token_suspect", "1 if it was refused, without a success since", slots!("is_suspect")),
    gauge("token_lifetime_seconds", "The lifetime that the provider gives", &[("lifetime_s", &[])]),
    gauge("settle_seconds", "How long a new token rests", &[("settle_s", &[])]),
    gauge("revokes_old", "1 if a refresh ends the old token, as far as was learned", &[("revokes_old", &[])]),
    gauge("refresh_p99_seconds", "How long token requests take", &[("refresh_p99_s", &[])]),
    gauge("retry_in_seconds", "Time until the token endpoint is asked again", &[("retry_in_s", &[])]),
    gauge("circuit_open_seconds", "Time for which 401s ask for no token", &[("circuit_opens_in_s", &[])]),
    gauge("mint_budget_used", "Mints of the last window", &[("mint_budget.used", &[])]),
    gauge("mint_budget_limit", "So many mints are allowed in it", &[("mint_budget.limit", &[])]),
    gauge("mint_budget_window_seconds", "The window of the mint budget", &[("mint_budget.window_s", &[])]),
    counter("gateway_requests", "Requests answered, by status class", &[("gateway.answers.*", &[("class", "*")])]),
    counter("gateway_all_requests", "Requests answered", &[("gateway.requests", &[])]),
    counter(
        "gateway_visible_401",
        "401s that reached a caller, by cause",
        &[("gateway.visible_401_by_cause.*", &[("cause", "*")])],
    ),
    counter("gateway_all_visible_401", "401s that reached a caller", &[("gateway.visible_401", &[])]),
    counter("gateway_upstream_401", "401s that the upstream sent for our token", &[("gateway.upstream_401", &[])]),
    counter("gateway_replays", "Requests sent again after a 401", &[("gateway.replays", &[])]),
    counter("gateway_reconnects", "Requests sent again on a new connection", &[("gateway.reconnects", &[])]),
    counter("gateway_refused_requests", "Requests refused before anything else", &[("gateway.refused", &[])]),
    counter(
        "gateway_requests_without_token",
        "Requests answered with 503 for want of a token",
        &[("gateway.without_token", &[])],
    ),
    counter(
        "gateway_upstream_faults",
        "Requests that got no answer from the upstream, or one that broke off, by what went wrong",
        &[("gateway.upstream_faults_by_kind.*", &[("kind", "*")])],
    ),
    counter("gateway_all_upstream_faults", "The same, all of them", &[("gateway.upstream_faults", &[])]),
    counter("gateway_handles_issued", "Handles given to callers", &[("gateway.handles_issued", &[])]),
    counter("gateway_handles_ended", "Handles that their callers ended", &[("gateway.handles_ended", &[])]),
    counter("gateway_handles_refused", "Requests with an unknown handle", &[("gateway.handles_refused", &[])]),
    counter("gateway_logins_refused", "Logins of callers that were refused", &[("gateway.logins_refused", &[])]),
    counter(
        "gateway_own_authorization",
        "Requests with an Authorization of their own",
        &[("gateway.own_authorization", &[])],
    ),
    gauge("gateway_rate_allowed", "Requests that the rate limit allows in a window", &[("gateway.rate.allowed", &[])]),
    gauge("gateway_rate_used", "Requests used in it", &[("gateway.rate.used", &[])]),
    gauge("gateway_rate_reset_seconds", "Time until the window ends", &[("gateway.rate.reset_in_s", &[])]),
    gauge(
        "gateway_rate_blocked_seconds",
        "Time for which nothing is sent because of a 429",
        &[("gateway.rate.blocked_for_s", &[])],
    ),
    gauge("gateway_rate_waiting", "Requests that wait for their turn", &[("gateway.rate.waiting", &[])]),
    counter("gateway_rate_waited", "Requests that had to wait", &[("gateway.rate.waited_total", &[])]),
    counter("gateway_rate_answered_429", "Requests answered with 429 unsent", &[("gateway.rate.answered_429", &[])]),
    counter("gateway_rate_upstream_429", "429s that the upstream sent", &[("gateway.rate.upstream_429", &[])]),
    gauge(
        "gateway_rate_caller_weight",
        "For how much a caller counts",
        &[("gateway.rate.callers.*.weight", &[("caller", "*")])],
    ),
    gauge(
        "gateway_rate_caller_sent",
        "Requests that a caller sent in this window",
        &[("gateway.rate.callers.*.sent", &[("caller", "*")])],
    ),
    gauge(
        "gateway_rate_caller_waiting",
        "Requests of a caller that wait",
        &[("gateway.rate.callers.*.waiting", &[("caller", "*")])],
    ),
    gauge("gateway_in_flight_requests", "Requests whose answer is not complete", &[("gateway.in_flight", &[])]),
    gauge("gateway_connections", "Open connections of callers", &[("gateway.connections", &[])]),
    gauge("gateway_tunnels", "Open upgraded connections", &[("gateway.tunnels", &[])]),
    Metric {
        name: "gateway_answer_seconds",
        help: "Time to the head of the answer",
        kind: Kind::Histogram,
        from: &[("gateway.latency", &[])],
    },
    gauge(
        "gateway_recent_answer_seconds",
        "Time to the head of the answer, over the last seconds",
        &[("gateway.recent.p50_s", &[("quantile", "0.5")]), ("gateway.recent.p99_s", &[("quantile", "0.99")])],
    ),
    gauge("gateway_recent_requests_per_second", "Requests a second", &[("gateway.recent.requests_per_s", &[])]),
    gauge("gateway_recent_seconds", "The time that counts as recent", &[("gateway.recent.span_s", &[])]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_keys_and_for_sources() {
        let value = serde_json::json!({
            "a": { "x": 1, "y": 2 },
            "list": [{ "source": "s1", "n": 3 }, { "source": "s2", "n": 4 }],
            "none": null,
        });
        let found = |path| find(&value, path).into_iter().map(|(stars, value)| (stars.join(","), value.to_string()));
        let texts = |path| found(path).map(|(stars, value)| format!("{stars}={value}")).collect::<Vec<_>>();
        assert_eq!(texts("a.*"), ["x=1", "y=2"]);
        assert_eq!(texts("list.*.n"), ["s1=3", "s2=4"]);
        assert_eq!(texts("none.deeper"), [""; 0]);
    }

    #[test]
    fn every_metric_has_its_own_name_and_every_number_one_metric() {
        let all = || GATEWAY.iter().chain(LISTENER);
        let mut names: Vec<_> = all().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count());
        let mut paths: Vec<_> = LISTENER.iter().flat_map(|metric| metric.from).map(|(path, _)| path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), LISTENER.iter().map(|metric| metric.from.len()).sum::<usize>());
    }

    #[test]
    fn what_is_not_known_has_no_sample() {
        let status = serde_json::json!({
            "version": "1", "ready": true,
            "listeners": [{ "profile": "a\"b", "ready": false, "active": { "age_s": 1.5, "hard_in_s": null } }],
        });
        let mut registry = Registry::with_prefix("evergrant");
        registry.register_collector(Box::new(Picture(status)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains(r#"evergrant_token_age_seconds{profile="a\"b",slot="active"} 1.5"#), "{text}");
        assert!(text.contains(r#"evergrant_build_version{version="1"} 1"#), "{text}");
        assert!(!text.contains("evergrant_token_hard_in_seconds{"), "{text}");
    }
}
