//! What gets past the modem's guard, with its mark: a rule behind all of the guard's chains hands
//! each packet to this process, by the kernel's `nfnetlink_log`, and drops it.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use lte_tests::netns::Netns;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// The group that the rule logs to.
pub(crate) const GROUP: u16 = 7;

const SUBSYSTEM: u16 = 4 << 8;
const PACKET: u16 = SUBSYSTEM;
const CONFIG: u16 = SUBSYSTEM | 1;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST_AND_ACK: u16 = 1 | 4;
/// Bytes of `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 16 + 4;
const CONFIG_COMMAND: u16 = 1;
const CONFIG_MODE: u16 = 2;
const MARK: u16 = 2;
const PAYLOAD: u16 = 9;

/// The listening end.
pub(crate) struct Observer(OwnedFd);

/// A packet that got past, from the IP header on.
pub(crate) struct Entered {
    pub(crate) mark: u32,
    pub(crate) ip: Vec<u8>,
}

impl Observer {
    pub(crate) fn new(netns: &Netns) -> Result<Self> {
        netns
            .run(|| {
                let (family, kind) = (AddressFamily::Netlink, SockType::Raw);
                let protocol = SockProtocol::NetlinkNetFilter;
                let observer = Self(socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol)?);
                // NFULNL_CFG_CMD_BIND; then 64 kB of each packet, NFULNL_COPY_PACKET.
                observer.configure(CONFIG_COMMAND, &[1])?;
                observer.configure(CONFIG_MODE, &[0, 1, 0, 0, 2, 0])?;
                Ok(observer)
            })
            .context("listening to nfnetlink_log")
    }

    fn configure(&self, attribute: u16, value: &[u8]) -> Result<()> {
        let mut message = vec![0; 4];
        message.extend(CONFIG.to_ne_bytes());
        message.extend(REQUEST_AND_ACK.to_ne_bytes());
        message.resize(HEADERS - 2, 0);
        message.extend(GROUP.to_be_bytes());
        message.extend((4 + value.len() as u16).to_ne_bytes());
        message.extend(attribute.to_ne_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
        let length = message.len() as u32;
        message[..4].copy_from_slice(&length.to_ne_bytes());
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.0.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
        let mut answer = [0; 256];
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        ensure!(length >= HEADERS, "a short answer");
        let error = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        ensure!(error == 0, "the kernel answers {}", Errno::from_raw(-error));
        Ok(())
    }

    /// The next packet that got past, if any did.
    pub(crate) fn entered(&self) -> Result<Option<Entered>> {
        let mut answer = vec![0; 0x2_0000];
        let length = match recv(self.0.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => length,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error).context("listening to nfnetlink_log"),
        };
        answer.truncate(length);
        let short = |at: usize| {
            let word = answer.get(at..at + 2).context("a message cut short")?;
            anyhow::Ok(u16::from_ne_bytes([word[0], word[1]]))
        };
        ensure!(short(4)? == PACKET, "no packet, but {answer:02x?}");
        let end = usize::from(short(0)?);
        let mut found = Entered {
            mark: 0,
            ip: Vec::new(),
        };
        let mut at = HEADERS;
        while at + 4 <= end {
            let length = usize::from(short(at)?);
            let value = answer
                .get(at + 4..at + length)
                .context("an attribute cut short")?;
            match short(at + 2)? {
                MARK => found.mark = u32::from_be_bytes(value.try_into()?),
                PAYLOAD => found.ip = value.to_vec(),
                _ => {}
            }
            at += length.max(4).next_multiple_of(4);
        }
        Ok(Some(found))
    }
}
