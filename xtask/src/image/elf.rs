//! Programs of the host, with the libraries they load.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

use super::cpio::{Entry, Tree};
use crate::host::{command, workspace};

/// Copies made so long ago are of programs that were built anew since.
const OLD: Duration = Duration::from_hours(6);

/// Puts a program at a path, and its libraries where its loader looks for them.
pub(crate) fn put_program(tree: &mut Tree, program: &Path, at: &Path) -> Result<()> {
    put_libraries(tree, program)?;
    tree.put(at, Entry::Host(program.to_owned(), 0o755));
    Ok(())
}

/// A copy without what only a debugger reads, which in a debug build is nearly all of it.
pub(crate) fn stripped(program: &Path, name: &str) -> Result<PathBuf> {
    let meta = program
        .metadata()
        .with_context(|| format!("cannot read {}", program.display()))?;
    let Some(strip) = command::which("strip") else {
        return Ok(program.to_owned());
    };
    let changed = meta.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
    let dir = workspace::scratch("stripped")?;
    let copy = dir.join(format!("{name}-{changed:x}-{:x}", meta.len()));
    if !copy.exists() {
        for older in fs::read_dir(&dir)? {
            let older = older?;
            // A young one may be in another call's hands; what stays costs space only.
            let age = older.metadata()?.modified()?.elapsed();
            if age.is_ok_and(|age| age > OLD) {
                fs::remove_file(older.path()).ok();
            }
        }
        let new = dir.join(format!("{}.new", std::process::id()));
        command::output(
            Command::new(strip)
                .arg("--strip-debug")
                .arg("-o")
                .arg(&new)
                .arg(program),
        )?;
        fs::rename(&new, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
    }
    Ok(copy)
}

/// Puts a program's libraries only.
pub(crate) fn put_libraries(tree: &mut Tree, program: &Path) -> Result<()> {
    for library in libraries(program)? {
        let at = real_place(&library)?;
        if !tree.has(&at) {
            tree.put(&at, Entry::Host(library, 0o755));
        }
    }
    Ok(())
}

/// The path with the links of its directories followed (`/lib` may be one), its own name kept.
pub(crate) fn real_place(path: &Path) -> Result<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} is not a file", path.display());
    };
    let dir = dir
        .canonicalize()
        .with_context(|| format!("cannot find {}", dir.display()))?;
    Ok(dir.join(name))
}

fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let done = Command::new("ldd")
        .arg(program)
        .output()
        .context("cannot run ldd")?;
    let said = String::from_utf8_lossy(&done.stdout);
    let complaint = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        if complaint.contains("not a dynamic executable") || said.contains("statically linked") {
            return Ok(Vec::new());
        }
        bail!("ldd {}: {}", program.display(), complaint.trim());
    }
    parse_ldd(&said).with_context(|| format!("ldd {}", program.display()))
}

/// The files that ldd, or a loader asked with `--list`, names.
pub(crate) fn parse_ldd(text: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.ends_with("not found") {
            bail!("a library is missing: {line}");
        }
        let target = line.split_once("=>").map_or(line, |(_, path)| path.trim());
        if let Some(path) = target.split_whitespace().next()
            && path.starts_with('/')
        {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_is_understood() {
        let text = "\tlinux-vdso.so.1 (0x00007ffe)\n\
                    \tlibmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f01)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n\
                    \tstatically linked\n";
        let found = parse_ldd(text).expect("nothing is missing");
        assert_eq!(
            found,
            [
                PathBuf::from("/lib/x86_64-linux-gnu/libmnl.so.0"),
                PathBuf::from("/lib64/ld-linux-x86-64.so.2")
            ]
        );
        assert!(parse_ldd("\tlibx.so => not found\n").is_err());
    }
}
