//! One module per command: settings in, rendered data out.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod man;
