//! The backstop, in the requests by which [`Kernel`](crate::kernel::Kernel) puts it there and takes it away.

use std::collections::BTreeMap;
use std::time::Instant;

use super::FakeKernel;
use crate::desired::{Backstop, Queue};
use crate::kernel::qdisc::missing_modules::Module;
use crate::kernel::qdisc::{BackstopResult, RootQdisc};
use crate::kernel::{KernelError, is_absent};

/// A part of the backstop that could not be made, and the module whose absence may be why.
type BuildError = (Option<Module>, KernelError);

impl FakeKernel {
    /// The roots of all interfaces; of a backstop, its classes and filters are asked for.
    pub(super) fn list_roots(&self) -> Result<BTreeMap<u32, RootQdisc>, KernelError> {
        let roots = self.request("listing the qdiscs".to_owned(), |state| Ok(state.roots()))?;
        let mut whole = BTreeMap::new();
        for (index, root) in roots {
            let root = match root {
                RootQdisc::Backstop(_) => {
                    self.list_classes(index)?;
                    let again = self.request("listing the filters".to_owned(), |state| {
                        Ok(state.roots().remove(&index))
                    })?;
                    match again {
                        Some(again @ RootQdisc::Backstop(_)) => again,
                        _ => RootQdisc::Backstop(None),
                    }
                }
                root => root,
            };
            whole.insert(index, root);
        }
        Ok(whole)
    }

    /// Whether the class of the backstop is there.
    fn list_classes(&self, index: u32) -> Result<bool, KernelError> {
        self.request("listing the classes".to_owned(), |state| {
            Ok(state.has_class(index))
        })
    }

    pub(super) fn delete_backstop(&self, index: u32, name: &str) -> Result<(), KernelError> {
        self.request(format!("removing the qdisc drr 7b: of {name}"), |state| {
            state.delete_backstop(index)
        })
    }

    fn build_backstop(&self, index: u32, want: &Backstop) -> Result<(), BuildError> {
        let part = |part: &str| format!("setting {want}: its {part}");
        let of = |module| move |error| (module, error);
        self.request(part("root"), |state| state.create_root(index))
            .map_err(of(Some(Module::SchDrr)))?;
        self.request(part("class"), |state| state.create_class(index))
            .map_err(of(None))?;
        self.set_queue(index, want)?;
        self.request(part("filter for ARP"), |state| {
            state.create_arp_filter(index)
        })
        .map_err(of(Some(Module::ClsMatchall)))?;
        self.request(part("filter by mark"), |state| {
            state.create_mark_filter(index, (want.mark, want.mask))
        })
        .map_err(of(Some(Module::ClsFw)))?;
        self.update_missing(|missing| {
            for module in Module::REQUIRED {
                missing.note_present(module);
            }
        });
        Ok(())
    }

    fn set_queue(&self, index: u32, want: &Backstop) -> Result<(), BuildError> {
        let put = |queue| {
            let context = format!("setting {want}: its queue");
            self.request(context, |state| state.put_queue(index, queue))
        };
        let unmade = |error| (None, error);
        let Err(error) = put(want.queue) else {
            if want.queue == Queue::FqCodel {
                self.update_missing(|missing| missing.note_present(Module::SchFqCodel));
            }
            return Ok(());
        };
        let is_missing = want.queue == Queue::FqCodel
            && self
                .is_missing(index, Module::SchFqCodel, &error)
                .map_err(unmade)?;
        if !is_missing {
            return Err(unmade(error));
        }
        self.note_missing(Module::SchFqCodel);
        put(Queue::Fifo).map_err(unmade)
    }

    fn is_missing(
        &self,
        index: u32,
        module: Module,
        error: &KernelError,
    ) -> Result<bool, KernelError> {
        Ok(is_absent(error) && (module == Module::SchDrr || self.list_classes(index)?))
    }

    fn note_missing(&self, module: Module) {
        self.update_missing(|missing| missing.note_missing(module, Instant::now()));
    }

    pub(super) fn put_backstop(
        &self,
        index: u32,
        want: &Backstop,
    ) -> Result<BackstopResult, KernelError> {
        let result = match self.list_roots()?.remove(&index) {
            Some(RootQdisc::Backstop(Some(found))) if found.passes == (want.mark, want.mask) => {
                self.set_queue(index, want)
            }
            _ => {
                drop(self.delete_backstop(index, &want.interface));
                self.build_backstop(index, want)
            }
        };
        match result {
            Ok(()) => Ok(BackstopResult::Created),
            Err((Some(module), error)) if self.is_missing(index, module, &error)? => {
                self.note_missing(module);
                drop(self.delete_backstop(index, &want.interface));
                Ok(BackstopResult::ModuleMissing)
            }
            Err((_, error)) => Err(error),
        }
    }
}
