//! The `evergrant` command: arguments -> settings -> command -> render.
//!
//! Data goes to standard output, everything else to standard error. The exit codes are in `exit`.

mod args;
mod commands;
mod ending;
mod exit;
mod failure;
mod harden;
mod launch;
mod logging;
#[cfg(test)]
mod reference;
mod render;
mod settings;
mod sockets;
#[cfg(feature = "otel")]
mod telemetry;

use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

use args::{Cli, Command, Stop};
use failure::Failures;
use settings::catalog::Setting;
use settings::env_names::Environment;
use settings::flags::Flags;
use settings::layers::Layers;

/// Wipes what is freed. Tokens pass through buffers of libraries that hand them back as they are; the heap would keep
/// each of them until something else is written there.
#[global_allocator]
static WIPING: ZeroAlloc<Below> = ZeroAlloc(BELOW);

#[cfg(not(target_env = "musl"))]
type Below = std::alloc::System;
#[cfg(not(target_env = "musl"))]
const BELOW: Below = std::alloc::System;
/// musl's own gives every large buffer back to the kernel at once, which costs page faults with each answer.
#[cfg(target_env = "musl")]
type Below = dlmalloc::GlobalDlmalloc;
#[cfg(target_env = "musl")]
const BELOW: Below = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    if let Some(code) = commands::exec::become_command(std::env::args_os()) {
        return code;
    }
    let before = harden::process();
    let code = match Cli::read(std::env::args_os()) {
        Ok(cli) => run(cli.command, &before).unwrap_or_else(|failures| failures.print()),
        Err(Stop::Failure(failure)) => Failures::from(failure).print(),
        Err(Stop::Clap(error)) => {
            // Help that cannot be printed leaves nothing to say and nowhere to say it.
            let _ = error.print();
            if error.use_stderr() { exit::USAGE } else { exit::OK }
        }
    };
    #[cfg(feature = "otel")]
    telemetry::finish();
    ExitCode::from(code)
}

fn run(command: Command, before: &harden::Before) -> Result<u8, Failures> {
    match command {
        Command::Demo(args) => commands::demo::run(&args),
        Command::Token(args) => commands::token::run(&args, &prepare(&args.flags, "error")?),
        Command::Exec(args) => commands::exec::run(&args, &prepare(&args.flags, "error")?, before),
        Command::Api(args) => commands::api::run(&args, &prepare(&args.flags, "error")?),
        Command::Login(args) => commands::login::run(&args, &prepare(&args.flags, "warn")?),
        Command::Gateway(args) => commands::gateway::run(&args),
        Command::Ready(args) => commands::ready::run(&args, &prepare(&args.flags, "error")?),
        Command::Doctor(args) => commands::doctor::run(&args, &prepare(&args.flags, "error")?),
        Command::Clock(args) => commands::clock::run(&args, &prepare(&args.flags, "error")?),
        Command::Explain(args) => match args.last {
            Some(last) => commands::explain::last::run(&args, last, &prepare(&args.flags, "error")?),
            None => commands::explain::capture(&args),
        },
        Command::Store(command) => commands::store::run(&command, &prepare(command.flags(), "error")?),
        Command::Secret(command) => commands::secret::run(&command, &prepare(&command.args().flags, "error")?),
        Command::Simulate(args) => Ok(commands::simulate::run(&args)?),
        Command::Config(command) => commands::config::run(command),
        Command::Completions { shell } => Ok(commands::completions::run(shell)?),
        Command::Man { dir } => Ok(commands::man::run(dir.as_deref())?),
    }
}

/// Reads the layers of settings and starts the log, at `level` if nobody says otherwise.
fn prepare(flags: &Flags, level: &str) -> Result<Layers, Failures> {
    let layers = Layers::read(flags.clone(), Environment::of_process()?)?;
    logging::start(layers.plain(Setting::Log).as_ref(), level)?;
    Ok(layers)
}
