//! The lab's tests, each in a process of its own, in a virtual machine of each kernel.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::Args;
use super::breaks::{Tries, blame};
use super::host::{Built, Executable};
use super::length::Length;
use super::libtest;
use super::table::{Report, Verdict};
use super::tiers::{self, Tier};
use crate::fetch::kernel::Series;
use crate::fetch::nft;
use crate::host::cache::Cache;
use crate::host::{command, say, workspace};
use crate::image::guest::Extra;
use crate::vm::machine::{Listener, Outcome};
use crate::vm::protocol::{End, Job, Plan, Stream};
use crate::vm::{Break, Image, Run, Size};

/// At most so many tests for one machine.
const SHARE: usize = 36;
/// What a machine takes of this one's memory, megabytes: its own, and QEMU's.
const ROOM: usize = 2560;

/// The executable with the agent's unit tests.
const AGENT_TESTS: &str = "lte-userspace (lib)";
/// The module of those unit tests that hold the model of the kernel against the running one. They need
/// root, and a kernel with everything.
pub(super) const ON_THE_KERNEL: &str = "::on_the_kernel::";

/// A test to be run.
#[derive(Debug)]
struct Test {
    /// `binary::path::of::test`.
    name: String,
    /// Marked with the attribute `ignore`.
    ignored: bool,
}

/// Runs the lab's tests on each kernel.
pub(crate) fn run(
    cache: &Cache,
    built: &Built,
    kernels: &[Series],
    args: &Args,
    report: &mut Report,
) -> Result<()> {
    let agent_text = built.agent.to_string_lossy().into_owned();
    let mut extras = vec![extra(&built.agent)];
    let (mut tests, mut jobs) = (Vec::new(), Vec::new());
    let on_the_kernel = built.unit.iter().filter(|unit| unit.name == AGENT_TESTS);
    for executable in built.lab.iter().chain(on_the_kernel) {
        let before = tests.len();
        collect(executable, args, &agent_text, &mut tests, &mut jobs)?;
        if tests.len() > before {
            extras.push(extra(&executable.path));
        }
    }
    for test in tests.iter().filter(|test| test.ignored) {
        for kernel in kernels {
            report.kernel(
                *kernel,
                &test.name,
                Verdict::Skipped,
                "marked with the attribute ignore",
            );
        }
    }
    tests.retain(|test| !test.ignored);
    if tests.is_empty() {
        return Ok(());
    }
    let tests: Vec<(Test, Job)> = tests.into_iter().zip(jobs).collect();
    let tier = |place| match (args.everywhere(), args.scenarios) {
        (true, _) => Tier::Whole,
        (_, true) => Tier::Common,
        _ => Tier::of(place, kernels.len()),
    };
    let mut sets = Vec::new();
    for wanted in Tier::ALL {
        let kernels: Vec<Series> = (0..kernels.len())
            .filter(|place| tier(*place) == wanted)
            .map(|place| kernels[place])
            .collect();
        let runs = |test: &Test| wanted.has(&test.name);
        let (mine, others): (Vec<_>, Vec<_>) = tests.iter().partition(|(test, _)| runs(test));
        for (kernel, (test, _)) in kernels
            .iter()
            .flat_map(|k| others.iter().map(move |t| (k, t)))
        {
            report.elsewhere(*kernel, &test.name);
        }
        if !kernels.is_empty() {
            for share in shares(&mine) {
                sets.push(Set::pack(sets.len(), kernels.clone(), &share, &extras)?);
            }
        }
    }
    let work = Work {
        cache,
        length: args.length(),
        report: Mutex::new(report),
    };
    work.all(&sets);
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

/// Kernels, and what one machine runs on each of them.
struct Set {
    /// For the names of logs.
    number: usize,
    kernels: Vec<Series>,
    names: Vec<String>,
    image: Image,
}

impl Set {
    fn pack(
        number: usize,
        kernels: Vec<Series>,
        tests: &[&(Test, Job)],
        extras: &[Extra],
    ) -> Result<Self> {
        let jobs = tests.iter().map(|(_, job)| job.clone()).collect();
        Ok(Self {
            number,
            kernels,
            names: tests.iter().map(|(test, _)| test.name.clone()).collect(),
            image: Image::pack(&Plan { jobs }, extras)?,
        })
    }
}

fn extra(path: &Path) -> Extra {
    Extra {
        host: path.to_owned(),
        guest: path.to_owned(),
    }
}

/// Asks an executable for its tests.
fn collect(
    executable: &Executable,
    args: &Args,
    agent: &str,
    tests: &mut Vec<Test>,
    jobs: &mut Vec<Job>,
) -> Result<()> {
    let ask = |more: &[&str]| -> Result<Vec<String>> {
        let said = command::output(
            Command::new(&executable.path)
                .args(["--list", "--format", "terse"])
                .args(more),
        )?;
        Ok(libtest::list(&said))
    };
    let filter = args.filter.as_deref().unwrap_or_default();
    let length = args.length();
    let ignored = ask(&["--ignored"])?;
    let is_unit = executable.name == AGENT_TESTS;
    for path in ask(&[])? {
        if is_unit && !path.contains(ON_THE_KERNEL) {
            continue;
        }
        let name = format!("{}::{path}", executable.name);
        if !tiers::has(length, &name) {
            continue;
        }
        if !name.contains(filter) {
            continue;
        }
        let is_ignored = ignored.contains(&path);
        if !is_ignored {
            let program = executable.path.to_string_lossy().into_owned();
            let mut words: Vec<String> = [program, path].into();
            words.extend(["--exact", "--nocapture", "--test-threads=1"].map(str::to_owned));
            jobs.push(Job {
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
            });
        }
        tests.push(Test {
            name,
            ignored: is_ignored,
        });
    }
    Ok(())
}

/// What the kernels' threads share.
struct Work<'a> {
    cache: &'a Cache,
    length: Length,
    report: Mutex<&'a mut Report>,
}

impl Work<'_> {
    /// All kernels, some of them side by side.
    fn all(&self, sets: &[Set]) {
        let kernels: VecDeque<(Series, &Set)> = sets
            .iter()
            .flat_map(|set| set.kernels.iter().map(move |kernel| (*kernel, set)))
            .collect();
        let side_by_side = side_by_side().min(kernels.len());
        let queue = Mutex::new(kernels);
        std::thread::scope(|scope| {
            for _ in 0..side_by_side {
                scope.spawn(|| {
                    loop {
                        // A statement of its own: the lock must not be held while a kernel runs.
                        let kernel = lock(&queue).pop_front();
                        let Some((kernel, set)) = kernel else { break };
                        self.kernel(kernel, set);
                    }
                });
            }
        });
    }

    /// One kernel; what keeps it from running is the failure of all its tests.
    fn kernel(&self, kernel: Series, set: &Set) {
        let started = Instant::now();
        let mut next = 0;
        let mut why = String::from("it was not run");
        let result = nft::ready(self.cache, kernel).and_then(|nft| {
            say::step(format_args!(
                "kernel {kernel}: nft {}, {} tests",
                nft.version,
                set.names.len()
            ));
            lock(&self.report).nft(kernel, &nft.version);
            self.boots(kernel, set, &mut next, &mut why)
        });
        if let Err(error) = result {
            why = format!("{error:#}");
        }
        if next < set.names.len() {
            say::error(&anyhow::anyhow!("kernel {kernel}: {why}"));
        }
        for test in &set.names[next..] {
            let note = format!("not run: {why}");
            lock(&self.report).kernel(kernel, test, Verdict::Failed, &note);
        }
        say::step(format_args!(
            "kernel {kernel}: done in {} s",
            started.elapsed().as_secs()
        ));
    }

    fn boots(&self, kernel: Series, set: &Set, next: &mut usize, why: &mut String) -> Result<()> {
        let logs = workspace::scratch("test")?;
        let started = Instant::now();
        let deadline = self.length.kernel_deadline();
        let mut tries = Tries::default();
        loop {
            let name = format!("{kernel}-{}-{}", set.number, tries.boots);
            let console = logs.join(format!("{name}.console"));
            let path = logs.join(format!("{name}.log"));
            let log =
                File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
            let first = *next;
            let mut ear = Ear {
                work: self,
                names: &set.names,
                kernel,
                first,
                next: first,
                log,
                running: None,
            };
            let run = Run {
                size: Size::USUAL,
                first_job: first,
                deadline: deadline.saturating_sub(started.elapsed()),
                console: &console,
            };
            let outcome = set.image.boot(self.cache, kernel, &run, &mut ear)?;
            let ended = ear.next - first;
            match outcome {
                Outcome::Done => "a test had to be killed".clone_into(why),
                Outcome::NeverUp(reason) => {
                    *why = format!("{reason} (console: {})", console.display());
                }
                Outcome::Broke(mut broken) => {
                    write!(broken.why, " (console: {})", console.display())?;
                    ear.broke(&broken);
                    *why = broken.why;
                }
            }
            *next = ear.next;
            if *next >= set.names.len()
                || started.elapsed() >= deadline
                || !tries.are_left_after(ended)
            {
                return Ok(());
            }
            say::warn(format_args!("kernel {kernel}: {why}; booting it again"));
        }
    }
}

/// How many machines at once: three on two processors, for a test waits half of its time; and no more
/// than the memory has room for.
fn side_by_side() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let free = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
            line.split_whitespace().next()?.parse::<usize>().ok()
        })
        .map_or(1, |kilobytes| kilobytes / 1024 / ROOM);
    (processors * 3 / 2).min(free).clamp(1, 4)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Another kernel's thread that panicked has left whole entries.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears one machine's tests.
struct Ear<'a, 'b> {
    work: &'a Work<'b>,
    names: &'a [String],
    kernel: Series,
    /// The machine's first test.
    first: usize,
    /// The test to come after the last that ended.
    next: usize,
    log: File,
    running: Option<Running>,
}

struct Running {
    since: Instant,
    output: Vec<u8>,
}

impl Listener for Ear<'_, '_> {
    fn start(&mut self, _job: usize) {
        self.running = Some(Running {
            since: Instant::now(),
            output: Vec::new(),
        });
    }

    fn output(&mut self, _stream: Stream, bytes: &[u8]) -> Result<()> {
        if let Some(running) = &mut self.running {
            running.output.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn end(&mut self, job: usize, end: End) {
        let output = self.running.as_ref().map_or(&[][..], |one| &one.output);
        let name = self.names.get(job).map_or("", String::as_str);
        let failure = failure(&end, &String::from_utf8_lossy(output), name);
        self.record(job, failure);
        self.next = job + 1;
    }
}

impl Ear<'_, '_> {
    /// The machine broke. The running test has failed of it; where none ran, the machine itself has,
    /// and the test to come is run on the next. What was at fault may have ended before.
    fn broke(&mut self, broken: &Break) {
        let blame = blame(broken, self.names, self.first, self.next);
        if self.running.is_some() {
            self.record(self.next, Some(format!("the machine broke: {blame}")));
            self.next += 1;
            return;
        }
        let kernel = self.kernel;
        let row = format!("a machine of {kernel} while no test ran");
        eprintln!("    {kernel:>5}  FAILED  {row}: {blame}");
        // The log is a help; a full disk must not turn a result.
        writeln!(self.log, "==== {row} {blame}").ok();
        lock(&self.work.report).host(&row, Verdict::Failed, &blame);
    }

    fn record(&mut self, job: usize, failure: Option<String>) {
        let Some(running) = self.running.take() else {
            return;
        };
        let Some(name) = self.names.get(job) else {
            return;
        };
        let kernel = self.kernel;
        let took = running.since.elapsed().as_secs_f32();
        let output = String::from_utf8_lossy(&running.output);
        let verdict = match &failure {
            None => {
                eprintln!("    {kernel:>5}  ok      {took:5.1} s  {name}");
                Verdict::Passed
            }
            Some(why) => {
                // In one piece: another kernel's thread writes too.
                eprintln!(
                    "    {kernel:>5}  FAILED  {took:5.1} s  {name}: {why}\n\
                     ---- {name} on {kernel}\n{output}\n----",
                );
                Verdict::Failed
            }
        };
        let note = failure.unwrap_or_default();
        // The log is a help; a full disk must not turn a result.
        writeln!(
            self.log,
            "==== {name} {verdict:?} {took:.1} s {note}\n{output}"
        )
        .ok();
        let mut report = lock(&self.work.report);
        report.figures.take(kernel, &output);
        report.kernel(kernel, name, verdict, &note);
    }
}

/// Why a test has failed: it passed only if its process ended well and the harness says that
/// exactly one test passed, and that it was this one.
fn failure(end: &End, output: &str, name: &str) -> Option<String> {
    let summary = libtest::summary(output);
    let (_, path) = name.split_once("::").unwrap_or(("", name));
    let begun = format!("test {path} ... ");
    match end {
        End::Exit(0) if !output.lines().any(|line| line.starts_with(&begun)) => {
            Some("another test ran in its place".to_owned())
        }
        End::Exit(0) => match summary {
            Some(sum) if sum.passed == 1 && sum.failed == 0 => None,
            Some(_) => Some("it did not run".to_owned()),
            None => Some("it ended without a summary".to_owned()),
        },
        End::Exit(101) => Some("it panicked or returned an error".to_owned()),
        End::Exit(status) => Some(format!("exit status {status}")),
        End::Signal(signal) => Some(format!("killed by signal {signal}")),
        End::Deadline => Some("not done in its time".to_owned()),
        End::NotStarted(why) => Some(why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_passed_test_is_a_pass() {
        let told = |passed| {
            format!(
                "test a::b ... ok\n\ntest result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; 9 filtered out"
            )
        };
        let failure = |end, output: &str| failure(&end, output, "file::a::b");
        assert_eq!(failure(End::Exit(0), &told(1)), None);
        assert!(failure(End::Exit(0), &told(0)).is_some());
        assert!(failure(End::Exit(0), &told(1).replace("a::b", "a::c")).is_some());
        assert!(failure(End::Exit(0), "").is_some());
        assert!(failure(End::Exit(101), &told(1)).is_some());
        assert!(failure(End::Signal(11), &told(1)).is_some());
        assert!(failure(End::Deadline, &told(1)).is_some());
    }
}
