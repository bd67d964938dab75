//! The real systemd-networkd, in a namespace of the lab: without a bus, and with a udev of its own that
//! knows every interface there is or will be.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;
use crate::wait::{self, TIMEOUT};

/// Where Debian's and Ubuntu's package `systemd` puts it.
pub const PROGRAM: &str = "/usr/lib/systemd/systemd-networkd";

/// What it finds is mounted for it alone. An interface that udev has not seen it would wait for, and one
/// without a udev it would set up before it knows what is there: then it removes nothing.
const SURROUNDINGS: &str = "set -e
mount -t tmpfs none /run
mount -t sysfs none /sys
mkdir -p /run/systemd/network /run/udev/data
: > /run/udev/control
for index in $(seq 500); do
    echo I:1 > /run/udev/data/n$index
done
printf '%s' \"$WAN\" > /run/systemd/network/10-wan.network
printf '%s' \"$MODEM\" > /run/systemd/network/20-modem.network
exec \"$0\"
";

/// Runs as long as it is held; what it has set up stays when it goes.
#[derive(Debug)]
pub struct Networkd {
    daemon: Child,
    monitor: Child,
    removed: Arc<AtomicUsize>,
    log: Arc<Mutex<String>>,
}

impl Networkd {
    /// Starts it, with the text of a `.network` file for each of the two interfaces; an empty one matches
    /// nothing.
    pub fn start(netns: &Netns, wan: &str, modem: &str) -> Result<Self> {
        let removed = Arc::new(AtomicUsize::new(0));
        let mut monitor = netns.spawn(
            Command::new("ip")
                .args(["monitor", "rule"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped()),
        )?;
        let lines = monitor.stdout.take().context("no output of ip monitor")?;
        thread::spawn({
            let removed = Arc::clone(&removed);
            move || {
                for line in BufReader::new(lines).lines().map_while(Result::ok) {
                    if line.starts_with("Deleted") && line.contains("lookup 123") {
                        removed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        let mut daemon = netns.spawn(
            Command::new("unshare")
                .args(["--mount", "--propagation", "private", "sh", "-c"])
                .args([SURROUNDINGS, PROGRAM])
                .env("WAN", wan)
                .env("MODEM", modem)
                .env("SYSTEMD_LOG_TARGET", "console")
                .env("SYSTEMD_LOG_LEVEL", "info")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped()),
        )?;
        let log = Arc::new(Mutex::new(String::new()));
        let lines = daemon.stderr.take().context("no output of networkd")?;
        thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in BufReader::new(lines).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    // Writing to a string does not fail.
                    writeln!(log, "{line}").ok();
                }
            }
        });
        Ok(Self {
            daemon,
            monitor,
            removed,
            log,
        })
    }

    /// How many rules to table 123 were removed since it started, by whomever.
    pub fn removed(&self) -> usize {
        self.removed.load(Ordering::Relaxed)
    }

    /// Waits until so many have been removed.
    pub fn wait_removed(&mut self, count: usize) -> Result<()> {
        let found = wait::until(TIMEOUT, "networkd to remove the rules", || {
            let ended = self.daemon.try_wait()?;
            ensure!(ended.is_none(), "networkd has ended: {ended:?}");
            Ok((self.removed() >= count).then_some(()))
        });
        found.with_context(|| {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            format!("{} removed; it said: {log}", self.removed())
        })
    }
}

impl Drop for Networkd {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.monitor] {
            // The errors left are that it has ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
