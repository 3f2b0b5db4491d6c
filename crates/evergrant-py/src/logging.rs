//! Hands the library's events to Python's `logging`.
//!
//! An event may happen on a thread that must never touch the interpreter, at a moment when whoever holds the interpreter
//! waits for that very thread. So it is only put into a queue; the next Python thread that calls into this module hands
//! it over, with the time at which it happened. The queue is bounded, what does not fit is counted. Nothing here waits
//! for a lock that a thread may have held when the process forked.
//!
//! Limits: an idle program is told of a failed refresh when it next asks for a token. Events below debug are not kept.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// One event on its way.
struct Line {
    target: &'static str,
    level: u8,
    text: String,
    at: f64,
}

static LINES: OnceLock<Sender<Line>> = OnceLock::new();
/// Only locked by threads that hold the interpreter, and never while they let go of it.
static KEPT: Mutex<Option<Receiver<Line>>> = Mutex::new(None);
static WAITING: AtomicUsize = AtomicUsize::new(0);
static LOST: AtomicUsize = AtomicUsize::new(0);
static IS_HANDING_OVER: AtomicBool = AtomicBool::new(false);

/// Begins to listen; panics of ours say nothing on standard error, since each becomes an exception.
pub(crate) fn install() {
    let (lines, kept) = channel();
    if LINES.set(lines).is_err() {
        return;
    }
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    // Another subscriber cannot be there: this module has a `tracing` of its own.
    let _ = tracing::subscriber::set_global_default(Bridge);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(target: "evergrant", place, "a rule of evergrant's own was broken");
    }));
}

/// Hands over what waits. Costs one load if nothing does.
///
/// An error of a program's handler goes where Python sends what nobody catches: it is no reason to have no token. What is
/// no error but an end, `KeyboardInterrupt` or `SystemExit`, is the caller's: any code of Python may be where a signal is
/// noticed, and the one who pressed Ctrl-C during a wait means the wait.
#[inline]
pub(crate) fn hand_over(py: Python<'_>) -> PyResult<()> {
    if WAITING.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    hand_over_all(py).or_else(|raised| match raised.is_instance_of::<PyException>(py) {
        true => {
            raised.write_unraisable(py, None);
            Ok(())
        }
        false => Err(raised),
    })
}

/// In a child nobody is in the middle of it any more.
pub(crate) fn start_anew() {
    IS_HANDING_OVER.store(false, Ordering::Relaxed);
}

fn hand_over_all(py: Python<'_>) -> PyResult<()> {
    // A handler that sends its records with one of our adapters comes by here again.
    if IS_HANDING_OVER.swap(true, Ordering::Acquire) {
        return Ok(());
    }
    let lines: Vec<Line> = {
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().flat_map(Receiver::try_iter).take(MOST).collect()
    };
    WAITING.fetch_sub(lines.len(), Ordering::Relaxed);
    let handed = emit(py, lines);
    IS_HANDING_OVER.store(false, Ordering::Release);
    handed
}

fn emit(py: Python<'_>, lines: Vec<Line>) -> PyResult<()> {
    let records = PyList::empty(py);
    for line in lines {
        records.append((line.target, line.level, line.text, line.at))?;
    }
    let lost = LOST.swap(0, Ordering::Relaxed);
    py.import(intern!(py, "evergrant._logging"))?.call_method1(intern!(py, "emit"), (records, lost))?;
    Ok(())
}

/// The subscriber of this module's `tracing`.
struct Bridge;

impl Subscriber for Bridge {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::DEBUG && metadata.target().starts_with("evergrant")
    }

    fn event(&self, event: &Event<'_>) {
        if WAITING.fetch_add(1, Ordering::Relaxed) >= MOST {
            WAITING.fetch_sub(1, Ordering::Relaxed);
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            Level::INFO => 20,
            _ => 10,
        };
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let line = Line { target: metadata.target(), level, text: text.message + &text.fields, at };
        if let Some(lines) = LINES.get() {
            // The receiver lives as long as the module.
            let _ = lines.send(line);
        }
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

/// The message, and the other fields as `name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

const MOST: usize = 1000;
