//! `cargo xtask test`: unit tests on this machine, the lab's in a virtual machine of each kernel.

mod breaks;
mod figures;
mod guest;
mod host;
mod length;
mod libtest;
mod list;
mod machines;
mod process;
mod table;

use std::process::ExitCode;

use anyhow::Result;

use self::length::Length;
use self::table::{Report, Verdict};
use crate::declared::RunsOn;
use crate::fetch::kernel::Series;
use crate::fetch::toolchain::Toolchain;
use crate::host::cache::Cache;
use crate::host::say;

/// Run all tests: on this machine, and in a virtual machine of each kernel
///
/// Ends in a table of the tests by kernel, and a last line `N passed, N failed, N skipped`.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Args {
    /// In a virtual machine of this kernel only; may be given again
    #[arg(long, value_name = "KERNEL")]
    kernel: Vec<Series>,
    /// The unit tests on this machine only
    #[arg(long)]
    host: bool,
    /// The unit tests, and on the newest kernel what runs on every kernel: minutes
    #[arg(long, conflicts_with_all = ["kernel", "host", "everywhere", "long"])]
    quick: bool,
    /// All tests on all kernels: else many run on one or two of them
    #[arg(long)]
    everywhere: bool,
    /// Only what runs on every kernel
    #[arg(long, conflicts_with = "everywhere")]
    scenarios: bool,
    /// Run nothing: print on which kernels each test runs
    #[arg(long, conflicts_with_all = ["kernel", "host", "quick", "everywhere", "scenarios"])]
    list: bool,
    /// Repeat for an hour at most what chance decides: random damages, random deaths of the agent
    #[arg(long)]
    long: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

impl Args {
    /// With neither `--host` nor `--kernel`, all.
    fn kernels(&self) -> Vec<Series> {
        if self.quick {
            return Series::all().last().into_iter().collect();
        }
        if self.kernel.is_empty() && !self.host {
            return Series::all().collect();
        }
        let mut kernels = self.kernel.clone();
        kernels.sort_unstable();
        kernels.dedup();
        kernels
    }

    /// Whether each kernel runs each test, as it does where a part is asked for.
    fn everywhere(&self) -> bool {
        self.everywhere || !self.kernel.is_empty() || self.filter.is_some()
    }

    /// Whether a run has a test at all.
    fn wants(&self, name: &str, runs_on: &RunsOn) -> bool {
        let filter = self.filter.as_deref().unwrap_or_default();
        name.contains(filter) && (self.long || !runs_on.is_long)
    }

    /// Whether a run has a test on the kernel at an index among so many, the oldest first.
    fn has(&self, runs_on: &RunsOn, index: usize, kernels: usize) -> bool {
        if self.quick || self.scenarios {
            return runs_on.every_kernel();
        }
        self.everywhere() || runs_on.has(index, kernels)
    }

    fn length(&self) -> Length {
        if self.long {
            Length::Long
        } else {
            Length::Usual
        }
    }

    fn on_host(&self) -> bool {
        self.host || self.kernel.is_empty()
    }
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.list {
        list::print(args)?;
        return Ok(ExitCode::SUCCESS);
    }
    let filter = args.filter.as_deref().unwrap_or_default();
    let kernels = args.kernels();
    let mut report = Report::new(&kernels);
    // What stops the tests from running is a failure like any other, and must not hide the rest.
    match prepare() {
        Ok((cache, built)) => {
            if args.on_host() {
                note(&mut report, "tests in the sources", |_| host::agree(&built));
                note(&mut report, "unit tests", |report| {
                    host::run(&built, filter, report)
                });
            }
            if !kernels.is_empty() {
                note(&mut report, "lab tests", |report| {
                    guest::run(&cache, &built, &kernels, args, report)
                });
            }
        }
        Err(error) => note(&mut report, "build", |_| Err(error)),
    }
    if report.is_empty() {
        note(&mut report, "tests", |_| {
            Err(anyhow::anyhow!("no test has `{filter}` in its name"))
        });
    }
    print!("{report}");
    Ok(if report.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn prepare() -> Result<(Cache, host::Built)> {
    let cache = Cache::open()?;
    let toolchain = Toolchain::ready(&cache)?;
    let built = host::build(&toolchain)?;
    Ok((cache, built))
}

fn note(report: &mut Report, what: &str, run: impl FnOnce(&mut Report) -> Result<()>) {
    if let Err(error) = run(report) {
        say::error(&error.context(what.to_owned()));
        report.host(what, Verdict::Failed, "could not be run");
    }
}
