//! The demonstration in the lab, printed as it runs: an uplink is lost, and the tunnel goes on.
//!
//! Needs root, kernel WireGuard, and the agent's path in `LTE_USERSPACE`; `cargo xtask run --lab`
//! sees to all three. Exit status: 0 if all was as expected, 1 if not, 2 for wrong usage.

mod account;
mod chapter;
mod demo;

use std::process::ExitCode;

use clap::Parser;
use lte_tests::backend::Backend;

use crate::account::Account;

/// Plays the story of the lab and says what was expected and what was measured.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Arguments {
    /// Which of the agent's backends is to keep the guard.
    #[arg(long, value_enum, default_value_t = Backend::Ebpf)]
    backend: Backend,
    /// Print one JSON document at the end instead of the story.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut account = Account::new(arguments.json);
    let told = demo::play(arguments.backend, &mut account);
    match account.close(told) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}
