//! How far a provider's clock is ahead of ours, as an interval that holds the truth.
//!
//! Every answer of a server carries its date. Sent at `s` and received at `r` on our boot clock, an answer dated `D`
//! proves that the offset `theta = server - boot` lies in
//!
//! ```text
//! [ D - r - g - S,   D + res + kappa - s + g + S ]        g = rho * (r - s)
//! ```
//!
//! where `res` is the date's resolution, `kappa` how old a server lets its date string become, `S` how much the nodes
//! behind one name differ, and `rho` how fast two clocks may drift apart. The intersection of many answers is narrow;
//! while evidence ages, both ends move outward by `rho * age`, and after a while it expires. The interval is true
//! under these [`Assumptions`] and they are printed with every result: nothing unconditional can be said about a clock
//! that is only seen through a network.
//!
//! - The axis is the boot clock, so a step of our own calendar clock changes nothing here. It is reported as
//!   [`ClockEvent::LocalStep`] and moves only the skew that people see.
//! - Each [`Source`] is intersected with itself only. The token endpoint and the API run on different clocks, and
//!   [`Estimator::disagreements`] says so instead of averaging them.
//! - A sample that contradicts the evidence is kept beside it: from the first one on the hull of both is reported as
//!   disturbed. Three newcomers in a row are a step of the server (or a pause of our virtual machine, which looks the
//!   same) and start a new epoch. Dissent that comes and goes is a fleet whose nodes disagree.
//! - A date that stands still is no clock: it bounds nothing. A cached one bounds only from below.
//!
//! Limits: a step smaller than the interval's width stays unseen until the evidence from before it expires.
//!
//! Source: Marzullo and Owicki, "Maintaining the time in a distributed system" (1983), for intervals; RFC 5905
//! section 4 for the words; RFC 9110 section 6.6.1 for `Date`.

mod apparent;
mod edge;
mod estimator;
mod evidence;
mod history;
mod plan;
mod reading;
mod sample;
mod track;

pub use edge::aim_at_edge;
pub use estimator::Estimator;
pub use history::{SkewHistory, SkewPoint};
pub use plan::{ProbeGoal, ProbePlan};
pub use reading::{ClockEvent, OffsetState, Reading};
pub use sample::{Assumptions, Sample, Source};
pub use track::Track;

#[cfg(test)]
mod tests;
