//! The backstop: the modem's root qdisc, below the guard.
//!
//! The guard marks whatever it lets out. A `drr` qdisc drops what no filter puts into a class
//! (`drr_enqueue`, net/sched/sch_drr.c), and here the filters know our mark, and ARP, which one of
//! the backends has no hook to mark in. So when the guard is removed by others nothing leaves, until
//! it is back; and when the qdisc is removed the guard is there.

mod build;
pub mod missing_modules;

use std::collections::BTreeMap;

use rtnetlink::packet_core::{Nla, NlasIterator};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use super::{Kernel, KernelError};
use crate::desired::{Backstop, Queue};
pub use build::BackstopResult;

const KIND: &str = "drr";
/// By which ours is known: the qdisc, its class, and what queues in that.
const ROOT: TcHandle = handle(0x7b, 0);
const CLASS: TcHandle = handle(0x7b, 1);
/// An earlier version's queue: a pfifo of 1,000 packets.
const EARLIER_QUEUE: TcHandle = handle(0x7c, 0);
/// The kernel replaces a queue by one of another kind under another handle only.
const FQ_CODEL: TcHandle = handle(0x7d, 0);
const FIFO: TcHandle = handle(0x7e, 0);
/// Packets in the queue of a kernel without fq_codel: a third of a second at 2 Mbit/s.
const FIFO_LENGTH: u32 = 50;
/// Of linux/pkt_cls.h and linux/rtnetlink.h.
const TCA_OPTIONS: u16 = 2;
const TCA_FW_CLASSID: u16 = 1;
const TCA_FW_MASK: u16 = 5;

const fn handle(major: u16, minor: u16) -> TcHandle {
    TcHandle { major, minor }
}

const fn queue_handle(queue: Queue) -> TcHandle {
    match queue {
        Queue::FqCodel => FQ_CODEL,
        Queue::Fifo => FIFO,
    }
}

const fn queue_kind(queue: Queue) -> &'static str {
    match queue {
        Queue::FqCodel => "fq_codel",
        Queue::Fifo => "pfifo",
    }
}

/// What an interface has as its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootQdisc {
    /// What the kernel gives to each.
    Default,
    /// Ours; `None`: parts of it are missing.
    Backstop(Option<BackstopState>),
    /// Of this kind, set by a third party.
    Foreign(String),
}

/// What a qdisc of ours does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackstopState {
    /// The mark that passes, under this mask.
    pub passes: (u32, u32),
    /// In what it waits.
    pub queue: QueueState,
}

/// What is queued in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueState {
    /// One of ours.
    Ours(Queue),
    /// A third party's, which may know the modem's rate: it stays.
    Foreign,
    /// The kernel's own, or an earlier version's: both too long.
    Missing,
}

impl BackstopState {
    /// Whether this is as wanted.
    pub fn matches(&self, want: &Backstop) -> bool {
        self.passes == (want.mark, want.mask)
            && match self.queue {
                QueueState::Ours(queue) => queue == want.queue,
                QueueState::Foreign => true,
                QueueState::Missing => false,
            }
    }
}

fn kind(message: &TcMessage) -> &str {
    let kind = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.as_str()),
            _ => None,
        });
    kind.unwrap_or_default()
}

/// What queues in the class of an interface's qdisc of ours, among all qdiscs.
fn queue(qdiscs: &[TcMessage], of: i32) -> QueueState {
    let in_the_class =
        |qdisc: &&TcMessage| qdisc.header.index == of && qdisc.header.parent == CLASS;
    match qdiscs.iter().find(in_the_class) {
        Some(qdisc) => match qdisc.header.handle {
            FQ_CODEL => QueueState::Ours(Queue::FqCodel),
            FIFO => QueueState::Ours(Queue::Fifo),
            EARLIER_QUEUE => QueueState::Missing,
            _ => QueueState::Foreign,
        },
        // The kernel does not list the one that it gives to a class by itself.
        None => QueueState::Missing,
    }
}

impl Kernel {
    /// The root qdiscs of all interfaces, by index.
    pub async fn root_qdiscs(&self) -> Result<BTreeMap<u32, RootQdisc>, KernelError> {
        let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let found = self
            .dump("listing the qdiscs", request, |reply| match reply {
                RouteNetlinkMessage::NewQueueDiscipline(qdisc) => Some(qdisc),
                _ => None,
            })
            .await?;
        let mut roots = BTreeMap::new();
        for qdisc in &found {
            let header = &qdisc.header;
            if header.parent != TcHandle::ROOT {
                continue;
            }
            let index = header.index.cast_unsigned();
            let root = match (header.handle, kind(qdisc)) {
                (TcHandle::UNSPEC, _) => RootQdisc::Default,
                (ROOT, KIND) => {
                    let queue = queue(&found, header.index);
                    let passes = self.passed_mark(index).await?;
                    RootQdisc::Backstop(passes.map(|passes| BackstopState { passes, queue }))
                }
                (_, kind) => RootQdisc::Foreign(kind.to_owned()),
            };
            roots.insert(index, root);
        }
        Ok(roots)
    }

    /// Mark and mask that a qdisc of ours lets pass; `None`: it is not whole.
    async fn passed_mark(&self, index: u32) -> Result<Option<(u32, u32)>, KernelError> {
        let classes = self.classes(index).await?;
        let mut of_it = TcMessage::with_index(index.cast_signed());
        of_it.header.parent = ROOT;
        let request = RouteNetlinkMessage::GetTrafficFilter(of_it);
        let filters = self
            .dump("listing the filters", request, |reply| match reply {
                RouteNetlinkMessage::NewTrafficFilter(filter) => Some(filter),
                _ => None,
            })
            .await?;
        let by_mark = filters
            .iter()
            .filter(|filter| kind(filter) == "fw")
            .find_map(|filter| {
                let mark = u32::from(filter.header.handle);
                (mark != 0).then_some((mark, mask(filter)))
            });
        let has_arp = filters
            .iter()
            .any(|filter| kind(filter) == "matchall" && u32::from(filter.header.handle) != 0);
        Ok(by_mark.filter(|_| has_arp && classes.contains(&CLASS)))
    }

    /// The classes of a qdisc of ours.
    async fn classes(&self, index: u32) -> Result<Vec<TcHandle>, KernelError> {
        let mut of_it = TcMessage::with_index(index.cast_signed());
        of_it.header.parent = ROOT;
        let request = RouteNetlinkMessage::GetTrafficClass(of_it);
        self.dump("listing the classes", request, |reply| match reply {
            RouteNetlinkMessage::NewTrafficClass(class) => Some(class.header.handle),
            _ => None,
        })
        .await
    }
}

/// The mask of a filter by mark; the kernel leaves it out where it is full. The options of a kind that
/// the library does not know come in one piece.
fn mask(filter: &TcMessage) -> u32 {
    let options = filter
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            TcAttribute::Options(options) => options.first(),
            _ => None,
        });
    let Some(TcOption::Other(whole)) = options else {
        return u32::MAX;
    };
    let mut bytes = vec![0; whole.value_len()];
    whole.emit_value(&mut bytes);
    NlasIterator::new(&bytes)
        .flatten()
        .find(|attribute| attribute.kind() == TCA_FW_MASK)
        .and_then(|attribute| attribute.value().try_into().ok())
        .map_or(u32::MAX, u32::from_ne_bytes)
}
