//! Links without a link header: two TUN devices (`ARPHRD_NONE`), and a thread that carries what
//! one sends to the other.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::netns::Netns;

/// A pair of TUN devices. Both go when it goes.
#[derive(Debug)]
pub struct Cable {
    stop: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
}

impl Cable {
    /// Makes a device in each of two namespaces, both down.
    pub fn lay(ends: [(&Netns, &str); 2]) -> Result<Self> {
        let [one, other] = ends.map(|(netns, name)| device(netns, name));
        let ends = [one?, other?];
        let stop = Arc::new(AtomicBool::new(false));
        let carrier = thread::spawn({
            let stop = Arc::clone(&stop);
            move || carry(&ends, &stop)
        });
        Ok(Self {
            stop,
            carrier: Some(carrier),
        })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take()
            && carrier.join().is_err()
        {
            eprintln!("lab: the carrier between two TUN devices panicked");
        }
    }
}

fn device(netns: &Netns, name: &str) -> Result<File> {
    netns
        .run(|| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/net/tun")
                .context("/dev/net/tun")?;
            let mut name_bytes = [0; libc::IFNAMSIZ];
            for (to, from) in name_bytes.iter_mut().zip(name.bytes()) {
                *to = from.cast_signed();
            }
            let request = libc::ifreq {
                ifr_name: name_bytes,
                ifr_ifru: libc::__c_anonymous_ifr_ifru {
                    ifru_flags: (libc::IFF_TUN | libc::IFF_NO_PI) as i16,
                },
            };
            // SAFETY: the request is a live value of the type this call reads and writes.
            let result =
                unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
            Errno::result(result).context("TUNSETIFF")?;
            Ok(file)
        })
        .with_context(|| format!("TUN device {name} in {}", netns.name()))
}

/// A device that is down neither gives nor takes: what is under way then is lost, as on a wire.
fn carry(ends: &[File; 2], stop: &AtomicBool) {
    let mut packet = vec![0; 65536];
    while !stop.load(Ordering::Relaxed) {
        let mut ready = [0, 1].map(|end: usize| PollFd::new(ends[end].as_fd(), PollFlags::POLLIN));
        if poll(&mut ready, PollTimeout::from(50_u8)).is_err() {
            continue;
        }
        let mut idle = true;
        for (from, to) in [(0, 1), (1, 0)] {
            while let Ok(length) = (&ends[from]).read(&mut packet) {
                idle = false;
                (&ends[to]).write_all(&packet[..length]).ok();
            }
        }
        if idle {
            // Of a device that is down, poll says that there is something to read.
            thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}
