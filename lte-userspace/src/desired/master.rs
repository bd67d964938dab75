//! What an interface is a part of: a bridge, a bond, a team, a VRF.

use std::fmt;

/// The master of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    /// The interface.
    pub interface: String,
    /// What it is a part of; `None`: of nothing.
    pub master: Option<String>,
}

impl fmt::Display for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interface = &self.interface;
        match &self.master {
            Some(master) => write!(f, "link {interface} master {master}"),
            None => write!(f, "link {interface} nomaster"),
        }
    }
}
