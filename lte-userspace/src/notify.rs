//! Telling systemd how things stand (sd_notify).

use std::collections::VecDeque;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Messages that are kept while the service manager does not read.
const KEPT: usize = 16;

/// The service manager's socket, if there is one.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// What it has not taken yet.
    unsent: VecDeque<String>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Finds it by `NOTIFY_SOCKET`.
    pub fn from_environment() -> Self {
        let address = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            match name.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name).ok(),
                None => SocketAddr::from_pathname(&name).ok(),
            }
        });
        let own = std::process::id().to_string();
        let meant = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == own);
        let watchdog = std::env::var("WATCHDOG_USEC")
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|_| meant)
            .map(Duration::from_micros);
        let open = |address| {
            let socket = UnixDatagram::unbound().ok()?;
            // A service manager that does not read must not hold up the agent.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        };
        Self {
            socket: address.and_then(open),
            unsent: VecDeque::new(),
            watchdog,
        }
    }

    /// The service manager's watchdog, where it has one.
    pub fn watchdog(&self) -> Option<Watchdog> {
        let (socket, address) = self.socket.as_ref()?;
        Some(Watchdog {
            socket: socket.try_clone().ok()?,
            address: address.clone(),
            every: self.watchdog? / 2,
        })
    }

    /// Sends lines such as `READY=1`. That no manager listens is no error; what its socket has no
    /// room for is sent with the next.
    pub fn send(&mut self, lines: &str) {
        let mut lines = lines.to_owned();
        // Type=notify-reload knows by the time which reload this is.
        if lines.lines().any(|line| line == "RELOADING=1") {
            let now = clock_gettime(ClockId::Monotonic);
            let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
            lines = format!("{lines}\nMONOTONIC_USEC={microseconds}");
        }
        if self.unsent.len() >= KEPT {
            self.unsent.pop_front();
        }
        self.unsent.push_back(lines);
        self.flush();
    }

    /// Sends what there was no room for.
    pub fn flush(&mut self) {
        let Some((socket, address)) = &self.socket else {
            self.unsent.clear();
            return;
        };
        while let Some(lines) = self.unsent.front() {
            match socket.send_to_addr(lines.as_bytes(), address) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => log::debug!("telling the service manager: {error}"),
                Ok(_) => {}
            }
            self.unsent.pop_front();
        }
    }
}

/// What wants to hear now and then that we live.
#[derive(Debug)]
pub struct Watchdog {
    socket: UnixDatagram,
    address: SocketAddr,
    every: Duration,
}

impl Watchdog {
    /// How often: in half of its time.
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// Lets it hear. Where there is no room, the next will do.
    pub fn beat(&self) {
        drop(self.socket.send_to_addr(b"WATCHDOG=1", &self.address));
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_read_holds_nobody_up_and_hears_all_later() {
        let path = std::env::temp_dir().join(format!("lte-notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = SocketAddr::from_pathname(&path).unwrap();
        let mut notifier = Notifier {
            socket: Some((socket, address)),
            unsent: VecDeque::new(),
            watchdog: None,
        };
        // Until its queue is full, and some more.
        let mut sent = 0;
        while notifier.unsent.len() < 3 {
            notifier.send(&format!("STATUS={sent}"));
            sent += 1;
        }
        let mut heard = Vec::new();
        let mut buffer = [0; 64];
        while let Ok(length) = manager.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            notifier.flush();
        }
        std::fs::remove_file(&path).unwrap();
        let all: Vec<String> = (0..sent).map(|n| format!("STATUS={n}")).collect();
        assert_eq!(heard, all);
    }
}
