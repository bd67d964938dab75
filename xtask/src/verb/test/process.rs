//! The process of one test in a machine: what it writes, and whether it passed. Pure.

use std::time::Instant;

use super::libtest;
use crate::vm::protocol::{End, Stream};

/// A test's process that runs, and what it has written.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) since: Instant,
    /// Both streams, in the order in which they came.
    pub(super) output: Vec<u8>,
    /// Standard output alone: the harness's. A piece of standard error may end within a line.
    pub(super) stdout: Vec<u8>,
}

impl Running {
    pub(super) fn since(now: Instant) -> Self {
        Self {
            since: now,
            output: Vec::new(),
            stdout: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
        if stream == Stream::Out {
            self.stdout.extend_from_slice(bytes);
        }
    }

    /// Why it has failed, if it has.
    pub(super) fn failure(&self, end: &End, name: &str) -> Option<String> {
        failure(end, &String::from_utf8_lossy(&self.stdout), name)
    }
}

/// Why a test has failed: it passed only if its process ended well and the harness says on its standard
/// output that exactly one test passed, and that it was this one.
fn failure(end: &End, stdout: &str, name: &str) -> Option<String> {
    let summary = libtest::summary(stdout);
    let (_, path) = name.split_once("::").unwrap_or(("", name));
    let begun = format!("test {path} ... ");
    match end {
        End::Exit(0) if !stdout.lines().any(|line| line.starts_with(&begun)) => {
            Some("another test ran in its place".to_owned())
        }
        End::Exit(0) => match summary {
            Some(sum) if sum.passed == 1 && sum.failed == 0 => None,
            Some(_) => Some("it did not run".to_owned()),
            None => Some("it ended without a summary".to_owned()),
        },
        End::Exit(101) => Some("it panicked or returned an error".to_owned()),
        End::Exit(status) => Some(format!("exit status {status}")),
        End::Signal(signal) => Some(format!("killed by signal {signal}")),
        End::Deadline => Some("not done in its time".to_owned()),
        End::NotStarted(why) => Some(why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_passed_test_is_a_pass() {
        let told = |passed| {
            format!(
                "test a::b ... ok\n\ntest result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; 9 filtered out"
            )
        };
        let failure = |end, output: &str| failure(&end, output, "file::a::b");
        assert_eq!(failure(End::Exit(0), &told(1)), None);
        assert!(failure(End::Exit(0), &told(0)).is_some());
        assert!(failure(End::Exit(0), &told(1).replace("a::b", "a::c")).is_some());
        assert!(failure(End::Exit(0), "").is_some());
        assert!(failure(End::Exit(101), &told(1)).is_some());
        assert!(failure(End::Signal(11), &told(1)).is_some());
        assert!(failure(End::Deadline, &told(1)).is_some());
    }

    /// The guest reads each stream in a thread of its own, and standard error has no buffer: a piece of a
    /// line may come before what was written to standard output earlier.
    #[test]
    fn a_piece_of_standard_error_does_not_hide_the_tests_name() {
        let mut running = Running::since(Instant::now());
        running.push(Stream::Err, b"seed ");
        running.push(Stream::Out, b"running 1 test\ntest a::b ... ");
        running.push(Stream::Err, b"7\n");
        running.push(
            Stream::Out,
            b"ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out\n",
        );
        running.push(Stream::Err, b"test result: FAILED. 0 passed; 1 failed");
        assert_eq!(running.failure(&End::Exit(0), "file::a::b"), None);
        let all = String::from_utf8_lossy(&running.output).into_owned();
        assert!(failure(&End::Exit(0), &all, "file::a::b").is_some());
    }
}
