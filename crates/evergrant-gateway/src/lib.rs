//! evergrant-gateway
