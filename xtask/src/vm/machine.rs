//! One run of QEMU: started, listened to, and ended.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::Run;
use super::accel::Accel;
use super::console::{Trouble, Watch};
use super::lived::Lived;
use super::protocol::{End, FIRST_JOB, Frame, PORT, Stream};
use super::pulse::{Break, Pulse, Sign};
use crate::fetch::kernel::Kernel;
use crate::host::{say, tools};

/// How long a dying kernel may go on writing why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The kernel's command line. A broken kernel stops at once, and so does the machine. An emulated
/// time stamp counter is taken for unstable, and the clock that then serves is a slow device. What
/// waits for a lock for ever is said after 45 s (`HANG`) rather than after two minutes.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off \
                            tsc=reliable sysctl.kernel.hung_task_timeout_secs=45 \
                            sysctl.kernel.hung_task_check_interval_secs=5 rdinit=/lte/init";

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) initramfs: &'a Path,
    pub(crate) accel: Accel,
    pub(crate) run: &'a Run<'a>,
    /// How long each of the plan's jobs may take. The guest sees to it, while it can.
    pub(crate) deadlines: &'a [Duration],
}

/// Hears what the jobs do.
pub(crate) trait Listener {
    /// A job begins, by its place in the plan.
    fn start(&mut self, job: usize);
    /// The running job wrote something.
    fn output(&mut self, stream: Stream, bytes: &[u8]) -> Result<()>;
    /// The running job is over.
    fn end(&mut self, job: usize, end: End);
}

/// How a machine's run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All jobs ended, each in its own way; or one had to be killed, and those after it are for
    /// another machine.
    Done,
    /// The guest never said hello.
    NeverUp(String),
    /// The machine broke after it was up: the running job, if any, and those after it have no result.
    Broke(Break),
}

impl Machine<'_> {
    /// Runs the machine to its end.
    pub(crate) fn run(&self, listener: &mut impl Listener) -> Result<Outcome> {
        let mut qemu = Qemu::start(self)?;
        let outcome = self.listen(&mut qemu, listener);
        qemu.stop();
        outcome
    }

    fn listen(&self, qemu: &mut Qemu, listener: &mut impl Listener) -> Result<Outcome> {
        let started = Instant::now();
        let mut lived = Lived::default();
        let mut watch = Watch::new(self.run.console);
        let mut state = State::new(self.deadlines);
        loop {
            let frame = qemu.frames.recv_timeout(Duration::from_millis(200));
            state.pulse.pass(lived.pass());
            match frame {
                Ok(Ok(Frame::Done)) => return Ok(Outcome::Done),
                Ok(Ok(frame)) => state.take(frame, listener)?,
                Ok(Err(error)) => {
                    state.broken = Some(Break::now(format!("unreadable: {error}")));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    // Its last words may still be on their way to the log.
                    thread::sleep(Duration::from_millis(200));
                    state.look(&mut watch, self.kernel);
                    let broken = state.broken.take();
                    let broken = broken.unwrap_or_else(|| Break::now(qemu.last_words()));
                    return Ok(state.outcome(broken));
                }
            }
            let before = state.broken.is_some();
            state.look(&mut watch, self.kernel);
            if state.broken.is_some() && !before {
                thread::sleep(LAST_WORDS);
            }
            let broken = state.broken.take();
            if let Some(broken) = broken.or_else(|| self.overdue(&state, started)) {
                // What it said before counts: a job may have ended, and another begun.
                qemu.stop();
                for frame in qemu.frames.iter().flatten() {
                    state.take(frame, listener)?;
                }
                return Ok(state.outcome(broken));
            }
        }
    }

    fn overdue(&self, state: &State<'_>, started: Instant) -> Option<Break> {
        let patience = self.accel.patience();
        if !state.pulse.is_up() && started.elapsed() > patience {
            return Some(Break::now(format!("not up after {} s", patience.as_secs())));
        }
        let late = || {
            (started.elapsed() > self.run.deadline).then(|| {
                Break::now(format!(
                    "the deadline of {} s is over",
                    self.run.deadline.as_secs()
                ))
            })
        };
        state.pulse.hang().or_else(late)
    }
}

#[derive(Debug)]
struct State<'a> {
    pulse: Pulse<'a>,
    /// What the console said that may pass, and when.
    stall: Option<(String, Sign)>,
    broken: Option<Break>,
}

impl<'a> State<'a> {
    fn new(deadlines: &'a [Duration]) -> Self {
        Self {
            pulse: Pulse::new(deadlines),
            stall: None,
            broken: None,
        }
    }

    fn take(&mut self, frame: Frame, listener: &mut impl Listener) -> Result<()> {
        self.pulse.heard();
        match frame {
            Frame::Hello(processors) => self.pulse.up(processors),
            Frame::Beat(processor) => self.pulse.beat(processor),
            Frame::Done => {}
            Frame::Start(job) => {
                let job = job as usize;
                self.pulse.start(job);
                listener.start(job);
            }
            Frame::Output(stream, bytes) => listener.output(stream, &bytes)?,
            Frame::End(end) => {
                if let Some(job) = self.pulse.end() {
                    listener.end(job, end);
                }
            }
        }
        Ok(())
    }

    fn look(&mut self, watch: &mut Watch, kernel: &Kernel) {
        for trouble in watch.look() {
            match trouble {
                Trouble::Dead(line) => {
                    let broken = self.broken.take();
                    self.broken = broken.or_else(|| Some(Break::now(line)));
                }
                Trouble::Stall(line) => {
                    say::warn(format_args!("kernel {}: {line}", kernel.series));
                    self.stall = Some((line, self.pulse.now()));
                }
            }
        }
    }

    /// With what the console said before it, which may be the cause.
    fn outcome(&mut self, mut broken: Break) -> Outcome {
        if let Some((line, at)) = self.stall.take()
            && self.pulse.is_recent(at)
        {
            broken.why = format!("{}; its console said: {line}", broken.why);
            broken.began_in = broken.began_in.or(at.job);
        }
        if self.pulse.is_up() {
            Outcome::Broke(broken)
        } else {
            Outcome::NeverUp(broken.why)
        }
    }
}

/// QEMU, killed when it goes out of scope.
#[derive(Debug)]
struct Qemu {
    child: Child,
    frames: Receiver<std::io::Result<Frame>>,
    /// Held open: QEMU takes its end for the port's.
    _stdin: Option<ChildStdin>,
    complaints: PathBuf,
}

impl Qemu {
    fn start(machine: &Machine<'_>) -> Result<Self> {
        let complaints = machine.run.console.with_extension("qemu");
        let mut command = Command::new("setpriv");
        // Whatever ends us, even a kill, ends the machine.
        command.args(["--pdeathsig", "KILL", "--"]);
        command.arg(tools::path(tools::QEMU.program)?);
        command.args(machine.accel.arguments());
        command.args(["-M", "q35", "-nodefaults", "-no-user-config", "-no-reboot"]);
        command.args(["-display", "none", "-monitor", "none"]);
        command.args(["-smp", &machine.run.size.cpus.to_string()]);
        command.args(["-m", &machine.run.size.memory.to_string()]);
        command.arg("-kernel").arg(&machine.kernel.image);
        command.arg("-initrd").arg(machine.initramfs);
        command.arg("-append");
        command.arg(format!(
            "{COMMAND_LINE} {} {FIRST_JOB}={}",
            machine.accel.kernel_options(),
            machine.run.first_job
        ));
        command.arg("-serial");
        // In QEMU's options a comma ends a value unless it is doubled.
        let console = machine.run.console.display().to_string().replace(',', ",,");
        command.arg(format!("file:{console}"));
        // QEMU's own stdin and stdout are the guest's port.
        command.args(["-chardev", "stdio,id=port,signal=off"]);
        command.args(["-device", "virtio-serial-pci", "-device"]);
        command.arg(format!("virtserialport,chardev=port,name={PORT}"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&complaints).context("cannot write QEMU's log")?)
            .spawn()
            .context("cannot start QEMU")?;
        let from = child.stdout.take().context("QEMU has no stdout")?;
        let (sender, frames) = mpsc::channel();
        thread::spawn(move || {
            let mut from = BufReader::new(from);
            loop {
                let frame = match Frame::read(&mut from) {
                    Ok(Some(frame)) => Ok(frame),
                    Ok(None) => return,
                    // Cut off in the middle: the machine has ended, which is said elsewhere.
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => return,
                    Err(error) => Err(error),
                };
                let last = frame.is_err();
                if sender.send(frame).is_err() || last {
                    return;
                }
            }
        });
        Ok(Self {
            _stdin: child.stdin.take(),
            child,
            frames,
            complaints,
        })
    }

    /// What QEMU said about its end.
    fn last_words(&mut self) -> String {
        let status = self
            .child
            .wait()
            .map_or_else(|error| error.to_string(), |status| status.to_string());
        let complaint = super::console::tail(&self.complaints, 1);
        if complaint.is_empty() {
            format!("the machine went off before its time (QEMU: {status})")
        } else {
            format!("QEMU: {complaint} ({status})")
        }
    }

    fn stop(&mut self) {
        // It may be gone already; then there is nothing to kill.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::fs::metadata(&self.complaints).is_ok_and(|meta| meta.len() == 0) {
            std::fs::remove_file(&self.complaints).ok();
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.stop();
    }
}
