//! `evergrant explain --last [N]`: the last verdicts of a running gateway.
//!
//! The gateway keeps its last verdicts with their evidence; this asks its admin listener for them and puts them into
//! words, oldest first, so that the newest stands where the reader looks. Nothing is needed but the address, which has a
//! default, and the caller secret where the gateway asks for one.

use std::time::Duration;

use evergrant::tls::Tls;
use evergrant_core::time::Span;
use evergrant_gateway::Address;
use http::StatusCode;
use serde_json::{Value, json};

use super::shape;
use crate::args::ExplainArgs;
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::render;
use crate::settings::catalog::Setting;
use crate::settings::layers::Layers;
use crate::settings::origin::{Found, Origin};
use crate::settings::values;

/// Prints the last verdicts.
pub(crate) fn run(args: &ExplainArgs, last: usize, layers: &Layers) -> Result<u8, Failures> {
    let address = address(layers)?;
    let secret = layers.secret(Setting::CallerSecret)?;
    let status = launch::small_runtime()?.block_on(async {
        let secret = secret.as_ref().map(|found| found.value.expose());
        ask(&address, secret).await
    })?;
    let filter = Filter { last, causes: &args.cause, route: args.route.as_deref(), since: args.since };
    let verdicts = last_verdicts(&status, &filter);
    if args.json {
        render::json(&json!({ "version": shape::VERSION, "verdicts": verdicts }))?;
    } else if verdicts.is_empty() {
        let refused = last_verdicts(&status, &Filter { last: usize::MAX, ..Filter::default() }).len();
        match refused {
            0 => anstream::eprintln!("nothing was refused since the gateway at {address} started"),
            1 => anstream::eprintln!("the one verdict that the gateway at {address} keeps is not what was asked for"),
            kept => {
                anstream::eprintln!("none of the {kept} verdicts that the gateway at {address} keeps was asked for")
            }
        }
    } else {
        let texts: Vec<String> = verdicts.iter().map(in_words).collect();
        render::data(texts.join("\n").as_bytes())?;
    }
    Ok(exit::OK)
}

/// Where the gateway's admin listener is.
fn address(layers: &Layers) -> Result<Address, Failure> {
    let key = Setting::AdminListen;
    let default = || Found { value: key.spec().default.unwrap_or_default().to_owned(), origin: Origin::Default };
    let found = layers.plain(key).unwrap_or_else(default);
    let address = values::listen_addresses(key, &found)?.into_iter().next();
    match address {
        Some(address) if address.tcp().is_none_or(|addr| addr.port() != 0) => Ok(address),
        Some(_) | None => Err(Failure::new(exit::CONFIG, "the gateway's admin listener is not known")
            .at(&found.origin)
            .because("port 0 is another port at each start")
            .hint("the gateway's log names it: give it with --admin-listen")),
    }
}

/// The status of the gateway there.
async fn ask(address: &Address, secret: Option<&str>) -> Result<Value, Failure> {
    let no_answer = |cause: String| {
        Failure::new(exit::UNREACHABLE, "no gateway answers").at(address).because(cause).hint(
            "start one with `evergrant gateway`; if it listens elsewhere, give its admin listener with --admin-listen",
        )
    };
    let config = Tls::untrusting_config()
        .map_err(|error| Failure::new(exit::CONFIG, "cannot set TLS up").because(&error).hint(error.hint()))?;
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(config)
        .timeout(PATIENCE);
    let (builder, url) = match address {
        Address::Tcp(addr) => (builder, format!("http://{}/status", reachable(*addr))),
        Address::Unix(path) => (builder.unix_socket(path.as_path()), "http://localhost/status".to_owned()),
    };
    let client = builder.build().map_err(|error| no_answer(error.to_string()))?;
    let mut request = client.get(url);
    if let Some(secret) = secret {
        request = request.header("evergrant-caller-secret", secret);
    }
    let mut answer = request.send().await.map_err(|error| no_answer(root_of(&error)))?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| no_answer(root_of(&error)))? {
        body.extend_from_slice(&part);
        if body.len() > LONGEST_STATUS {
            return Err(no_gateway(address, "its answer has no end"));
        }
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status != StatusCode::OK {
        let said = body["detail"].as_str().unwrap_or("it gives no reason");
        return Err(Failure::new(exit::FAILED, format!("the gateway refuses to answer: {status}"))
            .at(address)
            .because(said)
            .hint("run this as the user of the gateway, or give the caller secret: EVERGRANT_CALLER_SECRET"));
    }
    if !body["recent_verdicts"].is_array() {
        return Err(no_gateway(address, "its answer is no status of a gateway"));
    }
    Ok(body)
}

fn no_gateway(address: &Address, cause: &str) -> Failure {
    Failure::new(exit::UNREACHABLE, "what answers there is no gateway of Evergrant")
        .at(address)
        .because(cause)
        .hint("give the address of the admin listener, not that of the proxy, with --admin-listen")
}

/// The innermost reason: the outer ones repeat the URL.
fn root_of(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    let text = root.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// An address that can be connected to: a listener on all addresses is also on loopback.
fn reachable(addr: std::net::SocketAddr) -> std::net::SocketAddr {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    std::net::SocketAddr::new(ip, addr.port())
}

/// Which verdicts are asked for.
#[derive(Default)]
struct Filter<'a> {
    last: usize,
    causes: &'a [String],
    route: Option<&'a str>,
    since: Option<Span>,
}

impl Filter<'_> {
    fn takes(&self, verdict: &Value) -> bool {
        let text = |key: &str| verdict[key].as_str().unwrap_or_default();
        let age = verdict["age_s"].as_f64().unwrap_or_default();
        (self.causes.is_empty() || self.causes.iter().any(|cause| cause == text("cause")))
            && self.route.is_none_or(|part| text("route").contains(part))
            && self.since.is_none_or(|since| age <= since.as_secs_f64())
    }
}

/// The last verdicts of all profiles that the filter takes, oldest first, each with its profile.
fn last_verdicts(status: &Value, filter: &Filter<'_>) -> Vec<Value> {
    let mut verdicts = Vec::new();
    for listener in status["listeners"].as_array().into_iter().flatten() {
        let recent = listener["recent_verdicts"].as_array().into_iter().flatten();
        verdicts.extend(recent.filter(|verdict| filter.takes(verdict)).map(|verdict| {
            let mut verdict = verdict.clone();
            verdict["profile"] = listener["profile"].clone();
            verdict
        }));
    }
    let age = |verdict: &Value| verdict["age_s"].as_f64().unwrap_or_default();
    // Of one age, the later one of a listener is the newer one.
    verdicts.reverse();
    verdicts.sort_by(|left, right| age(left).total_cmp(&age(right)));
    verdicts.truncate(filter.last);
    verdicts.reverse();
    verdicts
}

fn in_words(verdict: &Value) -> String {
    let text = |key: &str| verdict[key].as_str().unwrap_or_default().to_owned();
    let when = verdict["age_s"].as_f64().map(|age| format!(", {} ago", in_time_words(age))).unwrap_or_default();
    let fault = text("fault").replace('_', " ");
    let head = format!(
        "{} ({}, fault: {fault}){when}, {}, {}\n",
        text("cause"),
        text("confidence"),
        text("profile"),
        text("id")
    );
    let evidence = verdict["evidence"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let evidence: String = evidence.map(|fact| format!("  {fact}\n")).collect();
    format!("{head}{evidence}  what to do: {}\n", text("remedy"))
}

fn in_time_words(seconds: f64) -> String {
    match seconds {
        short if short < 120.0 => format!("{short:.0} s"),
        longer if longer < 7200.0 => format!("{:.0} min", longer / 60.0),
        long => format!("{:.0} h", long / 3600.0),
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_STATUS: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Value {
        let verdict = |id: &str, cause: &str, route: &str, age_s: f64| json!({ "id": id, "cause": cause, "route": route, "age_s": age_s });
        json!({
            "listeners": [
                { "profile": "a", "recent_verdicts": [verdict("1", "expired", "GET /x", 20.0), verdict("2", "revoked", "GET /y", 1.0)] },
                { "profile": "b", "recent_verdicts": [verdict("3", "expired", "POST /x", 9.0)] },
            ],
        })
    }

    fn ids(filter: &Filter<'_>) -> String {
        last_verdicts(&status(), filter).iter().filter_map(|found| found["id"].as_str().map(str::to_owned)).collect()
    }

    #[test]
    fn the_last_verdicts_of_all_profiles_stand_in_their_order() {
        for (last, expected) in [(9, "132"), (2, "32"), (0, "")] {
            assert_eq!(ids(&Filter { last, ..Filter::default() }), expected);
        }
    }

    #[test]
    fn cause_route_and_time_are_filters_that_hold_together() {
        let all = || Filter { last: 9, ..Filter::default() };
        let causes = ["expired".to_owned()];
        assert_eq!(ids(&Filter { causes: &causes, ..all() }), "13");
        assert_eq!(ids(&Filter { route: Some("GET /"), ..all() }), "12");
        assert_eq!(ids(&Filter { since: Some(Span::from_secs(9)), ..all() }), "32");
        assert_eq!(ids(&Filter { since: Some(Span::from_secs(9)), causes: &causes, ..all() }), "3");
        assert_eq!(ids(&Filter { last: 1, causes: &causes, ..all() }), "3", "the newest of those that fit");
    }

    #[test]
    fn an_address_that_means_all_is_asked_on_loopback() {
        for (bound, asked) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.1.2.3:1", "10.1.2.3:1")] {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), asked);
        }
    }
}
