//! Programs that cargo builds and installs, of exactly the version that is asked for.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::host::cache::Cache;
use crate::host::{command, say, workspace};

/// A program of a package on crates.io.
#[derive(Debug, Clone, Copy)]
pub(super) struct Package {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// The program's name.
    pub(super) program: &'static str,
    /// How long it takes to build, in words.
    pub(super) takes: &'static str,
}

impl Package {
    /// The directory in the cache that the program is in, built if need be.
    pub(super) fn ready(&self, cache: &Cache) -> Result<PathBuf> {
        let Self { name, version, .. } = self;
        let root = self.root(cache);
        let dir = root.join("bin");
        let program = dir.join(self.program);
        if is_version(&program, version) {
            return Ok(dir);
        }
        let _lock = cache.lock()?;
        if is_version(&program, version) {
            return Ok(dir);
        }
        say::step(format_args!(
            "{name} {version} is missing: building it, {}",
            self.takes
        ));
        command::run(
            workspace::cargo()
                .args(["install", "--quiet", "--locked", "--force"])
                .args(["--version", version, "--root"])
                .arg(&root)
                .arg(name),
        )
        .with_context(|| format!("{name} {version} cannot be had"))?;
        if !is_version(&program, version) {
            bail!("{name} {version} was built and does not run");
        }
        Ok(dir)
    }

    /// Where it is installed, with the program in `bin`.
    pub(super) fn root(&self, cache: &Cache) -> PathBuf {
        cache.path(format!("{}-{}", self.name, self.version))
    }

    /// Whether there is one on `PATH` already.
    pub(super) fn on_path(&self) -> Option<PathBuf> {
        command::which(self.program).filter(|program| is_version(program, self.version))
    }
}

/// Whether it runs, and says this version as its second word.
pub(super) fn is_version(program: &Path, version: &str) -> bool {
    command::output(Command::new(program).arg("--version"))
        .is_ok_and(|said| said.split_whitespace().nth(1) == Some(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_another_version_is_not_taken() {
        assert!(!is_version(Path::new("/bin/true"), "1.2.3"));
        assert!(!is_version(Path::new("/no/such/program"), "1.2.3"));
    }
}
