//! The eBPF backend: three TC programs, attached by TCX links from kernel 6.6 on and by clsact
//! filters before.
//!
//! What runs is asked from the kernel, not remembered: a program's read-only data tells which
//! policy it was loaded with, and that policy tells which build it is of.

mod attach;
mod clsact;
mod directory;
mod events;
mod link;
mod maps;
mod object;
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
    Backend, BackendError, Counter, Difference, Guard, Kind, Permit, Remote, Watch, chain,
};
use attach::{Attachment, Mode, Seen};

pub use object::{LoadedProgram, Options, PacketLog, load_for_test, object_for_test};
pub use policy::{policy_for, ticks_per_second};

/// The eBPF backend.
#[derive(Debug)]
pub struct Ebpf {
    mode: Mode,
    objects: object::Objects,
    seen: Seen,
    /// Remotes that another backend remembers.
    inherited: BTreeMap<Remote, Duration>,
    /// Why programs could not be loaded when that was tried last.
    unfit: Option<String>,
    /// Whether all was put in place once: then this machine can, and what fails later is tried again.
    fit: bool,
}

impl Ebpf {
    /// A backend for this kernel. Changes nothing.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] with the reason where this machine cannot run it.
    pub fn new() -> Result<Self, BackendError> {
        Self::with_options(Options::default())
    }

    /// The same, with the programs' own log lines.
    ///
    /// # Errors
    /// As [`Ebpf::new`].
    pub fn with_options(options: Options) -> Result<Self, BackendError> {
        probe::all()?;
        Ok(Self {
            mode: Mode::of_this_kernel()?,
            objects: object::Objects::new(options),
            seen: Seen::default(),
            inherited: BTreeMap::new(),
            unfit: None,
            fit: false,
        })
    }

    /// Puts one program in place, if it is not; `known` are remotes that its maps are to have.
    fn put(
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
        let behind = attach::found(self.mode, at)?.filter(|found| !found.is_first());
        let than = behind.as_ref().map(|found| found.program.id());
        let object = self
            .objects
            .get(policy, pins, at.hook, than)
            .inspect_err(|error| self.unfit = Some(chain(error)))?;
        // The maps are there with the first object.
        self.seen.look_at_pins_again();
        remotes::remember(known)?;
        match behind {
            Some(_) => attach::put_first(self.mode, at, object),
            None => attach::put(self.mode, at, object),
        }
    }
}

impl Backend for Ebpf {
    fn kind(&self) -> Kind {
        Kind::Ebpf
    }

    fn probe(&self) -> Result<(), BackendError> {
        probe::room()
    }

    fn unfit(&self) -> Option<String> {
        self.unfit.clone().filter(|_| !self.fit)
    }

    fn observe(&mut self, want: &Guard) -> Result<Vec<Difference>, BackendError> {
        pins::check()?;
        let options = self.objects.options();
        let mut differences = Vec::new();
        self.seen.begin();
        for wanted in attach::wanted(want) {
            let policy = attach::policy(want, &wanted, options);
            match attach::difference(self.mode, &wanted, &policy, options, &mut self.seen) {
                Ok(why) => differences.extend(why.map(Difference)),
                Err(_) if wanted.has_gone() => {}
                Err(error) => return Err(error),
            }
        }
        for stale in attach::stale(self.mode, &attach::wanted(want))? {
            differences.push(Difference(format!("{stale} is no longer wanted")));
        }
        let misfits = self.seen.pinned()?.misfits();
        if misfits.is_empty() {
            differences.extend(remotes::missing_peers(want)?);
        }
        let pins = misfits.into_iter().map(|name| format!("the map {name}"));
        let others = pins::others()?
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
        let wanted = attach::wanted(want);
        // Before anybody asks what is remembered elsewhere than in a pinned map: one that is of another
        // shape is no longer pinned then.
        maps::make_way()?;
        self.seen.begin();
        self.objects.keep_with(self.seen.pinned()?);
        // Handed over once: what is told of later would be older than it is said to be.
        let mut known = std::mem::take(&mut self.inherited);
        remotes::merge(&mut known, attach::remembered(self.mode, &wanted)?);
        self.unfit = None;
        let mut first_error = None;
        let mut policies = Vec::new();
        for attachment in &wanted {
            let policy = attach::policy(want, attachment, self.objects.options());
            policies.push(policy);
            // Each interface is a guard of its own: one that fails leaves the others in place.
            match self.put(attachment, &policy, &dir, &known) {
                Err(error) if !attachment.has_gone() => {
                    first_error.get_or_insert(error);
                }
                _ => {}
            }
        }
        self.objects.keep(&policies);
        // The maps exist from the first load on; a guard without any attachment needs no peers.
        if let Err(error) = remotes::add_peers(want) {
            first_error.get_or_insert(error);
        }
        for stale in attach::stale(self.mode, &wanted)? {
            if let Err(error) = attach::take_away(self.mode, &stale) {
                first_error.get_or_insert(error);
            }
        }
        clsact::forget_gone();
        if first_error.is_none() {
            first_error = pins::remove_others().into_iter().next();
        }
        self.fit |= first_error.is_none();
        first_error.map_or(Ok(()), Err)
    }

    fn present(&mut self) -> Result<bool, BackendError> {
        Ok(pins::exist()? || !attach::stale(self.mode, &[])?.is_empty())
    }

    fn remove(&mut self) -> Result<(), Vec<BackendError>> {
        self.objects.keep(&[]);
        let mut errors = Vec::new();
        match attach::stale(self.mode, &[]) {
            Ok(all) => {
                for attachment in all {
                    errors.extend(attach::take_away(self.mode, &attachment).err());
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

    fn withdraw(&mut self, permit: &Permit) -> Result<(), BackendError> {
        permits::close(permit)
    }

    fn remotes(&mut self) -> Result<BTreeMap<Remote, Duration>, BackendError> {
        remotes::sent_to()
    }

    fn inherit(&mut self, remotes: BTreeMap<Remote, Duration>) {
        self.inherited = remotes;
    }

    fn watch(&self) -> Option<Watch> {
        events::watch()
            .inspect_err(|error| log::debug!("listening for changes of the pins: {error}"))
            .ok()
    }

    fn counters(&mut self) -> Result<Vec<Counter>, BackendError> {
        maps::counters()
    }
}
