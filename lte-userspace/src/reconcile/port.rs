//! The tunnel's UDP port on this side: one answer for the agent, `plan` and `doctor`.

use super::observe::Observed;
use crate::config::Config;
use crate::kernel::link::Found;
use crate::state::{Memory, StateError, free_port};

/// The config's port, else that of a tunnel of ours that is up, else the one that was chosen earlier.
/// `None`: none of them, so that the first start chooses one. Nothing is written.
pub fn listen_port(observed: &Observed, config: &Config, memory: &Memory) -> Option<u16> {
    let in_use = in_use(observed, &config.tunnel.interface);
    of_these(config.tunnel.listen_port, in_use, memory)
}

fn of_these(wanted: Option<u16>, in_use: Option<u16>, memory: &Memory) -> Option<u16> {
    wanted.or(in_use).or_else(|| memory.listen_port())
}

/// The same for the agent, who chooses where nobody has, and keeps for the next start what the config
/// leaves to it.
pub fn settled_port(observed: &Observed, config: &Config, memory: &Memory) -> anyhow::Result<u16> {
    let port = match listen_port(observed, config, memory) {
        Some(port) => port,
        None => free_port()?,
    };
    if config.tunnel.listen_port.is_none() {
        keep(memory, port)?;
    }
    Ok(port)
}

/// Keeps a port for the next start, where it is not kept already.
pub(super) fn keep(memory: &Memory, port: u16) -> Result<(), StateError> {
    if memory.listen_port() == Some(port) {
        return Ok(());
    }
    memory.keep_listen_port(port)
}

fn in_use(observed: &Observed, tunnel: &str) -> Option<u16> {
    let ours = observed.link(tunnel).is_some_and(Found::is_our_tunnel);
    let port = observed.device.as_ref()?.listen_port;
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
        let memory = Memory::new(&directory);
        let asked = |wanted, in_use| of_these(wanted, in_use, &memory);
        assert_eq!(asked(None, None), None, "who looks chooses nothing");
        assert_eq!(memory.listen_port(), None);
        memory.keep_listen_port(3).unwrap();
        assert_eq!(asked(Some(1), Some(2)), Some(1));
        assert_eq!(asked(None, Some(2)), Some(2));
        assert_eq!(asked(None, None), Some(3));
        keep(&memory, 4).unwrap();
        assert_eq!(asked(None, None), Some(4));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
