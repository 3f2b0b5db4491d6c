//! Keeps OAuth 2.0 access tokens working, and explains every 401.

pub mod clock;
pub mod grant;
pub mod store;
pub mod tls;
pub mod transport;
