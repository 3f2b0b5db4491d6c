//! The thread that a source runs on in one process, and how Python waits for it.
//!
//! A wait lets go of the interpreter, and takes it back every [`SLICE`] to look whether Ctrl-C was pressed, the source
//! was closed or the waiter was cancelled. The result itself wakes the waiter at once.
//!
//! A `Live` belongs to the process that started it. In a forked child its thread does not exist and its locks may be
//! held for ever, so that a child leaves it alone: it is not even dropped ([`Live::is_ours`]).
//!
//! It ends when its source is closed or gone, and nobody waits: a timer of a runtime that has ended must not be polled.

use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evergrant::core::time::Boot;
use evergrant::{BuildError, TokenSource, clock};
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::errors::{self, Class};
use crate::logging;

/// Ends a wait from another thread: that of an event loop whose task was cancelled. It is as old as the wait, which may
/// have to wait for its thread first.
#[pyclass(frozen, module = "evergrant._evergrant")]
pub(crate) struct Cancellation {
    began: Boot,
    is_cancelled: AtomicBool,
}

#[pymethods]
impl Cancellation {
    #[new]
    fn new() -> Self {
        Self { began: clock::boot(), is_cancelled: AtomicBool::new(false) }
    }

    /// Whoever waits stops waiting.
    fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
    }
}

impl Cancellation {
    /// When the wait began.
    pub(crate) fn began(&self) -> Boot {
        self.began
    }
}

/// A running source.
pub(crate) struct Live {
    pid: u32,
    handle: Handle,
    source: TokenSource,
    is_closing: AtomicBool,
    waiters: AtomicUsize,
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

impl Live {
    /// Starts a thread, and on it what `build` builds. Runs no Python.
    pub(crate) fn start(build: impl FnOnce() -> Result<TokenSource, StartError>) -> Result<Self, StartError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move || {
            // Told to stop or forgotten, it ends.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("evergrant".to_owned()).spawn(work).map_err(StartError::Thread)?;
        let source = {
            let _inside = handle.enter();
            build()?
        };
        Ok(Self {
            pid: notice_process(),
            handle,
            source,
            is_closing: AtomicBool::new(false),
            waiters: AtomicUsize::new(0),
            stop: Mutex::new(Some(stop)),
        })
    }

    /// Was it started by this process?
    pub(crate) fn is_ours(&self) -> bool {
        self.pid == PROCESS.load(Ordering::Relaxed)
    }

    /// May it be waited for?
    pub(crate) fn is_open(&self) -> bool {
        self.is_ours() && !self.is_closing.load(Ordering::Acquire)
    }

    pub(crate) fn source(&self) -> &TokenSource {
        &self.source
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The result if it is there without waiting.
    pub(crate) fn poll<T>(&self, py: Python<'_>, future: impl Future<Output = T>) -> PyResult<Option<T>> {
        let _waiter = self.enter(py)?;
        Ok(match self.poll_once(pin!(future)) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        })
    }

    /// Waits, until Ctrl-C is pressed, the source is closed or the wait is cancelled.
    pub(crate) fn wait<T: Send>(
        &self,
        py: Python<'_>,
        cancellation: Option<&Cancellation>,
        future: impl Future<Output = T> + Send,
    ) -> PyResult<T> {
        let _waiter = self.enter(py)?;
        let mut future = pin!(future);
        if let Poll::Ready(result) = self.poll_once(future.as_mut()) {
            return Ok(result);
        }
        let is_cancelled = || cancellation.is_some_and(|wait| wait.is_cancelled.load(Ordering::Acquire));
        let result = self.wait_in_slices(py, future, || self.is_open() && !is_cancelled());
        result?.ok_or_else(|| errors::closed(py))
    }

    /// Ends it. If a refresh token that rotates is being spent, its successor is stored first.
    pub(crate) fn close(&self, py: Python<'_>, finishes_flights: bool) -> PyResult<()> {
        let _waiter = Waiter::new(self);
        let was_closing = self.is_closing.swap(true, Ordering::AcqRel);
        if was_closing || !self.is_ours() {
            return Ok(());
        }
        let finished = match finishes_flights {
            true => self.wait_in_slices(py, self.source.clone().shutdown(), || true).map(drop),
            false => Ok(()),
        };
        py.detach(|| self.let_others_leave());
        let handed = logging::hand_over(py);
        finished.and(handed)
    }

    /// Is a token request under way here, whose answer is not stored yet?
    pub(crate) fn is_in_flight(&self) -> bool {
        self.is_open() && self.poll_once(pin!(self.source.clone().shutdown())).is_pending()
    }

    /// The same as closing for a source that nobody can reach any more, without a wait.
    pub(crate) fn abandon(&self) {
        self.is_closing.store(true, Ordering::Release);
        self.stop_if_unused();
    }

    /// Looks once, which is all it takes most of the time, and holds on to the interpreter meanwhile.
    fn poll_once<T>(&self, future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        let _inside = self.handle.enter();
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// The result, or nothing once `goes_on` says no.
    fn wait_in_slices<T: Send>(
        &self,
        py: Python<'_>,
        future: impl Future<Output = T> + Send,
        goes_on: impl Fn() -> bool,
    ) -> PyResult<Option<T>> {
        let mut future = pin!(future);
        loop {
            let slice = || self.handle.block_on(async { tokio::time::timeout(SLICE, future.as_mut()).await });
            let result = py.detach(slice);
            // Also where there is a result: whoever waited hears of Ctrl-C before any other code of Python does.
            py.check_signals()?;
            if let Ok(result) = result {
                return Ok(Some(result));
            }
            if !goes_on() {
                return Ok(None);
            }
        }
    }

    /// Until all waiters but the one who closes are gone, or for half a second: an interpreter that ends should not find
    /// them on their way back into it.
    fn let_others_leave(&self) {
        const STEP: Duration = Duration::from_millis(5);
        for _ in 0..100 {
            if self.waiters.load(Ordering::Acquire) <= 1 {
                return;
            }
            std::thread::sleep(STEP);
        }
    }

    fn enter(&self, py: Python<'_>) -> PyResult<Waiter<'_>> {
        let waiter = Waiter::new(self);
        if self.is_open() { Ok(waiter) } else { Err(errors::closed(py)) }
    }

    fn stop_if_unused(&self) {
        if self.is_closing.load(Ordering::Acquire)
            && self.waiters.load(Ordering::Acquire) == 0
            && self.is_ours()
            && let Some(stop) = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            // Where the thread has ended already there is nothing to stop.
            let _ = stop.send(());
        }
    }
}

/// Why a source does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// There is no thread for it.
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
    /// Something configured cannot work.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl StartError {
    /// As an exception.
    pub(crate) fn raise(&self, py: Python<'_>) -> PyErr {
        let class = match self {
            Self::Build(_) => Class::Config,
            Self::Thread(_) => Class::Internal,
        };
        errors::error(py, class, self.to_string())
    }
}

/// A share in a running source, which is not dropped where its locks may be held for ever.
#[derive(Clone)]
pub(crate) struct LiveRef(Option<Arc<Live>>);

impl From<Arc<Live>> for LiveRef {
    fn from(live: Arc<Live>) -> Self {
        Self(Some(live))
    }
}

impl LiveRef {
    /// Ends it once the token request that is under way is over and its answer stored.
    pub(crate) fn abandon_when_stored(&self) {
        let live = self.clone();
        let end = async move {
            live.source.clone().shutdown().await;
            live.abandon();
        };
        drop(self.handle.spawn(end));
    }
}

impl Deref for LiveRef {
    type Target = Live;

    fn deref(&self) -> &Live {
        self.0.as_ref().unwrap_or_else(|| unreachable!("it is taken out in `drop` alone"))
    }
}

impl Drop for LiveRef {
    fn drop(&mut self) {
        if let Some(live) = self.0.take_if(|live| !live.is_ours()) {
            std::mem::forget(live);
        }
    }
}

/// This process, as it was noticed last: to ask the system each time would cost more than the rest of a request.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Asks the system which process this is. To be called in a new one, and before a source is used.
pub(crate) fn notice_process() -> u32 {
    let pid = std::process::id();
    PROCESS.store(pid, Ordering::Relaxed);
    pid
}

/// Somebody who polls what runs on the thread.
struct Waiter<'a>(&'a Live);

impl<'a> Waiter<'a> {
    fn new(live: &'a Live) -> Self {
        live.waiters.fetch_add(1, Ordering::AcqRel);
        Self(live)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::AcqRel);
        self.0.stop_if_unused();
    }
}

/// How long Ctrl-C may go unnoticed.
const SLICE: Duration = Duration::from_millis(50);
