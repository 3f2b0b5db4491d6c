//! Settings: read in layers, each value with its place, then turned into something that can be used or not.
//!
//! `catalog` names every setting; `flags`, `env_names` and `file` read the three layers; `layers` looks values up;
//! `values` reads what they mean; `origin` and `excerpt` say where they stand; `resolve` puts everything together.

pub(crate) mod catalog;
pub(crate) mod env_names;
pub(crate) mod excerpt;
pub(crate) mod file;
pub(crate) mod flags;
pub(crate) mod layers;
pub(crate) mod origin;
pub(crate) mod resolve;
pub(crate) mod values;
