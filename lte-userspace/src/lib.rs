//! The agent of an LTE backup tunnel that carries only itself.

pub mod backend;
pub mod config;
