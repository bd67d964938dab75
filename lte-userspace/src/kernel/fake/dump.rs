//! What a kernel holds as text: of any kernel, so that the model can be compared with the running one.

use std::collections::BTreeMap;

use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::packet_route::rule::{RuleAttribute, RuleMessage};

use super::sysctls;
use crate::config::PublicKey;
use crate::desired::{OffloadKey, SysctlKey};
use crate::kernel::link::ObservedLink;
use crate::kernel::route::Routes;
use crate::kernel::{KernelError, KernelOperations, PROTOCOL, route, rule};

/// The agent's table, of which the routes of others are listed as well.
pub(crate) const TABLE: u32 = 123;

/// The names of the interfaces by index.
pub(super) async fn names<K: KernelOperations>(
    kernel: &K,
) -> Result<BTreeMap<u32, String>, KernelError> {
    let links = kernel.links().await?.into_iter();
    Ok(links.map(|link| (link.index, link.name)).collect())
}

/// What a kernel holds, one line each, sorted; of the interfaces that are named.
pub(crate) async fn dump<K: KernelOperations>(
    kernel: &K,
    of: &[&str],
) -> Result<Vec<String>, KernelError> {
    let names = names(kernel).await?;
    let name = |index: u32| names.get(&index).map_or("?", String::as_str);
    let shown = |index: u32| of.contains(&name(index));
    let mut lines = Vec::new();
    let roots = kernel.root_qdiscs().await?;
    for link in kernel.links().await? {
        if !shown(link.index) {
            continue;
        }
        let root = roots.get(&link.index);
        lines.extend(root.map(|root| format!("qdisc {} {root:?}", link.name)));
        let master = link.master.map(name);
        lines.extend(link_lines(kernel, &link, master).await?);
    }
    let value = kernel.read_sysctl("all", SysctlKey::SendRedirects)?;
    lines.extend(value.map(|value| format!("sysctl all send_redirects {value}")));
    for address in kernel.addresses().await? {
        if shown(address.index) {
            lines.push(format!("address {} {}", name(address.index), address.cidr));
        }
    }
    let mut routes: Routes = kernel.routes(&names).await?;
    kernel.routes_of_others(&mut routes).await?;
    routes.in_ours = kernel.routes_of_others_in(TABLE).await?;
    let ours = routes.ours.iter().map(|found| &found.message);
    for message in ours.chain(&routes.in_main).chain(&routes.in_ours) {
        if route::interfaces(message).into_iter().any(shown) {
            lines.push(route_line(message, &names));
        }
    }
    for index in routes.defaults.iter().filter(|index| shown(**index)) {
        lines.push(format!("default of others {}", name(*index)));
    }
    let rules = kernel.rules().await?;
    let ours = rules.ours.iter().map(|found| &found.message);
    lines.extend(ours.chain(&rules.others).map(rule_line));
    lines.sort_unstable();
    Ok(lines)
}

async fn link_lines<K: KernelOperations>(
    kernel: &K,
    link: &ObservedLink,
    master: Option<&str>,
) -> Result<Vec<String>, KernelError> {
    let state = if link.up { "up" } else { "down" };
    let mut words = format!("link {} {state} mtu {}", link.name, link.mtu);
    words.extend(master.map(|master| format!(" master {master}")));
    words.extend(link.alias.as_ref().map(|alias| format!(" alias {alias}")));
    words.extend(link.wireguard.then_some(" wireguard"));
    let mut lines = vec![words];
    for key in sysctls::KEYS {
        let value = kernel.read_sysctl(&link.name, key)?;
        let name = key.path().1;
        lines.extend(value.map(|value| format!("sysctl {} {name} {value}", link.name)));
    }
    let most = link.gso_max_segs.map(|most| (OffloadKey::GsoMaxSegs, most));
    for (key, value) in kernel.offloads(link.index).await?.into_iter().chain(most) {
        lines.push(format!("offload {} {} {value}", link.name, key.name()));
    }
    if link.wireguard {
        let device = kernel.wireguard(&link.name).await?;
        lines.push(format!(
            "device {} key {} port {} mark {}",
            link.name,
            device.public_key.is_some(),
            device.listen_port,
            device.fwmark
        ));
        for (key, peer) in &device.peers {
            let PublicKey([number, ..]) = key;
            lines.push(format!(
                "peer {} {number} {:?} {:?} {:?}",
                link.name, peer.endpoint, peer.allowed_ips, peer.keepalive
            ));
        }
    }
    Ok(lines)
}

fn route_line(message: &RouteMessage, names: &BTreeMap<u32, String>) -> String {
    let mut line = format!("route {}", route::print(message, names));
    for attribute in &message.attributes {
        if let RouteAttribute::PrefSource(from) = attribute
            && let Some(from) = route::address(from)
        {
            line.extend([" src ".to_owned(), from.to_string()]);
        }
    }
    let protocol = protocol_name(u8::from(message.header.protocol));
    format!("{line} table {} of {protocol}", route::table(message))
}

fn rule_line(message: &RuleMessage) -> String {
    let protocol = message.attributes.iter().find_map(|a| match a {
        RuleAttribute::Protocol(protocol) => Some(u8::from(*protocol)),
        _ => None,
    });
    let family = message.header.family;
    let protocol = protocol_name(protocol.unwrap_or(0));
    format!("rule {family:?} {} of {protocol}", rule::print(message))
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        PROTOCOL => "ours".to_owned(),
        2 => "the kernel".to_owned(),
        other => format!("{other}"),
    }
}

/// What has gone (`- `) and what has come (`+ `) between two dumps.
pub(crate) fn changes(before: &[String], after: &[String]) -> Vec<String> {
    let without = |lines: &[String], others: &[String], sign: char| -> Vec<String> {
        let lines = lines.iter().filter(|line| !others.contains(line));
        lines.map(|line| format!("{sign} {line}")).collect()
    };
    let mut changes = without(before, after, '-');
    changes.extend(without(after, before, '+'));
    changes
}
