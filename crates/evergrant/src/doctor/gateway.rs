//! A running gateway, asked at its admin listener.
//!
//! Whether none running is a fault depends on whether somebody said that one should: the default address is tried, and
//! silence there means nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::report::{Check, Name};
use super::setup::{GatewayPlace, GatewaySetup};
use super::visit::Visit;
use super::words::counted;
use crate::tls::Tls;

/// Asks the gateway how it is.
pub(super) async fn check(visit: &Visit<'_>) -> Check {
    let Some(setup) = &visit.setup.gateway else { return Check::skipped(Name::Gateway, "not asked for") };
    let place = shown(&setup.place);
    match status(setup).await {
        Ok((200, body)) if body["listeners"].is_array() => judge(visit, &place, &body),
        Ok((200, _)) => Check::ok(Name::Gateway)
            .saw(format!("what answers at {place} is no gateway of Evergrant"))
            .warning("give the address of the gateway's admin listener with --admin-listen"),
        Ok((status, body)) => Check::ok(Name::Gateway)
            .saw(format!("{place} refuses to tell: {status} {}", body["detail"].as_str().unwrap_or_default()))
            .warning("run this as the gateway's user, or give its caller secret (EVERGRANT_CALLER_SECRET)"),
        Err(why) if setup.is_expected => Check::ok(Name::Gateway)
            .saw(format!("no gateway answers at {place}: {why}"))
            .fault("start it with `evergrant gateway`, or give its admin listener with --admin-listen"),
        Err(_) => Check::skipped(Name::Gateway, format!("none runs at {place}")),
    }
}

fn judge(visit: &Visit<'_>, place: &str, body: &Value) -> Check {
    let version = body["version"].as_str().unwrap_or("unknown");
    let listeners: Vec<&Value> = body["listeners"].as_array().into_iter().flatten().collect();
    let ours = env!("CARGO_PKG_VERSION");
    let mut check =
        Check::ok(Name::Gateway).saw(format!("version {version} at {place}, {}", counted(listeners.len(), "listener")));
    if version != ours {
        check =
            check.saw(format!("this program is version {ours}")).warning("restart the gateway with the same version");
    }
    for listener in &listeners {
        let profile = listener["profile"].as_str().unwrap_or("default");
        let upstream = listener["gateway"]["upstream"].as_str().unwrap_or_default();
        let is_ready = listener["ready"].as_bool().unwrap_or(false);
        let ready = if is_ready { "holds a usable token" } else { "holds no usable token" };
        check = check.saw(format!("profile {profile} for {upstream}: {ready}"));
        if !is_ready {
            check = check.fault("the gateway has no token to give: its log and `evergrant explain --last` say why");
        }
    }
    let api = visit.setup.profile.api_url.as_deref().unwrap_or_default();
    let is_ours = |listener: &Value| {
        let upstream = listener["gateway"]["upstream"].as_str().unwrap_or_default();
        upstream.trim_end_matches('/') == api.trim_end_matches('/')
    };
    if !api.is_empty() && !listeners.iter().any(|listener| is_ours(listener)) {
        check = check
            .saw(format!("none of its listeners is for {api}, which these settings name"))
            .warning("check that doctor and the gateway use the same settings (--config, --profile)");
    }
    check
}

/// The status and the JSON that the admin listener answers.
async fn status(setup: &GatewaySetup) -> Result<(u16, Value), String> {
    let config = Tls::untrusting_config().map_err(|error| error.to_string())?;
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(config)
        .timeout(PATIENCE);
    let (builder, url) = match &setup.place {
        GatewayPlace::Tcp(addr) => (builder, format!("http://{}/status", reachable(*addr))),
        #[cfg(unix)]
        GatewayPlace::Unix(path) => (builder.unix_socket(path.as_path()), "http://localhost/status".to_owned()),
        #[cfg(not(unix))]
        GatewayPlace::Unix(_) => return Err("there are no Unix sockets here".to_owned()),
    };
    let in_short = |error: reqwest::Error| {
        let text = crate::transport::innermost(&error);
        let short = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
        if error.is_timeout() { "no answer in time".to_owned() } else { short }
    };
    let mut request = builder.build().map_err(in_short)?.get(url);
    if let Some(secret) = &setup.caller_secret {
        request = request.header("evergrant-caller-secret", secret.expose());
    }
    let mut answer = request.send().await.map_err(in_short)?;
    let status = answer.status().as_u16();
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(in_short)? {
        body.extend_from_slice(&part);
        if body.len() > LONGEST_STATUS {
            return Err("its answer has no end".to_owned());
        }
    }
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

fn shown(place: &GatewayPlace) -> String {
    match place {
        GatewayPlace::Tcp(addr) => addr.to_string(),
        GatewayPlace::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// An address that can be connected to: a listener on all addresses is also on loopback.
#[must_use]
pub fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, addr.port())
}

const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_STATUS: usize = 8 << 20;
