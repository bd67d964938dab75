//! One file a verb.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod fuzz;
pub(crate) mod lint;
pub(crate) mod release;
pub(crate) mod run;
pub(crate) mod test;
pub(crate) mod vm;
