//! evergrant-sim
