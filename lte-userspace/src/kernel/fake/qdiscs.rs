//! Root qdiscs; of the backstop, the parts that it is made of.

use std::collections::BTreeMap;

use super::{Answer, State};
use crate::desired::Queue;
use crate::kernel::qdisc::missing_modules::Module;
use crate::kernel::qdisc::{BackstopState, QueueState, RootQdisc};

/// The root of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Root {
    /// What the kernel gives to each.
    Default,
    /// The backstop, as far as it is there.
    Backstop(Parts),
    /// A third party's, of this kind.
    Foreign(String),
}

/// What of the backstop is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) class: bool,
    /// `None`: the one that the kernel gives to a class by itself.
    pub(super) queue: Option<QueueState>,
    pub(super) arp: bool,
    /// Mark and mask.
    pub(super) passes: Option<(u32, u32)>,
}

impl Parts {
    fn observed(&self) -> Option<BackstopState> {
        let passes = self.passes.filter(|_| self.class && self.arp)?;
        Some(BackstopState {
            passes,
            queue: self.queue.unwrap_or(QueueState::Missing),
        })
    }
}

impl State {
    /// The roots by index, as the qdiscs alone show them.
    pub(super) fn roots(&self) -> BTreeMap<u32, RootQdisc> {
        let root = |root: &Root| match root {
            Root::Default => RootQdisc::Default,
            Root::Backstop(parts) => RootQdisc::Backstop(parts.observed()),
            Root::Foreign(kind) => RootQdisc::Foreign(kind.clone()),
        };
        let devices = self.devices.iter();
        devices
            .filter_map(|(index, device)| Some((*index, root(device.root.as_ref()?))))
            .collect()
    }

    /// Deletes the root that is the backstop's. The kernel gives its own to an interface that is up.
    pub(super) fn delete_backstop(&mut self, index: u32) -> Answer<()> {
        let device = self.device(index)?;
        match device.root {
            None | Some(Root::Default | Root::Foreign(_)) => return Err(libc::EINVAL),
            Some(Root::Backstop(_)) => {}
        }
        device.root = device.link.up.then_some(Root::Default);
        Ok(())
    }

    pub(super) fn create_root(&mut self, index: u32) -> Answer<()> {
        let lacks = self.lacks.contains(&Module::SchDrr);
        let device = self.device(index)?;
        match device.root {
            Some(Root::Backstop(_) | Root::Foreign(_)) => return Err(libc::EEXIST),
            _ if lacks => return Err(libc::ENOENT),
            _ => device.root = Some(Root::Backstop(Parts::default())),
        }
        Ok(())
    }

    pub(super) fn create_class(&mut self, index: u32) -> Answer<()> {
        let parts = self.parts(index).map_err(|_| libc::ENOENT)?;
        if std::mem::replace(&mut parts.class, true) {
            return Err(libc::EEXIST);
        }
        Ok(())
    }

    pub(super) fn put_queue(&mut self, index: u32, queue: Queue) -> Answer<()> {
        if queue == Queue::FqCodel && self.lacks.contains(&Module::SchFqCodel) {
            return Err(libc::ENOENT);
        }
        let parts = self.parts(index).map_err(|_| libc::ENOENT)?;
        if !parts.class {
            return Err(libc::ENOENT);
        }
        parts.queue = Some(QueueState::Ours(queue));
        Ok(())
    }

    pub(super) fn create_arp_filter(&mut self, index: u32) -> Answer<()> {
        if self.lacks.contains(&Module::ClsMatchall) {
            return Err(libc::ENOENT);
        }
        let parts = self.parts(index)?;
        if std::mem::replace(&mut parts.arp, true) {
            return Err(libc::EEXIST);
        }
        Ok(())
    }

    pub(super) fn create_mark_filter(&mut self, index: u32, passes: (u32, u32)) -> Answer<()> {
        if self.lacks.contains(&Module::ClsFw) {
            return Err(libc::ENOENT);
        }
        let parts = self.parts(index)?;
        if parts.passes.replace(passes).is_some() {
            return Err(libc::EEXIST);
        }
        Ok(())
    }

    /// Whether the backstop has its class.
    pub(super) fn has_class(&self, index: u32) -> bool {
        let root = self.devices.get(&index).map(|device| &device.root);
        matches!(root, Some(Some(Root::Backstop(parts))) if parts.class)
    }

    pub(super) fn parts(&mut self, index: u32) -> Answer<&mut Parts> {
        match &mut self.device(index)?.root {
            Some(Root::Backstop(parts)) => Ok(parts),
            _ => Err(libc::EINVAL),
        }
    }
}
