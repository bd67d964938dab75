//! Which kernel modules go into the image. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// Loaded before the guest's first command, and missed if the kernel has them neither as modules
/// nor built in.
pub(crate) const REQUIRED: [&str; 28] = [
    "virtio_pci",
    "virtio_console",
    "wireguard",
    "veth",
    "dummy",
    "tun",
    "nf_tables",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "nft_ct",
    "nft_chain_nat",
    "nft_masq",
    "nft_nat",
    "nft_redir",
    "nft_fib",
    "nft_fib_inet",
    "nft_fib_netdev",
    "nft_reject_inet",
    "nft_limit",
    "nft_log",
    "cls_bpf",
    "sch_drr",
    "act_bpf",
    "sch_ingress",
    "sch_netem",
    "sch_fq_codel",
    "8021q",
];

/// Brought along and loaded by the kernel when it wants them. Not every kernel has all of them.
const WANTED: [&str; 51] = [
    "nft_quota",
    "nft_numgen",
    "nft_hash",
    "nft_socket",
    "nft_objref",
    "nft_counter",
    "nft_dup_netdev",
    "nft_fwd_netdev",
    "nft_reject",
    "nft_reject_netdev",
    "nf_log_syslog",
    "nf_log_ipv4",
    "nf_log_ipv6",
    "nf_log_common",
    "nfnetlink_log",
    "nfnetlink_queue",
    "cls_flower",
    "cls_u32",
    "cls_matchall",
    "cls_fw",
    "act_mirred",
    "act_skbedit",
    "act_gact",
    "act_police",
    "sch_htb",
    "sch_tbf",
    "sch_prio",
    "sch_fq",
    "macvlan",
    "ipvlan",
    "bridge",
    "bonding",
    "ifb",
    "vrf",
    "ipip",
    "sit",
    "ip_gre",
    "ppp_generic",
    "xfrm_user",
    "esp4",
    "tcp_diag",
    "udp_diag",
    "inet_diag",
    "raw_diag",
    "netlink_diag",
    "af_packet_diag",
    "unix_diag",
    "veth",
    "nf_flow_table",
    "brd",
    "dm_log_writes",
];

/// All of both.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    REQUIRED.into_iter().chain(WANTED)
}

/// Small directories brought along whole: the kernel asks for what is in them by alias.
const WHOLE: [&str; 3] = ["kernel/crypto/", "kernel/arch/x86/crypto/", "kernel/lib/"];

/// `modules.dep`: each module's path, and the paths of all that it needs.
#[derive(Debug, Default)]
pub(crate) struct Dependencies {
    needs: BTreeMap<String, Vec<String>>,
    by_name: BTreeMap<String, String>,
}

impl Dependencies {
    /// Reads depmod's file.
    pub(crate) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for (path, needs) in text.lines().filter_map(|line| line.split_once(':')) {
            found.by_name.insert(module_name(path), path.to_owned());
            found.needs.insert(
                path.to_owned(),
                needs.split_whitespace().map(str::to_owned).collect(),
            );
        }
        found
    }

    /// Whether there is a module of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The paths of the modules that the image takes, all that they need included.
    pub(crate) fn selection(&self) -> BTreeSet<String> {
        let named = REQUIRED
            .iter()
            .chain(&WANTED)
            .filter_map(|name| self.by_name.get(*name));
        let whole = self
            .needs
            .keys()
            .filter(|path| WHOLE.iter().any(|dir| path.starts_with(dir)));
        self.closure(named.chain(whole))
    }

    fn closure<'a>(&'a self, from: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&String> = from.collect();
        while let Some(path) = open.pop() {
            if found.insert(path.clone())
                && let Some(needs) = self.needs.get(path)
            {
                open.extend(needs);
            }
        }
        found
    }
}

/// `kernel/net/ipv4/tcp-x.ko.xz` is module `tcp_x`: names differ from files in dashes.
pub(crate) fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// The modules that are part of the kernel, from `modules.builtin`.
pub(crate) fn builtin(text: &str) -> BTreeSet<String> {
    text.lines().map(module_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/net/wireguard/wireguard.ko.xz: kernel/net/ipv4/udp_tunnel.ko.xz kernel/lib/crypto/libcurve25519-generic.ko.xz
kernel/net/ipv4/udp_tunnel.ko.xz: kernel/net/core/deep.ko.xz
kernel/net/core/deep.ko.xz:
kernel/lib/crypto/libcurve25519-generic.ko.xz:
kernel/lib/other.ko.xz:
kernel/sound/loud.ko.xz: kernel/sound/core.ko.xz
";

    #[test]
    fn a_selection_holds_all_that_it_needs_and_no_more() {
        let selection = Dependencies::parse(DEP).selection();
        assert_eq!(
            selection.iter().map(String::as_str).collect::<Vec<_>>(),
            [
                "kernel/drivers/net/wireguard/wireguard.ko.xz",
                "kernel/lib/crypto/libcurve25519-generic.ko.xz",
                "kernel/lib/other.ko.xz",
                "kernel/net/core/deep.ko.xz",
                "kernel/net/ipv4/udp_tunnel.ko.xz",
            ]
        );
    }

    #[test]
    fn names_are_those_of_modprobe() {
        assert_eq!(module_name("kernel/a/virtio-rng.ko"), "virtio_rng");
        assert_eq!(module_name("kernel/a/x.ko.zst"), "x");
        assert!(Dependencies::parse(DEP).has("libcurve25519_generic"));
        assert!(builtin("kernel/net/sched/sch_fq_codel.ko\n").contains("sch_fq_codel"));
    }
}
