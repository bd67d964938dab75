//! What leaves by the modem.

use super::admin::is_admin_request;
use super::flow::flow_out;
use super::fragment::{first_fragment, later_fragment};
use super::neighbour::is_neighbour_discovery;
use super::permit::permitted;
use super::remote::source_port_is_known;
use super::sockets::is_sent_by_program;
use super::{Action, Class, Hook, Policy, SkbMeta, Sockets, State, StateUpdate, Verdict};
use crate::headers::{Fragment, PacketInfo, Payload, protocol};

#[inline(always)]
pub(super) fn decide<T: State, S: Sockets>(
    info: &PacketInfo,
    meta: SkbMeta,
    policy: &Policy,
    state: &T,
    sockets: &S,
) -> Verdict {
    if !meta.local {
        return Verdict::drop(Class::DropForwarded);
    }
    if matches!(info.fragment, Fragment::Later) {
        return later_fragment(Hook::ModemOut, info, policy, state, sockets.sender());
    }
    if info.protocol == protocol::UDP {
        let ours = info.source_port == policy.listen_port
            // Steered here with a port that a masquerade on the uplink gave it.
            || policy.is_marked(meta.mark) && source_port_is_known(info, state);
        // While WireGuard does not hold the tunnel's port, the program that does is one like any other.
        if ours && !is_sent_by_program(info, sockets) {
            return tunnel(info, policy);
        }
    }
    if permitted(state, &flow_out(info)) {
        return first_fragment(Verdict::new(Action::Mark, Class::Permit), info);
    }
    if is_neighbour_discovery(info) {
        return Verdict::new(Action::Mark, Class::Neighbour);
    }
    if is_admin_request(info, policy) {
        let mut verdict = Verdict::new(Action::Mark, Class::Admin);
        verdict.update = StateUpdate::AdminFlow;
        return verdict;
    }
    Verdict::drop(Class::DropLocal)
}

#[inline(always)]
fn tunnel(info: &PacketInfo, policy: &Policy) -> Verdict {
    let class = match info.payload {
        Payload::WireGuard => Class::Tunnel,
        Payload::NatKeepalive => Class::NatKeepalive,
        Payload::Other => return Verdict::drop(Class::DropNotWireguard),
    };
    let mut verdict = first_fragment(Verdict::new(Action::Mark, class), info);
    verdict.update = StateUpdate::Remote;
    verdict.replace_source(info, policy);
    verdict
}
