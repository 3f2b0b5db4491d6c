//! `evergrant gateway`: a local gateway until SIGTERM or SIGINT.
//!
//! It listens at once and asks for tokens without waiting for a caller. A token endpoint that refuses or is down does
//! not end it: callers get 503 with the reason, and it keeps trying. The first signal drains, the second ends at once.
//! SIGHUP, and a change of any file that its settings come from, makes it read them again. A terminal that is closed
//! sends SIGHUP too; then there is nobody left to serve, and it ends.
//!
//! `plan` says what it is to be, `sources` holds its credentials, `reload` changes it, `watch` looks at files, and
//! `service` speaks to the service manager.

pub(crate) mod plan;
mod reload;
mod service;
mod sources;
mod watch;

use std::io::{IsTerminal as _, stderr, stdin};

use evergrant_gateway::{BindError, Drained, Gateway, Handle, Upstream};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::plan::Inputs;
use self::reload::Recipe;
use self::service::Service;
use self::watch::{Content, Watch};
use crate::args::GatewayArgs;
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::logging;
use crate::render;
use crate::settings::catalog::Setting;
use crate::settings::env_names::Environment;
use crate::settings::resolve::Settings;
use crate::sockets::Sockets;

/// Runs the gateway to its end.
pub(crate) fn run(args: &GatewayArgs) -> Result<u8, Failures> {
    let (flags, environment, sockets) = (args.flags.clone(), Environment::of_process()?, Sockets::take()?);
    let inputs = Inputs { flags, environment, sockets };
    let layers = inputs.layers()?;
    logging::start(layers.first().and_then(|layers| layers.plain(Setting::Log)).as_ref(), "info")?;
    let reading = inputs.read();
    reading.warnings.iter().for_each(Failure::print_warning);
    let recipe = Recipe::new(inputs, reading.plans?);
    // One thread carries tens of thousands of requests a second; more of them would wake each other for every one.
    launch::small_runtime()?.block_on(serve(args, recipe, reading.files))
}

async fn serve(
    args: &GatewayArgs,
    mut recipe: Recipe,
    files: Vec<(std::path::PathBuf, Content)>,
) -> Result<u8, Failures> {
    let mut signals = Signals::catch()?;
    recipe.check_is_free()?;
    let inherited = recipe.inputs.sockets.inherited.clone();
    let gateway = Gateway::bind_sites(recipe.sites().await?, inherited).await.map_err(|error| bind_failure(&error))?;
    announce(&gateway, args.json)?;
    recipe.listeners = gateway.listeners();
    let (handle, mut service) = (gateway.handle(), Service::default());
    let (drain, asked) = oneshot::channel::<()>();
    let serving = tokio::spawn(gateway.run(async {
        // An error means that the other end is gone, which never happens before the gateway is.
        let _ = asked.await;
    }));
    service.ready(recipe.sources.all());
    let watch = Watch::start(files);
    let name = reload_until_told(&mut recipe, &mut signals, watch, &handle, &service).await;
    tracing::info!(signal = name, "draining");
    service.stopping();
    // The gateway listens for it until it ends.
    let _ = drain.send(());
    finish(serving, &mut signals).await;
    recipe.sources.shutdown().await;
    Ok(exit::OK)
}

/// Reads the settings again as often as somebody asks for it; ends with the name of a signal that ends the gateway.
async fn reload_until_told(
    recipe: &mut Recipe,
    signals: &mut Signals,
    mut watch: Watch,
    handle: &Handle,
    service: &Service,
) -> &'static str {
    loop {
        tokio::select! {
            () = watch.changed() => tracing::info!("the settings have changed"),
            told = signals.next() => match told {
                Told::End(name) => return name,
                Told::Reload => {
                    tracing::info!(signal = "SIGHUP", "asked to read the settings again");
                    watch.look();
                }
            },
        }
        tokio::select! {
            files = recipe.reload(handle, service) => if !files.is_empty() {
                watch.follow(files);
            },
            name = signals.end() => return name,
        }
    }
}

/// Lets the drain come to its end, unless a second signal says otherwise.
async fn finish(mut serving: JoinHandle<Drained>, signals: &mut Signals) {
    tokio::select! {
        drained = &mut serving => match drained {
            Ok(drained) => {
                let took_ms = drained.took.as_millis();
                tracing::info!(in_flight = drained.in_flight, cut = drained.cut, took_ms, "stopped");
            }
            Err(error) => tracing::error!(%error, "the gateway broke off"),
        },
        name = signals.end() => tracing::warn!(signal = name, "stopped without waiting"),
    }
}

/// The signals that a gateway listens to.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    has_terminal: bool,
}

/// What a signal says.
enum Told {
    End(&'static str),
    Reload,
}

impl Signals {
    fn catch() -> Result<Self, Failure> {
        let catch =
            |kind| signal(kind).map_err(|error| Failure::new(exit::INTERNAL, "cannot catch signals").because(error));
        Ok(Self {
            term: catch(SignalKind::terminate())?,
            int: catch(SignalKind::interrupt())?,
            hup: catch(SignalKind::hangup())?,
            has_terminal: has_terminal(),
        })
    }

    /// The next signal.
    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.term.recv() => Told::End("SIGTERM"),
            _ = self.int.recv() => Told::End("SIGINT"),
            _ = self.hup.recv() => match self.has_terminal && !has_terminal() {
                true => Told::End("SIGHUP"),
                false => Told::Reload,
            },
        }
    }

    /// The name of the next signal that ends a gateway; the others wait.
    async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// Is somebody at the other end who can close a window? A terminal that is gone is none.
fn has_terminal() -> bool {
    stdin().is_terminal() || stderr().is_terminal()
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
