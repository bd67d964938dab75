//! The modem as a thing on a cable: pulled out and put in again.

use anyhow::Result;

use super::Lab;
use crate::addresses::{MODEM_GATEWAY, MODEM_MAC};

impl Lab {
    /// The modem is pulled out, whatever its name is.
    pub fn unplug_modem(&self, name: &str) -> Result<()> {
        self.router.ip(&format!("link del {name}\n")).map(drop)
    }

    /// And puts it in again: it may get another name, and the carrier gives it what it had.
    pub fn plug_modem(&self, name: &str) -> Result<()> {
        self.router.ip(&format!(
            "link add {name} address {MODEM_MAC} type veth peer name modem0 netns {}\n",
            self.carrier.netns.path()
        ))?;
        self.carrier
            .netns
            .ip(&format!(
                "addr add {MODEM_GATEWAY}/24 dev modem0
                 link set modem0 up\n"
            ))
            .map(drop)
    }
}
