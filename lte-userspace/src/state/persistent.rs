//! Persistent state: what is kept from one start to the next.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use super::{ModemDevices, StateError, file};

/// The state directory's files.
#[derive(Debug, Clone)]
pub struct PersistentState {
    directory: PathBuf,
}

impl PersistentState {
    /// The state in a directory.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Renames files with invalid content, before anything is written. Commands that change nothing do not call it.
    pub fn quarantine_invalid(&self) {
        file::quarantine(&self.port_file(), parse_port);
        file::quarantine(&self.endpoints_file(), parse_endpoints);
        file::quarantine(&self.devices_file(), parse_devices);
    }

    /// The UDP port that was chosen earlier, host byte order.
    pub fn listen_port(&self) -> Option<u16> {
        file::read(&self.port_file(), parse_port)
    }

    /// Keeps the chosen port.
    pub fn save_listen_port(&self, port: u16) -> Result<(), StateError> {
        file::replace(&self.port_file(), &format!("{port}\n"))
    }

    /// The last verified address of each endpoint name (`name:port`).
    pub fn endpoints(&self) -> BTreeMap<String, SocketAddr> {
        file::read(&self.endpoints_file(), parse_endpoints).unwrap_or_default()
    }

    /// The devices that have been the modem.
    pub fn devices(&self) -> ModemDevices {
        file::read(&self.devices_file(), parse_devices).unwrap_or_default()
    }

    /// Keeps them.
    pub fn save_devices(&self, devices: &ModemDevices) -> Result<(), StateError> {
        let path = self.devices_file();
        let text = serde_json::to_string_pretty(devices)
            .map_err(|error| StateError::new("writing", &path)(error.into()))?;
        file::replace(&path, &text)
    }

    fn devices_file(&self) -> PathBuf {
        self.directory.join("modem.json")
    }

    fn port_file(&self) -> PathBuf {
        self.directory.join("listen-port")
    }

    fn endpoints_file(&self) -> PathBuf {
        self.directory.join("endpoints.json")
    }

    /// Keeps them.
    pub fn save_endpoints(
        &self,
        endpoints: &BTreeMap<String, SocketAddr>,
    ) -> Result<(), StateError> {
        let path = self.endpoints_file();
        let text = serde_json::to_string_pretty(endpoints)
            .map_err(|error| StateError::new("writing", &path)(error.into()))?;
        file::replace(&path, &text)
    }
}

fn parse_port(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|port| *port != 0)
}

fn parse_devices(text: &str) -> Option<ModemDevices> {
    serde_json::from_str(text).ok()
}

fn parse_endpoints(text: &str) -> Option<BTreeMap<String, SocketAddr>> {
    serde_json::from_str(text).ok()
}

/// A UDP port that is free in both families now, as the kernel chooses it. The guard must know it
/// before WireGuard's socket exists, so WireGuard cannot be asked.
pub fn free_port() -> std::io::Result<u16> {
    let mut last = None;
    for _ in 0..16 {
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = v4.local_addr()?.port();
        // Dropped first: a socket for both families would clash with it.
        drop(v4);
        match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
            Ok(_) => return Ok(port),
            // No IPv6 here.
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("no UDP port is free")))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test's own files are there")]
mod tests {
    use super::*;

    #[test]
    fn addresses_outlive_an_empty_file() {
        let directory = std::env::temp_dir().join(format!("lte-names-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let persistent = PersistentState::new(&directory);
        let known = |address: &str| {
            let name = "vpn.example.org:51820".to_owned();
            BTreeMap::from([(name, address.parse::<SocketAddr>().unwrap())])
        };
        persistent
            .save_endpoints(&known("192.0.2.1:51820"))
            .unwrap();
        persistent
            .save_endpoints(&known("192.0.2.2:51820"))
            .unwrap();
        std::fs::write(directory.join("endpoints.json"), "").unwrap();
        assert_eq!(persistent.endpoints(), known("192.0.2.1:51820"));
        persistent.quarantine_invalid();
        assert_eq!(persistent.endpoints(), known("192.0.2.1:51820"));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_port_is_kept() {
        let directory = std::env::temp_dir().join(format!("lte-memory-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let persistent = PersistentState::new(&directory);
        assert_eq!(persistent.listen_port(), None);
        let port = free_port().unwrap();
        assert_ne!(port, 0);
        persistent.save_listen_port(port).unwrap();
        assert_eq!(persistent.listen_port(), Some(port));
        std::fs::write(directory.join("listen-port"), "nonsense").unwrap();
        assert_eq!(persistent.listen_port(), None);
        persistent.quarantine_invalid();
        assert!(directory.join("listen-port.bad").exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
