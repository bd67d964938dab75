//! Backends made of memory, for tests of the reconciler on the host: each holds the guard that was set last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::select::{Opener, Purpose};
use super::{Backend, BackendError, BackendKind, CounterSet, Difference, Guard, Permit, Remote};
use crate::kernel::fake::FakeKernel;

/// The guards that are in place, by backend. Their calls are requests to the kernel, and fail with it.
#[derive(Debug, Clone)]
pub(crate) struct FakeGuards {
    kernel: FakeKernel,
    installed: Arc<Mutex<BTreeMap<BackendKind, Guard>>>,
    lost: Arc<AtomicBool>,
}

impl FakeGuards {
    /// None is in place.
    pub(crate) fn new(kernel: &FakeKernel) -> Self {
        Self {
            kernel: kernel.clone(),
            installed: Arc::default(),
            lost: Arc::default(),
        }
    }

    /// What is in place.
    pub(crate) fn installed(&self) -> BTreeMap<BackendKind, Guard> {
        self.lock().clone()
    }

    /// Another program removes a guard.
    pub(crate) fn lose(&self, kind: BackendKind) {
        self.lock().remove(&kind);
        self.lost.store(true, Ordering::Relaxed);
    }

    /// Whether another program has removed one, and none was set since.
    pub(crate) fn are_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// A backend with these guards.
    pub(crate) fn backend(&self, kind: BackendKind) -> Box<dyn Backend> {
        Box::new(FakeBackend {
            kind,
            guards: self.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BackendKind, Guard>> {
        self.installed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a request about the guards.
    fn request<T>(
        &self,
        context: String,
        work: impl FnOnce(&mut BTreeMap<BackendKind, Guard>) -> T,
    ) -> Result<T, BackendError> {
        let answer = self
            .kernel
            .request(context.clone(), |_| Ok(work(&mut self.lock())));
        answer.map_err(|error| BackendError::failed(context, error.source))
    }
}

impl Opener for FakeGuards {
    fn open(&self, kind: BackendKind, _: Purpose) -> Result<Box<dyn Backend>, BackendError> {
        Ok(self.backend(kind))
    }
}

#[derive(Debug)]
struct FakeBackend {
    kind: BackendKind,
    guards: FakeGuards,
}

impl Backend for FakeBackend {
    fn kind(&self) -> BackendKind {
        self.kind
    }

    fn probe(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn observe(&mut self, want: &Guard) -> Result<Vec<Difference>, BackendError> {
        let found = self.guards.request("reading the guard".to_owned(), |all| {
            all.get(&self.kind).cloned()
        })?;
        let is_there = |index| self.guards.kernel.has_interface(index);
        Ok(match found {
            Some(_) if !want.interfaces().all(is_there) => {
                vec![Difference("no program on an interface".to_owned())]
            }
            Some(found) if found == *want => Vec::new(),
            Some(_) => vec![Difference("another guard".to_owned())],
            None => vec![Difference("no guard".to_owned())],
        })
    }

    fn apply(&mut self, want: &Guard) -> Result<(), BackendError> {
        let want = want.clone();
        let context = format!("setting the guard ({})", self.kind);
        self.guards.request(context, |all| {
            all.insert(self.kind, want);
            self.guards.lost.store(false, Ordering::Relaxed);
        })
    }

    fn present(&mut self) -> Result<bool, BackendError> {
        self.guards
            .request(format!("looking for the guard ({})", self.kind), |all| {
                all.contains_key(&self.kind)
            })
    }

    fn remove(&mut self) -> Result<(), Vec<BackendError>> {
        self.guards
            .request(format!("removing the guard ({})", self.kind), |all| {
                drop(all.remove(&self.kind));
            })
            .map_err(|error| vec![error])
    }

    fn permit(&mut self, _: &Permit, _: Duration) -> Result<(), BackendError> {
        Ok(())
    }

    fn revoke(&mut self, _: &Permit) -> Result<(), BackendError> {
        Ok(())
    }

    fn remotes(&mut self) -> Result<BTreeMap<Remote, Duration>, BackendError> {
        Ok(BTreeMap::new())
    }

    fn import_remotes(&mut self, _: BTreeMap<Remote, Duration>) {}

    fn counter_sets(&mut self) -> Result<Vec<CounterSet>, BackendError> {
        Ok(Vec::new())
    }
}

/// A guard in words, without numbers that change when a device is plugged in again.
pub(crate) fn describe(kind: BackendKind, guard: &Guard) -> String {
    let names = |all: &BTreeMap<u32, super::Uplink>| -> BTreeSet<String> {
        all.values().map(|one| one.name.clone()).collect()
    };
    let modem = guard.modem.as_ref().map(|modem| modem.name.as_str());
    format!(
        "guard {kind}: modem {modem:?}, closed {:?}, uplinks {:?}, peers {:?}, port {}",
        names(&guard.closed),
        names(&guard.uplinks),
        guard.peers,
        guard.listen_port
    )
}
