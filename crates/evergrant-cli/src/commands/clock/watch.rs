//! `evergrant clock --watch`: what is known, again and again, until somebody ends it.
//!
//! On a terminal that is a picture; elsewhere, and with `--json`, one line per interval. Asking goes on beside showing:
//! about one question per interval, and never more than one a second to each server.

use std::io::Write as _;
use std::ops::ControlFlow;

use evergrant::clock;
use evergrant::offset::{Meter, MeterEvent, Picture};
use evergrant::time_service::TimeService;
use evergrant_core::time::{Now, Span};
use rustix::process::{Signal as Posix, getpid, kill_process};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::json;
use super::screen::Screen;
use crate::args::ClockArgs;
use crate::exit;
use crate::failure::{Failure, Failures};

/// Watches until a signal, or until nobody reads any more.
pub(super) async fn run(args: &ClockArgs, mut meter: Meter, warn: Span) -> Result<u8, Failures> {
    if args.interval < SHORTEST_INTERVAL {
        let failure = Failure::new(exit::USAGE, "the interval is too short").at("--interval");
        return Err(failure.because(format!("{} is less than {SHORTEST_INTERVAL}", args.interval)).into());
    }
    let mut signals = Signals::catch()?;
    let service = TimeService::read().await;
    let start = clock::now();
    meter.watch(args.interval);
    let mut screen = if args.json { None } else { Screen::open() };
    let mut ticks = tokio::time::interval(args.interval.to_duration());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, when nothing is known yet.
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                meter.look_at_local_clock();
                let (picture, events) = (meter.picture(), meter.take_events());
                if let Some(screen) = &mut screen {
                    screen.add(&picture, &events);
                    screen.draw(&picture);
                    continue;
                }
                let text = if args.json {
                    let mut object = json::object(&picture, warn, Some(&service));
                    object["t_s"] = (picture.now.boot - start.boot).as_secs_f64().into();
                    object["events"] = events.iter().map(|(at, event)| json::event(*at, event, start)).collect::<Value>();
                    format!("{object}\n")
                } else {
                    plain(&picture, &events, start)
                };
                if put(&text)?.is_break() {
                    return Ok(exit::OK);
                }
            }
            asked = signals.next() => match (asked, &screen) {
                (Asked::End, _) => break,
                (Asked::Draw, Some(screen)) => screen.draw(&meter.picture()),
                (Asked::Stop, screen) => stop(screen.as_ref()),
                (Asked::Draw, None) => {}
            },
        }
    }
    if screen.take().is_some() {
        // It is the last line anyway, whether somebody reads it or not.
        let _ = put(&format!("{}\n", meter.picture().words()))?;
    }
    Ok(exit::OK)
}

/// Lines for pipes and files: what happened, then what is known.
fn plain(picture: &Picture, events: &[(Now, MeterEvent)], start: Now) -> String {
    let line = |at: Now, words: String| format!("{:>9.1} s  {words}\n", (at.boot - start.boot).as_secs_f64());
    let mut text: String = events.iter().map(|(at, event)| line(*at, format!("{}: {event}", event.name()))).collect();
    let failures = picture.sources.iter().filter(|source| source.skew.is_none());
    let why: Vec<_> = failures.filter_map(|source| Some(format!("{}: {}", source.source, source.note()?))).collect();
    let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
    text.push_str(&line(picture.now, format!("{}{why}", picture.words())));
    text
}

/// Pauses this program as Ctrl-Z does, with the terminal as it was before.
fn stop(screen: Option<&Screen>) {
    if let Some(screen) = screen {
        screen.leave();
    }
    // A process may always stop itself.
    let _ = kill_process(getpid(), Posix::STOP);
    if let Some(screen) = screen {
        screen.enter();
    }
}

/// Writes a piece of the stream; breaks when its reader has gone away.
fn put(text: &str) -> Result<ControlFlow<()>, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Failure::new(exit::FAILED, "cannot write to standard output").because(error)),
    }
}

enum Asked {
    End,
    Draw,
    Stop,
}

/// The signals that a watch answers.
struct Signals {
    int: Signal,
    term: Signal,
    quit: Signal,
    hangup: Signal,
    resized: Signal,
    stop: Signal,
}

impl Signals {
    fn catch() -> Result<Self, Failure> {
        let catch =
            |kind| signal(kind).map_err(|error| Failure::new(exit::INTERNAL, "cannot catch signals").because(error));
        Ok(Self {
            int: catch(SignalKind::interrupt())?,
            term: catch(SignalKind::terminate())?,
            quit: catch(SignalKind::quit())?,
            hangup: catch(SignalKind::hangup())?,
            resized: catch(SignalKind::window_change())?,
            stop: catch(SignalKind::from_raw(Posix::TSTP.as_raw()))?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.int.recv() => Asked::End,
            _ = self.term.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::End,
            _ = self.quit.recv() => Asked::End,
            _ = self.resized.recv() => Asked::Draw,
            _ = self.stop.recv() => Asked::Stop,
        }
    }
}

/// Shown more often, nothing more is known.
const SHORTEST_INTERVAL: Span = Span::from_millis(100);
