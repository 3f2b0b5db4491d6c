//! The extension module behind the Python package `evergrant`.
//!
//! Everything that decides is in the library; this crate converts types, waits without holding the interpreter, and
//! keeps the promises that Python makes of a module: a wait ends at Ctrl-C, a forked child starts anew, an interpreter
//! that ends is not held up, and a panic is an exception.
//!
//! What needs no Rust is in the package beside it, `python/evergrant/`: the adapters for HTTP clients, and the classes of
//! exceptions. `settings` reads keyword arguments; `source` is a credential's source and how it starts; `live` is the
//! thread that it runs on in one process, and how to wait for it; `fork` holds that thread still while a process forks;
//! `exchange` is one request; `verdict` and `diagnosis` explain; `logging` hands events to Python; `errors` makes
//! exceptions.
//!
//! No thread of ours ever touches the interpreter. Whatever Python has to see waits until a Python thread comes by.

mod diagnosis;
mod errors;
mod exchange;
mod fork;
mod live;
mod logging;
mod settings;
mod source;
mod verdict;

/// The extension module.
#[pyo3::pymodule]
mod _evergrant {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::diagnosis::diagnose;
    #[cfg(debug_assertions)]
    #[pymodule_export]
    use crate::errors::panic_for_tests;
    #[pymodule_export]
    use crate::exchange::{Exchange, Sender, holds_credentials};
    #[pymodule_export]
    use crate::fork::{after_fork_in_child, after_fork_in_parent, before_fork};
    #[pymodule_export]
    use crate::live::Cancellation;
    #[pymodule_export]
    use crate::settings::setting_names;
    #[pymodule_export]
    use crate::source::{Source, close_all};
    #[pymodule_export]
    use crate::verdict::Verdict;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::logging::install();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
