//! Settings of one interface under `/proc/sys/net`, of the calling thread's network namespace.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::KernelError;
use crate::desired::SysctlKey;

fn path(family: &str, interface: &str, name: &str) -> PathBuf {
    ["/proc/sys/net", family, "conf", interface, name]
        .iter()
        .collect()
}

/// A setting's value; `None` where the kernel has no such setting (no IPv6, no such interface).
pub fn read(interface: &str, key: SysctlKey) -> Result<Option<String>, KernelError> {
    let (family, name) = key.path();
    read_file(family, interface, name)
}

fn read_file(family: &str, interface: &str, name: &str) -> Result<Option<String>, KernelError> {
    let path = path(family, interface, name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KernelError::new(
            format!("reading {}", path.display()),
            error,
        )),
    }
}

/// Sets a setting.
pub fn write(interface: &str, key: SysctlKey, value: &str) -> Result<(), KernelError> {
    let (family, name) = key.path();
    let path = path(family, interface, name);
    fs::write(&path, value)
        .map_err(|error| KernelError::new(format!("writing {value} to {}", path.display()), error))
}

/// The redirects that the kernel's WireGuard takes from everybody.
///
/// When a WireGuard interface goes up, the kernel sets `net.ipv4.conf.all.send_redirects` to 0
/// for the whole network namespace. That is not our setting to change.
#[derive(Debug)]
pub struct SendRedirects(Option<String>);

impl SendRedirects {
    /// Notes how it is.
    pub fn capture() -> Result<Self, KernelError> {
        read_file("ipv4", "all", "send_redirects").map(Self)
    }

    /// Puts it back where it has changed.
    pub fn restore(self) -> Result<(), KernelError> {
        let path = path("ipv4", "all", "send_redirects");
        match self.0 {
            Some(before) if Self::capture()?.0.as_ref() != Some(&before) => {
                fs::write(&path, &before).map_err(|error| {
                    KernelError::new(format!("writing {before} to {}", path.display()), error)
                })
            }
            _ => Ok(()),
        }
    }
}

/// How strictly the reverse path of what an interface receives is checked: 0 not at all, 1
/// strictly, 2 loosely. It is the larger of the interface's own setting and that of `all`.
pub fn reverse_path_filter(interface: &str) -> Result<Option<u8>, KernelError> {
    let own = read_file("ipv4", interface, "rp_filter")?;
    let all = read_file("ipv4", "all", "rp_filter")?;
    Ok(own
        .into_iter()
        .chain(all)
        .filter_map(|value| value.parse().ok())
        .max())
}

/// To whom the kernel answers ARP for the addresses of any interface, whatever that interface's own setting
/// says: with 2 and above not every host that asks for an address of it.
pub fn arp_ignore_of_all() -> Result<Option<u8>, KernelError> {
    Ok(read("all", SysctlKey::ArpIgnore)?.and_then(|value| value.parse().ok()))
}
