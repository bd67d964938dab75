//! What holds for any input whatever, as functions that panic where it does not.
//!
//! The fuzzer's targets and the property tests call the same functions: the one looks for inputs
//! that reach new code, the other tries some in every run of the tests.

mod config;
mod headers;

pub use config::{EXAMPLE, config};
pub use headers::{headers, quick_ways_agree};
