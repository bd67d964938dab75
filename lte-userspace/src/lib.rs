//! The agent of an LTE backup tunnel that carries only itself.

pub mod backend;
pub mod blocking;
pub mod cli;
pub mod config;
pub mod desired;
#[cfg(test)]
mod golden;
pub mod kernel;
mod logging;
mod notify;
#[cfg(test)]
mod random;
pub mod reconcile;
pub mod state;
pub mod usage;
