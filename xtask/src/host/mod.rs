//! This machine: its tools, its cache, how we speak on its terminal.

pub(crate) mod cache;
pub(crate) mod command;
pub(crate) mod say;
pub(crate) mod tools;
pub(crate) mod workspace;
