//! Which agent runs is asked of the kernel: no process that may read a file delays a start or `down` by it, and no
//! process is signalled for a number that stands somewhere.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::installation::Installation;
use lte_tests::netns::Netns;
use lte_tests::process;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use nix::errno::Errno;

// Locks and processes are the same on the kernels between.
lte_tests::runs_on!(oldest, newest);

/// The user `nobody`.
const NOBODY: u32 = 65534;
/// How long `down` may take that waits for no agent; it has waited for 15 s in vain.
const SOON: Duration = Duration::from_secs(10);

/// A process of `nobody`'s that does nothing, and is ended with the test.
struct Nobody(Child);

impl Nobody {
    /// One that holds a flock on each of these files that it can open.
    fn holding(files: Vec<PathBuf>) -> Result<Self> {
        let mut command = Command::new("sleep");
        command.arg("1000").uid(NOBODY).gid(NOBODY);
        let hold = move || {
            for file in &files {
                match File::open(file) {
                    Ok(file) => {
                        // SAFETY: both calls take a descriptor that is open, and no memory.
                        let held =
                            unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
                        match Errno::result(held) {
                            // Another process of that user's has it.
                            Ok(_) | Err(Errno::EWOULDBLOCK) => {}
                            Err(error) => return Err(error.into()),
                        }
                        // SAFETY: as above.
                        Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) })?;
                        std::mem::forget(file);
                    }
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        // SAFETY: the process forks with this thread alone at work; what the closure allocates, no other
        // thread of the test is holding a lock for.
        unsafe { command.pre_exec(hold) };
        let child = command.spawn().context("a process of nobody's")?;
        Ok(Self(child))
    }

    fn lives(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The run directory as a version has left it that wrote its number into a file for all to read, with the
/// number of a process that has nothing to do with it. Returns its files.
fn left_behind(installation: &Installation, innocent: &Nobody) -> Result<Vec<PathBuf>> {
    let open = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o755));
    let run = installation.path().join("run");
    fs::create_dir(&run)?;
    open(installation.path())?;
    open(&run)?;
    let old = run.join("lock");
    fs::write(&old, format!("{}\n", innocent.0.id()))?;
    fs::set_permissions(&old, Permissions::from_mode(0o644))?;
    Ok(vec![old])
}

#[test]
fn a_flock_of_nobodys_and_a_stale_number_mean_nothing_to_down() -> Result<()> {
    let installation = Installation::new(&Netns::create("router")?)?;
    let mut innocent = Nobody::holding(Vec::new())?;
    let files = left_behind(&installation, &innocent)?;
    let mut holder = Nobody::holding(files)?;
    let down = installation.command(None, &["down"])?.spawn()?;
    let ended = process::end_of(down, SOON)?;
    ensure!(ended.status.success(), "down: {ended:?}");
    ensure!(ended.stdout.contains("nothing was up"), "down: {ended:?}");
    ensure!(innocent.lives()? && holder.lives()?, "it was signalled");
    Ok(())
}

#[test]
fn nobody_holds_a_start_or_down_up() -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let before = scene.lab.snapshot()?;
    let installation = scene.installation()?;
    let mut innocent = Nobody::holding(Vec::new())?;
    let mut files = left_behind(&installation, &innocent)?;
    let mut first = Nobody::holding(files.clone())?;
    let agent = installation.start(Backend::Nft)?;
    scene.handshake_after(agent.started())?;
    // Now there are all files of an agent that runs.
    for entry in fs::read_dir(installation.path().join("run"))? {
        files.push(entry?.path());
    }
    let mut second = Nobody::holding(files)?;
    let status = installation.run(None, &["status"])?;
    let running = format!("running, pid {}", agent.id());
    ensure!(status.stdout.contains(&running), "status: {status:?}");
    let down = installation.run(None, &["down"])?;
    ensure!(down.status.success(), "down: {down:?}");
    ensure!(
        innocent.lives()? && first.lives()? && second.lives()?,
        "it was signalled"
    );
    before.assert_same(&scene.lab.router)
}
