#![expect(clippy::unwrap_used, reason = "a test's own files are there")]

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use super::*;

/// A run directory of a test's own.
struct Run(PathBuf);

impl Run {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lte-lock-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Another process, ended with the test.
struct Other(Child);

impl Other {
    /// One that holds a lock: it takes it between fork and exec, and the lock outlives exec.
    fn holding(take: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        let mut command = Command::new("sleep");
        command.arg("100");
        // SAFETY: between fork and exec nothing but system calls is made.
        unsafe { command.pre_exec(take) };
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    fn ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// An agent, as far as the lock goes.
fn agent(run: &Run) -> Other {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(file(&run.0))
        .unwrap();
    Other::holding(move || {
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // Closed at exec, it would take the lock with it.
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
        Ok(())
    })
}

#[test]
fn the_second_is_told_who_holds_it() {
    let run = Run::new("second");
    assert_eq!(Lock::holder(&run.0).unwrap(), None);
    let first = agent(&run);
    let pid = Some(first.pid());
    assert_eq!(Lock::holder(&run.0).unwrap(), Some(Holder { pid }));
    let second = Lock::take(&run.0).unwrap_err();
    assert!(matches!(second, LockError::Held(holder) if holder.pid == pid));
    drop(first);
    assert_eq!(Lock::holder(&run.0).unwrap(), None);
    Lock::take(&run.0).unwrap();
}

#[test]
fn the_holder_is_interrupted_and_nobody_else() {
    let run = Run::new("interrupt");
    let mut innocent = Other::holding(|| Ok(()));
    let pid = Some(innocent.pid());
    let stale = Holder { pid };
    assert!(!stale.interrupt(&run.0).unwrap(), "nobody holds it");
    let mut first = agent(&run);
    assert!(!stale.interrupt(&run.0).unwrap(), "another holds it");
    let holder = Lock::holder(&run.0).unwrap().unwrap();
    assert!(holder.interrupt(&run.0).unwrap());
    first.0.wait().unwrap();
    assert!(!holder.interrupt(&run.0).unwrap(), "it has ended");
    assert!(!innocent.ended());
}

#[test]
fn what_others_write_or_lock_in_the_old_file_means_nothing() {
    let run = Run::new("old");
    let mut innocent = Other::holding(|| Ok(()));
    let path = run.0.join("lock");
    std::fs::write(&path, format!("{}\n", innocent.pid())).unwrap();
    let file = File::open(&path).unwrap();
    let holder = Other::holding(move || {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
        Ok(())
    });
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    assert!(locks.contains(&format!(" {} ", holder.pid())), "{locks}");
    assert_eq!(Lock::holder(&run.0).unwrap(), None);
    Lock::take(&run.0).unwrap();
    assert!(!innocent.ended());
}

#[test]
fn the_file_is_its_owners_alone() {
    let run = Run::new("mode");
    let path = file(&run.0);
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    drop(Lock::take(&run.0).unwrap());
    let mode = std::fs::metadata(&path).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600);

    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(run.0.join("elsewhere"), &path).unwrap();
    let refused = Lock::take(&run.0).unwrap_err();
    assert!(matches!(refused, LockError::NotOurs { .. }), "{refused}");
    assert!(!run.0.join("elsewhere").exists(), "it was followed");
}
