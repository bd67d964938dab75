//! The active backend, and those that may have kept the guard before: their calls block, and are made apart.

use std::collections::BTreeMap;
use std::time::Duration;

use super::plan::GuardState;
use crate::apart::Apart;
use crate::backend::{
    Backend, BackendError, Difference, Guard, Kind, Permit, Watch, chain, select,
};

/// How long a call may take. nft has a shorter deadline of its own, for each time it is run; the verifier
/// takes seconds on a slow machine, for each program.
pub(super) const DEADLINE: Duration = Duration::from_mins(1);

type All = Vec<Box<dyn Backend>>;

/// The backend that keeps the guard, then all others once they have been looked for.
#[derive(Debug, Clone)]
pub struct Backends {
    all: Apart<All>,
}

impl Backends {
    /// The first is the one that keeps the guard.
    pub fn new(all: Vec<Box<dyn Backend>>) -> Self {
        Self {
            all: Apart::new(all),
        }
    }

    /// Whether one is at work.
    pub(super) fn are_busy(&self) -> bool {
        self.all.is_busy()
    }

    async fn call<T: Send + 'static>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut All) -> T + Send + 'static,
    ) -> Result<T, BackendError> {
        let answer = self.all.call(DEADLINE, work).await;
        answer.map_err(|late| BackendError::failed(doing, late))
    }

    /// What differs from a guard, and what others have left.
    pub(super) async fn state(&self, want: Option<Guard>) -> Result<GuardState, BackendError> {
        self.call("asking the active backend", move |all| {
            state(all, want.as_ref())
        })
        .await?
    }

    /// What differs from a guard, as the active backend sees it.
    pub(super) async fn differences(&self, want: Guard) -> Result<Vec<Difference>, BackendError> {
        self.call("asking the active backend", move |all| {
            match all.first_mut() {
                Some(active) => active.observe(&want),
                None => Ok(Vec::new()),
            }
        })
        .await?
    }

    /// Puts a guard in place.
    pub(super) async fn set(&self, want: Guard) -> Result<(), BackendError> {
        self.call("setting the guard", move |all| match all.first_mut() {
            Some(active) => active.apply(&want),
            None => Ok(()),
        })
        .await?
    }

    /// Takes away everything of a backend's.
    pub(super) async fn remove(&self, kind: Kind) -> Result<(), Vec<BackendError>> {
        self.call("removing the guard", move |all| {
            all.iter_mut()
                .filter(|backend| backend.kind() == kind)
                .try_for_each(|backend| backend.remove())
        })
        .await
        .unwrap_or_else(|error| Err(vec![error]))
    }

    /// Which there are, and which of them have something here.
    pub(super) async fn present(&self) -> Result<Vec<Presence>, BackendError> {
        self.call("looking for the guard", |all| {
            let presence = |backend: &mut Box<dyn Backend>| (backend.kind(), backend.present());
            all.iter_mut().map(presence).collect()
        })
        .await
    }

    /// Opens those that do not keep the guard, to see what they have left of earlier runs.
    pub(super) async fn open_others(&self) -> Result<(), BackendError> {
        self.call("looking for other guards", |all| {
            all.truncate(1);
            let active = all.first().map(|active| active.kind());
            all.extend(select::others(active));
        })
        .await
    }

    /// Closes them again.
    pub(super) async fn close_others(&self) -> Result<(), BackendError> {
        self.call("closing other guards", |all| all.truncate(1))
            .await
    }

    /// Hands the active backend the remotes that stale backends remember: the peer may speak first.
    pub(super) async fn inherit(&self) -> Result<(), BackendError> {
        self.call("asking other guards", |all| {
            let Some(active) = all.first_mut() else {
                return;
            };
            let mut remotes = BTreeMap::new();
            for mut other in select::others(Some(active.kind())) {
                match other.remotes() {
                    Ok(found) => remotes.extend(found),
                    Err(error) => log::debug!("{}", chain(&error)),
                }
            }
            active.inherit(remotes);
        })
        .await
    }

    /// Why the active backend cannot keep the guard after all, where it is not at work.
    pub(super) async fn unfit(&self) -> Option<String> {
        if self.are_busy() {
            return None;
        }
        let unfit = self.call("asking it", |all| all.first()?.unfit()).await;
        unfit.ok().flatten()
    }

    /// A way to hear of changes to the guard.
    pub(super) async fn watch(&self) -> Option<Watch> {
        let watch = self.call("asking it", |all| all.first()?.watch()).await;
        watch.ok().flatten()
    }

    /// Lets one conversation pass for a time.
    pub(super) async fn permit(&self, permit: Permit, time: Duration) -> Result<(), BackendError> {
        self.call("opening the way", move |all| match all.first_mut() {
            Some(active) => active.permit(&permit, time),
            None => Ok(()),
        })
        .await?
    }

    /// Ends a permit before its time.
    pub(super) async fn withdraw(&self, permit: Permit) -> Result<(), BackendError> {
        self.call("closing the way", move |all| match all.first_mut() {
            Some(active) => active.withdraw(&permit),
            None => Ok(()),
        })
        .await?
    }
}

/// A backend, and whether it has something here.
pub(super) type Presence = (Kind, Result<bool, BackendError>);

/// The same as [`Backends::state`], in the calling thread.
pub(super) fn state(
    all: &mut [Box<dyn Backend>],
    want: Option<&Guard>,
) -> Result<GuardState, BackendError> {
    let mut state = GuardState::default();
    let Some((active, others)) = all.split_first_mut() else {
        return Ok(state);
    };
    if let Some(guard) = want {
        state.differences = active.observe(guard)?;
    }
    for other in others {
        if other.present()? {
            state.other_guards.push(other.kind());
        }
    }
    Ok(state)
}
