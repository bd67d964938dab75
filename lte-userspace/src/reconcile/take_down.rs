//! Taking everything down again.

use super::apply::{Failure, apply};
use super::observe::Observed;
use super::plan;
use crate::backend::{Backend, Kind, select};
use crate::kernel::Kernel;
use crate::state::{Before, Record};

/// How often what is left is tried again.
const PASSES: usize = 3;

/// Removes everything of ours and puts back what was changed, as far as it goes. Returns how many
/// steps were taken, and all that failed.
pub async fn take_down(
    kernel: &Kernel,
    backends: &mut [Box<dyn Backend>],
    before: &mut Before,
) -> (usize, Vec<Failure>) {
    let mut done = 0;
    let mut failed = Vec::new();
    for _ in 0..PASSES {
        let record = &before.record;
        let look = Observed::look(kernel, None, |_| {
            record.interfaces.keys().copied().collect()
        });
        let observed = match look.await {
            Ok(observed) => observed,
            Err(error) => {
                failed.push(failure("looking at what is there", &error));
                return (done, failed);
            }
        };
        failed = unreachable(&before.record, backends);
        let guards = guards(backends, &mut failed);
        let plan = plan::down(&observed, &before.record, &guards);
        if plan.steps.is_empty() {
            break;
        }
        let outcome = apply(kernel, backends, &plan.steps, &observed.indexes()).await;
        done += outcome.done;
        failed.extend(outcome.failed);
    }
    if failed.is_empty()
        && let Err(error) = before.forget()
    {
        failed.push(failure("forgetting how things were found", &error));
    }
    (done, failed)
}

/// Guards that were put in place and that no backend can be opened to remove.
fn unreachable(record: &Record, backends: &[Box<dyn Backend>]) -> Vec<Failure> {
    record
        .guards
        .iter()
        .filter(|kind| !backends.iter().any(|backend| backend.kind() == **kind))
        .filter_map(|kind| {
            let error = select::open(*kind, select::Purpose::Look).err()?;
            Some(failure(&format!("remove guard ({kind})"), &error))
        })
        .collect()
}

/// The backends that have something here.
fn guards(backends: &mut [Box<dyn Backend>], failed: &mut Vec<Failure>) -> Vec<Kind> {
    let mut guards = Vec::new();
    for backend in backends {
        match backend.present() {
            Ok(true) => guards.push(backend.kind()),
            Ok(false) => {}
            Err(error) => failed.push(failure("looking for the guard", &error)),
        }
    }
    guards
}

fn failure(step: &str, error: &dyn std::error::Error) -> Failure {
    Failure {
        step: step.to_owned(),
        why: crate::backend::chain(error),
    }
}
