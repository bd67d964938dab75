//! Running other programs to their end.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::wait;

/// How a process ended and what it said.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output, lossily as UTF-8.
    pub stdout: String,
    /// Standard error, lossily as UTF-8.
    pub stderr: String,
}

/// Runs a tool in the calling thread's namespace; anything but exit status 0 is an error.
pub fn tool(program: &str, args: &[&str], input: &str) -> Result<String> {
    let shown = || format!("{program} {}", args.join(" "));
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shown()))?;
    if let Some(mut stdin) = child.stdin.take()
        && let Err(error) = stdin.write_all(input.as_bytes())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(error).with_context(|| format!("writing to `{}`", shown()));
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("waiting for `{}`", shown()))?;
    if !output.status.success() {
        bail!(
            "`{}` ended with {}: {}",
            shown(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("what `{}` printed", shown()))
}

/// Waits for a child with piped output. Past the deadline it is killed, and that is an error.
pub fn end_of(mut child: Child, within: Duration) -> Result<Ended> {
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let status = match wait::until(within, "the process to end", || Ok(child.try_wait()?)) {
        Ok(status) => status,
        Err(error) => {
            child.kill().context("killing it")?;
            child.wait().context("waiting for its end")?;
            let (out, err) = (text(stdout), text(stderr));
            return Err(error.context(format!("it printed: {out}{err}")));
        }
    };
    Ok(Ended {
        status,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut pipe) = pipe
            && let Err(error) = pipe.read_to_end(&mut all)
        {
            all.extend(format!("(reading its output: {error})").bytes());
        }
        all
    })
}

fn text(reader: thread::JoinHandle<Vec<u8>>) -> String {
    match reader.join() {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
