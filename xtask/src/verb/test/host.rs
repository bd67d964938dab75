//! What is tested; and the unit tests, on this machine.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::guest::ON_THE_KERNEL;
use super::libtest::{self, Summary};
use super::table::{Report, Verdict};
use crate::declared;
use crate::fetch::toolchain::Toolchain;
use crate::host::{command, say, workspace};
use crate::verb::build::{AGENT, HOST_PACKAGES, artifacts, program};

/// The directory of the package whose tests need a kernel of their own.
const LAB: &str = "tests";

/// A unit test binary that takes longer hangs.
const SECONDS: &str = "600";

/// A test executable.
#[derive(Debug)]
pub(crate) struct Executable {
    /// Package, and target where the package has several.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The package's directory, in which cargo runs its tests.
    pub(crate) dir: PathBuf,
}

/// What is tested, built.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) agent: PathBuf,
    /// Run on this machine.
    pub(crate) unit: Vec<Executable>,
    /// Run on each kernel.
    pub(crate) lab: Vec<Executable>,
}

/// Builds the agent and all test executables.
pub(crate) fn build(toolchain: &Toolchain) -> Result<Built> {
    say::step("building the agent and the tests");
    let mut arguments = vec!["build"];
    arguments.extend(HOST_PACKAGES);
    arguments.extend(["--bin", AGENT]);
    let agent = program(&artifacts(toolchain, &arguments)?, AGENT)?;
    let mut arguments = vec!["test", "--no-run"];
    arguments.extend(HOST_PACKAGES);
    let (mut unit, mut lab) = (Vec::new(), Vec::new());
    for artifact in artifacts(toolchain, &arguments)? {
        let Some(path) = artifact.executable.filter(|_| artifact.profile.test) else {
            continue;
        };
        let dir = artifact
            .manifest_path
            .parent()
            .context("a manifest lies in a directory")?;
        let package = dir.file_name().unwrap_or_default();
        let executable = Executable {
            name: declared::executable(package, &artifact.target),
            path: path.into_std_path_buf(),
            dir: dir.as_std_path().to_owned(),
        };
        if package == LAB {
            lab.push(executable);
        } else {
            unit.push(executable);
        }
    }
    unit.sort_by(|a, b| a.name.cmp(&b.name));
    lab.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Built { agent, unit, lab })
}

/// That the executables have the tests that the sources declare: `cargo xtask lint` goes by those.
pub(crate) fn agree(built: &Built) -> Result<()> {
    let mut listed = BTreeSet::new();
    for executable in built.unit.iter().chain(&built.lab) {
        let said =
            command::output(Command::new(&executable.path).args(["--list", "--format", "terse"]))?;
        let tests = libtest::list(&said).into_iter();
        listed.extend(tests.map(|test| format!("{}::{test}", executable.name)));
    }
    let declared = declared::tests()?.into_keys().collect();
    let differ: Vec<&str> = listed
        .symmetric_difference(&declared)
        .map(String::as_str)
        .collect();
    ensure!(
        differ.is_empty(),
        "xtask/src/declared reads other tests from the sources than the executables have: {}",
        differ.join(", ")
    );
    Ok(())
}

/// Runs the unit tests.
pub(crate) fn run(built: &Built, filter: &str, report: &mut Report) -> Result<()> {
    let logs = workspace::scratch("test")?;
    for executable in &built.unit {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", SECONDS])
            .arg(&executable.path)
            .arg(filter)
            .args(["--skip", ON_THE_KERNEL])
            .current_dir(&executable.dir)
            .env("CARGO_MANIFEST_DIR", &executable.dir);
        one(&mut command, &executable.name, &logs, report)?;
    }
    Ok(())
}

fn one(command: &mut Command, name: &str, logs: &Path, report: &mut Report) -> Result<()> {
    let log = logs.join(format!(
        "host-{}.log",
        name.replace(['/', ' ', '(', ')'], "_")
    ));
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stderr(file.try_clone()?)
        .stdout(file)
        .status()
        .with_context(|| format!("cannot run {name}"))?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let (counts, note) = judge(libtest::summary(&text), status.success());
    let failed = counts[Verdict::Failed as usize];
    if failed > 0 {
        eprintln!("{text}");
        say::error(&anyhow::anyhow!("{name}: {failed} failed ({status}){note}"));
    } else {
        say::step(format_args!("{name}: {} passed", counts[0]));
    }
    let left_out = libtest::ignored(&text);
    let note = if left_out.is_empty() {
        note
    } else {
        format!("skipped: {}", left_out.join(", "))
    };
    if counts != [0; 3] {
        report.host_counts(name, counts, &note);
    }
    Ok(())
}

/// Passed, failed, skipped: what the harness says, unless how it ended says otherwise.
fn judge(summary: Option<Summary>, well: bool) -> ([usize; 3], String) {
    match summary {
        Some(sum) if well == (sum.failed == 0) => {
            ([sum.passed, sum.failed, sum.ignored], String::new())
        }
        Some(sum) => (
            [sum.passed, sum.failed + 1, sum.ignored],
            ": how it ended does not fit its summary".to_owned(),
        ),
        None => ([0, 1, 0], ": it ended without a summary".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_without_or_against_a_summary_is_a_failure() {
        let sum = |passed, failed| {
            Some(Summary {
                passed,
                failed,
                ignored: 2,
            })
        };
        assert_eq!(judge(sum(3, 0), true).0, [3, 0, 2]);
        assert_eq!(judge(sum(3, 1), false).0, [3, 1, 2]);
        assert_eq!(judge(sum(3, 0), false).0, [3, 1, 2]);
        assert_eq!(judge(sum(3, 1), true).0, [3, 2, 2]);
        assert_eq!(judge(None, true).0, [0, 1, 0]);
        assert_eq!(judge(None, false).0, [0, 1, 0]);
    }
}
