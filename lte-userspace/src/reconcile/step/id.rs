//! The identity of an object and of a step: what stays the same while its settings change.

use std::fmt;

use rtnetlink::packet_route::AddressFamily;

use super::Removal;
use crate::backend::BackendKind;
use crate::config::{Cidr, PublicKey};
use crate::desired::{IpFamily, Object, OffloadKey, SysctlKey};
use crate::kernel::{route, rule};

/// What a step does to its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Sets it as the config asks.
    Set,
    /// Restores it as it was found.
    Restore,
    /// Removes it.
    Remove,
}

impl Verb {
    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Restore => "restore",
            Self::Remove => "remove",
        }
    }
}

/// The identity of a step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub object: ObjectId,
}

/// The identity of an object: by this the kernel, or a backend, tells it from others of its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectId {
    /// The active backend's guard.
    Guard,
    /// What another backend has left.
    StaleGuard(BackendKind),
    /// The backstop on an interface.
    Backstop(String),
    /// What an interface is a part of.
    Master(String),
    /// A sysctl of an interface.
    Sysctl(String, SysctlKey),
    /// What joins packets on an interface.
    Offload(String, OffloadKey),
    /// A WireGuard interface as a link.
    Link(String),
    /// A WireGuard interface's settings.
    WireguardDevice(String),
    /// A peer of a WireGuard interface.
    Peer(String, PublicKey),
    /// An address on an interface.
    Address(String, Cidr),
    /// An interface's being up.
    LinkState(String),
    /// A route, by table and destination. Without a destination: all addresses of its family.
    Route(u32, Option<Cidr>),
    /// A rule, by family and priority.
    Rule(Option<IpFamily>, u32),
}

impl ObjectId {
    /// Of a desired object.
    pub fn of(object: &Object) -> Self {
        match object {
            Object::Guard(_) => Self::Guard,
            Object::Backstop(object) => Self::Backstop(object.interface.clone()),
            Object::Master(object) => Self::Master(object.interface.clone()),
            Object::Sysctl(object) => Self::Sysctl(object.interface.clone(), object.key),
            Object::Offload(object) => Self::Offload(object.interface.clone(), object.key),
            Object::Link(object) => Self::Link(object.name.clone()),
            Object::WireguardDevice(object) => Self::WireguardDevice(object.interface.clone()),
            Object::Peer(object) => Self::Peer(object.interface.clone(), object.public_key),
            Object::Address(object) => Self::Address(object.interface.clone(), object.cidr),
            Object::LinkState(object) => Self::LinkState(object.interface.clone()),
            Object::Route(object) => {
                let destination = object.destination;
                Self::Route(
                    object.table,
                    Some(destination).filter(|to| to.prefix_len > 0),
                )
            }
            Object::Rule(object) => Self::Rule(Some(object.family), object.priority),
        }
    }

    /// Of what is to be removed.
    pub fn of_removal(removal: &Removal) -> Self {
        match removal {
            Removal::Link { name, .. } => Self::Link(name.clone()),
            Removal::Backstop { name, .. } => Self::Backstop(name.clone()),
            Removal::Peer { interface, key } => Self::Peer(interface.clone(), *key),
            Removal::Rule { message, .. } => {
                let family = match message.header.family {
                    AddressFamily::Inet => Some(IpFamily::V4),
                    AddressFamily::Inet6 => Some(IpFamily::V6),
                    _ => None,
                };
                Self::Rule(family, rule::priority(message))
            }
            Removal::Route { message, .. } => {
                Self::Route(route::table(message), route::destination(message))
            }
            Removal::Address {
                interface, cidr, ..
            } => Self::Address(interface.clone(), *cidr),
            Removal::Guard(kind) => Self::StaleGuard(*kind),
        }
    }

    /// Its kind, as JSON has it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::StaleGuard(_) => "stale-guard",
            Self::Backstop(_) => "backstop",
            Self::Master(_) => "master",
            Self::Sysctl(..) => "sysctl",
            Self::Offload(..) => "offload",
            Self::Link(_) => "link",
            Self::WireguardDevice(_) => "wireguard",
            Self::Peer(..) => "peer",
            Self::Address(..) => "address",
            Self::LinkState(_) => "link-state",
            Self::Route(..) => "route",
            Self::Rule(..) => "rule",
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Guard => Ok(()),
            Self::StaleGuard(kind) => write!(f, " {kind}"),
            Self::Backstop(interface)
            | Self::Master(interface)
            | Self::Link(interface)
            | Self::WireguardDevice(interface)
            | Self::LinkState(interface) => write!(f, " {interface}"),
            Self::Sysctl(interface, key) => {
                let (family, name) = key.path();
                write!(f, " net.{family}.conf.{interface}.{name}")
            }
            Self::Offload(interface, key) => write!(f, " {} dev {interface}", key.name()),
            Self::Peer(interface, key) => write!(f, " {key} dev {interface}"),
            Self::Address(interface, cidr) => write!(f, " {cidr} dev {interface}"),
            Self::Route(table, Some(destination)) => write!(f, " {destination} table {table}"),
            Self::Route(table, None) => write!(f, " default table {table}"),
            Self::Rule(Some(IpFamily::V6), priority) => write!(f, " inet6 {priority}"),
            Self::Rule(_, priority) => write!(f, " {priority}"),
        }
    }
}
