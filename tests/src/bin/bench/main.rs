//! What the guard costs: side by side in one run, medians over rounds, as ratios and differences
//! to a baseline. Needs root; all its traffic stays in network namespaces of its own.

mod guard;
mod in_traffic;
mod plot;
mod programs;
mod repair;
mod report;
mod setups;
mod start;
mod tunnel;
mod veth;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use lte_tests::corpus::bpffs;

use crate::report::{Chapter, Report};

// About the benchmark itself.
lte_tests::runs_on!(newest);

/// Measures what the guard costs on the running kernel.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// Where the table (bench.md), the plot (bench.svg) and all figures (bench.json) are put.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// How often each thing is measured; an odd number has a median of its own.
    #[arg(long, value_name = "N", default_value = "21")]
    rounds: usize,
    /// Measure a whole tunnel alone: its rate and its start. Prints the figures as JSON.
    #[arg(long)]
    tunnel: bool,
    /// Measure the start of a tunnel alone. Prints the figures as JSON.
    #[arg(long, conflicts_with = "tunnel")]
    start: bool,
    /// Take the figures of such a run into the report.
    #[arg(long, value_name = "FILE")]
    also: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if arguments.tunnel || arguments.start {
        let mut chapters = vec![start::measure(arguments.rounds)?];
        if arguments.tunnel {
            chapters.push(tunnel::measure(arguments.rounds)?);
        }
        println!("{}", serde_json::to_string(&chapters)?);
        return Ok(());
    }
    // Nothing of a guard that may be in place on this machine is seen or touched.
    bpffs::private().context("a BPF file system of our own")?;
    let mut report = Report::of_this_machine()?;
    report.chapters.push(programs::measure(arguments.rounds)?);
    report.chapters.extend(veth::measure(arguments.rounds)?);
    report.chapters.push(in_traffic::measure(arguments.rounds)?);
    report.chapters.push(repair::measure(arguments.rounds)?);
    if let Some(file) = &arguments.also {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        let chapters: Vec<Chapter> =
            serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
        report.chapters.extend(chapters);
    }
    print!("{report}");
    report.write(&arguments.out)
}
