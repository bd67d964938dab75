//! The eBPF backend: three TC programs, attached by TCX links from kernel 6.6 on and by clsact
//! filters before.
//!
//! What runs is asked from the kernel, not remembered: a program's read-only data shows which
//! policy it was loaded with, and that policy shows which build it is of.

mod attach;
mod clsact;
mod directory;
mod events;
mod link;
mod maps;
mod object;
mod packet_log;
mod permits;
mod pins;
mod policy;
mod probe;
mod program;
mod remotes;
mod tc;
mod tcx;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use lte_common::layout::Policy;

use super::{
    Backend, BackendError, BackendKind, CounterSet, Difference, Guard, Permit, Remote, Watch,
    error_chain,
};
use attach::{AttachMode, Attachment, ProgramCache};

pub use object::{
    LoadOptions, LoadedProgram, PacketLog, load_for_test, load_with_options_for_test,
    object_for_test,
};
pub use policy::{policy_for, ticks_per_second};

/// The eBPF backend.
#[derive(Debug)]
pub struct Ebpf {
    mode: AttachMode,
    objects: object::Objects,
    seen: ProgramCache,
    /// Remotes that another backend remembers.
    inherited: BTreeMap<Remote, Duration>,
    /// Why programs could not be loaded when that was tried last.
    load_failure: Option<String>,
    /// Whether all was put in place once: then this machine can, and what fails later is tried again.
    loaded_once: bool,
}

impl Ebpf {
    /// A backend for this kernel. Changes nothing.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] with the reason where this machine cannot run it.
    pub fn new() -> Result<Self, BackendError> {
        Self::with_options(LoadOptions::default())
    }

    /// The same, with the programs' own log lines.
    ///
    /// # Errors
    /// As [`Ebpf::new`].
    pub fn with_options(options: LoadOptions) -> Result<Self, BackendError> {
        probe::check_all()?;
        Ok(Self {
            mode: AttachMode::for_this_kernel()?,
            objects: object::Objects::new(options),
            seen: ProgramCache::default(),
            inherited: BTreeMap::new(),
            load_failure: None,
            loaded_once: false,
        })
    }

    /// Puts one program in place, if it is not; `known` are remotes that its maps are to have.
    fn install(
        &mut self,
        at: &Attachment,
        policy: &Policy,
        pins: &Path,
        known: &BTreeMap<Remote, Duration>,
    ) -> Result<(), BackendError> {
        let options = self.objects.options();
        if attach::difference(self.mode, at, policy, options, &mut self.seen)?.is_none() {
            return Ok(());
        }
        let behind = attach::find(self.mode, at)?.filter(|found| !found.is_first());
        let except = behind.as_ref().map(|found| found.program.id());
        let object = self
            .objects
            .get(policy, pins, at.hook, except)
            .inspect_err(|error| self.load_failure = Some(error_chain(error)))?;
        // The maps are there with the first object.
        self.seen.look_at_pins_again();
        remotes::insert(known)?;
        match behind {
            Some(_) => attach::install_first(self.mode, at, object),
            None => attach::install(self.mode, at, object),
        }
    }
}

impl Backend for Ebpf {
    fn kind(&self) -> BackendKind {
        BackendKind::Ebpf
    }

    fn probe(&self) -> Result<(), BackendError> {
        probe::check_memory()
    }

    fn load_failure(&self) -> Option<String> {
        self.load_failure.clone().filter(|_| !self.loaded_once)
    }

    fn observe(&mut self, want: &Guard) -> Result<Vec<Difference>, BackendError> {
        pins::check()?;
        let options = self.objects.options();
        let mut differences = Vec::new();
        self.seen.begin();
        for wanted in attach::desired_attachments(want) {
            let policy = attach::policy(want, &wanted, options);
            match attach::difference(self.mode, &wanted, &policy, options, &mut self.seen) {
                Ok(why) => differences.extend(why.map(Difference)),
                Err(_) if wanted.is_gone() => {}
                Err(error) => return Err(error),
            }
        }
        for stale in attach::stale(self.mode, &attach::desired_attachments(want))? {
            differences.push(Difference(format!("{stale} is no longer wanted")));
        }
        let mismatched = self.seen.pinned()?.mismatched();
        if mismatched.is_empty() {
            differences.extend(remotes::missing_peers(want)?);
        }
        let pins = mismatched.into_iter().map(|name| format!("the map {name}"));
        let others = pins::other_layouts()?
            .into_iter()
            .map(|dir| dir.path().display().to_string());
        differences.extend(
            pins.chain(others)
                .map(|what| Difference(format!("{what} is of another version"))),
        );
        Ok(differences)
    }

    fn apply(&mut self, want: &Guard) -> Result<(), BackendError> {
        let dir = pins::create()?;
        // What another version has pinned is taken over: its links and filters get the new programs.
        // Its maps go on with its programs until the last of these is replaced.
        pins::take_over(&[tcx::PREFIX, clsact::QDISC])?;
        let wanted = attach::desired_attachments(want);
        // Before anybody asks what is remembered elsewhere than in a pinned map: one that is of another
        // shape is no longer pinned then.
        maps::unpin_mismatched()?;
        self.seen.begin();
        self.objects.keep_with(self.seen.pinned()?);
        // Handed over once: used again later, it would be older than it is said to be.
        let mut known = std::mem::take(&mut self.inherited);
        remotes::merge(&mut known, attach::remotes_of_programs(self.mode, &wanted)?);
        self.load_failure = None;
        let mut first_error = None;
        let mut policies = Vec::new();
        for attachment in &wanted {
            let policy = attach::policy(want, attachment, self.objects.options());
            policies.push(policy);
            // Each interface is a guard of its own: one that fails leaves the others in place.
            match self.install(attachment, &policy, &dir, &known) {
                Err(error) if !attachment.is_gone() => {
                    first_error.get_or_insert(error);
                }
                _ => {}
            }
        }
        self.objects.retain(&policies);
        // The maps exist from the first load on; a guard without any attachment needs no peers.
        if let Err(error) = remotes::add_peers(want) {
            first_error.get_or_insert(error);
        }
        for stale in attach::stale(self.mode, &wanted)? {
            if let Err(error) = attach::detach(self.mode, &stale) {
                first_error.get_or_insert(error);
            }
        }
        clsact::forget_gone();
        if first_error.is_none() {
            first_error = pins::remove_others().into_iter().next();
        }
        self.loaded_once |= first_error.is_none();
        first_error.map_or(Ok(()), Err)
    }

    fn present(&mut self) -> Result<bool, BackendError> {
        Ok(pins::exist()? || !attach::stale(self.mode, &[])?.is_empty())
    }

    fn remove(&mut self) -> Result<(), Vec<BackendError>> {
        self.objects.retain(&[]);
        let mut errors = Vec::new();
        match attach::stale(self.mode, &[]) {
            Ok(all) => {
                for attachment in all {
                    errors.extend(attach::detach(self.mode, &attachment).err());
                }
            }
            Err(error) => errors.push(error),
        }
        errors.extend(clsact::remove_qdiscs());
        errors.extend(pins::remove());
        // What is refused is met in each of these.
        errors.dedup_by_key(|error| error.to_string());
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    fn permit(&mut self, permit: &Permit, time: Duration) -> Result<(), BackendError> {
        permits::open(permit, time)
    }

    fn revoke(&mut self, permit: &Permit) -> Result<(), BackendError> {
        permits::close(permit)
    }

    fn remotes(&mut self) -> Result<BTreeMap<Remote, Duration>, BackendError> {
        remotes::last_sent()
    }

    fn import_remotes(&mut self, remotes: BTreeMap<Remote, Duration>) {
        self.inherited = remotes;
    }

    fn watch(&self) -> Option<Watch> {
        events::watch()
            .inspect_err(|error| log::debug!("listening for changes of the pins: {error}"))
            .ok()
    }

    fn counter_sets(&mut self) -> Result<Vec<CounterSet>, BackendError> {
        maps::counter_sets()
    }
}
