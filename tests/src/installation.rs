//! The agent's place on the machine: its binary, its config and key, the namespace it runs in.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::agent::Agent;
use crate::backend::Backend;
use crate::bpf;
use crate::config::Config;
use crate::keys;
use crate::netns::Netns;
use crate::notify::NotifySocket;
use crate::process::{self, Ended};
use crate::tempdir::TempDir;
use crate::wait::{self, TIMEOUT};

/// What there is of the agent besides its processes; it outlives any one of them, as `/etc` and
/// `/var` do.
#[derive(Debug)]
pub struct Installation {
    place: Arc<Place>,
    binary: PathBuf,
    /// What the next start reads.
    pub config: Config,
}

/// The files and the namespace, shared with the processes that use them.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) netns: Netns,
    files: TempDir,
}

impl Drop for Place {
    /// What is in the namespace goes with it. Pins have none, and a test that ends with the
    /// agent up would hand its own on to the next.
    fn drop(&mut self) {
        if let Err(error) = bpf::remove_agents_pins() {
            eprintln!("lab: {error:#}");
        }
    }
}

/// Name of the environment variable that holds the agent's path.
pub const BINARY: &str = "LTE_USERSPACE";

impl Installation {
    /// Writes the lab's key and thinks out the lab's config; nothing runs yet.
    pub fn new(netns: &Netns) -> Result<Self> {
        let binary: PathBuf = std::env::var_os(BINARY)
            .with_context(|| format!("{BINARY} is not set: run this by `cargo xtask test`"))?
            .into();
        ensure!(binary.is_file(), "{BINARY}: no {}", binary.display());
        ensure!(
            !Path::new(bpf::AGENTS_PINS).exists(),
            "{} is there: another agent's, or a killed test's; the lab will not touch it",
            bpf::AGENTS_PINS
        );
        let files = TempDir::new()?;
        let key = files.write("private.key", 0o600, keys::ROUTER.private())?;
        let config = Config::new(&key, keys::SERVER.public);
        Ok(Self {
            binary,
            place: Arc::new(Place {
                netns: netns.clone(),
                files,
            }),
            config,
        })
    }

    /// The agent's program.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Its directory, for key files and the like.
    pub fn files(&self) -> &TempDir {
        &self.place.files
    }

    /// Writes the config where a running agent reads it on SIGHUP.
    pub fn write_config(&self) -> Result<PathBuf> {
        self.place.files.write("config.toml", 0o600, &self.config.0)
    }

    /// The command with the lab's paths, and the config written.
    pub fn command(&self, backend: Option<Backend>, subcommand: &[&str]) -> Result<Command> {
        let config = self.write_config()?;
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(config);
        command.arg("--run-dir").arg(self.directory("run"));
        command.arg("--state-dir").arg(self.directory("state"));
        if let Some(backend) = backend {
            command.arg("--backend").arg(backend.to_string());
        }
        command
            .args(subcommand)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command)
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.place.files.path().join(name)
    }

    /// Runs it to its end.
    pub fn run(&self, backend: Option<Backend>, subcommand: &[&str]) -> Result<Ended> {
        self.run_command(&mut self.command(backend, subcommand)?)
    }

    /// Waits until `plan` finds nothing to do.
    ///
    /// A new interface is guarded as soon as the agent has heard of it. Before TCX (Linux 6.6) its clsact
    /// qdisc comes then, and what the interface is given to send in that moment is lost: a test that counts
    /// packets there waits first.
    pub fn wait_in_place(&self, backend: Backend) -> Result<()> {
        wait::until(TIMEOUT, "all to be in place", || {
            let plan = self.run(Some(backend), &["plan"])?;
            Ok(plan.stdout.contains("nothing to do").then_some(()))
        })
    }

    /// Runs a command made by [`Self::command`] and changed by a test, to its end.
    pub fn run_command(&self, command: &mut Command) -> Result<Ended> {
        process::end_of(self.place.netns.spawn(command)?, TIMEOUT)
    }

    /// Starts the agent in the foreground and waits until it says that it is ready.
    pub fn start(&self, backend: Backend) -> Result<Agent> {
        let agent = self.launch(backend)?;
        agent.wait_ready(TIMEOUT)
    }

    /// Starts the agent and does not wait.
    pub fn launch(&self, backend: Backend) -> Result<Agent> {
        self.launch_prepared(Some(backend), |_| {})
    }

    /// Starts the agent, with a backend or left to choose, and its process prepared by a test; does
    /// not wait.
    pub fn launch_prepared(
        &self,
        backend: Option<Backend>,
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Agent> {
        let notify = NotifySocket::open(self.place.files.path())?;
        let mut command = self.command(backend, &[])?;
        prepare(&mut command);
        if std::env::var_os("LTE_LAB_VERBOSE").is_some() {
            command.arg("--verbose");
        }
        command
            .env("NOTIFY_SOCKET", notify.path())
            .stdout(Stdio::null());
        Agent::spawn(&self.place, &mut command, notify)
    }

    /// Where it keeps its files.
    pub fn path(&self) -> &Path {
        self.place.files.path()
    }
}
