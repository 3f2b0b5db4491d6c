//! `evergrant gateway`: a local gateway until SIGTERM or SIGINT.
//!
//! It listens at once and asks for a token without waiting for a caller. A token endpoint that refuses or is down does
//! not end it: callers get 503 with the reason, and it keeps trying. The first signal drains, the second ends at once.

use std::pin::pin;
use std::sync::Arc;

use evergrant_gateway::{BindError, Gateway, GatewayConfig, Upstream};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::GatewayArgs;
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::render;
use crate::settings::layers::Layers;
use crate::settings::resolve::Settings;

/// Runs the gateway to its end.
pub(crate) fn run(args: &GatewayArgs, layers: &Layers) -> Result<u8, Failures> {
    let settings = Settings::for_tokens(layers)?;
    let upstream = upstream(&settings)?;
    // One thread carries tens of thousands of requests a second; more of them would wake each other for every one.
    launch::small_runtime()?.block_on(serve(args, &settings, upstream))
}

async fn serve(args: &GatewayArgs, settings: &Settings, upstream: Upstream) -> Result<u8, Failures> {
    settings.access.check_system(&settings.listen)?;
    let mut signals = Signals::catch()?;
    // A gateway that cannot listen must not ask for a token first: on many providers that ends somebody's older one.
    for address in settings.listen.gateway.iter().chain(&settings.listen.admin) {
        address.check_is_free().map_err(|error| bind_failure(&error))?;
    }
    let source = launch::start_source(settings, "gateway").await?;
    let mut config = GatewayConfig::new(upstream);
    config.listen = settings.listen.gateway.clone();
    config.admin_listen = settings.listen.admin.clone();
    settings.access.apply(&mut config);
    config.broker = launch::broker(settings);
    config.pace = settings.pace.clone();
    config.timeouts.token_wait = settings.timing.timeout.to_duration();
    config.timeouts.upstream = settings.timing.upstream_timeout.to_duration();
    let tls = Arc::new(launch::http(settings).tls());
    let gateway = Gateway::bind(config, source.clone(), tls).await.map_err(|error| bind_failure(&error))?;
    announce(&gateway, args.json)?;

    let (drain, asked) = oneshot::channel::<()>();
    let mut serving = pin!(gateway.run(async {
        // An error means that the other end is gone, which never happens before the gateway is.
        let _ = asked.await;
    }));
    tokio::select! {
        _drained = &mut serving => {}
        name = signals.next() => {
            tracing::info!(signal = name, "draining");
            // The gateway listens for it until it ends.
            let _ = drain.send(());
            tokio::select! {
                drained = &mut serving => {
                    let took_ms = drained.took.as_millis();
                    tracing::info!(in_flight = drained.in_flight, cut = drained.cut, took_ms, "stopped");
                }
                name = signals.next() => tracing::warn!(signal = name, "stopped without waiting"),
            }
        }
    }
    source.shutdown().await;
    Ok(exit::OK)
}

/// The signals that end a gateway.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn catch() -> Result<Self, Failure> {
        let catch =
            |kind| signal(kind).map_err(|error| Failure::new(exit::INTERNAL, "cannot catch signals").because(error));
        Ok(Self { term: catch(SignalKind::terminate())?, int: catch(SignalKind::interrupt())? })
    }

    /// The next one's name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// Says where it listens: one line per listener in the log, and one object on standard output if asked for.
fn announce(gateway: &Gateway, as_json: bool) -> Result<(), Failure> {
    let mut listeners = Vec::new();
    for (profile, addrs) in gateway.listeners() {
        for addr in addrs {
            tracing::info!(listener = "gateway", profile, %addr, "listening");
            listeners.push(json!({ "profile": profile, "addr": addr.to_string() }));
        }
    }
    let admin = gateway.admin_listeners();
    for addr in &admin {
        tracing::info!(listener = "admin", %addr, "listening");
    }
    if as_json {
        let gateway = listeners.first().map(|first| first["addr"].clone());
        let admin = admin.first().map(ToString::to_string);
        render::json(&json!({ "gateway": gateway, "admin": admin, "listeners": listeners }))?;
    }
    Ok(())
}

/// The upstream as the gateway wants it.
pub(crate) fn upstream(settings: &Settings) -> Result<Upstream, Failure> {
    let url = settings.upstream()?;
    let parsed = if settings.network.allow_insecure_http {
        Upstream::parse_insecure(url.as_str())
    } else {
        Upstream::parse(url.as_str())
    };
    parsed.map_err(|error| {
        Failure::new(exit::CONFIG, "cannot use the upstream")
            .because(error)
            .hint("write https://HOST, and a path prefix if there is one")
    })
}

/// Why a gateway cannot listen.
pub(crate) fn bind_failure(error: &BindError) -> Failure {
    match error {
        BindError::InUse(addr) => {
            let failure = Failure::new(exit::LISTEN, format!("cannot listen on {addr}")).at(addr);
            match addr.tcp() {
                Some(tcp) => failure
                    .because("the port is in use by another process")
                    .hint(format!("end that process (`ss -ltnp 'sport = :{}'` names it), or choose another port with --listen and --admin-listen; port 0 takes a free one", tcp.port())),
                None => failure
                    .because("another process listens on the socket")
                    .hint("end that process (`ss -lxp` names it), or choose another path with --listen and --admin-listen"),
            }
        }
        BindError::Listen { addr, cause } => Failure::new(exit::LISTEN, format!("cannot listen on {addr}"))
            .at(addr)
            .because(cause)
            .hint("choose another address with --listen or --admin-listen"),
        BindError::Tls(error) => Failure::new(exit::CONFIG, "cannot set TLS up").because(error).hint(error.hint()),
    }
}
