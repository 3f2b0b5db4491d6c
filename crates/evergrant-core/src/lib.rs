//! The pure core of Evergrant.
pub mod time;
