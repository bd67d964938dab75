//! The virtual machines of a run, some of them side by side, and what is heard of their tests.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::breaks::{Tries, blame};
use super::length::Length;
use super::process::Running;
use super::table::{Report, Verdict};
use crate::fetch::kernel::Series;
use crate::fetch::nft;
use crate::host::cache::Cache;
use crate::host::{say, workspace};
use crate::image::guest::Extra;
use crate::vm::machine::{Listener, Outcome};
use crate::vm::protocol::{End, Job, Plan, Stream};
use crate::vm::{Break, Image, Run, Size};

/// What a machine takes of this one's memory, megabytes: its own, and QEMU's.
const ROOM: usize = 2560;

/// What one machine runs.
pub(super) struct Set {
    /// For the names of logs.
    number: usize,
    kernel: Series,
    names: Vec<String>,
    image: Image,
}

impl Set {
    /// Packs the tests of these names, a job each, with the files they need.
    pub(super) fn pack(
        number: usize,
        kernel: Series,
        names: Vec<String>,
        jobs: Vec<Job>,
        extras: &[Extra],
    ) -> Result<Self> {
        Ok(Self {
            number,
            kernel,
            names,
            image: Image::pack(&Plan { jobs }, extras)?,
        })
    }
}

/// Runs all sets.
pub(super) fn run(cache: &Cache, sets: &[Set], length: Length, report: &mut Report) {
    let work = Work {
        cache,
        length,
        report: Mutex::new(report),
    };
    work.all(sets);
}

/// What the machines' threads share.
struct Work<'a> {
    cache: &'a Cache,
    length: Length,
    report: Mutex<&'a mut Report>,
}

impl Work<'_> {
    /// All sets, some of them side by side.
    fn all(&self, sets: &[Set]) {
        let side_by_side = side_by_side().min(sets.len());
        let queue: Mutex<VecDeque<&Set>> = Mutex::new(sets.iter().collect());
        std::thread::scope(|scope| {
            for _ in 0..side_by_side {
                scope.spawn(|| {
                    loop {
                        // A statement of its own: the lock must not be held while a machine runs.
                        let set = lock(&queue).pop_front();
                        let Some(set) = set else { break };
                        self.machine(set);
                    }
                });
            }
        });
    }

    /// One set; what keeps it from running is the failure of all its tests.
    fn machine(&self, set: &Set) {
        let kernel = set.kernel;
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
            self.boots(set, &mut next, &mut why)
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

    fn boots(&self, set: &Set, next: &mut usize, why: &mut String) -> Result<()> {
        let kernel = set.kernel;
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

/// How many machines at once: one more than there are processors, for a test waits some of its time, and its
/// deadlines are for a machine that is not starved; and no more than the memory has room for.
fn side_by_side() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let free = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
            line.split_whitespace().next()?.parse::<usize>().ok()
        })
        .map_or(1, |kilobytes| kilobytes / 1024 / ROOM);
    (processors + 1).min(free).clamp(1, 8)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Another machine's thread that panicked has left whole entries.
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

impl Listener for Ear<'_, '_> {
    fn start(&mut self, _job: usize) {
        self.running = Some(Running::since(Instant::now()));
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        if let Some(running) = &mut self.running {
            running.push(stream, bytes);
        }
        Ok(())
    }

    fn end(&mut self, job: usize, end: End) {
        let name = self.names.get(job).map_or("", String::as_str);
        let running = self.running.as_ref();
        let failure = running.and_then(|running| running.failure(&end, name));
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
                // In one piece: another machine's thread writes too.
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
        report
            .figures
            .take(kernel, &String::from_utf8_lossy(&running.stdout));
        report.kernel(kernel, name, verdict, &note);
    }
}
