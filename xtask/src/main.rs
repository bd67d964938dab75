//! The project's verbs. Each has a file under `verb`; what they share lies beside it.
//!
//! `host` looks at this machine, `fetch` brings what it lacks, `image` packs an initramfs,
//! `vm` runs it, and `declared` reads the tree's tests from its sources.

mod changelog;
mod declared;
#[cfg(test)]
mod docs;
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
    /// Build the agent with its eBPF object
    Build(verb::build::Args),
    /// Build and run the agent, or the lab's story
    Run(verb::run::Args),
    /// Run all tests: on this machine, and in a virtual machine of each kernel
    Test(verb::test::Args),
    /// Measure what the guard costs on the running kernel
    Bench(verb::bench::Args),
    /// Hunt for packets that policy and programs judge differently, or inputs that break a parser
    Fuzz(verb::fuzz::Args),
    /// Check formatting, clippy's lints, the rules of the house, the specification's tests, spelling, dependencies
    /// and the changelog
    Lint(verb::lint::Args),
    /// Ask for security advisories about dependencies, by cargo-deny
    Audit(verb::audit::Args),
    /// Tag a release with the changelog's notes
    Release(verb::release::Args),
    /// Run a command in a virtual machine with a given kernel
    Vm(verb::vm::Args),
}

fn main() -> ExitCode {
    if vm::guest::is_init() {
        return vm::guest::main();
    }
    let result = match Cli::parse().verb {
        Verb::Build(args) => verb::build::run(&args),
        Verb::Run(args) => verb::run::run(&args),
        Verb::Test(args) => verb::test::run(&args),
        Verb::Bench(args) => verb::bench::run(&args),
        Verb::Fuzz(args) => verb::fuzz::run(&args),
        Verb::Lint(args) => verb::lint::run(&args),
        Verb::Audit(args) => verb::audit::run(&args),
        Verb::Release(args) => verb::release::run(&args),
        Verb::Vm(args) => verb::vm::run(&args),
    };
    result.unwrap_or_else(|error| {
        host::say::error(&error);
        ExitCode::FAILURE
    })
}
