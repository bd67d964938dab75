//! How much the SIM has carried, and how long it will last.
//!
//! The kernel counts; the ledger on disk says up to where it has been counted already. Both together are the
//! truth at any time, whoever asks and whether an agent runs: `ledger` is what is kept and how counts are added
//! to it, `history` how much was carried when, `period` when the budget is renewed, `clock` whether the
//! time of day is to be trusted, `store` the file, `recorder` what adds to it, `report` what `lte-userspace usage` prints.

mod clock;
mod count;
mod history;
mod ledger;
mod period;
mod recorder;
mod report;
mod store;

pub use clock::Clock;
pub use count::{Count, Reading, read_counters};
pub use ledger::{Circumstances, Event, EventKind, Ledger};
pub use recorder::{Recorder, Unsaved, warn_unsaved};
pub use report::Report;
pub use store::{Locked, Saved, Store, StoreError, Writer};
