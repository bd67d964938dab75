//! Where the workspace and its build directory are.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

/// The workspace's root directory.
pub(crate) fn root() -> PathBuf {
    // Cargo sets it when it runs us; the value at build time serves when the binary is called by hand.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .parent()
        .map_or_else(|| manifest.clone(), PathBuf::from)
}

/// A cargo command at the workspace's root.
pub(crate) fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}

/// Cargo's build directory.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .context("cannot read the workspace's metadata")?;
    Ok(metadata.target_directory.into_std_path_buf())
}

/// A directory of ours under the build directory, made if need be.
pub(crate) fn scratch(name: &str) -> Result<PathBuf> {
    let dir = target_dir()?.join("xtask").join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}
