//! `evergrant exec -- CMD`: a command that finds a token in its environment and none of our secrets.
//!
//! The child is an ordinary child: it shares our terminal and standard streams, gets the signals that we get, and its
//! exit code becomes ours, 128 + n if signal n ended it. A signal that a terminal sends goes to the whole foreground
//! group, so the child has it already and it is not sent twice.
//!
//! A token cannot be replaced in the environment of a running process. A command that outlives its token should use
//! `--gateway`: a private gateway on loopback, for this child alone, that ends with it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use evergrant::TokenSource;
use evergrant_gateway::{BrokerConfig, Callers, Gateway, GatewayConfig};
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::args::ExecArgs;
use crate::commands::gateway;
use crate::commands::token::{self, OUR_VARIABLE, Ready};
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::harden::Before;
use crate::launch;
use crate::settings::env_names::secret_variables;
use crate::settings::layers::Layers;
use crate::settings::resolve::Settings;

const GATEWAY_VARIABLE: &str = "EVERGRANT_GATEWAY_URL";

/// What is passed on to the child.
const FORWARDED: [Signal; 7] =
    [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::USR1, Signal::USR2, Signal::WINCH];

/// Runs the command and returns its exit code.
pub(crate) fn run(args: &ExecArgs, layers: &Layers, before: &Before) -> Result<u8, Failures> {
    let settings = Settings::for_tokens(layers)?;
    let runtime = launch::small_runtime()?;
    if args.gateway {
        runtime.block_on(with_gateway(args, &settings, before))
    } else {
        let token = runtime.block_on(token::acquire(&settings, args.min_remaining))?;
        Ok(runtime.block_on(supervise(command(args, &settings, &token), before))?)
    }
}

async fn with_gateway(args: &ExecArgs, settings: &Settings, before: &Before) -> Result<u8, Failures> {
    let source = launch::start_source(settings, "exec --gateway").await?;
    let guard = launch::token(&source, settings, args.min_remaining).await?;
    let token = Ready { text: guard.expose().to_owned(), remaining: guard.remaining() };
    drop(guard);
    let gateway = bind(settings, source.clone()).await?;
    let mut command = command(args, settings, &token);
    command.env(GATEWAY_VARIABLE, format!("http://{}", gateway.gateway_addr()));
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(gateway.run(async {
        // An error means that the other end is gone, which ends the gateway as well.
        let _ = ended.await;
    }));
    let code = supervise(command, before).await;
    drop(end);
    // The child is gone, and nobody is left to complain to about its gateway.
    let _ = serving.await;
    source.shutdown().await;
    Ok(code?)
}

async fn bind(settings: &Settings, source: TokenSource) -> Result<Gateway, Failure> {
    let upstream = gateway::upstream(settings)?;
    let mut config = GatewayConfig::new(upstream);
    config.take_free_ports();
    config.admin_listen = Vec::new();
    // Its caller is our own child. Where the system cannot tell, only its free port protects it.
    config.callers = if cfg!(target_os = "linux") { Callers::SameUser } else { Callers::Any };
    // What its callers hold ends with the child.
    config.broker = launch::broker(settings).map(|_| BrokerConfig::default());
    config.pace = settings.pace.clone();
    config.timeouts.drain = std::time::Duration::from_secs(1);
    let tls = Arc::new(launch::http(settings).tls());
    Gateway::bind(config, source, tls).await.map_err(|error| gateway::bind_failure(&error))
}

/// The command with the token and without our secrets.
fn command(args: &ExecArgs, settings: &Settings, token: &Ready) -> Command {
    let (program, arguments) = args.command.split_first().expect("the command line asks for a command");
    let mut command = Command::new(program);
    command.args(arguments);
    for name in secret_variables().chain([OUR_VARIABLE.to_owned(), GATEWAY_VARIABLE.to_owned()]) {
        command.env_remove(name);
    }
    if std::env::var("EVERGRANT_STORE").is_ok_and(|store| store.contains('@')) {
        command.env_remove("EVERGRANT_STORE");
    }
    command.env(OUR_VARIABLE, &token.text);
    if let Some(name) = token::provider_variable(settings.profile.kind) {
        command.env(name, &token.text);
    }
    command
}

/// Runs a command to its end, passing signals on.
async fn supervise(mut command: Command, before: &Before) -> Result<u8, Failure> {
    // From here on signals no longer end this process but wait for the child.
    let mut signals = catch_signals()?;
    let mut child = before
        .restored_for(|| command.spawn())
        .map_err(|error| spawn_failure(command.as_std().get_program(), &error))?;
    loop {
        tokio::select! {
            status = child.wait() => return status.map(exit_code).map_err(|error| {
                Failure::new(exit::INTERNAL, "cannot wait for the command").because(error)
            }),
            Some(signal) = signals.recv() => forward(&child, signal),
        }
    }
}

fn catch_signals() -> Result<mpsc::Receiver<Signal>, Failure> {
    let (sender, receiver) = mpsc::channel(16);
    for forwarded in FORWARDED {
        let mut caught = signal(SignalKind::from_raw(forwarded.as_raw()))
            .map_err(|error| Failure::new(exit::INTERNAL, "cannot catch signals").because(error))?;
        let sender = sender.clone();
        tokio::spawn(async move { while caught.recv().await.is_some() && sender.send(forwarded).await.is_ok() {} });
    }
    Ok(receiver)
}

fn forward(child: &Child, signal: Signal) {
    let from_terminal = matches!(signal, Signal::INT | Signal::QUIT | Signal::WINCH) && is_in_foreground();
    if from_terminal {
        return;
    }
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::debug!(%error, ?signal, "cannot pass a signal on");
    }
}

/// Does this process belong to the foreground group of its terminal?
fn is_in_foreground() -> bool {
    std::fs::File::open("/dev/tty")
        .is_ok_and(|terminal| rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// The code that a shell would report.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILED)
}

fn spawn_failure(program: &std::ffi::OsStr, error: &std::io::Error) -> Failure {
    let name = OsString::from(program).to_string_lossy().into_owned();
    if error.kind() == std::io::ErrorKind::NotFound {
        return Failure::new(exit::NOT_FOUND, format!("cannot run `{name}`"))
            .because("there is no such command, or its interpreter is missing")
            .hint("check the spelling and PATH");
    }
    Failure::new(exit::NOT_EXECUTABLE, format!("cannot run `{name}`"))
        .because(error)
        .hint("check that it is a program and that you may execute it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_becomes_128_and_its_number() {
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
    }
}
