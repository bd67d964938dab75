//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::{BackendChoice, ConfigError};
use crate::logging;
use crate::state::Dirs;

mod agent;
mod check;
mod doctor;
mod down;
mod dry_run;
mod hardening;
#[cfg(test)]
mod help_tests;
mod plan;
mod requirements;
mod status;
mod usage;

/// An LTE backup tunnel that carries only itself.
///
/// Without a command this is the agent, in the foreground: it brings the tunnel up over the modem,
/// guards the modem, and puts back what others undo.
///
/// Ctrl-C (SIGINT) takes everything down; SIGTERM leaves the datapath in place; SIGHUP reads the
/// config again.
#[derive(Debug, Parser)]
#[command(
    name = "lte-userspace",
    version,
    after_help = "Example:\n  lte-userspace check && sudo lte-userspace\n\nExit status: 0 done; 1 it failed, in one line that says what and what to do; 2 usage or config."
)]
struct Arguments {
    /// The config file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "/etc/lte-backup/config.toml"
    )]
    config: PathBuf,
    /// Which backend keeps the guard, over the config's
    #[arg(long, global = true, value_name = "BACKEND")]
    backend: Option<BackendChoice>,
    /// Wait for the modem if it is not plugged in at the start, instead of failing
    #[arg(long)]
    wait: bool,
    /// More lines about what is done; twice: also each packet that the eBPF guard drops or steers
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// What is known of this boot
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "DIR",
        default_value = "/run/lte-backup"
    )]
    run_dir: PathBuf,
    /// What is kept
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "DIR",
        default_value = "/var/lib/lte-backup"
    )]
    state_dir: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Check),
    Plan(plan::Plan),
    Down(down::Down),
    Status(status::Status),
    Usage(usage::Usage),
    Doctor(doctor::Doctor),
}

/// What every command may need of the command line.
#[derive(Debug)]
struct Common {
    config: PathBuf,
    backend: Option<BackendChoice>,
    dirs: Dirs,
}

/// The command line's grammar, for the tests that check documents against it.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(arguments.verbose);
    hardening::harden();
    let common = Common {
        config: arguments.config,
        backend: arguments.backend,
        dirs: Dirs {
            run: arguments.run_dir,
            state: arguments.state_dir,
        },
    };
    let result = match arguments.command {
        None => agent::run(common, arguments.wait),
        Some(Command::Check(_)) => check::Check::run(&common),
        Some(Command::Plan(plan)) => plan.run(&common),
        Some(Command::Down(_)) => down::Down::run(&common),
        Some(Command::Status(status)) => status.run(&common),
        Some(Command::Usage(usage)) => usage.run(&common),
        Some(Command::Doctor(doctor)) => doctor.run(&common),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                eprintln!("error: {line}");
            }
            if error.is::<ConfigError>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// Runs a future on this thread alone: sockets and `/proc/sys/net` are of its namespace.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(future);
    // A look-up that hangs is not waited for.
    runtime.shutdown_background();
    result
}
