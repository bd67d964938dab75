//! The kernel's side of each kind of object: observe, apply, remove.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::StreamExt as _;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::RouteProtocol;

pub mod address;
mod framing;
pub mod genl;
pub mod link;
pub mod qdisc;
pub mod route;
pub mod rule;
pub mod sysctl;
pub mod wireguard;

/// The routing protocol number on every route and rule of ours: by it they are found again.
pub const PROTOCOL: u8 = 123;
/// The main routing table.
pub const MAIN_TABLE: u32 = 254;
/// The table of this machine's own addresses.
pub const LOCAL_TABLE: u32 = 255;
/// The flag by which the kernel says that what it listed changed meanwhile.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// How often a listing is tried anew when it was disturbed.
const DUMP_ATTEMPTS: u32 = 5;

/// A request to the kernel that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}")]
pub struct KernelError {
    /// What was being done, and on what.
    pub doing: String,
    /// What the kernel says.
    pub source: io::Error,
}

impl KernelError {
    /// A failure with its cause.
    pub fn new(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            doing: doing.into(),
            source: source.into(),
        }
    }

    /// The kernel's error number.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    fn netlink(doing: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        move |error| {
            Self::new(
                doing,
                match error {
                    rtnetlink::Error::NetlinkError(message) => message.to_io(),
                    other => io::Error::other(other.to_string()),
                },
            )
        }
    }
}

/// A connection to the kernel's routing side, in the network namespace in which it was opened.
#[derive(Debug, Clone)]
pub struct Kernel {
    handle: rtnetlink::Handle,
    /// This kernel cannot have the qdisc that is a second net.
    no_backstop: Arc<AtomicBool>,
}

impl Kernel {
    /// Opens it; must be called inside a tokio runtime.
    pub fn open() -> Result<Self, KernelError> {
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()
            .map_err(|error| KernelError::new("opening a netlink socket", error))?;
        tokio::spawn(connection);
        Ok(Self {
            handle,
            no_backstop: Arc::default(),
        })
    }

    /// Lists objects, as often as it takes to get one undisturbed listing.
    async fn dump<T>(
        &self,
        doing: &str,
        request: RouteNetlinkMessage,
        take: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut message = NetlinkMessage::from(request.clone());
            message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
            let mut replies = self
                .handle
                .clone()
                .request(message)
                .map_err(KernelError::netlink(doing))?;
            let mut found = Vec::new();
            let mut disturbed = false;
            while let Some(reply) = replies.next().await {
                disturbed |= reply.header.flags & NLM_F_DUMP_INTR != 0;
                match reply.payload {
                    NetlinkPayload::InnerMessage(message) => found.extend(take(message)),
                    NetlinkPayload::Error(error) => {
                        return Err(KernelError::new(doing, error.to_io()));
                    }
                    _ => {}
                }
            }
            if !disturbed {
                return Ok(found);
            }
        }
        Err(KernelError::new(
            doing,
            io::Error::other("it changes faster than it can be read"),
        ))
    }
}

fn is_ours(protocol: RouteProtocol) -> bool {
    u8::from(protocol) == PROTOCOL
}

/// Whether the kernel merely says that a family or a table is not there at all.
fn nothing_there(error: &KernelError) -> bool {
    const ENOENT: i32 = 2;
    const EOPNOTSUPP: i32 = 95;
    const EAFNOSUPPORT: i32 = 97;
    matches!(error.errno(), Some(ENOENT | EOPNOTSUPP | EAFNOSUPPORT))
}
