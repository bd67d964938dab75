//! Taking the steps of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::backends::Backends;
use super::plan::{self, Removal, Step};
use super::snapshot::Snapshot;
use crate::desired::{Backstop, Link, Object};
use crate::kernel::qdisc::BackstopResult;
use crate::kernel::{Kernel, KernelError, sysctl};

/// A step that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The step, in words.
    pub step: String,
    /// Why, in one line.
    pub why: String,
}

/// What a plan came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many steps were taken.
    pub done: usize,
    /// Steps that failed.
    pub failed: Vec<Failure>,
    /// Steps that were not tried because one that they need had failed.
    pub skipped: Vec<String>,
}

/// Takes all steps that do not need one that failed. `seen` are the interfaces that the steps were
/// planned for, by name: a modem that is plugged in again meanwhile has the name of the one that was
/// looked at, and no guard yet.
pub(super) async fn apply(
    kernel: &Kernel,
    backends: &Backends,
    steps: &[Step],
    seen: &BTreeMap<String, u32>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut failed_steps = FailedSteps::default();
    for step in steps {
        let text = step.to_string();
        if failed_steps.blocks(step) {
            outcome.skipped.push(text);
            continue;
        }
        let started = Instant::now();
        let result = take_step(kernel, backends, step, seen).await;
        log::debug!("{text}: {} ms", started.elapsed().as_millis());
        match result {
            Ok(BackstopResult::Created) => {
                log::info!("{text}");
                outcome.done += 1;
            }
            // The next snapshot has it, and a warning reports it.
            Ok(BackstopResult::ModuleMissing) => {}
            Err(errors) => {
                failed_steps.record(step);
                outcome.failed.extend(errors.into_iter().map(|why| Failure {
                    step: text.clone(),
                    why,
                }));
            }
        }
    }
    outcome
}

/// Whether a step may be taken only when the guard is in place.
pub(super) fn requires_guard(step: &Step) -> bool {
    let failed_steps = FailedSteps {
        guard: true,
        ..FailedSteps::default()
    };
    failed_steps.blocks(step)
}

/// Failed steps that block others.
#[derive(Debug, Default)]
struct FailedSteps {
    guard: bool,
    tunnel: Option<String>,
    device: bool,
}

impl FailedSteps {
    fn record(&mut self, step: &Step) {
        match step {
            Step::Guard(..) => self.guard = true,
            Step::Set(Object::Link(link)) => self.tunnel = Some(link.name.clone()),
            Step::Set(Object::WireguardDevice(device)) => {
                self.device = true;
                // Without its port the tunnel would come up on one that the guard does not know.
                self.tunnel = Some(device.interface.clone());
            }
            _ => {}
        }
    }

    /// Whether a step needs one that failed: without a guard nothing is opened, without the
    /// WireGuard interface nothing is set on it.
    fn blocks(&self, step: &Step) -> bool {
        let Step::Set(object) = step else {
            // While the active backend has no guard, the stale one stays.
            return self.guard && matches!(step, Step::Remove(Removal::Guard(_)));
        };
        let on_tunnel = |interface: &str| self.tunnel.as_deref() == Some(interface);
        match object {
            Object::Guard(_)
            | Object::Sysctl(_)
            | Object::Offload(_)
            | Object::Link(_)
            | Object::Backstop(_)
            | Object::Master(_) => false,
            Object::WireguardDevice(device) => on_tunnel(&device.interface),
            Object::Peer(peer) => on_tunnel(&peer.interface),
            Object::Rule(_) => self.guard,
            Object::Address(address) => self.guard || on_tunnel(&address.interface),
            Object::LinkState(admin) => admin.up && (self.guard || on_tunnel(&admin.interface)),
            Object::Route(route) => self.guard || on_tunnel(&route.interface),
        }
    }
}

async fn take_step(
    kernel: &Kernel,
    backends: &Backends,
    step: &Step,
    seen: &BTreeMap<String, u32>,
) -> Result<BackstopResult, Vec<String>> {
    let made = |()| BackstopResult::Created;
    match step {
        Step::Guard(object, _) => match &**object {
            Object::Guard(guard) => backends
                .set(guard.clone())
                .await
                .map(made)
                .map_err(|error| vec![one_line(&error)]),
            _ => Ok(BackstopResult::Created),
        },
        Step::Set(Object::Backstop(want)) => set_backstop(kernel, want, seen)
            .await
            .map_err(|error| vec![one_line(&error)]),
        Step::Set(object) => set_object(kernel, object, seen)
            .await
            .map(made)
            .map_err(|error| vec![one_line(&error)]),
        Step::Remove(Removal::Guard(kind)) => backends
            .remove(*kind)
            .await
            .map(made)
            .map_err(|errors| errors.iter().map(one_line).collect()),
        Step::Remove(removal) => match remove(kernel, removal).await {
            Err(error) if !is_gone(&error) => Err(vec![one_line(&error)]),
            _ => Ok(BackstopResult::Created),
        },
    }
}

async fn set_backstop(
    kernel: &Kernel,
    want: &Backstop,
    seen: &BTreeMap<String, u32>,
) -> Result<BackstopResult, KernelError> {
    let index = index(kernel, &want.interface, seen).await?;
    kernel.add_backstop(index, want).await
}

async fn set_object(
    kernel: &Kernel,
    object: &Object,
    seen: &BTreeMap<String, u32>,
) -> Result<(), KernelError> {
    match object {
        Object::Guard(_) => Ok(()),
        Object::Sysctl(want) => {
            // Written by name: it has to be the same interface still.
            if let Some(index) = seen.get(&want.interface)
                && *index != kernel.index(&want.interface).await?
            {
                let source = std::io::Error::from(std::io::ErrorKind::NotFound);
                let context = format!("setting {want}: another interface has the name by now");
                return Err(KernelError::new(context, source));
            }
            sysctl::write(&want.interface, want.key, &want.value)
        }
        Object::Backstop(want) => set_backstop(kernel, want, seen).await.map(drop),
        Object::Offload(want) => {
            let index = index(kernel, &want.interface, seen).await?;
            kernel.set_offload(index, want).await
        }
        Object::Master(want) => {
            let index = index(kernel, &want.interface, seen).await?;
            let master = want.master.as_ref().and_then(|name| seen.get(name));
            kernel
                .set_master(index, &want.interface, master.copied())
                .await
        }
        Object::Link(want) => set_link(kernel, want).await,
        Object::WireguardDevice(want) => kernel.set_device(want).await,
        Object::Peer(want) => kernel.set_peer(want).await,
        Object::Address(want) => {
            let index = index(kernel, &want.interface, seen).await?;
            kernel.add_address(index, want).await
        }
        Object::LinkState(want) => {
            let index = index(kernel, &want.interface, seen).await?;
            kernel.set_up(index, &want.interface, want.up).await
        }
        Object::Route(want) => {
            let index = index(kernel, &want.interface, seen).await?;
            let added = kernel.add_route(index, want).await;
            unless_exists(kernel, object, added).await
        }
        Object::Rule(want) => {
            let added = kernel.add_rule(want).await;
            unless_exists(kernel, object, added).await
        }
    }
}

/// What the fast path has set since the steps were planned is no failure.
async fn unless_exists(
    kernel: &Kernel,
    object: &Object,
    added: Result<(), KernelError>,
) -> Result<(), KernelError> {
    const EEXIST: i32 = 17;
    match added {
        Err(error) if error.errno() == Some(EEXIST) => {
            let now = Snapshot::take(kernel, None, |_| BTreeSet::new()).await?;
            plan::is_satisfied(object, &now).then_some(()).ok_or(error)
        }
        added => added,
    }
}

/// The interface that was seen under a name; what was not there then, the tunnel, has been made since.
async fn index(
    kernel: &Kernel,
    name: &str,
    seen: &BTreeMap<String, u32>,
) -> Result<u32, KernelError> {
    match seen.get(name) {
        Some(index) => Ok(*index),
        None => kernel.index(name).await,
    }
}

/// Creates the interface, or mends what is there. That it is ours, the plan has seen to.
async fn set_link(kernel: &Kernel, want: &Link) -> Result<(), KernelError> {
    let links = kernel.links().await?;
    match links.iter().find(|link| link.name == want.name) {
        None => kernel.create_wireguard(&want.name, want.mtu).await,
        Some(found) => {
            if found.mtu != want.mtu {
                kernel.set_mtu(found.index, &want.name, want.mtu).await?;
            }
            kernel.set_alias(found.index, &want.name).await
        }
    }
}

async fn remove(kernel: &Kernel, removal: &Removal) -> Result<(), KernelError> {
    match removal {
        Removal::Link { index, name } => kernel.delete_link(*index, name).await,
        Removal::Backstop { index, name } => kernel.remove_backstop(*index, name).await,
        Removal::Peer { interface, key } => kernel.remove_peer(interface, *key).await,
        Removal::Rule { message, text } => kernel.remove_rule(message, text).await,
        Removal::Route { message, text } => kernel.remove_route(message, text).await,
        Removal::Address { index, cidr, .. } => kernel.remove_address(*index, *cidr).await,
        Removal::Guard(_) => Ok(()),
    }
}

/// Whether what was to be removed has gone meanwhile: ENOENT, ESRCH, ENODEV, EADDRNOTAVAIL.
fn is_gone(error: &KernelError) -> bool {
    matches!(error.errno(), Some(2 | 3 | 19 | 99))
}

/// The longest error in a log line: the verifier's have thousands of lines.
const MAX_LINE: usize = 800;

fn one_line<E: std::error::Error>(error: &E) -> String {
    let mut text = crate::backend::error_chain(error);
    if let Some((end, _)) = text.char_indices().nth(MAX_LINE) {
        log::debug!("{text}");
        text.truncate(end);
        text.push('…');
    }
    text
}
