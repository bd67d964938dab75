//! Sysctls of interfaces, of `all`, and those that a new interface is given.

use std::collections::BTreeMap;

use super::{Answer, State};
use crate::desired::{IpFamily, SysctlKey};

/// All that the model has.
pub(super) const KEYS: [SysctlKey; 9] = [
    SysctlKey::SrcValidMark,
    SysctlKey::AcceptRa,
    SysctlKey::DisableIpv6,
    SysctlKey::SendRedirects,
    SysctlKey::RpFilter,
    SysctlKey::ArpIgnore,
    SysctlKey::ArpAnnounce,
    SysctlKey::DisableXfrm,
    SysctlKey::DisablePolicy,
];

/// Those of a kernel that has just started.
pub(super) fn initial() -> BTreeMap<SysctlKey, String> {
    let of = |key: SysctlKey| {
        let value = match key {
            SysctlKey::SendRedirects | SysctlKey::AcceptRa => "1",
            _ => "0",
        };
        (key, value.to_owned())
    };
    KEYS.into_iter().map(of).collect()
}

fn is_ipv6(key: SysctlKey) -> bool {
    key.path().0 == "ipv6"
}

impl State {
    /// A value; `None` where there is no such interface, or no IPv6 on it.
    pub(super) fn sysctl(&self, interface: &str, key: SysctlKey) -> Option<String> {
        let values = match interface {
            _ if is_ipv6(key) && !self.ipv6 => return None,
            "all" => &self.sysctls_of_all,
            "default" => &self.default_sysctls,
            name => {
                let (index, device) = self.device_by_name(name)?;
                if is_ipv6(key) && !self.has_ipv6(index) {
                    return None;
                }
                &device.sysctls
            }
        };
        values.get(&key).cloned()
    }

    /// Sets a value.
    pub(super) fn set_sysctl(
        &mut self,
        interface: &str,
        key: SysctlKey,
        value: &str,
    ) -> Answer<()> {
        if self.sysctl(interface, key).is_none() {
            return Err(libc::ENOENT);
        }
        let number: i32 = value.trim().parse().map_err(|_| libc::EINVAL)?;
        let value = number.to_string();
        match interface {
            "all" => {
                self.sysctls_of_all.insert(key, value.clone());
                if key == SysctlKey::DisableIpv6 {
                    // It is handed on to all interfaces.
                    self.default_sysctls.insert(key, value.clone());
                    let indexes: Vec<u32> = self.devices.keys().copied().collect();
                    for index in indexes {
                        self.set_sysctl_at(index, key, &value);
                    }
                }
            }
            "default" => {
                self.default_sysctls.insert(key, value);
            }
            name => {
                if let Some(index) = self.index_of(name) {
                    self.set_sysctl_at(index, key, &value);
                }
            }
        }
        Ok(())
    }

    fn set_sysctl_at(&mut self, index: u32, key: SysctlKey, value: &str) {
        let Some(device) = self.devices.get_mut(&index) else {
            return;
        };
        let before = device.sysctls.insert(key, value.to_owned());
        if key == SysctlKey::DisableIpv6 && before.as_deref() != Some(value) {
            if value == "0" {
                self.start_family(index, IpFamily::V6);
            } else {
                self.stop_ipv6(index);
            }
        }
    }

    /// Gives an interface IPv6's sysctls as a new one has them.
    pub(super) fn reset_ipv6_sysctls(&mut self, index: u32) {
        let defaults = self.default_sysctls.clone();
        if let Some(device) = self.devices.get_mut(&index) {
            let of_ipv6 = defaults.into_iter().filter(|(key, _)| is_ipv6(*key));
            device.sysctls.extend(of_ipv6);
        }
    }

    /// Whether addresses and routes of IPv6 are refused on an interface.
    pub(super) fn refuses_ipv6(&self, index: u32) -> bool {
        self.devices.get(&index).is_some_and(|device| {
            let value = device.sysctls.get(&SysctlKey::DisableIpv6);
            value.is_some_and(|value| value != "0")
        })
    }
}
