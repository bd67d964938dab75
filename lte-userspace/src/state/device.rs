//! The device that is the modem, as it is remembered.

use serde::{Deserialize, Serialize};

use crate::kernel::hardware::Hardware;

/// The devices that have been the modem of a config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModemDevices {
    /// How the config identified the modem: of another one's nothing is known.
    pub identity: String,
    /// The devices, the last one at the end.
    pub known: Vec<ModemDevice>,
}

impl ModemDevices {
    /// The same as after a boot, when interfaces have other indexes.
    #[must_use]
    pub fn without_indexes(&self) -> Self {
        let mut devices = self.clone();
        for device in &mut devices.known {
            device.index = None;
        }
        devices
    }
}

/// A device that has been the modem.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModemDevice {
    /// The index of its interface; `None`: of an earlier boot.
    pub index: Option<u32>,
    /// The interface's name while it was the modem.
    pub name: String,
    /// Its hardware address, in words; empty where it has none.
    pub address: String,
    /// What it is in hardware.
    pub hardware: Hardware,
}
