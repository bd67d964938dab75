//! The BPF file system is shared: with everybody, where it is mounted without a mode, and with the agents of
//! other network namespaces.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::bpf;
use lte_tests::corpus::bpffs;
use lte_tests::installation::Installation;
use lte_tests::kernel_version;
use lte_tests::scene::Scene;
use lte_tests::tempdir::TempDir;
use lte_tests::topology::Options;
use lte_tests::wait::TIMEOUT;

// Links are pinned on the newest, programs alone on the oldest.
lte_tests::runs_on!(oldest, newest);

const NOBODY: u32 = 65534;

/// A BPF file system as `mount -t bpf bpf /sys/fs/bpf` makes it, for this thread and its children.
fn open_to_everybody() -> Result<()> {
    bpffs::private()?;
    let mode = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(bpf::FILE_SYSTEM, mode).context(bpf::FILE_SYSTEM)
}

/// With what is planted in the place of the agent's directory, `auto` keeps the guard with nftables, eBPF is
/// refused, `down` takes away what is the agent's, and nothing of what was planted is touched.
fn refused(plant: impl FnOnce() -> Result<()>, untouched: impl Fn() -> bool) -> Result<()> {
    open_to_everybody()?;
    let scene = Scene::open(&Options::default())?;
    let installation = scene.installation()?;
    plant()?;
    let refusal = format!("{}: it is not this agent's", bpf::AGENTS_PINS);

    let asked = installation.run(Some(Backend::Ebpf), &[])?;
    ensure!(asked.status.code() == Some(1), "not status 1: {asked:?}");
    ensure!(asked.stderr.contains(&refusal), "{asked:?}");
    ensure!(asked.stderr.trim_end().lines().count() == 1, "{asked:?}");
    ensure!(untouched(), "an agent touched it");

    let agent = installation
        .launch_prepared(None, |_| {})?
        .wait_ready(TIMEOUT)?;
    scene.handshake_after(agent.started())?;
    let log = agent.log();
    let said = log.iter().filter(|line| line.contains(&refusal)).count();
    ensure!(said > 0, "it is not said: {log:?}");
    ensure!(
        log.iter()
            .any(|line| line.contains("backend nft, since ebpf")),
        "{log:?}"
    );
    scene.tunnel_is_sound()?;
    agent.terminate()?;
    ensure!(untouched(), "the running agent touched it");

    let down = installation.run(None, &["down"])?;
    ensure!(down.stderr.contains(&refusal), "{down:?}");
    ensure!(down.stdout.contains("everything is down"), "{down:?}");
    ensure!(untouched(), "`down` touched it");
    Ok(())
}

/// A link to another's directory: a program that follows it deletes what is in it.
#[test]
fn a_symbolic_link_is_not_followed() -> Result<()> {
    let victim = TempDir::new()?;
    let file = victim.write("precious", 0o600, "not to be lost")?;
    let inner = victim.path().join("v1");
    fs::create_dir(&inner)?;
    refused(
        || {
            symlink(victim.path(), bpf::AGENTS_PINS)?;
            Ok(lchown(bpf::AGENTS_PINS, Some(NOBODY), Some(NOBODY))?)
        },
        || file.exists() && inner.exists() && Path::new(bpf::AGENTS_PINS).is_symlink(),
    )
}

#[test]
fn a_directory_of_somebody_else_is_not_used() -> Result<()> {
    let inner = Path::new(bpf::AGENTS_PINS).join("v0");
    refused(
        || {
            fs::create_dir_all(&inner)?;
            Ok(lchown(bpf::AGENTS_PINS, Some(NOBODY), Some(NOBODY))?)
        },
        || inner.exists(),
    )
}

/// Only the owner can read what the agent makes.
#[test]
fn its_own_are_closed() -> Result<()> {
    open_to_everybody()?;
    let scene = Scene::open(&Options::default())?;
    let agent = scene.installation()?.start(Backend::Ebpf)?;
    let layout = bpf::agents_layout(&scene.lab.router)?;
    for directory in layout.ancestors().take(3) {
        let mode = fs::metadata(directory)?.permissions().mode() & 0o7777;
        ensure!(mode == 0o700, "{}: mode {mode:o}", directory.display());
    }
    agent.interrupt()?;
    ensure!(!Path::new(bpf::AGENTS_PINS).exists(), "it is still there");
    Ok(())
}

/// A router with its agent's place.
struct Fixture {
    scene: Scene,
    installation: Installation,
}

impl Fixture {
    fn open() -> Result<Self> {
        let scene = Scene::open(&Options::lte())?;
        let installation = scene.installation()?;
        Ok(Self {
            scene,
            installation,
        })
    }

    fn start(&self) -> Result<Agent> {
        let agent = self.installation.start(Backend::Ebpf)?;
        self.scene.handshake_after(agent.started())?;
        Ok(agent)
    }

    /// Nothing is to be done, and the tunnel carries.
    fn is_whole(&self) -> Result<()> {
        let plan = self.installation.run(Some(Backend::Ebpf), &["plan"])?;
        ensure!(plan.stdout.contains("nothing to do"), "{plan:?}");
        let pings = self.scene.ping_tunnel()?;
        pings.wait_for_more(3)?;
        let report = pings.stop()?;
        ensure!(report.lost() == 0, "{report}");
        self.scene.tunnel_is_sound()
    }
}

/// An agent puts the guard in place at its start, and has nothing to repair after that.
fn set_once(agent: &Agent) -> Result<()> {
    let log = agent.log();
    let set = log.iter().filter(|line| line.contains("set the guard"));
    // One line for the modem, and one for each interface that comes later.
    let again: Vec<_> = set
        .filter(|line| line.contains("undone repeatedly") || line.contains("maps of its own"))
        .collect();
    ensure!(again.is_empty(), "{again:?}");
    Ok(())
}

/// Two routers, whose modems have the same index.
#[test]
fn two_namespaces_share_it() -> Result<()> {
    let (one, other) = (Fixture::open()?, Fixture::open()?);
    let first = one.start()?;
    let second = other.start()?;
    for fixture in [&one, &other] {
        fixture.is_whole()?;
    }
    set_once(&first)?;
    set_once(&second)?;
    let layouts = bpf::agents_layouts()?;
    ensure!(layouts.len() == 2, "not two directories: {layouts:?}");

    // One goes; the other has all that it had.
    first.interrupt()?;
    other.is_whole()?;
    let down = one.installation.run(None, &["down"])?;
    ensure!(down.stdout.contains("nothing was up"), "{down:?}");
    other.is_whole()?;

    // The version before did not keep namespaces apart: what it has left is taken by its own namespace's agent.
    // Before kernel 6.6 there are no links, and nothing in a pin shows whose it is: the first one takes it.
    let is_told = kernel_version::running()? >= (6, 6);
    second.terminate()?;
    let without = Path::new(bpf::AGENTS_PINS).join("v1");
    fs::rename(bpf::agents_layout(&other.scene.lab.router)?, &without)?;
    let first = one.start()?;
    let theirs = || Ok::<_, anyhow::Error>(fs::read_dir(&without)?.count());
    ensure!(
        !is_told || theirs()? > 3,
        "another namespace's agent took them"
    );
    first.interrupt()?;
    ensure!(
        !is_told || theirs()? > 3,
        "another namespace's agent removed them"
    );
    let second = other.start()?;
    ensure!(!without.exists(), "they are still there");
    other.is_whole()?;
    second.interrupt()?;
    ensure!(!Path::new(bpf::AGENTS_PINS).exists(), "pins are left");
    Ok(())
}
