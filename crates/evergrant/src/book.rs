//! The pages of the guide whose Rust is compiled, each as documentation of a type that nobody uses.
//!
//! Only `cargo test --doc` sees this module. The step `book` refuses a page with Rust that is not named here.

/// The guide of the library.
#[doc = include_str!("../../../docs/rust.md")]
pub struct Guide;

/// The quick start.
#[doc = include_str!("../../../docs/start.md")]
pub struct Start;
