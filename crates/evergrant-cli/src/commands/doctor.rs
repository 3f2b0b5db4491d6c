//! `evergrant doctor`: what works, what does not, and what to do about it.
//!
//! The checks are the library's. This turns the settings into a setup and a check of their own, shows the progress
//! where a person is looking, and prints the report: in words with the faults first, as JSON, and as a web page.
//!
//! Settings that cannot be used are a finding like any other: the report says so and skips the rest.

mod page;
pub(crate) mod plot;
mod progress;
mod settings;
mod text;

use std::path::Path;

use evergrant::core::policy::Policy;
use evergrant::doctor::{Check, GatewayPlace, GatewaySetup, Identity, Name, Report, Setup, State, examine};
use evergrant_gateway::Address;

use crate::args::DoctorArgs;
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::render;
use crate::settings::catalog::Setting;
use crate::settings::layers::Layers;
use crate::settings::resolve::{self, Settings};
use progress::Screen;

/// Looks at everything and prints what was found.
pub(crate) fn run(args: &DoctorArgs, layers: &Layers) -> Result<u8, Failures> {
    if let Some(path) = &args.html {
        require_folder(path)?;
    }
    let (settings, mut findings) = Settings::resolve(layers);
    let runtime = launch::small_runtime()?;
    let identity = settings.as_ref().and_then(|settings| {
        let found = runtime.block_on(identity(settings));
        found.map_err(|failure| findings.errors.push(failure)).ok()
    });
    let about_settings = settings::check(layers, &findings);
    let report = match settings.zip(identity).filter(|_| about_settings.state != State::Fault) {
        Some((settings, identity)) => {
            let setup = setup(args, layers, &settings, identity)?;
            let screen = Screen::new();
            let mut report = runtime.block_on(examine(&setup, &|progress| screen.show(progress)));
            screen.end();
            report.add([about_settings]);
            report
        }
        None => {
            let rest = Name::ALL.into_iter().filter(|name| *name != Name::Settings);
            let skipped = rest.map(|name| Check::skipped(name, "the settings cannot be used"));
            Report::of(std::iter::once(about_settings).chain(skipped).collect())
        }
    };
    if let Some(path) = &args.html {
        write(path, &page::page(&report))?;
    }
    if args.json {
        render::json(&serde_json::to_value(&report).map_err(|error| cannot_print(&error))?)?;
    } else {
        text::print(&report)?;
    }
    Ok(if report.state == State::Fault { exit::DOCTOR_FAULT } else { exit::OK })
}

async fn identity(settings: &Settings) -> Result<Identity, Failure> {
    Ok(match &settings.identity {
        resolve::Identity::Client(client) => Identity::Client(Box::new(launch::credential(client, settings).await?)),
        resolve::Identity::ReadyToken(token) => Identity::ReadyToken(token.clone()),
    })
}

fn setup(args: &DoctorArgs, layers: &Layers, settings: &Settings, identity: Identity) -> Result<Setup, Failure> {
    let timing = &settings.timing;
    Ok(Setup {
        profile: settings.profile.clone(),
        identity,
        label: settings.label().to_owned(),
        http: launch::http(settings),
        store: settings.store.url.clone(),
        store_options: settings.store.options(),
        skew_warn: timing.skew_warn,
        reference: args.reference.clone(),
        policy: Policy { slack: timing.slack, settle: timing.settle, ..Policy::default() },
        propagation: args.propagation.to_duration(),
        timeout: timing.timeout.to_duration(),
        gateway: gateway(layers, settings)?,
    })
}

/// The gateway that the settings point at; expected to run if they do so in so many words.
fn gateway(layers: &Layers, settings: &Settings) -> Result<Option<GatewaySetup>, Failure> {
    let place = match settings.listen.admin.first() {
        // Port 0 is another port at each start: nobody can say which.
        Some(Address::Tcp(addr)) if addr.port() != 0 => GatewayPlace::Tcp(*addr),
        Some(Address::Unix(path)) => GatewayPlace::Unix(path.clone()),
        Some(Address::Tcp(_)) | None => return Ok(None),
    };
    let caller_secret = layers.secret(Setting::CallerSecret)?.map(|found| found.value);
    let is_expected = layers.plain(Setting::AdminListen).is_some();
    Ok(Some(GatewaySetup { place, caller_secret, is_expected }))
}

fn cannot_print(error: &serde_json::Error) -> Failure {
    Failure::new(exit::INTERNAL, "the report cannot be written as JSON").because(error)
}

/// A slip in the file's name is found before anything is asked.
fn require_folder(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if folder.is_dir() && !path.is_dir() {
        return Ok(());
    }
    let cause = if path.is_dir() { "it is a folder" } else { "its folder does not exist" };
    Err(cannot_write(path, &cause))
}

fn cannot_write(path: &Path, cause: &dyn std::fmt::Display) -> Failure {
    Failure::new(exit::FAILED, "cannot write the report")
        .at(path.display())
        .because(cause)
        .hint("name a file in a folder that you may write to with --html FILE")
}

/// Replaces the file as a whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = Path::new(&beside);
    std::fs::write(beside, text).and_then(|()| std::fs::rename(beside, path)).map_err(|error| {
        // What cannot be removed is a stray file with a telling name.
        let _ = std::fs::remove_file(beside);
        cannot_write(path, &error)
    })
}
