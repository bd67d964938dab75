//! The active backend and stale ones. Their calls block, and are made on a thread of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::plan::GuardState;
use crate::backend::select::{self, Opener, Purpose, ThisMachine};
use crate::backend::{
    Backend, BackendError, BackendKind, Difference, Guard, Permit, Watch, error_chain,
};
use crate::blocking::{self, Blocking};
use crate::config::Budget;
use crate::usage::{Recorder, StoreError, Unsaved, warn_unsaved};

/// How long a call may take. nft has a shorter deadline of its own, for each time it is run; the verifier
/// takes seconds on a slow machine, for each program.
const DEADLINE: Duration = Duration::from_mins(1);

type All = Vec<Box<dyn Backend>>;

/// The active backend, then the stale ones while they are open.
#[derive(Debug, Clone)]
pub struct Backends {
    all: Blocking<All>,
    opener: Arc<dyn Opener>,
    /// What records the counters before they are removed.
    recorder: Option<Recorder>,
}

impl Backends {
    /// The first is the active one; others are this machine's.
    pub fn new(all: Vec<Box<dyn Backend>>) -> Self {
        Self::with_opener(all, Arc::new(ThisMachine))
    }

    /// The first is the active one; this opens the others.
    pub fn with_opener(all: Vec<Box<dyn Backend>>, opener: Arc<dyn Opener>) -> Self {
        Self {
            all: Blocking::new(all),
            opener,
            recorder: None,
        }
    }

    /// With another active one, and no others open.
    pub(super) fn replaced_by(&self, active: Box<dyn Backend>) -> Self {
        Self {
            recorder: self.recorder.clone(),
            ..Self::with_opener(vec![active], Arc::clone(&self.opener))
        }
    }

    /// Whether a call is running.
    pub(super) fn are_busy(&self) -> bool {
        self.all.is_busy()
    }

    async fn call<T: Send + 'static>(
        &self,
        context: &str,
        work: impl FnOnce(&mut All) -> T + Send + 'static,
    ) -> Result<T, BackendError> {
        let answer = self.all.call(DEADLINE, work).await;
        answer.map_err(|late| BackendError::failed(context, late))
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

    /// The same, whose counters are recorded before they are removed, and when that is asked for.
    #[must_use]
    pub fn recorded_by(self, recorder: Recorder) -> Self {
        Self {
            recorder: Some(recorder),
            ..self
        }
    }

    /// Changes the budget for which the counters are recorded.
    pub(super) fn set_budget(&self, budget: Option<Budget>) {
        if let Some(recorder) = &self.recorder {
            recorder.set_budget(budget);
        }
    }

    /// Takes away everything of a backend's; its counters are recorded before.
    pub(super) async fn remove(&self, kind: BackendKind) -> Result<(), Vec<BackendError>> {
        let (recorder, opener) = (self.recorder.clone(), Arc::clone(&self.opener));
        self.call("removing the guard", move |all| {
            if let Some(recorder) = recorder
                && let Err(error) = read(&recorder, all, &*opener).and_then(Unsaved::save)
            {
                warn_unsaved(&error);
            }
            all.iter_mut()
                .filter(|backend| backend.kind() == kind)
                .try_for_each(|backend| backend.remove())
        })
        .await
        .unwrap_or_else(|error| Err(vec![error]))
    }

    /// Records the counters. No call of a backend waits for the disk.
    pub(super) async fn record(&self) {
        let Some(recorder) = self.recorder.clone() else {
            return;
        };
        let opener = Arc::clone(&self.opener);
        let read = self.call("reading the counters", move |all| {
            read(&recorder, all, &*opener)
        });
        let result = match read.await {
            Ok(Ok(unsaved)) => match blocking::call_once(DEADLINE, || unsaved.save()).await {
                Ok(saved) => saved.map_err(|error| error_chain(&error)),
                Err(late) => Err(late.to_string()),
            },
            Ok(Err(error)) => Err(error_chain(&error)),
            Err(error) => Err(error_chain(&error)),
        };
        if let Err(why) = result {
            warn_unsaved(&why);
        }
    }

    /// Which there are, and which of them have something here.
    pub(super) async fn present(&self) -> Result<Vec<Presence>, BackendError> {
        self.call("looking for the guard", |all| {
            let presence = |backend: &mut Box<dyn Backend>| (backend.kind(), backend.present());
            all.iter_mut().map(presence).collect()
        })
        .await
    }

    /// Opens the backends other than the active one, to see what they have left of earlier runs.
    pub(super) async fn open_stale(&self) -> Result<(), BackendError> {
        let opener = Arc::clone(&self.opener);
        self.call("looking for other guards", move |all| {
            all.truncate(1);
            let active = all.first().map(|active| active.kind());
            all.extend(select::others(&*opener, active));
        })
        .await
    }

    /// Why a backend cannot be opened, if it cannot.
    pub(super) async fn open_failure(&self, kind: BackendKind) -> Option<BackendError> {
        let opener = Arc::clone(&self.opener);
        let open = move || opener.open(kind, Purpose::Inspect).err();
        match blocking::call_once(DEADLINE, open).await {
            Ok(error) => error,
            Err(late) => Some(BackendError::failed("opening it", late)),
        }
    }

    /// Closes them again.
    pub(super) async fn close_stale(&self) -> Result<(), BackendError> {
        self.call("closing other guards", |all| all.truncate(1))
            .await
    }

    /// Hands the active backend the remotes that stale backends remember: the peer may speak first.
    pub(super) async fn import_remotes(&self) -> Result<(), BackendError> {
        let opener = Arc::clone(&self.opener);
        self.call("asking other guards", move |all| {
            let Some(active) = all.first_mut() else {
                return;
            };
            let mut remotes = BTreeMap::new();
            for mut other in select::others(&*opener, Some(active.kind())) {
                match other.remotes() {
                    Ok(found) => remotes.extend(found),
                    Err(error) => log::debug!("{}", error_chain(&error)),
                }
            }
            active.import_remotes(remotes);
        })
        .await
    }

    /// Why the active backend cannot load its guard, unless a call is running.
    pub(super) async fn load_failure(&self) -> Option<String> {
        if self.are_busy() {
            return None;
        }
        let load_failure = self
            .call("asking it", |all| all.first()?.load_failure())
            .await;
        load_failure.ok().flatten()
    }

    /// A source of events about the guard.
    pub(super) async fn watch(&self) -> Option<Watch> {
        let watch = self.call("asking it", |all| all.first()?.watch()).await;
        watch.ok().flatten()
    }

    /// Permits one flow for a time.
    pub(super) async fn permit(&self, permit: Permit, time: Duration) -> Result<(), BackendError> {
        self.call("opening the way", move |all| match all.first_mut() {
            Some(active) => active.permit(&permit, time),
            None => Ok(()),
        })
        .await?
    }

    /// Ends a permit before its time.
    pub(super) async fn revoke(&self, permit: Permit) -> Result<(), BackendError> {
        self.call("closing the way", move |all| match all.first_mut() {
            Some(active) => active.revoke(&permit),
            None => Ok(()),
        })
        .await?
    }
}

/// Reads the counters of the open backends, and of those that are not open.
fn read(
    recorder: &Recorder,
    all: &mut [Box<dyn Backend>],
    opener: &dyn Opener,
) -> Result<Unsaved, StoreError> {
    let mut closed = match all {
        [active] => select::others(opener, Some(active.kind())),
        _ => Vec::new(),
    };
    recorder.read(&mut all.iter_mut().chain(&mut closed))
}

/// A backend, and whether it has something here.
pub(super) type Presence = (BackendKind, Result<bool, BackendError>);

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
            state.stale_guards.push(other.kind());
        }
    }
    Ok(state)
}
