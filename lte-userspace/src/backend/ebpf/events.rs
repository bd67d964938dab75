//! Pins that are removed, as inotify reports them: a link goes with its pin, and rtnetlink says
//! nothing of it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::pins;
use crate::backend::watch::{EventSource, Watch};

/// Room for some events with the names they carry, bytes.
const BUFFER: usize = 4096;

/// Hears of them.
#[derive(Debug)]
struct Events(OwnedFd);

/// Listens to the directory of pins, which is made if it is not there.
pub(super) fn watch() -> io::Result<Watch> {
    let events = Events(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?);
    events.listen()?;
    Ok(Watch::new(events))
}

impl Events {
    fn listen(&self) -> io::Result<()> {
        let dir = pins::create().map_err(io::Error::other)?;
        let gone = WatchFlags::DELETE | WatchFlags::MOVED_FROM;
        inotify::add_watch(&self.0, dir, gone)?;
        Ok(())
    }
}

impl EventSource for Events {
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let (mut told, mut over) = (false, false);
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        loop {
            match reader.next() {
                // The directory itself is gone, and with it what listened.
                Ok(event) => over |= event.events().contains(ReadFlags::IGNORED),
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            told = true;
        }
        if over {
            self.listen()?;
        }
        Ok(told)
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
