//! What is remembered from one start to the next.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use super::{StateError, read, replace};

/// The state directory's files.
#[derive(Debug, Clone)]
pub struct Memory {
    directory: PathBuf,
}

impl Memory {
    /// The memory in a directory.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// The UDP port that was chosen earlier, host byte order.
    pub fn listen_port(&self) -> Result<Option<u16>, StateError> {
        let text = read(&self.directory.join("listen-port"))?;
        Ok(text
            .and_then(|text| text.trim().parse().ok())
            .filter(|port| *port != 0))
    }

    /// Keeps the chosen port.
    pub fn keep_listen_port(&self, port: u16) -> Result<(), StateError> {
        replace(&self.directory.join("listen-port"), &format!("{port}\n"))
    }

    /// The last good address of each endpoint name (`name:port`).
    pub fn endpoints(&self) -> Result<BTreeMap<String, SocketAddr>, StateError> {
        let text = read(&self.directory.join("endpoints.json"))?;
        Ok(text
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default())
    }

    /// Keeps them.
    pub fn keep_endpoints(
        &self,
        endpoints: &BTreeMap<String, SocketAddr>,
    ) -> Result<(), StateError> {
        let path = self.directory.join("endpoints.json");
        let text = serde_json::to_string_pretty(endpoints)
            .map_err(|error| StateError::new("writing", &path)(error.into()))?;
        replace(&path, &text)
    }
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
    fn a_port_is_kept() {
        let directory = std::env::temp_dir().join(format!("lte-memory-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let memory = Memory::new(&directory);
        assert_eq!(memory.listen_port().unwrap(), None);
        let port = free_port().unwrap();
        assert_ne!(port, 0);
        memory.keep_listen_port(port).unwrap();
        assert_eq!(memory.listen_port().unwrap(), Some(port));
        std::fs::write(directory.join("listen-port"), "nonsense").unwrap();
        assert_eq!(memory.listen_port().unwrap(), None);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
