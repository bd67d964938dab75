//! Calling nft: with a deadline, and with its complaints captured.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long nft may take. It waits while others change rulesets, and a transaction needs an RCU
/// grace period or two; beyond this something is wrong.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where nft is looked for besides `PATH`, which services and users often have without sbin.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Why a call of nft gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// It could not be started, spoken to or waited for.
    #[error("{}: {source}", binary.display())]
    Io {
        /// The program.
        binary: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It took longer than its deadline and was killed.
    #[error("nft gave no answer within {} s and was stopped", .0.as_secs_f32())]
    Deadline(Duration),
    /// It refused, in its own words.
    #[error("{0}")]
    Refused(String),
    /// It answered with something that is not JSON.
    #[error("nft's answer is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
}

impl RunError {
    /// The kernel has no nf_tables, so there is nothing of anybody's in it. nft does not even say
    /// its version then.
    pub(super) fn is_without_nf_tables(&self) -> bool {
        let Self::Refused(text) = self else {
            return false;
        };
        let lower = text.to_lowercase();
        ["netlink socket", "cache initialization failed"]
            .iter()
            .any(|step| lower.contains(step))
            && ["not supported", "invalid argument"]
                .iter()
                .any(|why| lower.contains(why))
    }

    /// What was asked for is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused(text) if text.starts_with("No such file or directory"))
    }

    /// The process may not: it lacks `CAP_NET_ADMIN`.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused(text) if text.to_lowercase().contains("not permitted"))
    }
}

/// The nft program.
#[derive(Debug, Clone)]
pub(super) struct Program {
    binary: PathBuf,
    deadline: Duration,
}

impl Program {
    /// Looks for it.
    pub(super) fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(SBIN.map(PathBuf::from))
            .map(|folder| folder.join("nft"))
            .find(|file| file.is_file())
            .map(|binary| Self::at(&binary, DEADLINE))
    }

    pub(super) fn at(binary: &Path, deadline: Duration) -> Self {
        Self {
            binary: binary.to_owned(),
            deadline,
        }
    }

    /// Runs it with arguments and input; its output where it succeeds.
    pub(super) fn call<A: AsRef<OsStr>>(
        &self,
        arguments: &[A],
        input: &str,
    ) -> Result<String, RunError> {
        let until = Instant::now() + self.deadline;
        let io_error = |source| RunError::Io {
            binary: self.binary.clone(),
            source,
        };
        let mut child = Command::new(&self.binary)
            .args(arguments)
            // Its words are shown, and searched, in one language.
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(io_error)?;
        let pipes = open_pipes(&mut child, input.to_owned());
        let answer = pipes
            .receive(until)
            .and_then(|(output, errors)| Some((wait(&mut child, until)?, output, errors)));
        let Some((status, output, errors)) = answer else {
            kill(&mut child).map_err(io_error)?;
            return Err(RunError::Deadline(self.deadline));
        };
        if status.map_err(io_error)?.success() {
            String::from_utf8(output.map_err(io_error)?)
                .map_err(|e| io_error(io::Error::new(io::ErrorKind::InvalidData, e)))
        } else {
            let errors = errors.map_err(io_error)?;
            Err(RunError::Refused(error_line(&String::from_utf8_lossy(
                &errors,
            ))))
        }
    }
}

type Bytes = io::Result<Vec<u8>>;

/// The three pipes, each at its own pace: nft may complain before it has read all.
struct Pipes {
    output: mpsc::Receiver<Bytes>,
    errors: mpsc::Receiver<Bytes>,
}

impl Pipes {
    fn receive(&self, until: Instant) -> Option<(Bytes, Bytes)> {
        let left = || until.saturating_duration_since(Instant::now());
        let output = self.output.recv_timeout(left()).ok()?;
        let errors = self.errors.recv_timeout(left()).ok()?;
        Some((output, errors))
    }
}

fn open_pipes(child: &mut Child, input: String) -> Pipes {
    if let Some(mut pipe) = child.stdin.take() {
        // What nft did not read, it did not want: its exit status and its messages say why.
        std::thread::spawn(move || pipe.write_all(input.as_bytes()).ok());
    }
    Pipes {
        output: reader(child.stdout.take()),
        errors: reader(child.stderr.take()),
    }
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = match pipe {
            Some(mut pipe) => pipe.read_to_end(&mut bytes).map(|_| bytes),
            None => Ok(bytes),
        };
        // The receiver is gone where the deadline has passed.
        sender.send(read).ok();
    });
    receiver
}

/// Its exit status. Its pipes are closed already, so it is about to end or has ended.
fn wait(child: &mut Child, until: Instant) -> Option<io::Result<std::process::ExitStatus>> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(Ok(status)),
            Err(error) => return Some(Err(error)),
            Ok(None) if Instant::now() >= until => return None,
            Ok(None) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

fn kill(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(|_| ())
}

/// nft's error in one line, without the place in the input, which the user has not seen.
fn error_line(errors: &str) -> String {
    let line = errors
        .lines()
        .find(|line| line.contains("Error:"))
        .or_else(|| errors.lines().find(|line| !line.trim().is_empty()))
        .unwrap_or("nft failed without a word");
    match line.split_once("Error:") {
        Some((addr, error)) if !addr.contains("netlink") => error.trim().to_owned(),
        _ => line.trim().to_owned(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// A shell in nft's place.
    fn shell(script: &str, input: &str, deadline: Duration) -> Result<String, RunError> {
        Program::at(Path::new("/bin/sh"), deadline).call(&["-c", script], input)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn input_goes_in_and_output_comes_out() {
        let input = "x".repeat(1 << 20);
        assert_eq!(shell("cat", &input, LONG).unwrap(), input);
    }

    #[test]
    fn who_does_not_read_his_input_can_still_answer() {
        let input = "x".repeat(1 << 20);
        assert_eq!(shell("echo done", &input, LONG).unwrap(), "done\n");
    }

    #[test]
    fn a_complaint_is_one_line_of_its_own_words() {
        let script = "echo 'internal:0:0-0: Error: Could not process rule: File exists' >&2; \
                      echo '^^^' >&2; exit 1";
        let error = shell(script, "", LONG).unwrap_err();
        assert_eq!(error.to_string(), "Could not process rule: File exists");
        let silent = shell("exit 3", "", LONG).unwrap_err();
        assert_eq!(silent.to_string(), "nft failed without a word");
        let netlink = shell("echo 'netlink: Error: cache' >&2; exit 1", "", LONG).unwrap_err();
        assert_eq!(netlink.to_string(), "netlink: Error: cache");
    }

    #[test]
    fn past_its_deadline_it_is_stopped() {
        let before = Instant::now();
        let error = shell("exec sleep 30", "", Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, RunError::Deadline(_)), "{error}");
        // Closed pipes alone are no end.
        let script = "exec >&- 2>&-; exec sleep 30";
        let error = shell(script, "", Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, RunError::Deadline(_)), "{error}");
        assert!(before.elapsed() < LONG);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Program::at(Path::new("/nowhere/nft"), LONG).call(&["-v"], "");
        assert!(error.unwrap_err().to_string().contains("/nowhere/nft"));
    }
}
