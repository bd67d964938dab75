//! The kernel's console: a log that is watched for what the kernel says when it is in trouble.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// What a line of the console means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The kernel is broken: nothing that follows counts.
    Dead(String),
    /// Something did not get on for a long time. Under emulation on a busy machine it may yet.
    Stall(String),
}

/// A processor that is slow on a busy host is reported like one that spins for ever. Which it is, its
/// beats show (`pulse`).
const STALLS: [&str; 5] = [
    "soft lockup",
    "hard LOCKUP",
    "self-detected stall",
    "detected stalls on CPUs",
    "rcu_tasks_trace detected stalls",
];

const DEATHS: [&str; 8] = [
    "Kernel panic - not syncing",
    "BUG: ",
    "kernel BUG at",
    "Oops: ",
    "general protection fault",
    "KASAN: ",
    "Unable to handle kernel",
    "init: ",
];

/// Judges one line.
pub(crate) fn judge(line: &str) -> Option<Trouble> {
    let text = without_time(line);
    if STALLS.iter().any(|sign| text.contains(sign)) {
        return Some(Trouble::Stall(text.to_owned()));
    }
    // What waits for so long without being woken once waits for ever, and cannot be killed.
    let hung = text.starts_with("INFO: task ") && text.contains(" for more than ");
    (hung || DEATHS.iter().any(|sign| text.starts_with(sign)))
        .then(|| Trouble::Dead(text.to_owned()))
}

/// `[    1.587761] text` is `text`.
fn without_time(line: &str) -> &str {
    let line = line.trim();
    line.strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
        .filter(|(time, _)| time.trim().parse::<f64>().is_ok())
        .map_or(line, |(_, text)| text.trim())
}

/// Reads a log as it grows.
#[derive(Debug)]
pub(crate) struct Watch {
    path: PathBuf,
    read: u64,
    /// A line whose end has not come yet.
    open: Vec<u8>,
}

impl Watch {
    /// Watches a log that may not exist yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: 0,
            open: Vec::new(),
        }
    }

    /// What the lines mean that came since the last call.
    pub(crate) fn look(&mut self) -> Vec<Trouble> {
        // A log that cannot be read is one that QEMU has not made yet.
        let Ok(mut file) = File::open(&self.path) else {
            return Vec::new();
        };
        let mut new = Vec::new();
        if file.seek(SeekFrom::Start(self.read)).is_err() || file.read_to_end(&mut new).is_err() {
            return Vec::new();
        }
        self.read += new.len() as u64;
        self.open.extend(new);
        let mut found = Vec::new();
        while let Some(end) = self.open.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.open.drain(..=end).collect();
            found.extend(judge(&String::from_utf8_lossy(&line)));
        }
        found
    }
}

/// The log's last lines, for a report.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn troubles_are_told_apart() {
        for (line, expected) in [
            (
                "[    9.1] Kernel panic - not syncing: Attempted to kill init!",
                Some(Trouble::Dead(
                    "Kernel panic - not syncing: Attempted to kill init!".into(),
                )),
            ),
            (
                "[   60.1] watchdog: BUG: soft lockup - CPU#1 stuck for 22s!",
                Some(Trouble::Stall(
                    "watchdog: BUG: soft lockup - CPU#1 stuck for 22s!".into(),
                )),
            ),
            (
                "BUG: kernel NULL pointer dereference, address: 0",
                Some(Trouble::Dead(
                    "BUG: kernel NULL pointer dereference, address: 0".into(),
                )),
            ),
            (
                "[   21.0] rcu: INFO: rcu_sched self-detected stall on CPU",
                Some(Trouble::Stall(
                    "rcu: INFO: rcu_sched self-detected stall on CPU".into(),
                )),
            ),
            (
                "[  101.4] INFO: task ip:1203 blocked for more than 45 seconds.",
                Some(Trouble::Dead(
                    "INFO: task ip:1203 blocked for more than 45 seconds.".into(),
                )),
            ),
            ("[    0.0] Command line: panic=-1 oops=panic", None),
            ("[    0.1] wireguard: loaded. DEBUG: x", None),
        ] {
            assert_eq!(judge(line), expected, "{line}");
        }
    }

    #[test]
    fn a_line_is_judged_when_it_is_whole() {
        let dir = std::env::temp_dir().join(format!("lte-console-{}", std::process::id()));
        let mut file = File::create(&dir).expect("a temporary file");
        let mut watch = Watch::new(&dir);
        file.write_all(b"[ 1.0] Oo").expect("written");
        assert!(watch.look().is_empty());
        file.write_all(b"ps: 0002\nmore\n").expect("written");
        assert_eq!(watch.look(), [Trouble::Dead("Oops: 0002".to_owned())]);
        assert!(watch.look().is_empty());
        std::fs::remove_file(&dir).expect("removed");
    }
}
