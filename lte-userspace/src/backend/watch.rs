//! Hearing of changes to a guard, where the kernel tells of them.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_sys::Socket;

/// A netlink socket that tells of changes, and which of its messages can be about the guard.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    concerns: fn(&[u8]) -> bool,
}

impl Watch {
    /// Listens to a non-blocking socket; `concerns` judges a datagram.
    pub(super) fn new(socket: Socket, concerns: fn(&[u8]) -> bool) -> Self {
        Self { socket, concerns }
    }

    /// Reads what has been told since. Returns whether any of it can be about the guard; that
    /// something was lost counts.
    ///
    /// # Errors
    /// Of the socket, when it is of no more use.
    pub fn read(&mut self) -> io::Result<bool> {
        let mut concerns = false;
        loop {
            match self.socket.recv_from_full() {
                Ok((datagram, _)) => concerns |= (self.concerns)(&datagram),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(concerns),
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => concerns = true,
                Err(error) => return Err(error),
            }
        }
    }
}

/// The socket's buffer was full.
const ENOBUFS: i32 = 105;

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
