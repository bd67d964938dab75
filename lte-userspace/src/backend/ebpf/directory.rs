//! Directories of the BPF file system, opened step by step.
//!
//! The BPF file system is often mounted so that everybody may write to its root (mode 1777 is its
//! default). So no link is followed, and what belongs to another user, or may be changed by
//! one, is refused. A path of a directory that was opened so is safe to use: none but
//! root can change what its names lead to.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fchmod, fstat, fstatfs, mkdirat, openat,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::backend::BackendError;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// For the owner alone.
const OWN: u32 = 0o700;

/// A directory that is open, and ours.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn is_bpf(fd: &OwnedFd) -> bool {
    fstatfs(fd).is_ok_and(|stat| stat.f_type.cast_unsigned() as u32 == BPF_FS_MAGIC)
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == geteuid().as_raw() || stat.st_uid == 0
}

fn kind(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        _ => "no directory",
    }
}

impl Directory {
    /// The root of the BPF file system that is mounted at a path.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] where there is none, or others can rename what is in it.
    pub(super) fn root(path: &Path) -> Result<Self, BackendError> {
        let shown = path.display();
        let fd = openat(CWD, path, flags(), Mode::empty()).ok();
        let Some(fd) = fd.filter(is_bpf) else {
            return Err(BackendError::Unsupported(format!(
                "eBPF: {shown} is not the BPF file system; mount it (mount -t bpf -o mode=0700 bpf {shown}), or use --backend nft"
            )));
        };
        let stat = fstat(&fd).map_err(|e| failed("look at", path, e))?;
        let held = stat.st_mode & OTHERS_WRITE == 0 || stat.st_mode & STICKY != 0;
        if is_ours(&stat) && held {
            return Ok(Self {
                fd,
                path: path.to_owned(),
            });
        }
        Err(BackendError::Unsupported(format!(
            "eBPF: in {shown} (owner {}, mode {:o}) others can exchange what the agent pins; take that right away (chown root {shown} && chmod 0700 {shown}), or use --backend nft",
            stat.st_uid,
            stat.st_mode & 0o7777
        )))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory in it; `None`: there is nothing of this name.
    ///
    /// # Errors
    /// If what is there belongs to another user: it is not touched.
    pub(super) fn open(&self, name: &str) -> Result<Option<Self>, BackendError> {
        let path = self.path.join(name);
        let refused = |stat: &Stat| {
            BackendError::failed(
                path.display().to_string(),
                format!(
                    "it is not this agent's ({}, owner {}, mode {:o}), and nothing in it is used or removed; take it away (sudo rm -r {})",
                    kind(stat),
                    stat.st_uid,
                    stat.st_mode & 0o7777,
                    path.display()
                ),
            )
        };
        let seen = match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(failed("look at", &path, e)),
        };
        let fd = match openat(&self.fd, name, flags(), Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(refused(&seen)),
            Err(e) => return Err(failed("open", &path, e)),
        };
        let stat = fstat(&fd).map_err(|e| failed("look at", &path, e))?;
        if !is_ours(&stat) || stat.st_mode & OTHERS_WRITE != 0 || !is_bpf(&fd) {
            return Err(refused(&stat));
        }
        Ok(Some(Self { fd, path }))
    }

    /// Opens a directory in it, made if it is not there. Its owner alone can read it.
    pub(super) fn create(&self, name: &str) -> Result<Self, BackendError> {
        let path = self.path.join(name);
        match mkdirat(&self.fd, name, Mode::from_raw_mode(OWN)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(failed("create", &path, e)),
        }
        let made = self
            .open(name)?
            .ok_or_else(|| failed("open", &path, Errno::NOENT))?;
        let stat = fstat(&made.fd).map_err(|e| failed("look at", &path, e))?;
        if stat.st_mode & 0o7777 != OWN {
            fchmod(&made.fd, Mode::from_raw_mode(OWN))
                .map_err(|e| failed("close to others", &path, e))?;
        }
        Ok(made)
    }

    /// Names in it.
    pub(super) fn names(&self) -> Result<Vec<String>, BackendError> {
        let fail = |e| failed("read", &self.path, e);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(fail)? {
            // What is not UTF-8 is not ours.
            let name = entry.map_err(fail)?.file_name().to_owned().into_string();
            names.extend(name.ok().filter(|name| name != "." && name != ".."));
        }
        Ok(names)
    }

    /// Names in it that begin so, without the beginning.
    pub(super) fn names_after(&self, prefix: &str) -> Result<Vec<String>, BackendError> {
        let names = self.names()?.into_iter();
        Ok(names
            .filter_map(|name| name.strip_prefix(prefix).map(str::to_owned))
            .collect())
    }

    /// Whether there is something of a name; a link that leads nowhere is something, too.
    pub(super) fn has(&self, name: &str) -> Result<bool, BackendError> {
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(failed("look at", &self.path.join(name), e)),
        }
    }

    /// Gives what is in it to another directory, in the place of what is of this name there.
    pub(super) fn move_to(&self, name: &str, to: &Self) -> Result<(), BackendError> {
        self.rename(name, to, name)
    }

    /// Gives what is in it another name, in the place of what has that.
    pub(super) fn replace(&self, name: &str, by: &str) -> Result<(), BackendError> {
        self.rename(by, self, name)
    }

    fn rename(&self, name: &str, to: &Self, other: &str) -> Result<(), BackendError> {
        renameat(&self.fd, name, &to.fd, other)
            .map_err(|e| failed("take over", &self.path.join(name), e))
    }

    /// Takes a pin away. That there is none is no error.
    pub(super) fn unlink(&self, name: &str) -> Result<(), BackendError> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(failed("remove", &self.path.join(name), e)),
        }
    }

    /// Takes a directory away if there is nothing in it.
    pub(super) fn remove_if_empty(&self, name: &str) -> Result<(), BackendError> {
        match unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(e) => Err(failed("remove", &self.path.join(name), e)),
        }
    }

    /// Takes a directory away with all that is in it; what goes wrong is noted.
    pub(super) fn remove(&self, name: &str, errors: &mut Vec<BackendError>) {
        match self.open(name) {
            Ok(Some(directory)) => {
                directory.empty(errors);
                if let Err(e) = unlinkat(&self.fd, name, AtFlags::REMOVEDIR)
                    && e != Errno::NOENT
                {
                    errors.push(failed("remove", &directory.path, e));
                }
            }
            Ok(None) => {}
            Err(e) => errors.push(e),
        }
    }

    fn empty(&self, errors: &mut Vec<BackendError>) {
        let names = self.names().unwrap_or_else(|e| {
            errors.push(e);
            Vec::new()
        });
        for name in names {
            let is_directory = statat(&self.fd, &name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
            if is_directory {
                self.remove(&name, errors);
            } else {
                errors.extend(self.unlink(&name).err());
            }
        }
    }
}

fn failed(what: &str, path: &Path, error: Errno) -> BackendError {
    let context = format!("{what} {}", path.display());
    BackendError::failed(context, io::Error::from(error))
}
