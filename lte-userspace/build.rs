//! Builds the eBPF object that the agent carries. A build that fails is an error: there is no
//! agent without its programs.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

const TARGET: &str = "bpfel-unknown-none";

fn main() {
    // Not returned: anyhow would add a stack to what rustc has said.
    if let Err(error) = run() {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("cargo sets it")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets it")?);
    let workspace = here.parent().context("the package lies in a workspace")?;
    for part in ["lte-ebpf", "lte-common", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(part).display());
    }
    println!("cargo:rerun-if-env-changed=PATH");
    let object = build(workspace, &out.join("ebpf"))?;
    let bytes = fs::read(&object).with_context(|| format!("read {}", object.display()))?;
    let copy = out.join("lte-ebpf");
    fs::write(&copy, &bytes).with_context(|| format!("write {}", copy.display()))?;
    // By it the agent distinguishes the programs of this build from others.
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    println!("cargo:rustc-env=LTE_EBPF_ID={:x}", hasher.finish());
    Ok(())
}

fn build(workspace: &Path, target_dir: &Path) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace)
        .args([
            "build",
            "--locked",
            "--package",
            "lte-ebpf",
            "--bins",
            "--release",
        ])
        .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .arg(target_dir)
        // The stable compiler then builds core for a target that has none prebuilt.
        .env("RUSTC_BOOTSTRAP", "1")
        // Maps and programs get their names, and the verifier its line numbers, from BTF.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Cdebuginfo=2\u{1f}-Clink-arg=--btf",
        )
        // clippy's, when the agent is being linted.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .output()
        .context("run cargo for the eBPF object")?;
    if !output.status.success() {
        bail!(
            "the eBPF object does not build; `cargo xtask build` fetches what it needs (rust-src, bpf-linker)\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(target_dir.join(TARGET).join("release").join("lte-ebpf"))
}
