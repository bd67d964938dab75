//! Events of changes to a guard, where the kernel sends them.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// What becomes readable when something of a guard may have changed.
pub(super) trait EventSource: AsRawFd + fmt::Debug + Send {
    /// Reads all events since, without waiting. Returns whether any of them can be about
    /// the guard; that something was lost counts.
    fn read(&mut self) -> io::Result<bool>;
}

/// A way to hear of changes to a guard.
#[derive(Debug)]
pub struct Watch(Box<dyn EventSource>);

impl Watch {
    pub(super) fn new(source: impl EventSource + 'static) -> Self {
        Self(Box::new(source))
    }

    /// Reads the events since. Returns whether any of them can be about the guard.
    ///
    /// # Errors
    /// Of the source, when it is of no more use.
    pub fn read(&mut self) -> io::Result<bool> {
        self.0.read()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
