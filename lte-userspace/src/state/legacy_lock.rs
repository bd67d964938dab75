//! The agents of versions before this one: they hold flock(2) on a file that everybody may read.
//!
//! So everybody may hold that flock, too, and a held one says nothing. It is believed where the process
//! that the kernel names has the file open, runs as this process's own user, by real, effective and saved
//! id, and is a program of the agent's name: none of which another user can bring about, by a program that
//! changes its user either.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{Pid, geteuid};

use super::lock::Holder;

/// How the agent's program is called; the kernel adds a word where it has been replaced since.
const PROGRAM: &str = "lte-userspace";

/// Such an agent that runs.
pub(super) fn holder(run: &Path) -> Option<Holder> {
    let file = fs::symlink_metadata(run.join("lock")).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    holders(&locks, file.ino())
        .find(|pid| is_agent(*pid, &file))
        .map(|pid| Holder { pid: Some(pid) })
}

/// Who holds a flock on a file of this number, in lines of `1: FLOCK  ADVISORY  WRITE 712 00:16:93 0 EOF`;
/// who waits for one has an arrow before it.
fn holders(locks: &str, number: u64) -> impl Iterator<Item = Pid> {
    locks.lines().filter_map(move |line| {
        let mut words = line.split_whitespace().skip(1);
        let is = words.next()? == "FLOCK" && words.nth(1)? == "WRITE";
        let pid = words.next()?.parse().ok().filter(|pid| *pid > 0)?;
        let of = words.next()?.rsplit(':').next()?.parse::<u64>().ok()?;
        (is && of == number).then(|| Pid::from_raw(pid)).flatten()
    })
}

fn is_agent(pid: Pid, file: &Metadata) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    let has_it = |entry: fs::DirEntry| {
        fs::metadata(entry.path())
            .is_ok_and(|open| (open.dev(), open.ino()) == (file.dev(), file.ino()))
    };
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let program = fs::read_link(process.join("exe")).unwrap_or_default();
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten();
    is_of_user(&status, geteuid().as_raw())
        && is_named(&program)
        && descriptors.flatten().any(has_it)
}

/// Whether real, effective, saved and file system id are all this user's.
fn is_of_user(status: &str, user: u32) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .is_some_and(|ids| {
            let ids: Vec<_> = ids.split_whitespace().map(str::parse::<u32>).collect();
            ids.len() == 4 && ids.iter().all(|id| *id == Ok(user))
        })
}

fn is_named(program: &Path) -> bool {
    program
        .file_name()
        .and_then(OsStr::to_str)
        .is_some_and(|name| name.strip_suffix(" (deleted)").unwrap_or(name) == PROGRAM)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: &str = "\
1: FLOCK  ADVISORY  WRITE 712 00:16:93 0 EOF
2: POSIX  ADVISORY  WRITE 713 00:16:93 0 EOF
2: -> FLOCK  ADVISORY  WRITE 714 00:16:93 0 EOF
3: FLOCK  ADVISORY  READ  715 00:16:93 0 EOF
4: FLOCK  ADVISORY  WRITE 716 00:16:94 0 EOF
5: FLOCK  ADVISORY  WRITE 0 00:16:93 0 EOF
";

    #[test]
    fn who_holds_a_flock_is_told_from_who_waits_and_from_others() {
        let found: Vec<Option<Pid>> = holders(LOCKS, 93).map(Some).collect();
        assert_eq!(found, [Pid::from_raw(712)]);
    }

    #[test]
    fn another_user_is_no_agent_whatever_the_program_has_changed() {
        assert!(is_of_user("Name:\tx\nUid:\t0\t0\t0\t0\n", 0));
        for ids in ["1000\t0\t0\t0", "0\t0\t65534\t0", "0\t0\t0", ""] {
            assert!(!is_of_user(&format!("Uid:\t{ids}\n"), 0), "{ids}");
        }
        assert!(!is_of_user("", 0));
    }

    #[test]
    fn a_replaced_program_is_the_agent_still() {
        assert!(is_named(Path::new("/usr/sbin/lte-userspace")));
        assert!(is_named(Path::new("/usr/sbin/lte-userspace (deleted)")));
        assert!(!is_named(Path::new("/tmp/lte-userspace-not")));
        assert!(!is_named(Path::new("")));
    }
}
