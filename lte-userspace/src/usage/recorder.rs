//! Reads the kernel's counters and adds them to the ledger on disk.

use std::sync::{Arc, Mutex, PoisonError};

use super::count::{Reading, read_counters};
use super::ledger::Circumstances;
use super::store::{Locked, Store, StoreError, Writer};
use crate::backend::{Backend, error_chain};
use crate::config::Budget;

/// Records what was counted.
#[derive(Debug, Clone)]
pub struct Recorder {
    store: Store,
    budget: Arc<Mutex<Option<Budget>>>,
}

/// Counters that were read, and are to be saved before another process may read them for the same purpose.
#[derive(Debug)]
pub struct Unsaved {
    locked: Locked,
    readings: Vec<Reading>,
    at: Circumstances,
}

impl Recorder {
    /// Records in a ledger, for a SIM of that budget.
    pub fn new(store: Store, budget: Option<Budget>) -> Self {
        Self {
            store,
            budget: Arc::new(Mutex::new(budget)),
        }
    }

    /// Changes the budget.
    pub fn set_budget(&self, budget: Option<Budget>) {
        *self.budget.lock().unwrap_or_else(PoisonError::into_inner) = budget;
    }

    /// Reads the counters of all backends that have any. Without those of one that counts, too, another one's
    /// would be taken for all that there is.
    pub fn read(
        &self,
        all: &mut dyn Iterator<Item = &mut Box<dyn Backend>>,
    ) -> Result<Unsaved, StoreError> {
        let locked = self.store.lock()?;
        let budget = *self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Circumstances::here(budget)?;
        let first = self.store.load().counted_by(at.netns);
        let (readings, errors) = read_counters(all, first);
        for error in errors {
            log::warn!("{}", error_chain(&error));
        }
        Ok(Unsaved {
            locked,
            readings,
            at,
        })
    }
}

impl Unsaved {
    /// Adds them to the ledger, and writes it if anything was counted.
    pub fn save(self) -> Result<(), StoreError> {
        let now = self.at.clock.now;
        let update = self.locked.update(Writer::Agent, now, |ledger| {
            ledger.update(&self.readings, &self.at)
        });
        for event in update?.0 {
            log::info!("{event}");
        }
        Ok(())
    }
}

/// Reports that counters were not saved.
pub fn warn_unsaved(why: &dyn std::fmt::Display) {
    log::warn!("the usage could not be saved, it stays in the kernel's counters: {why}");
}
