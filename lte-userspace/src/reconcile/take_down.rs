//! Taking everything down again.

use super::apply::{Failure, apply};
use super::backends::{Backends, Presence};
use super::plan::{Goal, GuardState, plan};
use super::restore::restored;
use super::snapshot::Snapshot;
use crate::backend::BackendKind;
use crate::kernel::KernelOperations;
use crate::state::{Baseline, BaselineFile};

/// How often failed steps are tried again.
const PASSES: usize = 3;

/// Removes everything of ours and puts back what was changed, as far as it goes. Returns how many
/// steps were taken, and all that failed.
pub async fn take_down(
    kernel: &impl KernelOperations,
    backends: &Backends,
    baseline_file: &mut BaselineFile,
) -> (usize, Vec<Failure>) {
    let mut done = 0;
    let mut failed = Vec::new();
    for _ in 0..PASSES {
        let baseline = &baseline_file.baseline;
        let look = Snapshot::take(kernel, None, |_| {
            baseline.interfaces.keys().copied().collect()
        });
        let snapshot = match look.await {
            Ok(mut snapshot) => match snapshot
                .read_offloads(kernel, baseline.with_offloads())
                .await
            {
                Ok(()) => snapshot,
                Err(error) => {
                    failed.push(failure("looking at the offloads", &error));
                    return (done, failed);
                }
            },
            Err(error) => {
                failed.push(failure("looking at what is there", &error));
                return (done, failed);
            }
        };
        let stale_guards = match backends.present().await {
            Ok(presences) => {
                failed = unopenable(backends, &baseline_file.baseline, &presences).await;
                guards(presences, &mut failed)
            }
            Err(error) => {
                failed = vec![failure(LOOKING, &error)];
                Vec::new()
            }
        };
        let baseline = &baseline_file.baseline;
        // Nothing is wanted.
        let goal = Goal {
            restored: restored(&snapshot, baseline, None, &[]),
            ..Goal::default()
        };
        let guard = GuardState {
            stale_guards,
            ..GuardState::default()
        };
        let plan = plan(&goal, &snapshot, baseline, &guard);
        if plan.steps.is_empty() {
            break;
        }
        let outcome = apply(kernel, backends, &plan.steps, &snapshot.indexes()).await;
        done += outcome.done;
        failed.extend(outcome.failed);
    }
    if failed.is_empty()
        && let Err(error) = baseline_file.forget()
    {
        failed.push(failure("forgetting how things were found", &error));
    }
    (done, failed)
}

/// Guards that were put in place and that no backend can be opened to remove.
async fn unopenable(
    backends: &Backends,
    baseline: &Baseline,
    presences: &[Presence],
) -> Vec<Failure> {
    let mut failed = Vec::new();
    for kind in baseline.guards.iter().copied() {
        if presences.iter().any(|(open, _)| *open == kind) {
            continue;
        }
        let error = backends.open_failure(kind).await;
        failed.extend(error.map(|error| failure(&format!("remove guard ({kind})"), &error)));
    }
    failed
}

/// The step that fails where a guard cannot be looked at.
const LOOKING: &str = "looking for the guard";

/// The backends that have something here.
fn guards(presences: Vec<Presence>, failed: &mut Vec<Failure>) -> Vec<BackendKind> {
    let mut guards = Vec::new();
    for (kind, present) in presences {
        match present {
            Ok(true) => guards.push(kind),
            Ok(false) => {}
            Err(error) => failed.push(failure(LOOKING, &error)),
        }
    }
    guards
}

fn failure(step: &str, error: &dyn std::error::Error) -> Failure {
    Failure {
        step: step.to_owned(),
        why: crate::backend::error_chain(error),
    }
}
