//! The tunnel's UDP port on this side: one answer for the agent, `plan` and `doctor`.

use super::snapshot::Snapshot;
use crate::config::Config;
use crate::kernel::link::ObservedLink;
use crate::state::{PersistentState, StateError, free_port};

/// The config's port, else that of a tunnel of ours that is up, else the one that was chosen earlier.
/// `None`: none of them, so that the first start chooses one. Nothing is written.
pub fn listen_port(
    snapshot: &Snapshot,
    config: &Config,
    persistent: &PersistentState,
) -> Option<u16> {
    let in_use = in_use(snapshot, &config.tunnel.interface);
    choose(config.tunnel.listen_port, in_use, persistent)
}

fn choose(wanted: Option<u16>, in_use: Option<u16>, persistent: &PersistentState) -> Option<u16> {
    wanted.or(in_use).or_else(|| persistent.listen_port())
}

/// The same for the agent, which chooses a free port if there is none, and saves a port that is not
/// configured for the next start.
pub fn choose_listen_port(
    snapshot: &Snapshot,
    config: &Config,
    persistent: &PersistentState,
) -> anyhow::Result<u16> {
    let port = match listen_port(snapshot, config, persistent) {
        Some(port) => port,
        None => free_port()?,
    };
    if config.tunnel.listen_port.is_none() {
        save(persistent, port)?;
    }
    Ok(port)
}

/// Keeps a port for the next start, where it is not kept already.
pub(super) fn save(persistent: &PersistentState, port: u16) -> Result<(), StateError> {
    if persistent.listen_port() == Some(port) {
        return Ok(());
    }
    persistent.save_listen_port(port)
}

fn in_use(snapshot: &Snapshot, tunnel: &str) -> Option<u16> {
    let ours = snapshot
        .link(tunnel)
        .is_some_and(ObservedLink::is_our_tunnel);
    let port = snapshot.device.as_ref()?.listen_port;
    (ours && port != 0).then_some(port)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test's own files are there")]
mod tests {
    use super::*;

    #[test]
    fn the_config_goes_before_the_tunnel_and_that_before_the_memory() {
        let directory = std::env::temp_dir().join(format!("lte-port-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let persistent = PersistentState::new(&directory);
        let asked = |wanted, in_use| choose(wanted, in_use, &persistent);
        assert_eq!(asked(None, None), None, "who looks chooses nothing");
        assert_eq!(persistent.listen_port(), None);
        persistent.save_listen_port(3).unwrap();
        assert_eq!(asked(Some(1), Some(2)), Some(1));
        assert_eq!(asked(None, Some(2)), Some(2));
        assert_eq!(asked(None, None), Some(3));
        save(&persistent, 4).unwrap();
        assert_eq!(asked(None, None), Some(4));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
