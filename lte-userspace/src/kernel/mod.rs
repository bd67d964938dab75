//! The kernel's side of each kind of object: observe, apply, remove.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::route::RouteProtocol;
use tokio::time::timeout;

use crate::blocking::Blocking;

pub mod address;
mod connection;
#[cfg(test)]
pub(crate) mod fake;
mod framing;
pub mod generic_netlink;
pub mod hardware;
pub mod link;
pub mod offload;
mod operations;
pub mod qdisc;
pub mod route;
pub mod rule;
pub mod sysctl;
pub mod wireguard;

pub use operations::KernelOperations;

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

/// How long the kernel may take for the next message of an answer. It takes milliseconds, and longer while
/// another holds the routing lock; an answer that was lost (ENOBUFS) never comes.
const DEADLINE: Duration = Duration::from_secs(10);

/// A request to the kernel that failed.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {source}")]
pub struct KernelError {
    /// What was being done, and on what.
    pub context: String,
    /// What the kernel says.
    pub source: io::Error,
}

impl KernelError {
    /// A failure with its cause.
    pub fn new(context: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self {
            context: context.into(),
            source: source.into(),
        }
    }

    /// The kernel's error number.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    fn netlink(context: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        move |error| {
            Self::new(
                context,
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
    /// Another after each answer that did not come, or broke off.
    handle: Arc<Mutex<rtnetlink::Handle>>,
    /// What the backstop needs and this kernel lacks.
    missing_modules: Arc<Mutex<qdisc::missing_modules::MissingModules>>,
    /// What is asked of WireGuard.
    wireguard: Blocking<()>,
}

impl Kernel {
    /// Opens it, in the network namespace of the calling thread.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self {
            handle: Arc::new(Mutex::new(connection::open()?)),
            missing_modules: Arc::default(),
            wireguard: Blocking::new(()),
        })
    }

    fn handle(&self) -> rtnetlink::Handle {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        handle.clone()
    }

    /// Waits for the answer to a request, and not for ever.
    async fn with_deadline<T>(
        &self,
        answer: impl Future<Output = Result<T, rtnetlink::Error>>,
        context: String,
    ) -> Result<T, KernelError> {
        match timeout(DEADLINE, answer).await {
            Ok(Err(rtnetlink::Error::RequestFailed)) => Err(self.connection_lost(&context)),
            Ok(answer) => answer.map_err(KernelError::netlink(context)),
            Err(_) => Err(self.timed_out(&context)),
        }
    }

    /// Waits for the next word of an answer, and not for ever.
    async fn next_reply<T>(
        &self,
        replies: &mut (impl Stream<Item = T> + Unpin),
        context: &str,
    ) -> Result<Option<T>, KernelError> {
        let next = timeout(DEADLINE, replies.next()).await;
        next.map_err(|_| self.timed_out(context))
    }

    /// Nothing more is asked by a socket that may still have the answer in it.
    fn timed_out(&self, context: &str) -> KernelError {
        self.reconnect();
        let why = format!("the kernel gave no answer within {} s", DEADLINE.as_secs());
        KernelError::new(context, io::Error::new(io::ErrorKind::TimedOut, why))
    }

    /// The connection has ended in the middle of an answer, or before.
    fn connection_lost(&self, context: &str) -> KernelError {
        self.reconnect();
        let why = "the connection to the kernel ended before the answer did";
        KernelError::new(context, io::Error::new(io::ErrorKind::UnexpectedEof, why))
    }

    fn reconnect(&self) {
        match connection::open() {
            Ok(handle) => {
                *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = handle;
            }
            Err(error) => log::debug!("{error}: {}", error.source),
        }
    }

    /// Sends a request whose answer is read word by word.
    fn request(
        &self,
        message: NetlinkMessage<RouteNetlinkMessage>,
        context: &str,
    ) -> Result<impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + use<>, KernelError> {
        self.handle().request(message).map_err(|error| match error {
            rtnetlink::Error::RequestFailed => self.connection_lost(context),
            error => KernelError::netlink(context)(error),
        })
    }

    /// Lists objects, as often as it takes to get one undisturbed listing.
    async fn dump<T>(
        &self,
        context: &str,
        request: RouteNetlinkMessage,
        take: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut message = NetlinkMessage::from(request.clone());
            message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
            let mut replies = self.request(message, context)?;
            let mut found = Vec::new();
            let mut interrupted = false;
            loop {
                // Without its last word it is not the whole list.
                let Some(reply) = self.next_reply(&mut replies, context).await? else {
                    return Err(self.connection_lost(context));
                };
                interrupted |= reply.header.flags & NLM_F_DUMP_INTR != 0;
                match reply.payload {
                    NetlinkPayload::InnerMessage(message) => found.extend(take(message)),
                    NetlinkPayload::Error(error) => {
                        return Err(KernelError::new(context, error.to_io()));
                    }
                    NetlinkPayload::Done(end) if end.code < 0 => {
                        let why = io::Error::from_raw_os_error(-end.code);
                        return Err(KernelError::new(context, why));
                    }
                    NetlinkPayload::Done(_) => break,
                    _ => {}
                }
            }
            if !interrupted {
                return Ok(found);
            }
        }
        Err(KernelError::new(
            context,
            io::Error::other("it changes faster than it can be read"),
        ))
    }
}

fn is_ours(protocol: RouteProtocol) -> bool {
    u8::from(protocol) == PROTOCOL
}

/// Whether the kernel merely says that a family or a table is not there at all.
fn is_absent(error: &KernelError) -> bool {
    const ENOENT: i32 = 2;
    const EOPNOTSUPP: i32 = 95;
    const EAFNOSUPPORT: i32 = 97;
    matches!(error.errno(), Some(ENOENT | EOPNOTSUPP | EAFNOSUPPORT))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// One whose requests stay where they are.
    fn silent_kernel() -> (Kernel, impl Sized) {
        let (connection, handle, messages) = rtnetlink::new_connection().unwrap();
        let kernel = Kernel {
            handle: Arc::new(Mutex::new(handle)),
            missing_modules: Arc::default(),
            wireguard: Blocking::new(()),
        };
        (kernel, (connection, messages))
    }

    fn is_late<T: std::fmt::Debug>(result: Result<T, KernelError>) {
        let error = result.unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::TimedOut, "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_comes_is_not_waited_for() {
        // Each way of asking: a listing, a request, one whose words are read one by one.
        let (kernel, _open) = silent_kernel();
        is_late(kernel.links().await);
        let (kernel, _open) = silent_kernel();
        is_late(kernel.delete_link(u32::MAX, "none").await);
        let (kernel, _open) = silent_kernel();
        is_late(kernel.remove_backstop(u32::MAX, "none").await);
    }

    async fn works(kernel: &Kernel) {
        let links = kernel.links().await.unwrap();
        assert!(links.iter().any(|link| link.loopback));
    }

    #[tokio::test]
    async fn after_one_that_did_not_come_another_socket_asks() {
        let (kernel, _open) = silent_kernel();
        kernel.timed_out("a test");
        works(&kernel).await;
    }

    #[tokio::test]
    async fn a_listing_that_breaks_off_is_not_taken_for_a_whole_one() {
        let (kernel, open) = silent_kernel();
        let (listed, ()) = tokio::join!(kernel.links(), async { drop(open) });
        let error = listed.unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::UnexpectedEof, "{error}");
        works(&kernel).await;
        // One that has ended before.
        let (kernel, open) = silent_kernel();
        drop(open);
        let error = kernel.delete_link(u32::MAX, "none").await.unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::UnexpectedEof, "{error}");
        works(&kernel).await;
    }
}
