//! The signals that end a run, caught.
//!
//! A signal that is caught ends nothing by itself, for the rest of this process: the runtime never restores what the
//! system does with it. So whoever catches has to look until the end. That is why they are caught only where an end has
//! to wait for something, and where a command stands between a signal and its child.
//!
//! A shell goes on with its script after a program that answers Ctrl-C with an exit code, and stops after one that dies of
//! it. So a run that only had to wait ends as the signal would have ended it (`end_by`); one that has more to say, an
//! export and `exec`, gives 128 + n as a shell reports it.
//!
//! What this process was started to ignore is not caught (`ignored`).

use std::task::{Context, Poll, Waker};

use rustix::process::{Pid, Signal, getpid, kill_process};
use signal_hook::low_level::emulate_default_handler;
use tokio::signal::unix::{SignalKind, signal};

use super::ignored::Ignored;
use crate::exit;
use crate::failure::Failure;

/// What ends a run.
const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// Signals of this process, which from now on end it no longer.
pub(crate) struct Signals(Vec<(Signal, tokio::signal::unix::Signal)>);

impl Signals {
    /// Catches what would end this process.
    pub(crate) fn catch_ending() -> Result<Self, Failure> {
        Self::catch(&ENDING)
    }

    /// Catches these, but for what this process was started to ignore.
    pub(crate) fn catch(wanted: &[Signal]) -> Result<Self, Failure> {
        let ignored = Ignored::now();
        let caught = wanted.iter().filter(|signal| !ignored.has(**signal)).map(|&signal| {
            let arriving = catch(SignalKind::from_raw(signal.as_raw()))?;
            Ok((signal, arriving))
        });
        caught.collect::<Result<_, Failure>>().map(Self)
    }

    /// What the work gives, or the signal that ended the run before.
    pub(crate) async fn unless_ended<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Signal> {
        let ended = async {
            loop {
                match self.next().await {
                    signal if ENDING.contains(&signal) => return signal,
                    signal if signal == Signal::TSTP => stop(),
                    _ => {}
                }
            }
        };
        tokio::select! {
            // What has arrived counts, also where the work is done.
            biased;
            signal = ended => Err(signal),
            done = work => Ok(done),
        }
    }

    pub(crate) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// All that has arrived by now.
    pub(crate) async fn arrived(&mut self) -> Vec<Signal> {
        look_for_events().await;
        let mut context = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match self.poll_next(&mut context) {
            Poll::Ready(signal) => Some(signal),
            Poll::Pending => None,
        })
        .collect()
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Signal> {
        for (signal, arriving) in &mut self.0 {
            if arriving.poll_recv(context).is_ready() {
                return Poll::Ready(*signal);
            }
        }
        Poll::Pending
    }
}

/// Catches one signal.
pub(crate) fn catch(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(exit::INTERNAL, "cannot catch signals").because(error))
}

/// Returns once the runtime has looked for events, and with them for signals: it does so before a task that gave way
/// goes on.
pub(crate) async fn look_for_events() {
    tokio::task::yield_now().await;
}

/// Stops until somebody sends SIGCONT.
pub(crate) fn stop() {
    if let Err(error) = kill_process(getpid(), Signal::STOP) {
        tracing::debug!(%error, "cannot stop");
    }
}

/// Ends this process as a signal would have that was caught. The code is for process 1 of a container: no signal of its
/// own ends that.
pub(crate) fn end_by(signal: Signal) -> u8 {
    if getpid() != Pid::INIT
        && let Err(error) = emulate_default_handler(signal.as_raw())
    {
        tracing::debug!(%error, ?signal, "cannot end by a signal");
    }
    code_of_signal(signal)
}

/// The code that a shell reports for a program that this signal ended.
pub(crate) fn code_of_signal(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(exit::FAILED)
}
