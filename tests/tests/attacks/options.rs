//! Socket options that the standard library has no names for.

use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result};
use nix::errno::Errno;

/// Sets one from its bytes.
pub(crate) fn set(socket: &impl AsRawFd, level: i32, name: i32, value: &[u8]) -> Result<()> {
    let fd: RawFd = socket.as_raw_fd();
    // SAFETY: it reads the bytes, of the length that is given, which live until it returns.
    let set = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    Errno::result(set).with_context(|| format!("socket option {name} of level {level}"))?;
    Ok(())
}

/// Sets one that is an `int`.
pub(crate) fn set_int(socket: &impl AsRawFd, level: i32, name: i32, value: i32) -> Result<()> {
    set(socket, level, name, &value.to_ne_bytes())
}
