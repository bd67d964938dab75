//! nftables and conntrack by netlink itself: nft would take a quarter of a second for each question
//! under emulation, and there are two for each case.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use lte_tests::netns::Netns;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// `NFPROTO_INET` of the kernel's `linux/netfilter.h`.
pub(crate) const INET: u8 = 1;
/// `NFPROTO_NETDEV`.
pub(crate) const NETDEV: u8 = 5;

/// `NFNL_SUBSYS_NFTABLES`, and its messages of `linux/netfilter/nf_tables.h`.
const SUBSYSTEM: u16 = 10;
const NEW_OBJECT: u16 = SUBSYSTEM << 8 | 0x12;
const GET_OBJECT: u16 = SUBSYSTEM << 8 | 0x13;
const DELETE_ELEMENTS: u16 = SUBSYSTEM << 8 | 0x0e;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END` of `linux/netfilter/nfnetlink.h`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// `IPCTNL_MSG_CT_DELETE` of conntrack's subsystem.
const DELETE_FLOWS: u16 = 1 << 8 | 0x02;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Bytes of `struct nlmsghdr`, and of it with `struct nfgenmsg`.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 4;

/// A counter of a table: family, name, packets, bytes.
pub(crate) type Counter = (u8, String, u64, u64);

/// A netlink socket of a namespace.
pub(crate) struct NfTables(OwnedFd);

impl NfTables {
    pub(crate) fn new(netns: &Netns) -> Result<Self> {
        netns.run(|| {
            let (family, kind) = (AddressFamily::Netlink, SockType::Raw);
            let protocol = SockProtocol::NetlinkNetFilter;
            let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol)?;
            Ok(Self(socket))
        })
    }

    fn send(&self, messages: &[u8]) -> Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.0.as_raw_fd(), messages, &kernel, MsgFlags::empty())?;
        Ok(())
    }

    /// The next messages: type, and all behind the netlink header.
    fn receive(&self) -> Result<Vec<(u16, Vec<u8>)>> {
        let mut buffer = vec![0; 0x1_0000];
        let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        let mut messages = Vec::new();
        while rest.len() >= HEADER {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            let body = rest.get(HEADER..length).context("a message cut short")?;
            if kind == ERROR {
                let error = i32::from_ne_bytes([body[0], body[1], body[2], body[3]]);
                ensure!(error == 0, "the kernel answers {}", Errno::from_raw(-error));
            }
            messages.push((kind, body.to_vec()));
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(messages)
    }

    /// The counters of all tables of a name.
    pub(crate) fn counters(&self, table: &str) -> Result<Vec<Counter>> {
        self.send(&message(GET_OBJECT, REQUEST | DUMP, 0, &[]))?;
        let mut found = Vec::new();
        loop {
            for (kind, body) in self.receive()? {
                match kind {
                    DONE => return Ok(found),
                    NEW_OBJECT => found.extend(counter(&body, table)),
                    _ => {}
                }
            }
        }
    }

    /// Empties sets of a table, each given by its family and name.
    pub(crate) fn flush_sets(&self, table: &str, sets: &[(u8, String)]) -> Result<()> {
        // The subsystem stands where a family's number of a resource would.
        let mut batch = message(BATCH_BEGIN, REQUEST, 0, &[]);
        batch[HEADER + 2..HEADERS].copy_from_slice(&SUBSYSTEM.to_be_bytes());
        let end = {
            let mut end = message(BATCH_END, REQUEST, 0, &[]);
            end[HEADER + 2..HEADERS].copy_from_slice(&SUBSYSTEM.to_be_bytes());
            end
        };
        for (family, set) in sets {
            // NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET; no elements are all of them.
            let of = [(1, text(table)), (2, text(set))];
            batch.extend(message(DELETE_ELEMENTS, REQUEST | ACK, *family, &of));
        }
        batch.extend(end);
        self.send(&batch)?;
        self.answers(sets.len()).context("emptying sets")
    }

    /// Forgets all of conntrack's flows.
    pub(crate) fn flush_conntrack(&self) -> Result<()> {
        self.send(&message(DELETE_FLOWS, REQUEST | ACK, 0, &[]))?;
        self.answers(1).context("flushing conntrack")
    }

    fn answers(&self, mut wanted: usize) -> Result<()> {
        while wanted > 0 {
            let answers = self.receive()?;
            let acknowledged = answers.iter().filter(|(kind, _)| *kind == ERROR).count();
            wanted = wanted.saturating_sub(acknowledged);
        }
        Ok(())
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn message(kind: u16, flags: u16, family: u8, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut message = vec![0; 4];
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.resize(HEADER, 0);
    message.extend([family, 0, 0, 0]);
    for (kind, value) in attributes {
        message.extend((4 + value.len() as u16).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
    }
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// Attributes with their numbers, flags aside.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let [a, b, c, d, ..] = *bytes {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = bytes.get(4..length) else {
            break;
        };
        found.push((u16::from_ne_bytes([c, d]) & 0x3fff, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// `NFT_OBJECT_COUNTER` in a table of that name.
fn counter(body: &[u8], wanted: &str) -> Option<Counter> {
    let (family, of) = (*body.first()?, attributes(body.get(4..)?));
    let get = |number| of.iter().find(|(one, _)| *one == number).map(|(_, v)| *v);
    let name = |number| {
        let bytes: &[u8] = get(number)?;
        std::str::from_utf8(bytes.strip_suffix(&[0])?).ok()
    };
    // NFTA_OBJ_TABLE, NFTA_OBJ_NAME, NFTA_OBJ_TYPE, NFTA_OBJ_DATA
    let is_counter = get(3)? == 1_u32.to_be_bytes();
    if name(1)? != wanted || !is_counter {
        return None;
    }
    let data = attributes(get(4)?);
    // NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS
    let number = |wanted| {
        let (_, value) = data.iter().find(|(one, _)| *one == wanted)?;
        Some(u64::from_be_bytes((*value).try_into().ok()?))
    };
    Some((family, name(2)?.to_owned(), number(2)?, number(1)?))
}
