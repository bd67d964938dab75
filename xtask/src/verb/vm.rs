//! `cargo xtask vm`: a command in a virtual machine.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::fetch::kernel::Series;
use crate::host::cache::Cache;
use crate::host::{say, workspace};
use crate::image::guest::Extra;
use crate::vm::machine::{Listener, Outcome};
use crate::vm::protocol::{End, Job, Plan, Stream};
use crate::vm::{Image, Run, Size, console};

/// The machine broke, and the command has no status.
const MACHINE_BROKE: u8 = 125;
/// The command was killed at its deadline, as timeout(1) says it.
const DEADLINE: u8 = 124;
/// The command could not be started, as a shell says it.
const NOT_STARTED: u8 = 127;

/// Run a command in a virtual machine with a given kernel
///
/// The command's output and exit status come through. A program named by a path, and the one that
/// LTE_USERSPACE names, are brought along with their libraries, at the same path; so are the
/// variables that begin with LTE_ and RUST_.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Kill the command after so many seconds
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    deadline: u64,
    /// Set a variable for the command
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Bring a file or directory along, at the same path or another
    #[arg(long, value_name = "PATH[:GUEST]")]
    file: Vec<String>,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Which machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    /// Kernel: 5.10, 6.1, 6.12 or 7.2
    #[arg(long, default_value_t = Series::newest())]
    kernel: Series,
    /// Memory in MiB
    #[arg(long, default_value_t = Size::USUAL.memory, value_name = "MIB")]
    memory: u32,
    /// Processors
    #[arg(long, default_value_t = Size::USUAL.cpus)]
    cpus: u32,
    /// Keep the kernel's console in this file
    #[arg(long, value_name = "FILE")]
    console: Option<PathBuf>,
}

impl Choice {
    /// What the verb has by itself, with this kernel.
    pub(crate) fn usual(kernel: Series) -> Self {
        Self {
            kernel,
            memory: Size::USUAL.memory,
            cpus: Size::USUAL.cpus,
            console: None,
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut words = args.command.clone();
    let mut extras = Vec::new();
    words[0] = bring_program(&words[0], &mut extras)?;
    for file in &args.file {
        let (host, guest) = file.split_once(':').unwrap_or((file, file));
        extras.push(extra(host, guest)?);
    }
    let environment = environment(&args.env, &mut extras)?;
    let job = Job {
        words,
        environment,
        deadline: args.deadline,
    };
    one_job(job, &extras, &args.choice)
}

/// Boots a machine for one command, whose output and status come through.
pub(crate) fn one_job(job: Job, extras: &[Extra], choice: &Choice) -> Result<ExitCode> {
    hear(job, extras, choice, &mut Through::default())
}

/// The same, with what it writes to stdout kept.
pub(crate) fn gather(job: Job, extras: &[Extra], choice: &Choice) -> Result<(ExitCode, Vec<u8>)> {
    let mut through = Through {
        kept: Some(Vec::new()),
        ..Through::default()
    };
    let status = hear(job, extras, choice, &mut through)?;
    Ok((status, through.kept.unwrap_or_default()))
}

fn hear(job: Job, extras: &[Extra], choice: &Choice, through: &mut Through) -> Result<ExitCode> {
    let deadline = job.deadline;
    let cache = Cache::open()?;
    let image = Image::pack(&Plan { jobs: vec![job] }, extras)?;
    let console = match &choice.console {
        Some(path) => std::path::absolute(path)?,
        None => workspace::scratch("vm")?.join(format!(
            "{}-{}.console",
            choice.kernel,
            std::process::id()
        )),
    };
    let size = Size {
        cpus: choice.cpus,
        memory: choice.memory,
    };
    // The guest keeps the command's deadline; ours is for a guest that cannot.
    let all = Duration::from_secs(deadline.saturating_add(180));
    let run = Run {
        size,
        first_job: 0,
        deadline: all,
        console: &console,
    };
    let outcome = image.boot(&cache, choice.kernel, &run, through)?;
    let broken = match outcome {
        Outcome::Done => None,
        Outcome::NeverUp(why) => Some(why),
        Outcome::Broke(broken) => Some(broken.why),
    };
    if let Some(why) = broken {
        eprintln!("{}", console::tail(&console, 20));
        say::error(&anyhow::anyhow!(
            "kernel {}: {why} (console: {})",
            choice.kernel,
            console.display()
        ));
        return Ok(ExitCode::from(MACHINE_BROKE));
    }
    if choice.console.is_none() {
        // After a run that went well it is not needed.
        std::fs::remove_file(&console).ok();
    }
    through.status(deadline)
}

/// Passes a command's output through and keeps how it ended.
#[derive(Debug, Default)]
struct Through {
    end: Option<End>,
    /// What came to stdout, where it is not passed on.
    kept: Option<Vec<u8>>,
}

impl Through {
    fn status(&self, deadline: u64) -> Result<ExitCode> {
        Ok(match &self.end {
            Some(End::Exit(status)) => ExitCode::from(status.to_le_bytes()[0]),
            Some(End::Signal(signal)) => {
                say::error(&anyhow::anyhow!("the command died of signal {signal}"));
                ExitCode::from((128 + signal).to_le_bytes()[0])
            }
            Some(End::Deadline) => {
                say::error(&anyhow::anyhow!(
                    "the command did not end within {deadline} s"
                ));
                ExitCode::from(DEADLINE)
            }
            Some(End::NotStarted(why)) => {
                say::error(&anyhow::anyhow!("the command could not be started: {why}"));
                ExitCode::from(NOT_STARTED)
            }
            None => bail!("the machine ended well, and the command has no status"),
        })
    }
}

impl Listener for Through {
    fn start(&mut self, _job: usize) {}

    fn output(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        if let (Stream::Out, Some(kept)) = (stream, &mut self.kept) {
            kept.extend_from_slice(bytes);
            return Ok(());
        }
        let written = match stream {
            Stream::Out => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Stream::Err => std::io::stderr().lock().write_all(bytes),
        };
        written.context("cannot pass the command's output on")
    }

    fn end(&mut self, _job: usize, end: End) {
        self.end = Some(end);
    }
}

/// A program given by a path comes along and is called there by its absolute path; a bare name is
/// looked up in the guest.
fn bring_program(word: &str, extras: &mut Vec<Extra>) -> Result<String> {
    if !word.contains('/') {
        return Ok(word.to_owned());
    }
    if !Path::new(word).exists() {
        // The guest may have it.
        return Ok(word.to_owned());
    }
    let program = extra(word, word)?;
    let path = program.guest.to_string_lossy().into_owned();
    extras.push(program);
    Ok(path)
}

fn extra(host: &str, guest: &str) -> Result<Extra> {
    let host = std::path::absolute(host)?;
    if !host.exists() {
        bail!("{} is not there to be brought along", host.display());
    }
    Ok(Extra {
        host,
        guest: std::path::absolute(guest)?,
    })
}

/// Our own variables and those asked for; a file that one of ours names comes along.
fn environment(asked: &[String], extras: &mut Vec<Extra>) -> Result<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = std::env::vars()
        .filter(|(name, _)| name.starts_with("LTE_") || name.starts_with("RUST_"))
        .filter(|(name, _)| !name.starts_with("RUST_RECURSION"))
        .collect();
    for one in asked {
        let Some((name, value)) = one.split_once('=') else {
            bail!("--env {one}: NAME=VALUE is wanted");
        };
        found.retain(|(other, _)| other != name);
        found.push((name.to_owned(), value.to_owned()));
    }
    for (_, agent) in found.iter_mut().filter(|(name, _)| name == "LTE_USERSPACE") {
        let program = extra(agent, agent).context("LTE_USERSPACE names no program")?;
        *agent = program.guest.to_string_lossy().into_owned();
        extras.push(program);
    }
    Ok(found)
}
