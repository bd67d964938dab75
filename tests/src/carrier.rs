//! The carrier: NAT with a memory that a test sets, delay and loss.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Netns;
use crate::sysctl;
use crate::topology::Options;

/// The namespace behind the modem. Its side of the link is `modem0`, the other side is `core0`.
#[derive(Debug)]
pub struct Carrier {
    /// Its namespace.
    pub netns: Netns,
}

/// A carrier hides its customers and lets in only answers.
const NAT: &str = "table ip nat {
    chain out { type nat hook postrouting priority 100; oifname \"core0\" masquerade; }
}
table ip filter {
    chain pass {
        type filter hook forward priority 0; policy accept;
        iifname \"core0\" ct state established,related accept
        iifname \"core0\" drop
    }
}
";

impl Carrier {
    pub(crate) fn open(netns: Netns, options: &Options) -> Result<Self> {
        netns.tool_with_input("nft", &["-f", "-"], NAT)?;
        let carrier = Self { netns };
        if let Some(seconds) = options.udp_timeout {
            carrier.set_udp_timeout(seconds)?;
        }
        if !options.delay.is_zero() || options.loss > 0.0 {
            carrier.set_quality(options.delay, options.loss)?;
        }
        Ok(carrier)
    }

    /// Forgets a UDP flow after so many seconds without a packet, answered or not.
    pub fn set_udp_timeout(&self, seconds: u32) -> Result<()> {
        let seconds = seconds.to_string();
        sysctl::set(
            &self.netns,
            &[
                ("netfilter/nf_conntrack_udp_timeout", seconds.as_str()),
                (
                    "netfilter/nf_conntrack_udp_timeout_stream",
                    seconds.as_str(),
                ),
            ],
        )
    }

    /// Delay one way, and loss in per cent each way.
    pub fn set_quality(&self, delay: Duration, loss: f32) -> Result<()> {
        let millis = delay.as_millis();
        let lines: String = ["modem0", "core0"]
            .map(|link| {
                format!("qdisc replace dev {link} root netem limit 10000 delay {millis}ms loss {loss}%\n")
            })
            .concat();
        self.netns
            .tool_with_input("tc", &["-batch", "-"], &lines)
            .context("netem")
            .map(drop)
    }
}
