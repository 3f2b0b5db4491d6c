//! One module per command: settings in, rendered data out.

pub(crate) mod api;
pub(crate) mod clock;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod gateway;
pub(crate) mod login;
pub(crate) mod man;
pub(crate) mod ready;
pub(crate) mod running;
pub(crate) mod secret;
pub(crate) mod simulate;
pub(crate) mod store;
pub(crate) mod token;
