//! Telling systemd how things stand (sd_notify).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The service manager's socket, if there is one.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
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
        Self {
            socket: address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address))),
            watchdog,
        }
    }

    /// How often the watchdog wants to hear of us: half of its time.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    /// Sends lines such as `READY=1`. Nobody's listening is no error.
    pub fn send(&self, lines: &str) {
        let mut lines = lines.to_owned();
        // Type=notify-reload tells by the time which reload this is.
        if lines.lines().any(|line| line == "RELOADING=1") {
            let now = clock_gettime(ClockId::Monotonic);
            let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
            lines = format!("{lines}\nMONOTONIC_USEC={microseconds}");
        }
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(lines.as_bytes(), address)
        {
            log::debug!("telling the service manager: {error}");
        }
    }
}
