//! Asking servers for their clocks.
//!
//! A [`Meter`] asks several [`Place`]s side by side: the token endpoint and the API for the `Date` of their answers, an
//! endpoint that tells the time in milliseconds, an NTP server, or any `https` server as a reference. None of the
//! questions changes anything; only the millisecond endpoint is shown a token. When to ask is decided by the core's
//! [`ProbePlan`](evergrant_core::offset::ProbePlan), what the answers prove by its estimator; this module sends, stamps
//! and reports. A [`Picture`] shows all sources at one moment, with who disagrees and why a source is silent.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use evergrant::core::offset::ProbeGoal;
//! use evergrant::offset::{Meter, Place};
//! use evergrant::tls::Tls;
//! use evergrant::transport::TransportOptions;
//!
//! let mut meter = Meter::default();
//! meter.add(Place::api("https://api.example.com", &Tls::default(), TransportOptions::default())?);
//! meter.measure(ProbeGoal::QUICK, std::time::Duration::from_secs(5)).await;
//! println!("{}", meter.picture().words());
//! # Ok(()) }
//! ```
//!
//! Requests are HEAD, with a query that no cache has seen and no credentials. A server that does not know HEAD is asked
//! with GET. Redirects are not followed: their date is another host's business.

mod http;
mod meter;
mod ntp;
mod picture;
mod place;

pub use meter::{Meter, MeterEvent};
pub use picture::{Picture, Quality, SourcePicture};
pub use place::{Place, PlaceError, PlaceFailure, PlaceFailureKind, Remark};
