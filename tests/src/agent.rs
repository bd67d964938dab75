//! A running agent: heard, signalled, stopped.

use std::fs::{self, DirEntry};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::installation::Place;
use crate::notify::NotifySocket;
use crate::wait::{self, TIMEOUT};

/// A running agent. Killed where a test forgets it, so that no test leaves one behind.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    started: Instant,
    notify: NotifySocket,
    log: Arc<Mutex<Vec<String>>>,
    listener: Option<JoinHandle<()>>,
    /// Its files are there as long as it is.
    _place: Arc<Place>,
}

impl Agent {
    /// Starts the process; what it says is gathered.
    pub(crate) fn spawn(
        place: &Arc<Place>,
        command: &mut Command,
        notify: NotifySocket,
    ) -> Result<Self> {
        let started = Instant::now();
        let mut child = place.netns.spawn(command)?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let listener = child
            .stderr
            .take()
            .map(|stderr| listen(stderr, started, Arc::clone(&log)));
        Ok(Self {
            child,
            started,
            notify,
            log,
            listener,
            _place: Arc::clone(place),
        })
    }

    /// When the process was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where in the kernel each of its threads is, for messages about one that does nothing.
    pub fn thread_states(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id()));
        let file = |task: &DirEntry, name: &str| {
            let text = fs::read_to_string(task.path().join(name)).unwrap_or_default();
            format!("{name}: {}", text.trim().replace('\n', " "))
        };
        let words = |task: DirEntry| {
            ["comm", "syscall", "stack"]
                .map(|name| file(&task, name))
                .join(", ")
        };
        tasks.into_iter().flatten().flatten().map(words).collect()
    }

    /// What it has said so far, line by line.
    pub fn log(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until it says that the datapath is in place.
    pub fn wait_ready(mut self, within: Duration) -> Result<Self> {
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

    /// Waits for a message to the service manager that `wanted` picks; those before it are dropped.
    pub fn wait_notified(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        wait::until(TIMEOUT, what, || {
            Ok(self.notify.next()?.filter(|message| wanted(message)))
        })
    }

    /// Drops what it has sent to the service manager so far.
    pub fn discard_notified(&self) -> Result<()> {
        while self.notify.next()?.is_some() {}
        Ok(())
    }

    /// Waits for a line of its log with these words.
    pub fn wait_logged(&self, words: &str) -> Result<String> {
        wait::until(TIMEOUT, words, || {
            Ok(self.log().into_iter().find(|line| line.contains(words)))
        })
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).with_context(|| format!("sending {signal} to the agent"))
    }

    /// Its process number.
    pub fn pid(&self) -> Result<Pid> {
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

    /// A crash, where it has not ended by itself by then. Returns whether it was one.
    pub fn kill_unless_ended(mut self) -> Result<bool> {
        self.signal(Signal::SIGKILL)?;
        let status = self.wait_end()?;
        let killed = status.signal() == Some(Signal::SIGKILL as i32);
        ensure!(
            killed || status.success(),
            "the agent ended with {status} by itself: {}",
            self.last_words()
        );
        Ok(killed)
    }

    fn wait_end(&mut self) -> Result<ExitStatus> {
        let child = &mut self.child;
        let ended = wait::until(TIMEOUT, "the agent's end", || Ok(child.try_wait()?));
        ended.with_context(|| format!("{}; it is at {:?}", self.last_words(), self.thread_states()))
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
