//! Protects this process's memory, which has the private key.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Leaves no core, and keeps unprivileged processes from tracing this one: its `/proc` files are
/// root's from now on, whichever user runs it. To be called before any secret is read.
pub(super) fn harden() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // A core that is piped to a program has no limit: not being dumpable forbids that one, too.
    let done = setrlimit(Resource::Core, none)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = done {
        log::warn!("a crash may leave the private key in a core: {error}");
    }
}
