//! Virtual machines: QEMU on the host's side, init on the guest's, and what they say to each other.

pub(crate) mod accel;
pub(crate) mod console;
pub(crate) mod guest;
mod lived;
pub(crate) mod machine;
pub(crate) mod protocol;
mod pulse;
mod tsc;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::fetch::kernel::{self, Kernel, Series};
use crate::fetch::nft::{self, Nft};
use crate::host::cache::Cache;
use crate::host::{tools, workspace};
use crate::image::guest::{Extra, userland};
use accel::Accel;
use machine::{Listener, Machine, Outcome};
use protocol::Plan;
pub(crate) use pulse::Break;

/// What a machine has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) cpus: u32,
    /// In MiB.
    pub(crate) memory: u32,
}

impl Size {
    /// Enough for the lab. Two processors, since one hides what two get wrong.
    pub(crate) const USUAL: Self = Self {
        cpus: 2,
        memory: 1536,
    };
}

/// One boot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) size: Size,
    /// The plan's jobs before this one are left out.
    pub(crate) first_job: usize,
    /// For all jobs together.
    pub(crate) deadline: Duration,
    /// Where the kernel's console goes.
    pub(crate) console: &'a Path,
}

/// How many userlands this process has packed: each has a file of its own.
static IMAGES: AtomicU32 = AtomicU32::new(0);

/// A userland, packed once and booted with any kernel.
#[derive(Debug)]
pub(crate) struct Image {
    archive: PathBuf,
    /// How long each of the plan's jobs may take.
    deadlines: Vec<Duration>,
}

impl Image {
    /// Installs what is missing of the tools, and packs them with the plan and the files it needs.
    pub(crate) fn pack(plan: &Plan, extras: &[Extra]) -> Result<Self> {
        if std::env::consts::ARCH != "x86_64" {
            bail!(
                "the virtual machines are for x86_64, and this is {}",
                std::env::consts::ARCH
            );
        }
        let mut needed = vec![tools::QEMU];
        needed.extend(tools::GUEST);
        tools::require(&needed, "the virtual machine")?;
        let name = format!(
            "{}-{}.cpio",
            std::process::id(),
            IMAGES.fetch_add(1, Ordering::Relaxed)
        );
        let archive = workspace::scratch("vm")?.join(name);
        let mut file = BufWriter::new(create(&archive)?);
        userland(plan, extras)?.write(&mut file)?;
        file.flush()?;
        let deadlines = plan.jobs.iter().map(|job| job.deadline);
        Ok(Self {
            archive,
            deadlines: deadlines.map(Duration::from_secs).collect(),
        })
    }

    /// Boots a kernel with it and hears the plan's jobs; the way it is run is found out.
    pub(crate) fn boot(
        &self,
        cache: &Cache,
        series: Series,
        run: &Run<'_>,
        listener: &mut impl Listener,
    ) -> Result<Outcome> {
        let kernel = kernel::ready(cache, series)?;
        let initramfs = self.joined(&kernel, &nft::ready(cache, series)?)?;
        let mut ways = accel::candidates(cache, series)?.into_iter().peekable();
        while let Some(accel) = ways.next() {
            let machine = Machine {
                kernel: &kernel,
                initramfs: &initramfs.0,
                accel,
                run,
                deadlines: &self.deadlines,
            };
            let started = Instant::now();
            let outcome = machine.run(listener)?;
            match &outcome {
                Outcome::NeverUp(why) if ways.peek().is_some() => {
                    accel::say_failed(series, accel, why);
                    if started.elapsed() >= accel.patience() {
                        // It hung: another processor model would not mend that.
                        while ways.next_if(|next| *next != Accel::Tcg).is_some() {}
                    }
                }
                Outcome::NeverUp(_) => return Ok(outcome),
                Outcome::Done | Outcome::Broke(_) => {
                    accel::remember(cache, series, accel)?;
                    return Ok(outcome);
                }
            }
        }
        bail!("there is no way to run kernel {series}");
    }

    /// The userland, the kernel's modules and its nft, one after the other, as the kernel takes them:
    /// a later file replaces an earlier one of its name.
    fn joined(&self, kernel: &Kernel, nft: &Nft) -> Result<Temporary> {
        let name = format!("{}.initramfs", kernel.series);
        let joined = Temporary(self.archive.with_extension(name));
        let mut out = create(&joined.0)?;
        let own = [&self.archive, &kernel.modules].into_iter();
        for part in own.chain(&nft.archive) {
            let mut from =
                File::open(part).with_context(|| format!("cannot read {}", part.display()))?;
            io::copy(&mut from, &mut out)
                .with_context(|| format!("cannot write {}", joined.0.display()))?;
        }
        Ok(joined)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        remove(&self.archive);
    }
}

/// A file that goes away with its owner.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

fn remove(path: &Path) {
    // Left behind, it costs space in the build directory and nothing else.
    fs::remove_file(path).ok();
}
