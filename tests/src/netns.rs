//! Network namespaces that live as long as their handle.
//!
//! A namespace is held by a file descriptor alone: it has no name under `/run/netns`, and a test
//! that is killed leaves none behind. The mount namespace is never touched, so that the BPF file
//! system stays visible (`ip netns exec` hides it).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt as _;
use std::panic::resume_unwind;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};

use crate::process;

/// A network namespace. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Netns {
    name: &'static str,
    handle: Arc<File>,
}

impl Netns {
    /// A new, empty namespace; `name` is for messages only.
    pub fn create(name: &'static str) -> Result<Self> {
        let handle = on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot unshare: are you root?")?;
            File::open("/proc/thread-self/ns/net").context("/proc/thread-self/ns/net")
        })
        .with_context(|| format!("creating network namespace {name}"))?;
        Ok(Self {
            name,
            handle: Arc::new(handle),
        })
    }

    /// The name used in messages.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A path by which other processes find the namespace, while this one lives: for
    /// `nsenter --net=…` and for `ip link … netns …`.
    pub fn path(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.handle.as_raw_fd()
        )
    }

    /// Its number, which no other namespace of this machine has.
    pub fn number(&self) -> Result<u64> {
        Ok(self.handle.metadata()?.ino())
    }

    /// Runs `work` on a thread of its own inside the namespace. Sockets opened there stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// Puts the calling thread into the namespace, for good.
    pub(crate) fn enter(&self) -> Result<()> {
        setns(&*self.handle, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("entering network namespace {}", self.name))
    }

    /// Starts a process inside the namespace.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.run(|| {
            command
                .spawn()
                .with_context(|| format!("starting {}", command.get_program().display()))
        })
    }

    /// Runs a tool to its end and returns what it printed. A failure is an error with its words.
    pub fn tool(&self, program: &str, args: &[&str]) -> Result<String> {
        self.tool_with_input(program, args, "")
    }

    /// As [`Self::tool`], with text on its standard input.
    pub fn tool_with_input(&self, program: &str, args: &[&str], input: &str) -> Result<String> {
        self.run(|| process::tool(program, args, input))
            .with_context(|| format!("in {}", self.name))
    }

    /// Runs lines of `ip` in one process; the first that fails is the error.
    pub fn ip(&self, lines: &str) -> Result<String> {
        self.tool_with_input("ip", &["-batch", "-"], lines)
    }
}

/// Runs `work` on a fresh thread: its namespace goes with it.
fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_one_namespace_are_not_seen_in_another() {
        let here = Netns::create("here").unwrap();
        let there = Netns::create("there").unwrap();
        here.ip(&format!(
            "link add name a type veth peer name b netns {}\n",
            there.path()
        ))
        .unwrap();
        let links = |ns: &Netns| ns.tool("ip", &["-br", "link"]).unwrap();
        assert!(links(&here).contains("a@"), "{}", links(&here));
        assert!(!links(&here).contains("b@"), "{}", links(&here));
        assert!(links(&there).contains("b@"), "{}", links(&there));
    }

    #[test]
    fn a_failing_tool_is_an_error_with_its_words() {
        let ns = Netns::create("alone").unwrap();
        let error = format!("{:#}", ns.ip("link set nobody up\n").unwrap_err());
        assert!(error.contains("nobody"), "{error}");
        assert!(error.contains("alone"), "{error}");
    }
}
