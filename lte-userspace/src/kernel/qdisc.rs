//! The modem's root queueing discipline: a second net below the guard.
//!
//! The guard marks whatever it lets out. A `drr` qdisc drops what no filter puts into a class
//! (`drr_enqueue`, net/sched/sch_drr.c), and here the filters know our mark, and ARP, which one of
//! the backends has no hook to mark in. So when somebody takes the guard away nothing leaves, until
//! it is back; and when somebody takes the qdisc away the guard is there.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    Nla, NlasIterator,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use super::{Kernel, KernelError};
use crate::desired::Backstop;

const KIND: &str = "drr";
/// By which ours is known: the qdisc, its class, and what queues in that.
const ROOT: TcHandle = TcHandle {
    major: 0x7b,
    minor: 0,
};
const CLASS: TcHandle = TcHandle {
    major: 0x7b,
    minor: 1,
};
const QUEUE: TcHandle = TcHandle {
    major: 0x7c,
    minor: 0,
};
/// Packets in the queue: the kernel's usual `tx_queue_len`, which some modems' drivers set to none.
const LENGTH: u32 = 1000;
/// Of linux/pkt_cls.h and linux/rtnetlink.h.
const TCA_OPTIONS: u16 = 2;
const TCA_FW_CLASSID: u16 = 1;
const TCA_FW_MASK: u16 = 5;
const TCA_MATCHALL_CLASSID: u16 = 1;
const ETH_P_ALL: u16 = 0x0003;
const ETH_P_ARP: u16 = 0x0806;

/// What an interface has as its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// What the kernel gives to each.
    Default,
    /// Ours, letting pass this mark under this mask; `None`: parts of it are missing.
    Backstop(Option<(u32, u32)>),
    /// Of this kind, by somebody else's hand.
    Theirs(String),
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

impl Kernel {
    /// The root qdiscs of all interfaces, by index.
    pub async fn root_qdiscs(&self) -> Result<BTreeMap<u32, Root>, KernelError> {
        let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let found = self
            .dump("listing the qdiscs", request, |reply| match reply {
                RouteNetlinkMessage::NewQueueDiscipline(qdisc) => Some(qdisc),
                _ => None,
            })
            .await?;
        let mut roots = BTreeMap::new();
        for qdisc in found {
            let header = &qdisc.header;
            if header.parent != TcHandle::ROOT {
                continue;
            }
            let index = header.index.cast_unsigned();
            let root = match (header.handle, kind(&qdisc)) {
                (TcHandle::UNSPEC, _) => Root::Default,
                (ROOT, KIND) => Root::Backstop(self.lets_pass(index).await?),
                (_, kind) => Root::Theirs(kind.to_owned()),
            };
            roots.insert(index, root);
        }
        Ok(roots)
    }

    /// Mark and mask that a qdisc of ours lets pass; `None`: it is not whole.
    async fn lets_pass(&self, index: u32) -> Result<Option<(u32, u32)>, KernelError> {
        let of_it = TcMessage::with_index(index.cast_signed());
        let request = RouteNetlinkMessage::GetTrafficClass(of_it.clone());
        let classes = self
            .dump("listing the classes", request, |reply| match reply {
                RouteNetlinkMessage::NewTrafficClass(class) => Some(class.header.handle),
                _ => None,
            })
            .await?;
        let mut of_it = of_it;
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

    /// Makes it the root of the interface of an index, in place of the kernel's own or of one that
    /// is not whole. Until it is whole nothing passes. Where the kernel has no such qdisc that is
    /// noted ([`Kernel::has_backstop`]) and is no error.
    pub async fn add_backstop(&self, index: u32, want: &Backstop) -> Result<(), KernelError> {
        // ENOENT where there was none.
        drop(self.remove_backstop(index, &want.interface).await);
        let result = self.build_backstop(index, want).await;
        if let Err(error) = &result
            && matches!(error.errno(), Some(2 | 95))
        {
            log::debug!("{error}");
            self.no_backstop.store(true, Ordering::Relaxed);
            drop(self.remove_backstop(index, &want.interface).await);
            return Ok(());
        }
        result
    }

    async fn build_backstop(&self, index: u32, want: &Backstop) -> Result<(), KernelError> {
        let doing = || format!("setting {want}");
        let root = message(index, TcHandle::ROOT, ROOT, KIND);
        self.make(RouteNetlinkMessage::NewQueueDiscipline(root), doing())
            .await?;
        let mut class = message(index, ROOT, CLASS, KIND);
        class.attributes.push(TcAttribute::Options(Vec::new()));
        self.make(RouteNetlinkMessage::NewTrafficClass(class), doing())
            .await?;
        // struct tc_fifo_qopt, which is no list of attributes.
        let mut queue = message(index, CLASS, QUEUE, "pfifo");
        let length = DefaultNla::new(TCA_OPTIONS, LENGTH.to_ne_bytes().to_vec());
        queue.attributes.push(TcAttribute::Other(length));
        self.make(RouteNetlinkMessage::NewQueueDiscipline(queue), doing())
            .await?;
        let class = u32::from(CLASS);
        let mut arp = filter(index, 2, ETH_P_ARP, 0, "matchall");
        let options = vec![number(TCA_MATCHALL_CLASSID, class)];
        arp.attributes.push(TcAttribute::Options(options));
        self.make(RouteNetlinkMessage::NewTrafficFilter(arp), doing())
            .await?;
        let mut by_mark = filter(index, 1, ETH_P_ALL, want.mark, "fw");
        let options = vec![
            number(TCA_FW_CLASSID, class),
            number(TCA_FW_MASK, want.mask),
        ];
        by_mark.attributes.push(TcAttribute::Options(options));
        self.make(RouteNetlinkMessage::NewTrafficFilter(by_mark), doing())
            .await
    }

    /// Takes it away; the kernel puts its own in its place.
    pub async fn remove_backstop(&self, index: u32, name: &str) -> Result<(), KernelError> {
        let root = message(index, TcHandle::ROOT, ROOT, KIND);
        let request = RouteNetlinkMessage::DelQueueDiscipline(root);
        self.demand(
            request,
            0,
            format!("removing the qdisc {KIND} 7b: of {name}"),
        )
        .await
    }

    /// Whether this kernel can have one, as far as that has been tried.
    pub fn has_backstop(&self) -> bool {
        !self.no_backstop.load(Ordering::Relaxed)
    }

    async fn make(&self, request: RouteNetlinkMessage, doing: String) -> Result<(), KernelError> {
        self.demand(request, NLM_F_CREATE | NLM_F_EXCL, doing).await
    }

    async fn demand(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
        doing: String,
    ) -> Result<(), KernelError> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut replies = self
            .handle()
            .request(message)
            .map_err(KernelError::netlink(doing.clone()))?;
        while let Some(reply) = self.next_of(&mut replies, &doing).await? {
            if let NetlinkPayload::Error(error) = reply.payload
                && error.code.is_some()
            {
                return Err(KernelError::new(doing, error.to_io()));
            }
        }
        Ok(())
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
