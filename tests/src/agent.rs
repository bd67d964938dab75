//! The agent under test, as a process: started, heard, stopped.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::backend::Backend;
use crate::config::Config;
use crate::keys::keys;
use crate::netns::Netns;
use crate::notify::NotifySocket;
use crate::process::{self, Ended};
use crate::tempdir::TempDir;
use crate::wait::{self, PATIENCE};

/// The agent's place on the machine: its binary, its files, the namespace in which it runs.
///
/// It outlives any one process of the agent, as `/etc` and `/var` do.
#[derive(Debug)]
pub struct Installation {
    binary: PathBuf,
    netns: Netns,
    files: TempDir,
    /// What the next start reads.
    pub config: Config,
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
        let files = TempDir::new()?;
        let key = files.write("private.key", 0o600, keys()?.router.private())?;
        let config = Config::new(&key, &keys()?.peer.public);
        Ok(Self {
            binary,
            netns: netns.clone(),
            files,
            config,
        })
    }

    /// Its directory, for key files and the like.
    pub fn files(&self) -> &TempDir {
        &self.files
    }

    /// The command with the lab's paths, and the config written.
    pub fn command(&self, backend: Option<Backend>, subcommand: &[&str]) -> Result<Command> {
        let config = self.files.write("config.toml", 0o600, &self.config.0)?;
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
        self.files.path().join(name)
    }

    /// Runs it to its end.
    pub fn run(&self, backend: Option<Backend>, subcommand: &[&str]) -> Result<Ended> {
        self.run_command(&mut self.command(backend, subcommand)?)
    }

    /// Runs a command made by [`Self::command`] and changed by a test, to its end.
    pub fn run_command(&self, command: &mut Command) -> Result<Ended> {
        process::end_of(self.netns.spawn(command)?, PATIENCE)
    }

    /// Starts the agent in the foreground and waits until it says that it is ready.
    pub fn start(&self, backend: Backend) -> Result<Agent> {
        let agent = self.launch(backend)?;
        agent.wait_ready(PATIENCE)
    }

    /// Starts the agent and does not wait.
    pub fn launch(&self, backend: Backend) -> Result<Agent> {
        let files = TempDir::new()?;
        let notify = NotifySocket::open(files.path())?;
        let mut command = self.command(Some(backend), &[])?;
        command
            .env("NOTIFY_SOCKET", notify.path())
            .stdout(Stdio::null());
        let started = Instant::now();
        let mut child = self.netns.spawn(&mut command)?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let listener = child
            .stderr
            .take()
            .map(|stderr| listen(stderr, started, Arc::clone(&log)));
        Ok(Agent {
            child,
            started,
            notify,
            log,
            listener,
            _files: files,
        })
    }

    /// Where it keeps its files.
    pub fn path(&self) -> &Path {
        self.files.path()
    }
}

/// A running agent. Killed where a test forgets it, so that no test leaves one behind.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    started: Instant,
    notify: NotifySocket,
    log: Arc<Mutex<Vec<String>>>,
    listener: Option<JoinHandle<()>>,
    _files: TempDir,
}

impl Agent {
    /// When the process was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// What it has said so far, line by line.
    pub fn log(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn wait_ready(mut self, within: Duration) -> Result<Self> {
        let deadline = self.started + within;
        loop {
            if self.notify.hears("READY=1")? {
                return Ok(self);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended with {status}: {}", self.last_words());
            }
            if Instant::now() >= deadline {
                bail!(
                    "the agent was not ready in {within:?}: {}",
                    self.last_words()
                );
            }
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).with_context(|| format!("sending {signal} to the agent"))
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    /// Sends a signal, waits for the end, and wants exit status 0.
    pub fn stop(mut self, signal: Signal) -> Result<()> {
        self.signal(signal)?;
        let status = self.wait_end()?;
        ensure!(
            status.success(),
            "after {signal} the agent ended with {status}: {}",
            self.last_words()
        );
        Ok(())
    }

    /// Ctrl-C: everything is to be taken down.
    pub fn interrupt(self) -> Result<()> {
        self.stop(Signal::SIGINT)
    }

    /// What a service manager sends: the datapath is to stay.
    pub fn terminate(self) -> Result<()> {
        self.stop(Signal::SIGTERM)
    }

    /// A crash.
    pub fn kill(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let status = self.wait_end()?;
        ensure!(
            status.signal() == Some(Signal::SIGKILL as i32),
            "the agent ended with {status} before it could be killed"
        );
        Ok(())
    }

    fn wait_end(&mut self) -> Result<ExitStatus> {
        let child = &mut self.child;
        let ended = wait::until(PATIENCE, "the agent's end", || Ok(child.try_wait()?));
        ended.with_context(|| self.last_words())
    }

    fn last_words(&mut self) -> String {
        // Where the process has ended, its last lines may still be in the pipe.
        if matches!(self.child.try_wait(), Ok(Some(_)))
            && let Some(listener) = self.listener.take()
            && listener.join().is_err()
        {
            return "(the reader of its log panicked)".to_owned();
        }
        let log = self.log();
        if log.is_empty() {
            return "it said nothing".to_owned();
        }
        log[log.len().saturating_sub(10)..].join(" | ")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The errors left are that it has just ended by itself.
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if thread::panicking() {
            eprintln!("the agent said: {}", self.last_words());
        }
    }
}

fn listen(stderr: ChildStderr, started: Instant, log: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if std::env::var_os("LTE_LAB_VERBOSE").is_some() {
                eprintln!("agent {:7.3} s: {line}", started.elapsed().as_secs_f32());
            }
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    })
}
