//! `cargo xtask lint`: formatting, clippy's lints, and what neither knows: rules of the house, whether what is
//! said of tests is so, spelling, dependencies, the changelog.

mod dependencies;
mod files;
mod rules;
mod spec;
mod spelling;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::changelog;
use crate::declared;
use crate::fetch::toolchain::Toolchain;
use crate::host::cache::Cache;
use crate::host::{command, say, workspace};

/// Check formatting, clippy's lints, the rules of the house, the specification's tests, spelling, dependencies
/// and the changelog
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb. All checks run, so that one call shows all there is to mend.
pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    let cache = Cache::open()?;
    let toolchain = Toolchain::ready(&cache)?;
    let mut well = true;
    let mut check = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            say::error(&error.context(what.to_owned()));
            well = false;
        }
    };
    say::step("formatting");
    check(
        "formatting",
        command::run(workspace::cargo().args(["fmt", "--all", "--check"])),
    );
    say::step("clippy, on the host's packages");
    check("clippy", clippy(&toolchain));
    say::step("clippy, on the eBPF programs");
    check("clippy for eBPF", clippy_ebpf(&toolchain));
    say::step("rules of the house");
    check(
        "rules of the house",
        files::of("*.rs").and_then(|sources| rules::hold(&sources)),
    );
    say::step(
        "the specification, and on which kernels tests run, against the tests that there are",
    );
    match declared::tests() {
        Ok(tests) => {
            let tests: Vec<String> = tests.into_keys().collect();
            check(
                "docs/spec.md",
                texts().and_then(|texts| spec::hold(&texts, &tests)),
            );
        }
        Err(error) => check("tests of the tree", Err(error)),
    }
    say::step("spelling");
    check("spelling", spelling::check(&cache));
    say::step("dependencies: licences, doubles, sources");
    check("dependencies", dependencies::check());
    say::step("changelog");
    check("changelog", changelog());
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn clippy(toolchain: &Toolchain) -> Result<()> {
    command::run(
        toolchain
            .cargo()?
            .args(["clippy", "--quiet", "--workspace", "--exclude", "lte-ebpf"])
            .args(["--all-targets", "--", "-D", "warnings"]),
    )
}

/// For the target it is built for, with the same unstable option as the build.
fn clippy_ebpf(toolchain: &Toolchain) -> Result<()> {
    command::run(
        toolchain
            .cargo()?
            .args(["clippy", "--quiet", "--package", "lte-ebpf", "--release"])
            .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
            .args(["--", "-D", "warnings"])
            .env("RUSTC_BOOTSTRAP", "1"),
    )
}

/// All that may cite the specification.
fn texts() -> Result<Vec<files::File>> {
    let mut all = Vec::new();
    for kind in ["*.rs", "*.md", "*.toml"] {
        all.extend(files::of(kind)?);
    }
    Ok(all)
}

/// Its form, and that each thing is in it once.
fn changelog() -> Result<()> {
    let text = std::fs::read_to_string(workspace::root().join(changelog::FILE))
        .with_context(|| format!("cannot read {}", changelog::FILE))?;
    report(&changelog::read(&text).problems)
}

/// Prints what a check has found, a line each; anything is a failure.
fn report(found: &[String]) -> Result<()> {
    for line in found {
        eprintln!("{line}");
    }
    anyhow::ensure!(found.is_empty(), "{} broken", found.len());
    Ok(())
}
