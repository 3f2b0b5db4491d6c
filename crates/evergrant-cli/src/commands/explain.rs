//! `evergrant explain --last [N]`: the last verdicts of a running gateway.
//!
//! The gateway keeps its last verdicts with their evidence; this asks its admin listener for them and puts them into
//! words, oldest first, so that the newest stands where the reader looks. Nothing is needed but the address, which has a
//! default, and the caller secret where the gateway asks for one.

use std::time::Duration;

use evergrant::tls::Tls;
use evergrant_gateway::Address;
use http::StatusCode;
use serde_json::{Value, json};

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
pub(crate) fn run(args: &ExplainArgs, layers: &Layers) -> Result<u8, Failures> {
    let address = address(layers)?;
    let secret = layers.secret(Setting::CallerSecret)?;
    let status = launch::small_runtime()?.block_on(async {
        let secret = secret.as_ref().map(|found| found.value.expose());
        ask(&address, secret).await
    })?;
    let verdicts = last_verdicts(&status, args.last);
    if args.json {
        render::json(&json!({ "verdicts": verdicts }))?;
    } else if verdicts.is_empty() {
        anstream::eprintln!("nothing was refused since the gateway at {address} started");
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

/// The last verdicts of all profiles, oldest first, each with its profile and its age where the events tell it.
fn last_verdicts(status: &Value, last: usize) -> Vec<Value> {
    let events = || status["events"].as_array().into_iter().flatten();
    let age_of =
        |id: &Value| events().find(|event| event["id"] == *id).map_or(Value::Null, |event| event["age_s"].clone());
    let mut verdicts = Vec::new();
    for listener in status["listeners"].as_array().into_iter().flatten() {
        // One whose age is not told is at least as old as its successor; that keeps it in its place.
        let mut at_least = 0.0;
        for verdict in listener["recent_verdicts"].as_array().into_iter().flatten().rev() {
            let mut verdict = verdict.clone();
            verdict["profile"] = listener["profile"].clone();
            verdict["age_s"] = age_of(&verdict["id"]);
            at_least = verdict["age_s"].as_f64().unwrap_or(at_least);
            verdicts.push((at_least, verdict));
        }
    }
    verdicts.sort_by(|(left, _), (right, _)| left.total_cmp(right));
    verdicts.truncate(last);
    verdicts.into_iter().rev().map(|(_, verdict)| verdict).collect()
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
        json!({
            "listeners": [
                { "profile": "a", "recent_verdicts": [{ "id": "1" }, { "id": "2" }] },
                { "profile": "b", "recent_verdicts": [{ "id": "3" }] },
            ],
            "events": [{ "id": "2", "age_s": 1.0 }, { "id": "3", "age_s": 9.0 }],
        })
    }

    #[test]
    fn the_last_verdicts_of_all_profiles_stand_in_their_order() {
        let ids = |last| last_verdicts(&status(), last).iter().map(|found| found["id"].to_string()).collect::<Vec<_>>();
        assert_eq!(ids(9), [r#""3""#, r#""1""#, r#""2""#], "1 is older than 2, and nothing more is known of it");
        assert_eq!(ids(2), [r#""1""#, r#""2""#]);
        assert_eq!(ids(0), [""; 0]);
    }

    #[test]
    fn an_address_that_means_all_is_asked_on_loopback() {
        for (bound, asked) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.1.2.3:1", "10.1.2.3:1")] {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), asked);
        }
    }
}
