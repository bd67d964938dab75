//! The kernel's own count of packets its reverse-path filter dropped.

use std::fs;

use anyhow::{Context, Result};

use crate::netns::Netns;

/// `IPReversePathFilter` of the namespace.
pub fn reverse_path(netns: &Netns) -> Result<u64> {
    // Not /proc/net: that is the namespace of the process, not of the thread.
    let text = netns.run(|| Ok(fs::read_to_string("/proc/thread-self/net/netstat")?))?;
    extension(&text, "IPReversePathFilter")
        .with_context(|| format!("IPReversePathFilter of {}", netns.name()))
}

/// Each table is two lines of the same prefix: names, then values.
fn extension(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let column = names.split_whitespace().position(|word| word == name);
        if let Some(column) = column {
            return values.split_whitespace().nth(column)?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_under_its_name() {
        let text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes X\nIpExt: 3 4\n";
        assert_eq!(extension(text, "B"), Some(2));
        assert_eq!(extension(text, "X"), Some(4));
        assert_eq!(extension(text, "Y"), None);
    }
}
