//! `evergrant exec -- CMD`: a command that finds what it needs in its environment, and none of our secrets.
//!
//! A token cannot be replaced in the environment of a running process. So there are three ways to serve a command:
//!
//! - alone, it gets a token. If it is still there when that is about to end, a warning says so. Always, not only on a
//!   terminal: commands that run for hours do so where nobody looks, and the log is where a 401 is looked for later.
//! - with `--token-file`, the token is also in a file that is replaced at each refresh (`token_file`).
//! - with `--gateway`, a private gateway on loopback serves this command alone and ends with it. The command gets a handle
//!   in place of the token, and a local secret in place of the client's: neither can be used elsewhere, and neither ends.
//!
//! `outfit` says what is in the environment, `child` runs the command, `leash` ends it should we be killed, and `folder`
//! has room for files that go with it.

mod child;
mod dry_run;
mod folder;
mod home;
mod leash;
mod orphans;
mod outfit;
mod sdk_files;
mod token_file;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use evergrant::clock::boot;
use evergrant::{TokenGuard, TokenSource};
use evergrant_core::Secret;
use evergrant_core::profile::{ProfileKind, Region};
use evergrant_gateway::{BrokerConfig, Callers, Gateway, GatewayConfig, Upstream};
use rustix::process::Signal;
use tokio::process::Command;
use tokio::sync::oneshot;

use self::child::{FORWARDED, supervise};
use self::folder::PrivateFolder;
use self::outfit::{Door, Facts, Outfit};
use crate::args::{ExecArgs, SdkConfig};
use crate::commands::{gateway, token};
use crate::ending::{self, Signals, code_of_signal};
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::harden::Before;
use crate::launch;
use crate::settings::catalog::Setting;
use crate::settings::layers::Layers;
use crate::settings::resolve::{Identity, Settings};

pub(crate) use self::leash::become_command;

/// Runs the command and returns its exit code.
pub(crate) fn run(args: &ExecArgs, layers: &Layers, before: &Before) -> Result<u8, Failures> {
    let settings = Settings::for_tokens(layers)?;
    let plan = Plan { args, settings: &settings, region: region(&settings, layers) };
    plan.check()?;
    if args.dry_run {
        return Ok(plan.show()?);
    }
    folder::sweep();
    let runtime = launch::small_runtime()?;
    let code = if args.gateway || args.token_file {
        runtime.block_on(plan.attended(before))
    } else {
        runtime.block_on(plan.alone(before))
    };
    runtime.shutdown_timeout(launch::LAST_WAIT);
    code
}

/// All that is known before a token is asked for.
struct Plan<'a> {
    args: &'a ExecArgs,
    settings: &'a Settings,
    region: Option<Region>,
}

impl Plan<'_> {
    /// Finds out what cannot work before anything is spent on it.
    fn check(&self) -> Result<(), Failure> {
        let is_genesys = self.settings.profile.kind == ProfileKind::Genesys;
        if self.args.sdk_config.is_some() && !is_genesys {
            return Err(Failure::new(exit::CONFIG, "`--sdk-config` is for the SDKs of Genesys Cloud")
                .at("--sdk-config")
                .because(format!("the provider is {}", self.settings.profile.kind.name()))
                .hint("leave it out: the command finds the gateway in EVERGRANT_GATEWAY_URL"));
        }
        if let (Some(option), Identity::ReadyToken(_)) = (self.attendance(), &self.settings.identity) {
            return Err(launch::needs_client(option));
        }
        if self.args.gateway {
            gateway::upstream(self.settings)?;
        }
        Ok(())
    }

    /// What asks for somebody who serves the command while it runs.
    fn attendance(&self) -> Option<&'static str> {
        match (self.args.gateway, self.args.token_file) {
            (true, _) => Some("exec --gateway"),
            (false, true) => Some("exec --token-file"),
            (false, false) => None,
        }
    }

    /// Prints what the command would get.
    fn show(&self) -> Result<u8, Failure> {
        let nothing = || Secret::from("");
        let client_id = match &self.settings.identity {
            Identity::Client(client) => client.credential.client_id.clone(),
            Identity::ReadyToken(_) => String::new(),
        };
        let login = self.answers_logins().then(|| (client_id, nothing()));
        let door = self.args.gateway.then(|| Door { port: dry_run::PORT.to_owned(), login });
        let facts = self.facts(nothing(), door, Some(&folder::base().join(dry_run::FOLDER)));
        let files = self.args.sdk_config.map(|_| sdk_files::files(dry_run::PORT, self.region));
        dry_run::print(&outfit(&facts), &files.unwrap_or_default(), self.args.json)
    }

    /// Runs the command with a token, and nobody beside it.
    async fn alone(&self, before: &Before) -> Result<u8, Failures> {
        // As process 1 of a container we would not even be ended by a signal that is not caught.
        let mut signals = Signals::catch(&FORWARDED)?;
        let token = match token::acquire(self.settings, self.args.min_remaining, Some(&mut signals)).await? {
            Ok(token) => token,
            Err(signal) => return Ok(code_of_signal(signal)),
        };
        let ends = token.remaining.map(|left| boot() + left);
        let facts = self.facts(Secret::new(token.text), None, None);
        let command = self.command(leash::free, &facts);
        Ok(supervise(command, self.program(), &mut signals, before, ends).await?)
    }

    /// Runs the command with a source of tokens that lives as long.
    async fn attended(&self, before: &Before) -> Result<u8, Failures> {
        let mut signals = Signals::catch(&FORWARDED)?;
        let needs_folder = self.args.token_file || self.args.sdk_config.is_some();
        let folder = needs_folder.then(PrivateFolder::make).transpose()?;
        let starting = launch::start_source(self.settings, self.attendance().unwrap_or("exec"));
        let source = match signals.unless_ended(starting).await {
            Ok(source) => source?,
            Err(signal) => return Ok(code_of_signal(signal)),
        };
        let served = self.serve(&source, folder.as_ref().map(PrivateFolder::path), &mut signals, before).await;
        let mut signals = Some(&mut signals);
        match served {
            Ok(Ok(code)) => {
                // The command has ended and its code is ours, also if a signal ends what is left to do.
                let _ = ending::finish(source, &mut signals, None).await;
                Ok(code)
            }
            Ok(Err(signal)) => {
                ending::give_up(source, &mut signals).await;
                Ok(code_of_signal(signal))
            }
            Err(failures) => {
                ending::give_up(source, &mut signals).await;
                Err(failures)
            }
        }
    }

    /// The command's exit code, or the signal that ended the run before there was a token for it.
    async fn serve(
        &self,
        source: &TokenSource,
        folder: Option<&Path>,
        signals: &mut Signals,
        before: &Before,
    ) -> Result<Result<u8, Signal>, Failures> {
        let gateway = match self.args.gateway {
            true => Some(self.bind(gateway::upstream(self.settings)?, source.clone()).await?),
            false => None,
        };
        let acquiring = launch::token(source, self.settings, self.args.min_remaining);
        let token = match signals.unless_ended(acquiring).await {
            Ok(token) => token?,
            Err(signal) => return Ok(Err(signal)),
        };
        let (access_token, door) = way_in(&token, gateway.as_ref());
        let facts = self.facts(access_token, door, folder);
        write_files(&facts, &token)?;
        let generation = token.generation();
        drop(token);
        let (end, ended) = oneshot::channel::<()>();
        let serving = gateway.map(|gateway| {
            tokio::spawn(gateway.run(async {
                // An error means that the other end is gone, which ends the gateway as well.
                let _ = ended.await;
            }))
        });
        let running = supervise(self.command(leash::leashed, &facts), self.program(), signals, before, None);
        let keeping = async {
            match &facts.token_file {
                Some(path) => token_file::keep(path, source, generation).await,
                None => std::future::pending().await,
            }
        };
        let code = tokio::select! {
            code = running => code,
            never = keeping => match never {},
        };
        drop(end);
        if let Some(serving) = serving {
            // The child is gone, and nobody is left to complain to about its gateway.
            let _ = serving.await;
        }
        Ok(Ok(code?))
    }

    async fn bind(&self, upstream: Upstream, source: TokenSource) -> Result<Gateway, Failure> {
        let settings = self.settings;
        let mut config = GatewayConfig::new(upstream);
        config.take_free_ports();
        config.admin_listen = Vec::new();
        // Its caller is our own child. Where the system cannot tell, only its free port protects it.
        config.callers = if cfg!(target_os = "linux") { Callers::SameUser } else { Callers::Any };
        // What its callers hold ends with the child.
        config.broker = Some(BrokerConfig { handles_file: None, answers_logins: self.answers_logins() });
        config.pace = settings.pace.clone();
        config.timeouts.drain = Duration::from_secs(1);
        let tls = Arc::new(launch::http(settings).tls());
        Gateway::bind(config, source, tls).await.map_err(|error| gateway::bind_failure(&error))
    }

    fn answers_logins(&self) -> bool {
        launch::broker(self.settings).is_some()
    }

    fn facts(&self, access_token: Secret, gateway: Option<Door>, folder: Option<&Path>) -> Facts {
        let in_folder = |name: &str| folder.map(|folder| folder.join(name));
        Facts {
            kind: self.settings.profile.kind,
            region: self.region,
            access_token,
            gateway,
            token_file: self.args.token_file.then(|| in_folder("token")).flatten(),
            sdk_config: self.args.sdk_config.and_then(|_| in_folder("home")),
            is_home: self.args.sdk_config == Some(SdkConfig::Home),
        }
    }

    fn program(&self) -> &OsStr {
        self.args.command.first().expect("the command line asks for a command")
    }

    /// The command in its outfit.
    fn command(&self, start: fn(&OsStr, &[OsString]) -> Command, facts: &Facts) -> Command {
        let mut command = start(self.program(), self.args.command.get(1..).unwrap_or_default());
        let outfit = outfit(facts);
        for name in &outfit.taken {
            command.env_remove(name);
        }
        for variable in &outfit.set {
            command.env(variable.name, variable.exposed());
        }
        command
    }
}

fn outfit(facts: &Facts) -> Outfit {
    Outfit::of(facts, |name| std::env::var_os(name))
}

/// What the command sends as its access token, and where to.
fn way_in(token: &TokenGuard, gateway: Option<&Gateway>) -> (Secret, Option<Door>) {
    let Some((gateway, welcome)) = gateway.and_then(|gateway| Some((gateway, gateway.welcome()?))) else {
        return (Secret::from(token.expose()), None);
    };
    let port = gateway.gateway_addr().port().to_string();
    (welcome.handle, Some(Door { port, login: welcome.login }))
}

fn write_files(facts: &Facts, token: &TokenGuard) -> Result<(), Failure> {
    if let Some(path) = &facts.token_file {
        token_file::write(path, token)?;
    }
    if let (Some(folder), Some(door)) = (&facts.sdk_config, &facts.gateway) {
        let hidden = home::furnish(folder, &sdk_files::files(&door.port, facts.region), facts.is_home)?;
        for path in hidden {
            Failure::new(exit::OK, "the command does not see this settings file of yours")
                .at(path.display())
                .because("--sdk-config=home has put one with the gateway in its place, for this command only")
                .print_warning();
        }
    }
    Ok(())
}

/// The region of Genesys Cloud, by the URLs that are used or, where those are others, by the setting.
fn region(settings: &Settings, layers: &Layers) -> Option<Region> {
    if settings.profile.kind != ProfileKind::Genesys {
        return None;
    }
    let urls = [&settings.profile.token_url, &settings.profile.api_url];
    let of_urls = urls.into_iter().flatten().find_map(|url| Region::of_url(url));
    of_urls.or_else(|| Region::parse(&layers.plain(Setting::Region)?.value).ok())
}
