//! What the eBPF object is built with, beyond the toolchain itself: the source of `core`, and the
//! linker.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::apt::{self, Apt};
use super::cargo::Package;
use super::debian;
use crate::host::cache::Cache;
use crate::host::{command, say, workspace};

/// It links with rustc's own LLVM; later ones want a system's.
const BPF_LINKER: Package = Package {
    name: "bpf-linker",
    version: "0.10.4",
    program: "bpf-linker",
    takes: "about two minutes",
};

/// It drives libFuzzer.
const CARGO_FUZZ: Package = Package {
    name: "cargo-fuzz",
    version: "0.13.2",
    program: "cargo-fuzz",
    takes: "about two minutes",
};

/// rustup fetches three megabytes: where that takes longer, Debian's package is the better way.
const RUSTUP_SECONDS: &str = "120";

/// The parts, found.
#[derive(Debug)]
pub(crate) struct Toolchain {
    linker_dir: Option<PathBuf>,
}

impl Toolchain {
    /// Finds the parts; fetches those that are missing.
    pub(crate) fn ready(cache: &Cache) -> Result<Self> {
        rust_src(cache)?;
        Ok(Self {
            linker_dir: bpf_linker(cache)?,
        })
    }

    /// A `cargo fuzz` command: the stable compiler, allowed the sanitizers' options.
    pub(crate) fn cargo_fuzz(&self, cache: &Cache) -> Result<Command> {
        let program = CARGO_FUZZ.ready(cache)?.join(CARGO_FUZZ.program);
        // cargo-fuzz calls cargo by its name, and that one the linker.
        let mut command = Command::new(program);
        command
            .arg("fuzz")
            .current_dir(workspace::root())
            .env("RUSTC_BOOTSTRAP", "1");
        if let Some(dir) = &self.linker_dir {
            command.env("PATH", path_with(dir)?);
        }
        Ok(command)
    }

    /// A cargo command that finds them.
    pub(crate) fn cargo(&self) -> Result<Command> {
        let mut cargo = workspace::cargo();
        if let Some(dir) = &self.linker_dir {
            cargo.env("PATH", path_with(dir)?);
        }
        Ok(cargo)
    }
}

/// `PATH` with a directory of ours before all others.
fn path_with(dir: &Path) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(dir.to_owned()).chain(std::env::split_paths(&path)))
        .context("the cache's path has a colon in it, which PATH cannot hold")
}

/// The source of the standard library, where `-Z build-std` looks for it.
fn rust_src(cache: &Cache) -> Result<()> {
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?);
    put_rust_src(cache, &sysroot, &rustc(&["--version"])?)
}

fn put_rust_src(cache: &Cache, sysroot: &Path, version: &str) -> Result<()> {
    let place = sysroot.join("lib/rustlib/src/rust");
    if has_core(&place) {
        return Ok(());
    }
    let _lock = cache.lock()?;
    if has_core(&place) {
        return Ok(());
    }
    let version = version
        .split_whitespace()
        .nth(1)
        .context("rustc does not say its version")?;
    say::step(format_args!(
        "rust-src {version} is missing: asking rustup for it"
    ));
    if by_rustup() && has_core(&place) {
        return Ok(());
    }
    say::step(format_args!(
        "rustup cannot fetch it: taking Debian's package rust-src of exactly that version"
    ));
    by_debian(cache, version, &place)
        .with_context(|| format!("rust-src {version} cannot be had from rustup nor from Debian"))
}

fn has_core(place: &Path) -> bool {
    place.join("library/core/Cargo.toml").exists() && place.join("library/Cargo.lock").exists()
}

fn by_rustup() -> bool {
    Command::new("timeout")
        .args([RUSTUP_SECONDS, "rustup", "component", "add", "rust-src"])
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Without a network its error is long, and there is the other way.
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn by_debian(cache: &Cache, version: &str, place: &Path) -> Result<()> {
    let apt = Apt::update(cache)?;
    let packages = apt.packages("rust-src", |name| name == "rust-src")?;
    let package = packages
        .iter()
        .filter(|package| debian::is_of_series(&package.version, version))
        .max_by(|a, b| debian::compare_versions(&a.version, &b.version))
        .ok_or_else(|| apt.not_found(&format!("rust-src {version}")))?;
    let unpacked = cache.path("rust-src.new");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    apt::unpack(&apt.download(package)?, &unpacked)?;
    // The path under /usr/lib/rustlib is an absolute link to this one.
    let library = unpacked.join(format!("usr/src/rustc-{version}/library"));
    if !library.join("core/Cargo.toml").exists() {
        bail!("{} {} has no library/core", package.name, package.version);
    }
    let parent = place.parent().context("a sysroot is deeper than that")?;
    let put = || -> Result<()> {
        fs::create_dir_all(place)?;
        // Whole or not at all: what is half copied would be taken for there.
        let new = parent.join("library.new");
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        command::output(Command::new("cp").arg("-a").args([&library, &new]))?;
        if place.join("library").exists() {
            fs::remove_dir_all(place.join("library"))?;
        }
        fs::rename(&new, place.join("library"))?;
        Ok(())
    };
    put().with_context(|| format!("rust-src cannot be put into {}", place.display()))?;
    fs::remove_dir_all(&unpacked)?;
    Ok(())
}

/// Where the linker is, if not on `PATH` already.
fn bpf_linker(cache: &Cache) -> Result<Option<PathBuf>> {
    if BPF_LINKER.on_path().is_some() {
        return Ok(None);
    }
    BPF_LINKER.ready(cache).map(Some)
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = command::output(
        Command::new(rustc)
            .args(arguments)
            .current_dir(workspace::root()),
    )?;
    Ok(said.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_without_core_is_none() {
        assert!(!has_core(Path::new("/")));
    }
}
