//! What is pinned in the BPF file system, and where.
//!
//! ```text
//! /sys/fs/bpf/lte-backup/net-<number of the network namespace>/v<layout>/
//! ```
//!
//! Agents of two network namespaces may share a BPF file system, and an interface's index is a
//! namespace's own: so each has a directory of its own. The layout's version is in the path, since
//! opening a pinned map does not compare its layout.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use lte_common::layout;

use super::directory::Directory;
use super::{link, tcx};
use crate::backend::BackendError;

/// Where the BPF file system is mounted.
const BPF_FS: &str = "/sys/fs/bpf";
const OURS: &str = "lte-backup";
/// How the directories of layouts begin.
const LAYOUT: &str = "v";

/// The name of the calling thread's network namespace's directory.
fn namespace() -> Result<String, BackendError> {
    const PATH: &str = "/proc/thread-self/ns/net";
    fs::metadata(PATH)
        .map(|namespace| format!("net-{}", namespace.ino()))
        .map_err(|e| BackendError::failed(format!("look at {PATH}"), e))
}

fn layout() -> String {
    format!("{LAYOUT}{}", layout::VERSION)
}

fn file_system() -> Result<Directory, BackendError> {
    Directory::root(Path::new(BPF_FS))
}

/// The agents' directory, if it is there.
fn agents_dir() -> Result<Option<Directory>, BackendError> {
    file_system()?.open(OURS)
}

/// This namespace's directory, if it is there.
fn namespace_dir() -> Result<Option<Directory>, BackendError> {
    match agents_dir()? {
        Some(agents) => agents.open(&namespace()?),
        None => Ok(None),
    }
}

/// The directory of this layout's pins, if it is there.
fn layout_dir() -> Result<Option<Directory>, BackendError> {
    match namespace_dir()? {
        Some(own) => own.open(&layout()),
        None => Ok(None),
    }
}

/// Whether the directory of pins is ours, or can be made: what is wrong is the error. Once it is there
/// and ours, no other user can put another in its place.
pub(super) fn check() -> Result<(), BackendError> {
    layout_dir().map(drop)
}

/// The directory of this layout's pins.
pub(super) fn dir() -> Result<PathBuf, BackendError> {
    let agents = Path::new(BPF_FS).join(OURS);
    Ok(agents.join(namespace()?).join(layout()))
}

/// A pin of this layout.
pub(super) fn path(name: &str) -> Result<PathBuf, BackendError> {
    Ok(dir()?.join(name))
}

fn create_layout_dir() -> Result<Directory, BackendError> {
    file_system()?
        .create(OURS)?
        .create(&namespace()?)?
        .create(&layout())
}

/// Makes the directory of this layout's pins if it is not there.
pub(super) fn create() -> Result<PathBuf, BackendError> {
    create_layout_dir().map(|dir| dir.path().to_owned())
}

/// Makes a directory among the pins of this layout.
pub(super) fn create_marker(name: &str) -> Result<(), BackendError> {
    create_layout_dir()?.create(name).map(drop)
}

/// Whether anything of this namespace's agent is there.
pub(super) fn exist() -> Result<bool, BackendError> {
    Ok(namespace_dir()?.is_some() || !unnamespaced_layouts()?.is_empty())
}

/// The directories of other layouts: another version of the agent has left them.
pub(super) fn other_layouts() -> Result<Vec<Directory>, BackendError> {
    let mut others = unnamespaced_layouts()?;
    if let Some(own) = namespace_dir()? {
        others.extend(layouts(&own, Some(&layout()))?);
    }
    Ok(others)
}

fn layouts(of: &Directory, but: Option<&str>) -> Result<Vec<Directory>, BackendError> {
    let mut found = Vec::new();
    for name in of.names_after(LAYOUT)? {
        let name = format!("{LAYOUT}{name}");
        if but != Some(name.as_str()) {
            found.extend(of.open(&name)?);
        }
    }
    Ok(found)
}

/// Of the directories of earlier versions, which did not keep namespaces apart, those that are not
/// another namespace's for certain.
fn unnamespaced_layouts() -> Result<Vec<Directory>, BackendError> {
    let Some(agents) = agents_dir()? else {
        return Ok(Vec::new());
    };
    let mut ours = layouts(&agents, None)?;
    ours.retain(|dir| !is_of_another_namespace(dir));
    Ok(ours)
}

/// Whether a link that is pinned there has a program on an interface, and not on one of this
/// namespace.
fn is_of_another_namespace(dir: &Directory) -> bool {
    let pins = dir.names_after(tcx::PREFIX).unwrap_or_default();
    pins.iter()
        .filter_map(|name| link::info(&dir.path().join(format!("{}{name}", tcx::PREFIX))).ok())
        .any(|info| info.is_attached() && !info.is_here())
}

/// Names in the directories of all layouts that begin with a prefix, without it.
pub(super) fn names(prefix: &str) -> Result<Vec<String>, BackendError> {
    let mut names = BTreeSet::new();
    for dir in other_layouts()?.into_iter().chain(layout_dir()?) {
        names.extend(dir.names_after(prefix)?);
    }
    Ok(names.into_iter().collect())
}

/// Makes the pins of other layouts whose names begin so pins of this one, where it has none of
/// that name. A pin that is moved never ceases to hold what it holds.
pub(super) fn take_over(prefixes: &[&str]) -> Result<(), BackendError> {
    let own = create_layout_dir()?;
    for other in other_layouts()? {
        for prefix in prefixes {
            for name in other.names_after(prefix)? {
                let name = format!("{prefix}{name}");
                if !own.has(&name)? {
                    other.move_to(&name, &own)?;
                }
            }
        }
    }
    Ok(())
}

/// The pins of a name, whichever layout's directory they are in.
pub(super) fn named(name: &str) -> Result<Vec<PathBuf>, BackendError> {
    let mut found = Vec::new();
    for dir in other_layouts()?.into_iter().chain(layout_dir()?) {
        if dir.has(name)? {
            found.push(dir.path().join(name));
        }
    }
    Ok(found)
}

/// Takes a marker away, of whatever layout.
pub(super) fn remove_marker(name: &str) -> Result<(), BackendError> {
    for dir in other_layouts()?.into_iter().chain(layout_dir()?) {
        dir.remove_if_empty(name)?;
    }
    Ok(())
}

/// Takes a pin of this layout away.
pub(super) fn unpin_own(name: &str) -> Result<(), BackendError> {
    layout_dir()?.map_or(Ok(()), |dir| dir.unlink(name))
}

/// Takes a pin away, of whatever layout.
pub(super) fn unpin(name: &str) -> Result<(), BackendError> {
    for dir in other_layouts()?.into_iter().chain(layout_dir()?) {
        dir.unlink(name)?;
    }
    Ok(())
}

/// Puts a pin of this layout in the place of another, at once.
pub(super) fn replace(name: &str, by: &str) -> Result<(), BackendError> {
    create_layout_dir()?.replace(name, by)
}

/// Takes away what other layouts have left; what goes wrong is returned.
pub(super) fn remove_others() -> Vec<BackendError> {
    let mut errors = Vec::new();
    if let Err(e) = try_remove_others(&mut errors) {
        errors.push(e);
    }
    errors
}

fn try_remove_others(errors: &mut Vec<BackendError>) -> Result<(), BackendError> {
    let Some(agents) = agents_dir()? else {
        return Ok(());
    };
    for dir in unnamespaced_layouts()? {
        agents.remove(name_of(&dir), errors);
    }
    if let Some(own) = agents.open(&namespace()?)? {
        for dir in layouts(&own, Some(&layout()))? {
            own.remove(name_of(&dir), errors);
        }
    }
    Ok(())
}

fn name_of(dir: &Directory) -> &str {
    let name = dir.path().file_name();
    name.and_then(|name| name.to_str()).unwrap_or_default()
}

/// Takes away all pins of this namespace, of other layouts too; what goes wrong is returned.
pub(super) fn remove() -> Vec<BackendError> {
    let mut errors = Vec::new();
    if let Err(e) = try_remove(&mut errors) {
        errors.push(e);
    }
    errors
}

fn try_remove(errors: &mut Vec<BackendError>) -> Result<(), BackendError> {
    let file_system = file_system()?;
    let Some(agents) = file_system.open(OURS)? else {
        return Ok(());
    };
    for dir in unnamespaced_layouts()? {
        agents.remove(name_of(&dir), errors);
    }
    agents.remove(&namespace()?, errors);
    // Other namespaces' agents may have theirs in it.
    file_system.remove_if_empty(OURS)
}
