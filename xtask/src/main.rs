//! The project's verbs. Each has a file under `verb`; what they share lies beside it.
//!
//! `host` looks at this machine, `fetch` brings what it lacks, `image` packs an initramfs and
//! `vm` runs it.

mod fetch;
mod host;
mod image;
mod verb;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's verbs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a command in a virtual machine with a given kernel
    Vm(verb::vm::Args),
}

fn main() -> ExitCode {
    if vm::guest::is_init() {
        return vm::guest::main();
    }
    let result = match Cli::parse().verb {
        Verb::Vm(args) => verb::vm::run(&args),
    };
    result.unwrap_or_else(|error| {
        host::say::error(&error);
        ExitCode::FAILURE
    })
}
