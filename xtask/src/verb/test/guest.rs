//! Which of the lab's tests run on which kernel, each in a process of its own, dealt out to virtual machines.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::Args;
use super::host::{Built, Executable};
use super::length::Length;
use super::libtest;
use super::machines::{self, Set};
use super::table::{Report, Verdict};
use crate::declared::{self, RunsOn};
use crate::fetch::kernel::Series;
use crate::host::cache::Cache;
use crate::host::command;
use crate::image::guest::Extra;
use crate::vm::protocol::Job;

/// At most so many tests for one machine.
const SHARE: usize = 36;

/// The executable with the agent's unit tests.
const AGENT_TESTS: &str = "lte-userspace (lib)";
/// The names of executables with unit tests of the lab itself begin so.
const LAB_UNIT_TESTS: &str = "tests (";
/// The module of those unit tests that hold the model of the kernel against the running one. They need
/// root, and a kernel with everything.
pub(super) const ON_THE_KERNEL: &str = "::on_the_kernel::";

/// Whether a test needs a kernel of its own: those of the lab do.
pub(super) fn is_for_a_kernel(test: &str) -> bool {
    let unit = |(executable, _): (&str, &str)| executable.contains(" (");
    let lab = test.starts_with(LAB_UNIT_TESTS);
    lab || test.contains(ON_THE_KERNEL) || !test.split_once("::").is_none_or(unit)
}

/// A test to be run.
#[derive(Debug)]
struct Test {
    /// `binary::path::of::test`.
    name: String,
    /// Marked with the attribute `ignore`.
    ignored: bool,
    runs_on: RunsOn,
}

/// Runs the lab's tests on each kernel.
pub(crate) fn run(
    cache: &Cache,
    built: &Built,
    kernels: &[Series],
    args: &Args,
    report: &mut Report,
) -> Result<()> {
    let declared = declared::tests()?;
    let agent_text = built.agent.to_string_lossy().into_owned();
    let mut extras = vec![extra(&built.agent)];
    let mut tests: Vec<(Test, Job)> = Vec::new();
    let on_the_kernel = built.unit.iter().filter(|unit| unit.name == AGENT_TESTS);
    for executable in built.lab.iter().chain(on_the_kernel) {
        let found = collect(executable, args, &declared)?;
        let (ignored, found): (Vec<_>, Vec<_>) = found.into_iter().partition(|test| test.ignored);
        for (kernel, test) in kernels
            .iter()
            .flat_map(|k| ignored.iter().map(move |t| (k, t)))
        {
            let note = "marked with the attribute ignore";
            report.kernel(*kernel, &test.name, Verdict::Skipped, note);
        }
        if !found.is_empty() {
            extras.push(extra(&executable.path));
        }
        let with_job = |test| {
            let job = job(executable, &test, &agent_text, args.length());
            (test, job)
        };
        tests.extend(found.into_iter().map(with_job));
    }
    let mut sets = Vec::new();
    for (index, kernel) in kernels.iter().enumerate() {
        let runs = |(test, _): &&(Test, Job)| args.has(&test.runs_on, index, kernels.len());
        let (mine, others): (Vec<_>, Vec<_>) = tests.iter().partition(runs);
        for (test, _) in others {
            report.elsewhere(*kernel, &test.name);
        }
        for share in shares(&mine) {
            let (names, jobs) = share
                .into_iter()
                .map(|(test, job)| (test.name.clone(), job.clone()))
                .unzip();
            let number = sets.len();
            sets.push(Set::pack(number, *kernel, names, jobs, &extras)?);
        }
    }
    machines::run(cache, &sets, args.length(), report);
    Ok(())
}

/// Deals tests out in shares, each for a machine of its own: what is left at the end is spread better
/// over the processors then.
fn shares<'a>(tests: &[&'a (Test, Job)]) -> Vec<Vec<&'a (Test, Job)>> {
    let count = tests.len().div_ceil(SHARE);
    (0..count)
        .map(|first| tests.iter().skip(first).step_by(count).copied().collect())
        .collect()
}

fn extra(path: &Path) -> Extra {
    Extra {
        host: path.to_owned(),
        guest: path.to_owned(),
    }
}

/// Asks an executable for its tests, and adds those that a run has.
fn collect(
    executable: &Executable,
    args: &Args,
    declared: &BTreeMap<String, RunsOn>,
) -> Result<Vec<Test>> {
    let ask = |more: &[&str]| -> Result<Vec<String>> {
        let said = command::output(
            Command::new(&executable.path)
                .args(["--list", "--format", "terse"])
                .args(more),
        )?;
        Ok(libtest::list(&said))
    };
    let ignored = ask(&["--ignored"])?;
    let mut tests = Vec::new();
    let is_unit = executable.name == AGENT_TESTS;
    for path in ask(&[])? {
        if is_unit && !path.contains(ON_THE_KERNEL) {
            continue;
        }
        let name = format!("{}::{path}", executable.name);
        // A test that the sources do not declare is another check's failure; it runs.
        let runs_on = declared.get(&name).cloned().unwrap_or_default();
        if args.wants(&name, &runs_on) {
            tests.push(Test {
                ignored: ignored.contains(&path),
                name,
                runs_on,
            });
        }
    }
    Ok(tests)
}

/// The command of a test in the guest.
fn job(executable: &Executable, test: &Test, agent: &str, length: Length) -> Job {
    let program = executable.path.to_string_lossy().into_owned();
    let (_, path) = test.name.split_once("::").unwrap_or(("", &test.name));
    let mut words: Vec<String> = [program, path.to_owned()].into();
    words.extend(["--exact", "--nocapture", "--test-threads=1"].map(str::to_owned));
    Job {
        words,
        environment: [
            ("LTE_USERSPACE".to_owned(), agent.to_owned()),
            // The file and line of a panic suffice, and symbols are slow to read there.
            ("RUST_BACKTRACE".to_owned(), "0".to_owned()),
        ]
        .into_iter()
        .chain(length.environment())
        .collect(),
        deadline: length.test_deadline(),
    }
}
