//! What joins packets on their way: a guard that cannot recognise a joined one counts it as one.

use std::fmt;

/// A setting of an interface by which the kernel, or the device, joins packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OffloadKey {
    /// The kernel joins what comes in (GRO).
    Gro,
    /// The device does, in a way that can be undone.
    GroHw,
    /// The device does, in a way that cannot.
    Lro,
    /// How many packets a program's flow may hand down as one. TCP does so whatever the device can
    /// (`tcp_init_sock` forces `NETIF_F_GSO`), but never more than this.
    GsoMaxSegs,
}

impl OffloadKey {
    /// Those that are switched on and off as features of the device.
    pub const FEATURES: [Self; 3] = [Self::Gro, Self::GroHw, Self::Lro];
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gro, Self::GroHw, Self::Lro, Self::GsoMaxSegs];

    /// Its name; of a feature, the kernel's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gro => "rx-gro",
            Self::GroHw => "rx-gro-hw",
            Self::Lro => "rx-lro",
            Self::GsoMaxSegs => "gso_max_segs",
        }
    }

    /// The value with which each packet is one.
    pub const fn value_apart(self) -> u32 {
        match self {
            Self::Gro | Self::GroHw | Self::Lro => 0,
            Self::GsoMaxSegs => 1,
        }
    }
}

/// Such a setting with its value: 0 or 1 of a feature.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offload {
    /// The interface.
    pub interface: String,
    /// Which setting.
    pub key: OffloadKey,
    /// Its value.
    pub value: u32,
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            interface,
            key,
            value,
        } = self;
        write!(f, "offload {} {value} dev {interface}", key.name())
    }
}
