//! Taking the steps of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::backends::Backends;
use super::satisfied::is_satisfied;
use super::snapshot::Snapshot;
use super::step::{Action, ObjectId, Removal, Step};
use crate::desired::{Backstop, Link, Object};
use crate::kernel::qdisc::BackstopResult;
use crate::kernel::{KernelError, KernelOperations};

/// A step that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The step, in words.
    pub step: String,
    /// Why, in one line.
    pub why: String,
}

/// A step that was not tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The step, in words.
    pub step: String,
    /// What it needs and what is not there, since a step failed or was skipped itself.
    pub needs: ObjectId,
}

/// What a plan came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many steps were taken.
    pub done: usize,
    /// Steps that failed.
    pub failed: Vec<Failure>,
    /// Steps that were not tried because one that they need had failed.
    pub skipped: Vec<Skipped>,
}

impl Outcome {
    /// What was skipped, in one line for each object that is needed.
    pub fn skipped_lines(&self) -> BTreeSet<String> {
        let mut steps: BTreeMap<&ObjectId, Vec<&str>> = BTreeMap::new();
        for skipped in &self.skipped {
            steps.entry(&skipped.needs).or_default().push(&skipped.step);
        }
        let line = |(needs, steps): (&ObjectId, Vec<&str>)| {
            format!("not done without {needs}: {}", steps.join("; "))
        };
        steps.into_iter().map(line).collect()
    }
}

/// Takes all steps that do not need one that failed. `seen` are the interfaces that the steps were
/// planned for, by name: a modem that is plugged in again meanwhile has the name of the one that was
/// looked at, and no guard yet.
pub(super) async fn apply(
    kernel: &impl KernelOperations,
    backends: &Backends,
    steps: &[Step],
    seen: &BTreeMap<String, u32>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut missing: BTreeSet<ObjectId> = BTreeSet::new();
    for step in steps {
        let text = step.to_string();
        if let Some(needs) = step.needs.iter().find(|needs| missing.contains(needs)) {
            let needs = needs.clone();
            log::debug!("not done without {needs}: {text}");
            outcome.skipped.push(Skipped { step: text, needs });
            missing.extend(step.sets().map(ObjectId::of));
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
                missing.extend(step.sets().map(ObjectId::of));
                outcome.failed.extend(errors.into_iter().map(|why| Failure {
                    step: text.clone(),
                    why,
                }));
            }
        }
    }
    outcome
}

async fn take_step(
    kernel: &impl KernelOperations,
    backends: &Backends,
    step: &Step,
    seen: &BTreeMap<String, u32>,
) -> Result<BackstopResult, Vec<String>> {
    let made = |()| BackstopResult::Created;
    match &step.action {
        Action::Set(Object::Guard(guard)) => backends
            .set(guard.clone())
            .await
            .map(made)
            .map_err(|error| vec![one_line(&error)]),
        Action::Set(Object::Backstop(want)) => set_backstop(kernel, want, seen)
            .await
            .map_err(|error| vec![one_line(&error)]),
        Action::Set(object) | Action::Restore(object) => set_object(kernel, object, seen)
            .await
            .map(made)
            .map_err(|error| vec![one_line(&error)]),
        Action::Remove(Removal::Guard(kind)) => backends
            .remove(*kind)
            .await
            .map(made)
            .map_err(|errors| errors.iter().map(one_line).collect()),
        Action::Remove(removal) => match remove(kernel, removal).await {
            Err(error) if !is_gone(removal, &error) => Err(vec![one_line(&error)]),
            _ => Ok(BackstopResult::Created),
        },
    }
}

async fn set_backstop(
    kernel: &impl KernelOperations,
    want: &Backstop,
    seen: &BTreeMap<String, u32>,
) -> Result<BackstopResult, KernelError> {
    let index = index(kernel, &want.interface, seen).await?;
    kernel.add_backstop(index, want).await
}

async fn set_object(
    kernel: &impl KernelOperations,
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
            kernel.write_sysctl(&want.interface, want.key, &want.value)
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
    kernel: &impl KernelOperations,
    object: &Object,
    added: Result<(), KernelError>,
) -> Result<(), KernelError> {
    const EEXIST: i32 = 17;
    match added {
        Err(error) if error.errno() == Some(EEXIST) => {
            let now = Snapshot::take(kernel, None, |_| BTreeSet::new()).await?;
            is_satisfied(object, &now).then_some(()).ok_or(error)
        }
        added => added,
    }
}

/// The interface that was seen under a name; what was not there then, the tunnel, has been made since.
async fn index(
    kernel: &impl KernelOperations,
    name: &str,
    seen: &BTreeMap<String, u32>,
) -> Result<u32, KernelError> {
    match seen.get(name) {
        Some(index) => Ok(*index),
        None => kernel.index(name).await,
    }
}

/// Creates the interface, or mends what is there. That it is ours, the plan has seen to.
async fn set_link(kernel: &impl KernelOperations, want: &Link) -> Result<(), KernelError> {
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

async fn remove(kernel: &impl KernelOperations, removal: &Removal) -> Result<(), KernelError> {
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

/// Whether what was to be removed has gone meanwhile: ENOENT, ESRCH, ENODEV, EADDRNOTAVAIL; of a qdisc EINVAL,
/// since another root is there, whose handle is another (`tc_get_qdisc`, net/sched/sch_api.c).
fn is_gone(removal: &Removal, error: &KernelError) -> bool {
    match error.errno() {
        Some(2 | 3 | 19 | 99) => true,
        Some(22) => matches!(removal, Removal::Backstop { .. }),
        _ => false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_one_line_for_each_object_that_is_needed() {
        let skipped = |step: &str, needs| Skipped {
            step: step.to_owned(),
            needs,
        };
        let outcome = Outcome {
            skipped: vec![
                skipped("set rule 10: lookup 123", ObjectId::Guard),
                skipped("set wireguard wg-lte", ObjectId::Link("wg-lte".to_owned())),
                skipped("set link modem up", ObjectId::Guard),
            ],
            ..Outcome::default()
        };
        let expected = [
            "not done without guard: set rule 10: lookup 123; set link modem up",
            "not done without link wg-lte: set wireguard wg-lte",
        ];
        assert!(outcome.skipped_lines().iter().eq(expected));
    }
}
