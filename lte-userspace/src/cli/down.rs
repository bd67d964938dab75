//! `down`: take everything down.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use super::agent::all_done;
use super::{Common, block_on, machine};
use crate::backend::select;
use crate::kernel::Kernel;
use crate::reconcile::take_down;
use crate::state::{Before, Lock, LockError};

/// How long an agent that runs may take to take everything down.
const PATIENCE: Duration = Duration::from_secs(15);

/// Take everything down, and put back what was changed
///
/// A running agent is asked to do it and to end. The config is not needed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo systemctl stop lte-backup && sudo lte-userspace down")]
pub(super) struct Down {}

impl Down {
    pub(super) fn run(common: &Common) -> anyhow::Result<()> {
        machine::require_net_admin()?;
        common.dirs.create()?;
        let (_lock, interrupted) = take_over(common)?;
        let mut before = Before::load(&common.dirs.run)?;
        let unrecorded = before.is_empty();
        let mut backends = select::all();
        let (done, failed) = block_on(async {
            let kernel = Kernel::open()?;
            Ok(take_down(&kernel, &mut backends, &mut before).await)
        })?;
        if unrecorded && done > 0 {
            log::warn!("{NO_RECORD}");
        }
        all_done(&failed)?;
        match done {
            0 if interrupted.is_none() => println!("nothing was up"),
            _ => println!("everything is down"),
        }
        Ok(())
    }
}

/// What cannot be put back without the record.
const NO_RECORD: &str = "how the modem was found is not on record (the run directory was emptied): its address, its being up and its sysctls were left as they are";

/// Takes the lock; an agent that holds it is interrupted and waited for; its number
/// is returned, too.
fn take_over(common: &Common) -> anyhow::Result<(Lock, Option<i32>)> {
    let deadline = Instant::now() + PATIENCE;
    let mut interrupted = None;
    loop {
        match Lock::take(&common.dirs.run) {
            Ok(lock) => return Ok((lock, interrupted)),
            Err(LockError::Held { pid: Some(number) }) => {
                if Instant::now() > deadline {
                    bail!(
                        "the running agent (pid {number}) does not end: kill it (kill -9 {number}) and try again"
                    );
                }
                if interrupted != Some(number) {
                    let pid = Pid::from_raw(number).context("the lock names no process")?;
                    kill_process(pid, Signal::INT).with_context(|| {
                        format!("interrupting the running agent (pid {number})")
                    })?;
                    interrupted = Some(number);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
