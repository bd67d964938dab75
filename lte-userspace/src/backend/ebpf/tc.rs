//! Qdiscs and filters, asked from the kernel over rtnetlink, in the calling thread's namespace.

use std::io;

use aya::programs::TcAttachType;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption};

use crate::backend::BackendError;

/// Of linux/pkt_sched.h: the parents of clsact's two filter chains, and its handle.
const CLSACT: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
const CLSACT_PARENT: u32 = 0xffff_fff1;
/// `ETH_P_ALL` as a filter's protocol, network byte order.
const ALL_PROTOCOLS: u16 = 0x0003_u16.to_be();

/// A filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) priority: u16,
    pub(super) handle: u32,
    /// Id of its eBPF program, if it has one.
    pub(super) program: Option<u32>,
}

const fn parent(direction: TcAttachType) -> u32 {
    match direction {
        TcAttachType::Ingress => INGRESS,
        TcAttachType::Egress => EGRESS,
        TcAttachType::Custom(parent) => parent,
    }
}

fn message(index: u32, parent: u32) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = TcHandle::from(parent);
    message
}

/// Filters on an interface, in the order in which they are asked; none where it is gone or has no
/// clsact qdisc.
pub(super) fn filters(index: u32, direction: TcAttachType) -> Result<Vec<Filter>, BackendError> {
    let request = RouteNetlinkMessage::GetTrafficFilter(message(index, parent(direction)));
    let answers = match send_request(request, NLM_F_DUMP) {
        Ok(answers) => answers,
        // Without the qdisc the kernel answers with an error on some versions.
        Err(_) if !with_clsact()?.contains(&index) => return Ok(Vec::new()),
        Err(e) => {
            let context = format!("list the filters of interface {index}");
            return Err(BackendError::failed(context, e));
        }
    };
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewTrafficFilter(message) => filter(&message),
            _ => None,
        })
        .collect())
}

/// What is dumped has an entry of each priority, too, which is no filter and has no handle.
fn filter(message: &TcMessage) -> Option<Filter> {
    let handle = u32::from(message.header.handle);
    let program = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            TcAttribute::Options(options) => options.iter().find_map(|option| match option {
                TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
                _ => None,
            }),
            _ => None,
        });
    (handle != 0).then_some(Filter {
        priority: (message.header.info >> 16) as u16,
        handle,
        program,
    })
}

fn all_qdiscs() -> Result<Vec<(u32, String)>, BackendError> {
    let request = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
    let answers = send_request(request, NLM_F_DUMP)
        .map_err(|e| BackendError::failed("list the qdiscs", e))?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewQueueDiscipline(qdisc) => {
                let kind = qdisc.attributes.iter().find_map(|a| match a {
                    TcAttribute::Kind(kind) => Some(kind.clone()),
                    _ => None,
                })?;
                Some((qdisc.header.index.cast_unsigned(), kind))
            }
            _ => None,
        })
        .collect())
}

/// Kinds of the qdiscs on an interface.
pub(super) fn qdiscs(index: u32) -> Result<Vec<String>, BackendError> {
    Ok(all_qdiscs()?
        .into_iter()
        .filter_map(|(at, kind)| (at == index).then_some(kind))
        .collect())
}

/// Whether there is an interface of that number.
pub(super) fn exists(index: u32) -> bool {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer is as long as the longest name.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    !found.is_null()
}

/// Interfaces with a clsact qdisc.
pub(super) fn with_clsact() -> Result<Vec<u32>, BackendError> {
    Ok(all_qdiscs()?
        .into_iter()
        .filter_map(|(at, kind)| (kind == "clsact").then_some(at))
        .collect())
}

pub(super) fn delete_filter(
    index: u32,
    direction: TcAttachType,
    priority: u16,
    handle: u32,
) -> io::Result<()> {
    let mut filter = message(index, parent(direction));
    filter.header.handle = TcHandle::from(handle);
    filter.header.info = u32::from(priority) << 16 | u32::from(ALL_PROTOCOLS);
    filter.attributes.push(TcAttribute::Kind("bpf".into()));
    send_request(RouteNetlinkMessage::DelTrafficFilter(filter), NLM_F_ACK).map(drop)
}

pub(super) fn add_clsact(index: u32) -> io::Result<()> {
    let mut qdisc = message(index, CLSACT_PARENT);
    qdisc.header.handle = TcHandle::from(CLSACT);
    qdisc.attributes.push(TcAttribute::Kind("clsact".into()));
    let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
    send_request(RouteNetlinkMessage::NewQueueDiscipline(qdisc), flags).map(drop)
}

pub(super) fn delete_clsact(index: u32) -> io::Result<()> {
    let mut qdisc = message(index, CLSACT_PARENT);
    qdisc.header.handle = TcHandle::from(CLSACT);
    qdisc.attributes.push(TcAttribute::Kind("clsact".into()));
    send_request(RouteNetlinkMessage::DelQueueDiscipline(qdisc), NLM_F_ACK).map(drop)
}

/// One request and all its answers.
fn send_request(request: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(request));
    packet.finalize();
    let mut buffer = vec![0; packet.buffer_len()];
    packet.serialize(&mut buffer);
    socket.send(&buffer, 0)?;

    let mut answers = Vec::new();
    loop {
        let (bytes, _from) = socket.recv_from_full()?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
            let len = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Error(error) => {
                    return match error.code {
                        None => Ok(answers),
                        Some(_) => Err(error.to_io()),
                    };
                }
                NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                _ => {}
            }
            rest = rest.get(len..).unwrap_or_default();
        }
    }
}
