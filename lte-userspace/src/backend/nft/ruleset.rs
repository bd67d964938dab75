//! The desired tables: what the guard is to be, as rules. Pure.

use super::rule_context::RuleContext;
use super::table::Table;
use super::{inet, netdev};
use crate::backend::Guard;
use serde_json::Value;

/// What the running kernel has beyond what is required of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Features {
    /// The egress hook of the `netdev` family, kernel 5.16 and later.
    pub(super) egress: bool,
}

/// Both tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ruleset {
    /// What goes through the IP stack.
    pub(super) inet: Table,
    /// What goes round it.
    pub(super) netdev: Table,
}

impl Ruleset {
    /// The tables that keep a guard.
    pub(super) fn new(guard: &Guard, features: Features) -> Self {
        let context = RuleContext { guard, features };
        Self {
            inet: inet::table(context),
            netdev: netdev::table(context),
        }
    }

    /// Both, in the order of loading.
    pub(super) const fn tables(&self) -> [&Table; 2] {
        [&self.inet, &self.netdev]
    }

    /// A number that differs where the rules differ.
    pub(super) fn fingerprint(&self) -> Result<u64, serde_json::Error> {
        let mut hash = Fnv::new();
        for table in self.tables() {
            for object in table.structure()?.into_iter().chain(table.rules()?) {
                hash.add(&object);
            }
        }
        Ok(hash.finish())
    }
}

/// FNV-1a, 64 bits: the standard library's hasher may change with the compiler, and this number
/// lives in the kernel longer than a build of the agent.
#[derive(Debug)]
pub(super) struct Fnv(u64);

impl Fnv {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a value by its text.
    pub(super) fn add(&mut self, value: &Value) {
        for byte in value.to_string().bytes().chain([b'\n']) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(super) const fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::backend::nft::probe::sample;
    use std::time::Duration;

    const EGRESS: Features = Features { egress: true };
    const NO_EGRESS: Features = Features { egress: false };

    /// Sets, chains and rules, one a line.
    fn text(guard: &Guard, features: Features) -> String {
        let mut lines = String::new();
        for table in Ruleset::new(guard, features).tables() {
            for mut object in table
                .structure()
                .unwrap()
                .into_iter()
                .chain(table.rules().unwrap())
            {
                let (kind, body) = object.as_object_mut().unwrap().iter_mut().next().unwrap();
                let body = body.as_object_mut().unwrap();
                for key in ["family", "table"] {
                    body.remove(key);
                }
                let of = table.family_name();
                let line = match kind.as_str() {
                    "rule" => format!(
                        "{of} {}: {}\n",
                        body["chain"].as_str().unwrap(),
                        body["expr"]
                    ),
                    kind => format!("{of} {kind} {}\n", Value::Object(body.clone())),
                };
                lines.push_str(&line);
            }
        }
        lines
    }

    /// The rules of a guard that uses all there is, as they were when they were tried with real
    /// packets. After a change of rules try them again, and run this test with `LTE_BLESS=1`.
    #[test]
    fn the_rules_are_those_that_were_tried() {
        crate::golden::assert("src/backend/nft/golden.txt", &text(&sample(), EGRESS));
    }

    #[test]
    fn without_ipv6_no_rule_passes_any() {
        let mut guard = sample();
        guard.modem.as_mut().unwrap().v6 = None;
        for features in [EGRESS, NO_EGRESS] {
            let rules = text(&guard, features);
            assert!(!rules.contains("icmpv6"), "{rules}");
            for rule in rules
                .lines()
                .filter(|r| r.contains("ip6") || r.contains("ipv6"))
            {
                assert!(rule.contains("drop"), "{rule}");
            }
        }
    }

    #[test]
    fn without_a_modem_the_tunnel_has_no_way() {
        let mut guard = sample();
        guard.modem = None;
        let rules = text(&guard, EGRESS);
        let steer: Vec<_> = rules
            .lines()
            .filter(|r| r.starts_with("inet steer:"))
            .collect();
        assert!(
            steer[..2].iter().all(|rule| rule.contains("drop")),
            "{steer:?}"
        );
        assert!(!rules.contains("snat"), "{rules}");
        assert!(!rules.contains("netdev"), "{rules}");
    }

    #[test]
    fn nothing_passes_what_is_kept_closed() {
        let mut guard = sample();
        let device = crate::backend::Uplink {
            name: "wwan7".to_owned(),
            header: crate::backend::LinkHeader::Ethernet,
        };
        guard.closed.insert(7, device);
        for (modem, features) in [
            (guard.modem.clone(), EGRESS),
            (None, EGRESS),
            (None, NO_EGRESS),
        ] {
            guard.modem = modem;
            let rules = text(&guard, features);
            let of_it = rules.lines().filter(|rule| {
                ["\"wwan7\"", "closed_in_7:", "closed_out_7:"]
                    .iter()
                    .any(|word| rule.contains(word))
                    && !rule.contains(" chain ")
            });
            let mut count = 0;
            for rule in of_it {
                count += 1;
                assert!(rule.contains("drop") || rule.contains("arp"), "{rule}");
            }
            assert!(count >= 9, "{rules}");
        }
    }

    #[test]
    fn what_egress_counts_inet_does_not() {
        let counted = |features, class: &str| {
            let rules = text(&sample(), features);
            let name = format!("{{\"counter\":\"modem-out/{class}\"}}");
            let of = |family: &str| {
                rules
                    .lines()
                    .filter(|r| r.starts_with(family) && r.contains(&name))
                    .count()
            };
            (of("inet"), of("netdev"))
        };
        for class in ["tunnel", "nat-keepalive", "admin", "neighbour"] {
            let (inet, netdev) = counted(EGRESS, class);
            assert!(inet == 0 && netdev > 0, "{class}");
            let (inet, netdev) = counted(NO_EGRESS, class);
            assert!(inet > 0 && netdev == 0, "{class}");
        }
    }

    #[test]
    fn what_changes_the_rules_changes_their_number() {
        let of = |change: &dyn Fn(&mut Guard)| {
            let mut guard = sample();
            change(&mut guard);
            Ruleset::new(&guard, EGRESS).fingerprint().unwrap()
        };
        let numbers = [
            of(&|_| {}),
            of(&|g| g.listen_port += 1),
            of(&|g| g.mark = 0x7c),
            of(&|g| g.mask = 0xffff_ffff),
            of(&|g| g.admin_ports.clear()),
            of(&|g| g.flow_timeout += Duration::from_millis(1)),
            of(&|g| g.modem = None),
            of(&|g| g.tunnel = "wg0".to_owned()),
            of(&|g| g.modem.as_mut().unwrap().name = "wwan0".to_owned()),
            of(&|g| g.modem.as_mut().unwrap().v6 = None),
            of(&|g| g.modem.as_mut().unwrap().header = crate::backend::LinkHeader::None),
            of(&|g| g.modem.as_mut().unwrap().index += 1),
        ];
        let different: std::collections::BTreeSet<_> = numbers.iter().collect();
        assert_eq!(different.len(), numbers.len());
        assert_eq!(of(&|_| {}), numbers[0]);
    }
}
