//! `down`: take everything down.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;

use super::agent::fail_if_any;
use super::{Common, block_on, requirements};
use crate::backend::select;
use crate::kernel::Kernel;
use crate::reconcile::{Backends, take_down};
use crate::state::{BaselineFile, Holder, Lock, LockError};
use crate::usage::{Recorder, Store};

/// How long an agent that runs may take to take everything down: several calls of nft that come to their
/// deadline are among it.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);
/// How often it is said that it is waited for.
const PROGRESS: Duration = Duration::from_secs(5);

/// Take everything down, and put back what was changed
///
/// A running agent is asked to do it and to end. The config is not needed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo systemctl stop lte-backup && sudo lte-userspace down")]
pub(super) struct Down {}

impl Down {
    pub(super) fn run(common: &Common) -> anyhow::Result<()> {
        requirements::require_net_admin()?;
        common.dirs.create()?;
        let (_lock, interrupted) = take_lock(common)?;
        let mut baseline_file = BaselineFile::load(&common.dirs.run)?;
        let unrecorded = baseline_file.is_empty();
        let budget = super::usage::budget(common);
        let recorder = Recorder::new(Store::new(&common.dirs.state), budget);
        let backends = Backends::new(select::all()).recorded_by(recorder);
        let (done, failed) = block_on(async {
            let kernel = Kernel::open()?;
            Ok(take_down(&kernel, &backends, &mut baseline_file).await)
        })?;
        if unrecorded && done > 0 {
            log::warn!("{NO_RECORD}");
        }
        fail_if_any(&failed)?;
        match done {
            0 if !interrupted => println!("nothing was up"),
            _ => println!("everything is down"),
        }
        Ok(())
    }
}

/// What cannot be put back without the record.
const NO_RECORD: &str = "how the modem was found is not on record (the run directory was emptied): its address, its being up and its sysctls were left as they are";

/// Takes the lock; an agent that holds it is interrupted and waited for. Returns whether there was one.
fn take_lock(common: &Common) -> anyhow::Result<(Lock, bool)> {
    let run = &common.dirs.run;
    let mut asked: Option<(Holder, Instant)> = None;
    let mut last_progress = Instant::now();
    loop {
        let holder = match Lock::take(run) {
            Ok(lock) => return Ok((lock, asked.is_some())),
            Err(LockError::Held(holder)) => holder,
            Err(error) => return Err(error.into()),
        };
        match asked {
            Some((known, since)) if known == holder => {
                let waited = since.elapsed();
                if waited > STOP_TIMEOUT {
                    bail!(
                        "the running agent{} was told to stop {} s ago and is still running: its log says what it waits for; stop it by its service manager (sudo systemctl stop lte-backup) and try again",
                        holder.suffix(),
                        waited.as_secs()
                    );
                }
                if last_progress.elapsed() > PROGRESS {
                    last_progress = Instant::now();
                    log::info!("waiting for the running agent{}", holder.suffix());
                }
            }
            _ => {
                if holder.interrupt(run)? {
                    last_progress = Instant::now();
                    asked = Some((holder, last_progress));
                    log::info!("told the running agent{} to stop", holder.suffix());
                }
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
