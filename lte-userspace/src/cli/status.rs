//! `status`: how do things stand?

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;

use super::{Common, block_on, requirements};
use crate::backend::{BackendKind, NamedCounter, error_chain, select};
use crate::kernel::link::ObservedLink;
use crate::kernel::{Kernel, route, rule};
use crate::reconcile::{
    Snapshot, in_our_table, kept_closed, our_table, rules_before_ours, stacked_on,
};
use crate::state::{BaselineFile, Lock};

/// Print how things stand
///
/// What is in place of tunnel, routes, rules and guard, when the peer was last heard, and how much
/// went over the modem.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sudo lte-userspace status")]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    agent: AgentReport,
    tunnel: Option<TunnelReport>,
    modem: Vec<String>,
    routes: Vec<String>,
    rules: Vec<String>,
    /// What is in the way, one line each.
    warnings: Vec<String>,
    guards: Vec<GuardReport>,
}

#[derive(Debug, Serialize)]
struct AgentReport {
    running: bool,
    pid: Option<i32>,
}

#[derive(Debug, Serialize)]
struct TunnelReport {
    interface: String,
    up: bool,
    listen_port: u16,
    peers: Vec<PeerReport>,
}

#[derive(Debug, Serialize)]
struct PeerReport {
    public_key: String,
    endpoint: Option<String>,
    /// Seconds since the last handshake.
    handshake_age: Option<u64>,
    /// Bytes in WireGuard's own packets, without IP and UDP headers.
    received: u64,
    sent: u64,
}

#[derive(Debug, Serialize)]
struct GuardReport {
    backend: BackendKind,
    counters: Vec<NamedCounter>,
    /// What it cannot see or hold on this machine.
    unguarded: Vec<String>,
    error: Option<String>,
}

impl Status {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<()> {
        requirements::require_net_admin()?;
        let report = collect(common)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{report}");
        }
        Ok(())
    }
}

fn collect(common: &Common) -> anyhow::Result<Report> {
    let holder = Lock::holder(&common.dirs.run)?;
    let baseline_file = BaselineFile::load(&common.dirs.run)?;
    let snapshot = block_on(async {
        let kernel = Kernel::open()?;
        let links = kernel.links().await?;
        let tunnel = links.iter().find(|link| link.is_our_tunnel());
        let name = tunnel.map(|link| link.name.as_str());
        let mut snapshot = Snapshot::take(&kernel, name, |_| BTreeSet::new()).await?;
        if let Some(table) = our_table(&snapshot) {
            snapshot.routes.in_ours = kernel.routes_of_others_in(table).await?;
        }
        Ok(snapshot)
    })?;
    let modem = baseline_file
        .baseline
        .interfaces
        .keys()
        .filter_map(|index| snapshot.link_at(*index))
        .map(|link| {
            let state = if link.up { "up" } else { "down" };
            format!("{} {state}", link.name)
        })
        .chain(kept_closed(
            &snapshot.links,
            &baseline_file.baseline.devices,
        ))
        .collect();
    let recorded = baseline_file.baseline.interfaces.keys();
    let stacked: Vec<String> = recorded
        .flat_map(|index| stacked_on(&snapshot.links, *index))
        .collect();
    Ok(Report {
        agent: AgentReport {
            running: holder.is_some(),
            pid: holder
                .and_then(|holder| holder.pid)
                .map(|pid| pid.as_raw_nonzero().get()),
        },
        tunnel: snapshot
            .links
            .iter()
            .find(|link| link.is_our_tunnel())
            .map(|link| tunnel(link, &snapshot)),
        modem,
        routes: snapshot.routes.ours.iter().map(route::describe).collect(),
        rules: snapshot.rules.iter().map(rule::describe).collect(),
        warnings: rules_before_ours(&snapshot)
            .into_iter()
            .chain(in_our_table(&snapshot))
            .chain(stacked)
            .collect(),
        guards: guards()?,
    })
}

fn tunnel(link: &ObservedLink, snapshot: &Snapshot) -> TunnelReport {
    let now = SystemTime::now();
    let device = snapshot.device.as_ref();
    TunnelReport {
        interface: link.name.clone(),
        up: link.up,
        listen_port: device.map_or(0, |device| device.listen_port),
        peers: device
            .iter()
            .flat_map(|device| &device.peers)
            .map(|(key, peer)| PeerReport {
                public_key: key.to_string(),
                endpoint: peer.endpoint.map(|endpoint| endpoint.to_string()),
                handshake_age: peer
                    .handshake
                    .map(|time| now.duration_since(time).unwrap_or_default().as_secs()),
                received: peer.received,
                sent: peer.sent,
            })
            .collect(),
    }
}

fn guards() -> anyhow::Result<Vec<GuardReport>> {
    let mut guards = Vec::new();
    for mut backend in select::all() {
        if backend.present()? {
            let counters = backend.counters();
            let unguarded = backend
                .unguarded()
                .unwrap_or_else(|error| vec![error_chain(&error)]);
            guards.push(GuardReport {
                backend: backend.kind(),
                unguarded,
                error: counters.as_ref().err().map(|error| error_chain(error)),
                counters: counters.unwrap_or_default(),
            });
        }
    }
    Ok(guards)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.agent.running, self.agent.pid) {
            (true, Some(pid)) => writeln!(f, "agent    running, pid {pid}")?,
            (true, None) => writeln!(f, "agent    running")?,
            (false, _) => writeln!(f, "agent    not running")?,
        }
        match &self.tunnel {
            None => writeln!(f, "tunnel   none")?,
            Some(tunnel) => tunnel.fmt(f)?,
        }
        for modem in &self.modem {
            writeln!(f, "modem    {modem}")?;
        }
        for line in self.routes.iter().chain(&self.rules) {
            writeln!(f, "{line}")?;
        }
        for line in &self.warnings {
            writeln!(f, "warning  {line}")?;
        }
        if self.guards.is_empty() {
            writeln!(f, "guard    none")?;
        }
        self.guards.iter().try_for_each(|guard| guard.fmt(f))
    }
}

impl fmt::Display for TunnelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.up { "up" } else { "down" };
        writeln!(
            f,
            "tunnel   {} {state}, port {}",
            self.interface, self.listen_port
        )?;
        for peer in &self.peers {
            writeln!(
                f,
                "  peer   {} at {}, last handshake {}, {} bytes in, {} out",
                peer.public_key,
                peer.endpoint.as_deref().unwrap_or("an unknown address"),
                peer.handshake_age
                    .map_or("never".to_owned(), |age| format!("{age} s ago")),
                peer.received,
                peer.sent
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for GuardReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "guard    {}", self.backend)?;
        for line in &self.unguarded {
            writeln!(f, "  not guarded: {line}")?;
        }
        for counter in self.counters.iter().filter(|counter| counter.packets > 0) {
            writeln!(
                f,
                "  {:<28} {:>10} packets {:>14} bytes",
                counter.name, counter.packets, counter.bytes
            )?;
        }
        if let Some(error) = &self.error {
            writeln!(f, "  counters cannot be read: {error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
