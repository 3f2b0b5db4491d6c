//! A credential's source, through all the processes that it is used in.
//!
//! It starts at its first use, so that a server that loads the program and then forks its workers has nothing to hand
//! down. In a forked child it starts anew, with nothing of what its parent held: a token request that was under way is
//! the parent's alone. What is found out about the settings without asking anybody is found out when it is made.
//!
//! It ends when it is closed, with its process ([`close_all`]), or when nobody can reach it any more: the object that Python
//! has, an adapter, a function that sends. One that is let go of while a refresh token is on its way ends when the token's
//! successor is stored.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{closed, guarded, no_bare_token};
use crate::exchange::Sender;
use crate::fork;
use crate::live::{self, Cancellation, Live, LiveRef};
use crate::logging;
use crate::settings::{Settings, seconds};

/// What all who use a source share.
pub(crate) struct Core {
    pub(crate) settings: Settings,
    /// Only locked by threads that hold the interpreter, and never while they run Python or let go of it.
    state: Mutex<State>,
}

/// All that somebody can reach. Locked as a source's state is.
static REACHABLE: Mutex<Vec<Weak<Core>>> = Mutex::new(Vec::new());
/// What nobody can reach and what ends soon, once the refresh token that is on its way has its successor. Locked in the
/// same way.
static LET_GO: Mutex<Vec<LiveRef>> = Mutex::new(Vec::new());

enum State {
    Idle,
    Running(LiveRef),
    Closed,
}

impl Core {
    /// The source as it runs in this process.
    pub(crate) fn live(&self, py: Python<'_>) -> PyResult<LiveRef> {
        live::notice_process();
        let started = {
            let mut state = lock(&self.state);
            match &*state {
                State::Running(live) if live.is_ours() => return Ok(live.clone()),
                State::Closed => None,
                State::Idle | State::Running(_) => Some(Live::start(|| self.settings.build()).map(|live| {
                    let live = Arc::new(live);
                    fork::remember(&live);
                    let live = LiveRef::from(live);
                    *state = State::Running(live.clone());
                    live
                })),
            }
        };
        started.ok_or_else(|| closed(py))?.map_err(|error| error.raise(py))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let state = {
            let mut state = lock(&self.state);
            mem::replace(&mut *state, State::Closed)
        };
        match state {
            State::Running(live) => live.close(py, self.settings.spends_refresh_tokens()),
            State::Idle | State::Closed => Ok(()),
        }
    }

    fn is_closed(&self) -> bool {
        matches!(*lock(&self.state), State::Closed)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let state = mem::replace(self.state.get_mut().unwrap_or_else(PoisonError::into_inner), State::Closed);
        let State::Running(live) = state else { return };
        if self.settings.spends_refresh_tokens() && live.is_in_flight() {
            live.abandon_when_stored();
            lock(&LET_GO).push(live);
        } else {
            live.abandon();
        }
    }
}

/// Closes every source of this process, which is about to end.
#[pyfunction]
pub(crate) fn close_all(py: Python<'_>) -> PyResult<()> {
    let reachable: Vec<_> = lock(&REACHABLE).iter().filter_map(Weak::upgrade).collect();
    let let_go = mem::take(&mut *lock(&LET_GO));
    let mut closed = Ok(());
    for core in reachable {
        let this = guarded(py, || core.close(py));
        closed = closed.and(this);
    }
    for live in let_go {
        let this = guarded(py, || live.close(py, true));
        closed = closed.and(this);
    }
    closed
}

/// Gives out one credential's token and keeps it working.
#[pyclass(frozen, module = "evergrant._evergrant")]
pub(crate) struct Source(Arc<Core>);

impl Source {
    pub(crate) fn core(&self) -> &Core {
        &self.0
    }

    fn of(settings: Settings) -> Self {
        let core = Arc::new(Core { settings, state: Mutex::new(State::Idle) });
        let mut reachable = lock(&REACHABLE);
        reachable.retain(|core| core.strong_count() > 0);
        reachable.push(Arc::downgrade(&core));
        lock(&LET_GO).retain(|live| live.is_open());
        Self(core)
    }
}

#[pymethods]
impl Source {
    #[new]
    fn new(settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        Settings::read(settings).map(Self::of)
    }

    /// The same with what variables of an environment say beside it.
    #[staticmethod]
    fn from_environment<'py>(settings: &Bound<'py, PyDict>, environment: &Bound<'py, PyAny>) -> PyResult<Self> {
        let all = Settings::with_environment(settings, environment)?;
        Settings::read(&all).map(Self::of)
    }

    /// A token that works, its remaining seconds and its generation; `None` instead of a wait.
    #[pyo3(signature = (min_remaining, wait, cancellation=None))]
    fn token(
        &self,
        py: Python<'_>,
        min_remaining: Option<Bound<'_, PyAny>>,
        wait: bool,
        cancellation: Option<&Cancellation>,
    ) -> PyResult<Option<(String, Option<f64>, u64)>> {
        let least = min_remaining.map(|value| seconds("min_remaining", &value)).transpose()?;
        guarded(py, || {
            let live = self.0.live(py)?;
            let source = live.source();
            let asked = async {
                match (cancellation, least) {
                    (Some(wait), least) => source.token_asked_at(wait.began(), least).await,
                    (None, None) => source.token().await,
                    (None, Some(least)) => source.token_lasting(least, None).await,
                }
                .map(|guard| {
                    let remaining = guard.remaining().map(evergrant_core::time::Span::as_secs_f64);
                    (guard.expose().to_owned(), remaining, guard.generation().0)
                })
            };
            let token = match wait {
                false => live.poll(py, asked)?.transpose(),
                true => live.wait(py, cancellation, asked)?.map(Some),
            };
            logging::hand_over(py)?;
            token.map_err(|error| no_bare_token(py, &error, source))
        })
    }

    /// Sends requests to these origins, or to the API of the settings.
    fn sender(&self, py: Python<'_>, origins: Option<Vec<String>>) -> PyResult<Sender> {
        Sender::new(py, Arc::clone(&self.0), origins)
    }

    /// A picture of this moment as JSON, without any secret.
    fn status(&self, py: Python<'_>) -> PyResult<String> {
        guarded(py, || {
            let live = self.0.live(py)?;
            Ok(serde_json::to_string(&live.source().status()).unwrap_or_default())
        })
    }

    /// Ends it; who still waits gets a `ClosedError`.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        guarded(py, || self.0.close(py))
    }

    #[getter]
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    #[getter]
    fn upstream(&self) -> Option<&str> {
        self.0.settings.upstream()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
