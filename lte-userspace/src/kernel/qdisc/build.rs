//! Putting the backstop there, and taking it away.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Instant;

use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{
    TcAttribute, TcHandle, TcMessage, TcOption, TcQdiscFqCodelOption,
};

use super::missing_modules::{MissingModules, Module};
use super::{
    CLASS, FIFO_LENGTH, KIND, ROOT, RootQdisc, TCA_FW_CLASSID, TCA_FW_MASK, TCA_OPTIONS,
    queue_handle, queue_kind,
};
use crate::desired::{Backstop, Queue};
use crate::kernel::{Kernel, KernelError, is_absent};

/// For how long a packet may wait in its flow's queue, and for how long more may wait longer before any is
/// dropped, in µs. A packet takes 6 ms at 2 Mbit/s: with the usual 5 and 100 ms (tc-fq_codel(8): the target
/// is to be that time at least) flows that never have two packets waiting lose some.
const TARGET: u32 = 40_000;
const INTERVAL: u32 = 200_000;
/// Of linux/pkt_cls.h and linux/if_ether.h.
const TCA_MATCHALL_CLASSID: u16 = 1;
const ETH_P_ALL: u16 = 0x0003;
const ETH_P_ARP: u16 = 0x0806;

/// Whether something was put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum BackstopResult {
    /// It is there.
    Created,
    /// The kernel lacks a module, which is noted and is no error.
    ModuleMissing,
}

/// A part that could not be made, and the module whose absence may be why.
struct BuildError {
    module: Option<Module>,
    error: KernelError,
}

fn message(index: u32, parent: TcHandle, handle: TcHandle, kind: &str) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = parent;
    message.header.handle = handle;
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message
}

fn number(kind: u16, value: u32) -> TcOption {
    TcOption::Other(DefaultNla::new(kind, value.to_ne_bytes().to_vec()))
}

fn filter(index: u32, priority: u16, protocol: u16, handle: u32, kind: &str) -> TcMessage {
    let mut filter = message(index, ROOT, TcHandle::from(handle), kind);
    filter.header.info = u32::from(priority) << 16 | u32::from(protocol.to_be());
    filter
}

fn root(index: u32) -> TcMessage {
    message(index, TcHandle::ROOT, ROOT, KIND)
}

fn class(index: u32) -> TcMessage {
    let mut class = message(index, ROOT, CLASS, KIND);
    class.attributes.push(TcAttribute::Options(Vec::new()));
    class
}

fn queue(index: u32, queue: Queue) -> TcMessage {
    let mut message = message(index, CLASS, queue_handle(queue), queue_kind(queue));
    message.attributes.push(match queue {
        Queue::FqCodel => TcAttribute::Options(vec![
            TcOption::FqCodel(TcQdiscFqCodelOption::Target(TARGET)),
            TcOption::FqCodel(TcQdiscFqCodelOption::Interval(INTERVAL)),
        ]),
        // struct tc_fifo_qopt, which is no list of attributes.
        Queue::Fifo => TcAttribute::Other(DefaultNla::new(
            TCA_OPTIONS,
            FIFO_LENGTH.to_ne_bytes().to_vec(),
        )),
    });
    message
}

fn arp(index: u32) -> TcMessage {
    let mut arp = filter(index, 2, ETH_P_ARP, 0, "matchall");
    let options = vec![number(TCA_MATCHALL_CLASSID, u32::from(CLASS))];
    arp.attributes.push(TcAttribute::Options(options));
    arp
}

fn by_mark(index: u32, want: &Backstop) -> TcMessage {
    let mut by_mark = filter(index, 1, ETH_P_ALL, want.mark, "fw");
    let options = vec![
        number(TCA_FW_CLASSID, u32::from(CLASS)),
        number(TCA_FW_MASK, want.mask),
    ];
    by_mark.attributes.push(TcAttribute::Options(options));
    by_mark
}

impl Kernel {
    /// Makes it the root of the interface of an index, in place of the kernel's own or of one that
    /// is not whole. Until it is whole nothing passes. One that is whole but for its queue gets the other
    /// queue, and loses no more than what waits in the old one.
    pub async fn add_backstop(
        &self,
        index: u32,
        want: &Backstop,
    ) -> Result<BackstopResult, KernelError> {
        let found = self.root_qdiscs().await?.remove(&index);
        let result = match found {
            Some(RootQdisc::Backstop(Some(found))) if found.passes == (want.mark, want.mask) => {
                self.set_queue(index, want).await
            }
            _ => {
                // ENOENT where there was none.
                drop(self.remove_backstop(index, &want.interface).await);
                self.build(index, want).await
            }
        };
        let Err(BuildError { module, error }) = result else {
            return Ok(BackstopResult::Created);
        };
        match module {
            Some(module) if self.is_module_missing(index, module, &error).await? => {
                self.note_missing(module, &error);
                drop(self.remove_backstop(index, &want.interface).await);
                Ok(BackstopResult::ModuleMissing)
            }
            _ => Err(error),
        }
    }

    async fn build(&self, index: u32, want: &Backstop) -> Result<(), BuildError> {
        let create = async |request, module| {
            let made = self.create(request, NLM_F_EXCL, want).await;
            made.map_err(|error| BuildError { module, error })
        };
        let drr = RouteNetlinkMessage::NewQueueDiscipline(root(index));
        create(drr, Some(Module::SchDrr)).await?;
        create(RouteNetlinkMessage::NewTrafficClass(class(index)), None).await?;
        self.set_queue(index, want).await?;
        let arp = RouteNetlinkMessage::NewTrafficFilter(arp(index));
        create(arp, Some(Module::ClsMatchall)).await?;
        let by_mark = RouteNetlinkMessage::NewTrafficFilter(by_mark(index, want));
        create(by_mark, Some(Module::ClsFw)).await?;
        self.update_missing(|missing_modules| {
            for module in Module::REQUIRED {
                missing_modules.note_present(module);
            }
        });
        Ok(())
    }

    /// Gives the class its queue, or the other one where the kernel lacks this one: the modem does not
    /// wait for the next look.
    async fn set_queue(&self, index: u32, want: &Backstop) -> Result<(), BuildError> {
        let put = async |kind| {
            let request = RouteNetlinkMessage::NewQueueDiscipline(queue(index, kind));
            self.create(request, NLM_F_REPLACE, want).await
        };
        let unmade = |error| BuildError {
            module: None,
            error,
        };
        let Err(error) = put(want.queue).await else {
            if want.queue == Queue::FqCodel {
                self.update_missing(|missing_modules| {
                    missing_modules.note_present(Module::SchFqCodel);
                });
            }
            return Ok(());
        };
        let is_module_missing = want.queue == Queue::FqCodel
            && self
                .is_module_missing(index, Module::SchFqCodel, &error)
                .await
                .map_err(unmade)?;
        if !is_module_missing {
            return Err(unmade(error));
        }
        self.note_missing(Module::SchFqCodel, &error);
        put(Queue::Fifo).await.map_err(unmade)
    }

    /// Whether an error means that the kernel lacks a module. Of a kind that it does not know it says the
    /// same (ENOENT) as of a qdisc or class that has just been removed: so it is checked whether
    /// what the part was for is still there. The root itself is for nothing that could be gone.
    async fn is_module_missing(
        &self,
        index: u32,
        module: Module,
        error: &KernelError,
    ) -> Result<bool, KernelError> {
        Ok(is_absent(error)
            && (module == Module::SchDrr || self.classes(index).await?.contains(&CLASS)))
    }

    /// Takes it away; the kernel puts its own in its place.
    pub async fn remove_backstop(&self, index: u32, name: &str) -> Result<(), KernelError> {
        let request = RouteNetlinkMessage::DelQueueDiscipline(root(index));
        self.request_ack(
            request,
            0,
            format!("removing the qdisc {KIND} 7b: of {name}"),
        )
        .await
    }

    /// What this kernel has been found to lack, and is not to be asked for yet.
    pub fn missing_modules(&self) -> BTreeSet<Module> {
        let missing_modules = self
            .missing_modules
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        missing_modules.at(Instant::now())
    }

    /// Has what was missing asked for at once: a module may have been installed.
    pub fn retry_modules(&self) {
        self.update_missing(MissingModules::forget);
    }

    fn note_missing(&self, module: Module, error: &KernelError) {
        log::debug!("{error}: this kernel lacks {module}");
        self.update_missing(|missing_modules| missing_modules.note_missing(module, Instant::now()));
    }

    fn update_missing(&self, change: impl FnOnce(&mut MissingModules)) {
        change(
            &mut self
                .missing_modules
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    async fn create(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
        want: &Backstop,
    ) -> Result<(), KernelError> {
        self.request_ack(request, NLM_F_CREATE | flags, format!("setting {want}"))
            .await
    }

    async fn request_ack(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
        context: String,
    ) -> Result<(), KernelError> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut replies = self.request(message, &context)?;
        while let Some(reply) = self.next_reply(&mut replies, &context).await? {
            if let NetlinkPayload::Error(error) = reply.payload
                && error.code.is_some()
            {
                return Err(KernelError::new(context, error.to_io()));
            }
        }
        Ok(())
    }
}
