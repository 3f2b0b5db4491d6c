//! The core as its users see it: rules held against tables in files, and pages that the code must agree with.

mod case;
mod live;
mod reference;
mod verdicts;
