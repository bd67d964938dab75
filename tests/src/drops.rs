//! The kernel's own counts: what its reverse-path filter dropped, what its sockets were given.

use std::fs;

use anyhow::{Context, Result};

use crate::netns::Netns;

/// `IPReversePathFilter` of the namespace.
pub fn reverse_path(netns: &Netns) -> Result<u64> {
    counter(netns, "netstat", "TcpExt:", "IPReversePathFilter")
}

/// Datagrams that were given to UDP sockets of the namespace, WireGuard's among them.
pub fn udp_received(netns: &Netns) -> Result<u64> {
    counter(netns, "snmp", "Udp:", "InDatagrams")
}

/// Datagrams that UDP sockets of the namespace were given and had no room for.
pub fn udp_not_queued(netns: &Netns) -> Result<u64> {
    counter(netns, "snmp", "Udp:", "RcvbufErrors")
}

/// Datagrams for which the namespace has no socket.
pub fn udp_no_ports(netns: &Netns) -> Result<u64> {
    counter(netns, "snmp", "Udp:", "NoPorts")
}

/// A count of the namespace's IPv6 by its name in `snmp6`, as `Icmp6InRouterAdvertisements`.
pub fn ipv6(netns: &Netns, name: &str) -> Result<u64> {
    let path = "/proc/thread-self/net/snmp6";
    let text = netns.run(|| fs::read_to_string(path).context(path))?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .with_context(|| format!("no {name} in {path}"))
}

fn counter(netns: &Netns, file: &str, table: &str, name: &str) -> Result<u64> {
    // Not /proc/net: that is the namespace of the process, not of the thread.
    let path = format!("/proc/thread-self/net/{file}");
    let text = netns.run(|| fs::read_to_string(&path).with_context(|| path.clone()))?;
    find(&text, table, name).with_context(|| format!("no {table} {name} in {path}"))
}

/// Each table is two lines of the same prefix: names, then values.
fn find(text: &str, table: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(table));
    let column = lines
        .next()?
        .split_whitespace()
        .position(|word| word == name)?;
    lines.next()?.split_whitespace().nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_under_its_table_and_name() {
        let text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: A X\nIpExt: 3 4\n";
        assert_eq!(find(text, "TcpExt:", "B"), Some(2));
        assert_eq!(find(text, "IpExt:", "A"), Some(3));
        assert_eq!(find(text, "IpExt:", "B"), None);
        assert_eq!(find(text, "Icmp:", "A"), None);
    }
}
