//! A step: what it does, on which object, and which steps it needs.

use std::fmt;

use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;

use crate::backend::{BackendKind, Difference, Guard};
use crate::config::{Cidr, PublicKey};
use crate::desired::Object;

mod id;
mod needs;
mod stage;

pub use id::{ObjectId, StepId, Verb};

pub(super) use stage::in_order;

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// What differs, where the object is a guard.
    pub differences: Vec<Difference>,
    /// The objects without which it is not taken: if one of them is to be set by a step of the same plan,
    /// that step comes first, and has to succeed.
    pub needs: Vec<ObjectId>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Set an object that the config asks for.
    Set(Object),
    /// Restore what is not wanted to the value that was found.
    Restore(Object),
    /// Remove something of ours.
    Remove(Removal),
}

/// Something of ours that is no longer wanted.
#[derive(Debug, Clone)]
pub enum Removal {
    /// The WireGuard interface, with everything on it.
    Link {
        /// Interface index.
        index: u32,
        /// Interface name.
        name: String,
    },
    /// The backstop.
    Backstop {
        /// Interface index.
        index: u32,
        /// Interface name.
        name: String,
    },
    /// A peer.
    Peer {
        /// The WireGuard interface.
        interface: String,
        /// Its public key.
        key: PublicKey,
    },
    /// A rule.
    Rule {
        /// As the kernel reported it.
        message: Box<RuleMessage>,
        /// In words.
        text: String,
    },
    /// A route.
    Route {
        /// As the kernel reported it.
        message: Box<RouteMessage>,
        /// In words.
        text: String,
    },
    /// An address.
    Address {
        /// Interface index.
        index: u32,
        /// Interface name.
        interface: String,
        /// The address.
        cidr: Cidr,
    },
    /// All of a backend's.
    Guard(BackendKind),
}

impl Step {
    /// Sets an object. `tunnel` is the wanted WireGuard interface.
    pub fn set(object: Object, tunnel: Option<&str>) -> Self {
        Self::new(Action::Set(object), tunnel)
    }

    /// Sets the guard, because of these differences.
    pub fn set_guard(guard: Guard, differences: Vec<Difference>) -> Self {
        Self {
            differences,
            ..Self::new(Action::Set(Object::Guard(guard)), None)
        }
    }

    /// Restores a value.
    pub fn restore(object: Object) -> Self {
        Self::new(Action::Restore(object), None)
    }

    /// Removes something.
    pub fn remove(removal: Removal) -> Self {
        Self::new(Action::Remove(removal), None)
    }

    fn new(action: Action, tunnel: Option<&str>) -> Self {
        Self {
            needs: needs::needs(&action, tunnel),
            action,
            differences: Vec::new(),
        }
    }

    /// Its identity: the same in each plan that repairs the same object.
    pub fn id(&self) -> StepId {
        let (verb, object) = match &self.action {
            Action::Set(object) => (Verb::Set, ObjectId::of(object)),
            Action::Restore(object) => (Verb::Restore, ObjectId::of(object)),
            Action::Remove(removal) => (Verb::Remove, ObjectId::of_removal(removal)),
        };
        StepId { verb, object }
    }

    /// The object that it sets.
    pub fn sets(&self) -> Option<&Object> {
        match &self.action {
            Action::Set(object) => Some(object),
            Action::Restore(_) | Action::Remove(_) => None,
        }
    }

    /// The object that it sets or restores.
    pub fn writes(&self) -> Option<&Object> {
        match &self.action {
            Action::Set(object) | Action::Restore(object) => Some(object),
            Action::Remove(_) => None,
        }
    }

    /// The guard that it sets.
    pub fn guard(&self) -> Option<&Guard> {
        match self.sets()? {
            Object::Guard(guard) => Some(guard),
            _ => None,
        }
    }
}

/// How many differences of a guard are shown in a line.
const SHOWN: usize = 3;

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Set(object) | Action::Restore(object) => write!(f, "set {object}")?,
            Action::Remove(removal) => write!(f, "remove {removal}")?,
        }
        for (n, difference) in self.differences.iter().take(SHOWN).enumerate() {
            let before = if n == 0 { " (" } else { "; " };
            write!(f, "{before}{difference}")?;
        }
        match self.differences.len() {
            0 => Ok(()),
            n if n > SHOWN => write!(f, "; and {} more)", n - SHOWN),
            _ => f.write_str(")"),
        }
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { name, .. } => write!(f, "link {name}"),
            Self::Backstop { name, .. } => write!(f, "qdisc drr 7b: dev {name}"),
            Self::Peer { interface, key } => write!(f, "wireguard {interface} peer {key}"),
            Self::Rule { text, .. } | Self::Route { text, .. } => f.write_str(text),
            Self::Address {
                interface, cidr, ..
            } => write!(f, "address {cidr} dev {interface}"),
            Self::Guard(kind) => write!(f, "guard ({kind})"),
        }
    }
}
