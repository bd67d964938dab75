//! Connections to the kernel's routing side, each served by a thread of its own: the kernel does what it is
//! asked while the request is being sent, and the sender waits as long as another holds the routing lock.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread;

use rtnetlink::Handle;
use tokio::runtime::Builder;

use super::KernelError;

/// The name of the thread.
const NAME: &str = "netlink";

/// Opens one, in the network namespace of the calling thread. It ends with its last handle.
pub(super) fn open() -> Result<Handle, KernelError> {
    let (sender, receiver) = mpsc::channel();
    let serving = thread::Builder::new()
        .name(NAME.to_owned())
        .spawn(move || serve(&sender));
    let opened = serving.and_then(|_| {
        let ended = |_| Err(io::Error::other("its thread ended"));
        receiver.recv().unwrap_or_else(ended)
    });
    opened.map_err(|error| KernelError::new("opening a netlink socket", error))
}

fn serve(sender: &Sender<io::Result<Handle>>) {
    let runtime = match Builder::new_current_thread().enable_io().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            sender.send(Err(error)).ok();
            return;
        }
    };
    runtime.block_on(async {
        match rtnetlink::new_connection_with_strict_check() {
            Ok((mut connection, handle, _)) => {
                // NLMSG_DONE distinguishes a dump that is whole from one that was cut off.
                connection.set_forward_done(true);
                sender.send(Ok(handle)).ok();
                connection.await;
            }
            Err(error) => drop(sender.send(Err(error))),
        }
    });
}
