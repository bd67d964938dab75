//! The guest's init: makes the machine ready, runs the plan's jobs, and says how they went.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::lived::Lived;
use super::protocol::{BEAT, End, FIRST_JOB, Frame, INIT, Job, MODULES, PLAN, PORT, Plan, Stream};

/// Modules without which there is no port.
const PORT_MODULES: [&str; 2] = ["virtio_pci", "virtio_console"];

/// How long a killed process may take to end.
const TO_DIE: Duration = Duration::from_secs(30);

/// What every job finds in its environment.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
    ("TERM", "dumb"),
    ("SHELL", "/bin/sh"),
];

/// Whether the kernel has started us as init.
pub(crate) fn is_init() -> bool {
    std::process::id() == 1 && std::env::args_os().next().is_some_and(|own| own == INIT)
}

/// Runs the plan and turns the machine off.
pub(crate) fn main() -> ExitCode {
    if let Err(error) = run() {
        // The console is all there is to say it on; it goes to the host's log.
        eprintln!("init: {error:#}");
    }
    let off = reboot(RebootMode::RB_POWER_OFF);
    eprintln!("init: cannot turn the machine off: {off:?}");
    ExitCode::FAILURE
}

fn run() -> Result<()> {
    mount_all()?;
    let plan = fs::read(PLAN).context("the image has no plan")?;
    let plan: Plan = serde_json::from_slice(&plan).context("the plan is not readable")?;
    let modules = fs::read_to_string(MODULES).context("the image has no list of modules")?;
    let (first, rest): (Vec<&str>, Vec<&str>) = modules
        .lines()
        .partition(|name| PORT_MODULES.contains(name));
    load(&first)?;
    let port = Port(Arc::new(Mutex::new(open_port()?)));
    load(&rest)?;
    loopback()?;
    let processors = thread::available_parallelism()
        .context("cannot count the processors")?
        .get();
    port.send(&Frame::Hello(processors as u32))?;
    for processor in 0..processors {
        beat(processor, port.clone());
    }
    for (number, job) in plan.jobs.iter().enumerate().skip(first_job()?) {
        port.send(&Frame::Start(number as u32))?;
        let end = run_job(job, &port);
        let killed = matches!(end, End::Deadline | End::Signal(_));
        port.send(&Frame::End(end))?;
        if killed {
            // It has not tidied up: pins and modules are the whole machine's, and the next would
            // fail of them.
            break;
        }
    }
    port.send(&Frame::Done)
}

/// Says again and again that a processor runs what it is given.
fn beat(processor: usize, port: Port) {
    thread::spawn(move || {
        let mut here = CpuSet::new();
        let bound = here
            .set(processor)
            .and_then(|()| sched_setaffinity(Pid::from_raw(0), &here));
        if let Err(error) = bound {
            // The host misses the beats, and shows this.
            eprintln!("init: cannot bind a thread to processor {processor}: {error}");
            return;
        }
        while port.send(&Frame::Beat(processor as u32)).is_ok() {
            thread::sleep(BEAT);
        }
    });
}

/// Which job to begin with: a machine that broke is booted again for those that are left.
fn first_job() -> Result<usize> {
    let line = fs::read_to_string("/proc/cmdline").context("cannot read the command line")?;
    line.split_whitespace()
        .filter_map(|word| word.split_once('='))
        .find(|(name, _)| *name == FIRST_JOB)
        .context("the command line names no first job")?
        .1
        .parse()
        .context("the first job is not a number")
}

fn mount_all() -> Result<()> {
    // The last ones are not on every kernel, and only for diagnosis. Nothing is mounted at /tmp: the
    // root is in memory anyway, and the workspace, whose paths the guest has too, may lie below it.
    for (kind, at, options, needed) in [
        ("proc", "/proc", "", true),
        ("sysfs", "/sys", "", true),
        ("devtmpfs", "/dev", "mode=0755", true),
        ("devpts", "/dev/pts", "mode=0620,ptmxmode=0666", true),
        ("tmpfs", "/dev/shm", "mode=1777", true),
        ("tmpfs", "/run", "mode=0755", true),
        ("bpf", "/sys/fs/bpf", "mode=0700", true),
        ("cgroup2", "/sys/fs/cgroup", "", true),
        ("tracefs", "/sys/kernel/tracing", "", false),
        ("debugfs", "/sys/kernel/debug", "", false),
    ] {
        if at.starts_with("/dev/") {
            fs::create_dir_all(at).with_context(|| format!("cannot make {at}"))?;
        }
        let done = mount(Some(kind), at, Some(kind), MsFlags::empty(), Some(options));
        if needed {
            done.with_context(|| format!("cannot mount {kind} at {at}"))?;
        }
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        std::os::unix::fs::symlink(target, link).with_context(|| format!("cannot make {link}"))?;
    }
    Ok(())
}

fn load(modules: &[&str]) -> Result<()> {
    if modules.is_empty() {
        return Ok(());
    }
    let status = guest_command("modprobe")
        .arg("-a")
        .args(modules)
        .status()
        .context("cannot run modprobe")?;
    if !status.success() {
        bail!("modprobe failed ({status})");
    }
    Ok(())
}

fn loopback() -> Result<()> {
    let status = guest_command("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .context("cannot run ip")?;
    if !status.success() {
        bail!("the loopback interface does not come up ({status})");
    }
    Ok(())
}

fn guest_command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(ENVIRONMENT).current_dir("/root");
    command
}

/// The way to the host, shared by the threads that speak.
#[derive(Debug, Clone)]
struct Port(Arc<Mutex<File>>);

impl Port {
    fn send(&self, frame: &Frame) -> Result<()> {
        // A thread that died while it held the lock leaves at worst half a frame, and the host
        // takes that for an error.
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame.write(&mut *file).context("the host's port is closed")
    }
}

fn open_port() -> Result<File> {
    let started = Instant::now();
    loop {
        if let Some(device) = port_device()? {
            return OpenOptions::new()
                .read(true)
                .write(true)
                .open(&device)
                .with_context(|| format!("cannot open {}", device.display()));
        }
        if started.elapsed() > Duration::from_secs(30) {
            bail!("there is no virtio port named {PORT}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn port_device() -> Result<Option<PathBuf>> {
    let Ok(ports) = fs::read_dir("/sys/class/virtio-ports") else {
        return Ok(None);
    };
    for port in ports {
        let port = port?;
        // The name comes a moment after the port itself.
        let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        let device = Path::new("/dev").join(port.file_name());
        if name.trim() == PORT && device.exists() {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

fn run_job(job: &Job, port: &Port) -> End {
    let Some((program, arguments)) = job.words.split_first() else {
        return End::NotStarted("it has no words".to_owned());
    };
    let spawned = guest_command(program)
        .args(arguments)
        .envs(job.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return End::NotStarted(format!("{program}: {error}")),
    };
    let readers = [
        child
            .stdout
            .take()
            .map(|from| forward(from, Stream::Out, port)),
        child
            .stderr
            .take()
            .map(|from| forward(from, Stream::Err, port)),
    ];
    let end = wait_for(Pid::from_raw(child.id().cast_signed()), job.deadline, port);
    // What it left behind must not disturb the next job, nor hold its pipes open.
    kill_all();
    // A pipe's end comes with the end of the last process that holds it.
    reap();
    for reader in readers.into_iter().flatten() {
        // A reader that panicked has already said so on the console.
        reader.join().ok();
    }
    end
}

fn forward(
    mut from: impl Read + Send + 'static,
    stream: Stream,
    port: &Port,
) -> thread::JoinHandle<()> {
    let port = port.clone();
    thread::spawn(move || {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    let output = Frame::Output(stream, buffer[..read].to_vec());
                    if port.send(&output).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    })
}

/// Waits for the job, and reaps whatever else ends meanwhile: an orphan's parent is init.
fn wait_for(job: Pid, deadline: u64, port: &Port) -> End {
    let mut lived = Lived::default();
    loop {
        lived.pass();
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == job => return End::Exit(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == job => {
                return End::Signal(signal as i32);
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => {
                if lived.total() > Duration::from_secs(deadline) {
                    let report = processes();
                    // The report is a help only; the deadline is said either way.
                    port.send(&Frame::Output(Stream::Err, report.into_bytes()))
                        .ok();
                    return End::Deadline;
                }
                thread::sleep(Duration::from_millis(5));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

fn kill_all() {
    // From init, all but init itself. ESRCH: there was no process left.
    kill(Pid::from_raw(-1), Signal::SIGKILL).ok();
}

fn reap() {
    let started = Instant::now();
    while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            if started.elapsed() > TO_DIE {
                // A process that waits in the kernel for so long waits for ever, and so will the next job.
                eprintln!("init: a process does not die");
                eprintln!("{}", processes());
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Who runs and where they wait, for the log of what did not end.
fn processes() -> String {
    let mut report = String::from("\nprocesses still there:\n");
    let Ok(list) = fs::read_dir("/proc") else {
        return report;
    };
    for entry in list.flatten() {
        let dir = entry.path();
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
        let line = read("cmdline").replace('\0', " ");
        // Kernel threads have none.
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(|c: char| c.is_ascii_digit())
            && !line.is_empty()
        {
            let id = entry.file_name();
            let wait = read("wchan");
            // Writing to a string does not fail.
            writeln!(report, "  {} {line}[waits in {wait}]", id.to_string_lossy()).ok();
        }
    }
    report
}
