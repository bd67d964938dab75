//! Nobody gets in by what the modem is a part of (a bridge, a bond, a VRF), or by what is stacked on it (a
//! VLAN, a macvlan): there the interface is another one, and `prerouting` would not look.

use super::{came_by, came_not_by, is_of, renamed};
use crate::backend::nft::expr::{accept, drop, meta};
use crate::backend::nft::netdev::is_fragment;
use crate::backend::nft::table::Table;
use crate::backend::nft::terms::{Terms, book};
use lte_common::policy::{Class, Hook};
use nftables::expr::MetaKey;
use nftables::types::{NfChainType, NfHook};

/// Before anybody else sees or sets a mark, and before pieces are put together (-400).
const FIRST: i32 = -500;

/// What `netdev ingress` lets pass bears our mark. Other interfaces bring none into this machine.
pub(super) fn arrival(table: &mut Table, terms: Terms<'_>) {
    let chain = "arrival";
    let (kind, hook) = (NfChainType::Filter, NfHook::Prerouting);
    table.base_chain(chain, kind, hook, FIRST, None);
    let Some(modem) = terms.modem() else {
        return;
    };
    // The modem under another name, of which no rule of ours knows yet.
    let booked = book(Hook::ModemIn, Class::DropUnsolicited);
    let [by_number, by_no_name] = renamed(MetaKey::Iif, modem.index, came_not_by(&modem.name));
    table.rule(chain, [by_number, by_no_name, booked, drop()]);
    let marked = || terms.is_marked(meta(MetaKey::Mark));
    let elsewhere = || [came_not_by(&modem.name), came_not_by("lo"), marked()];
    for (family, _) in terms.places() {
        // Pieces are in the books already, which their mark says.
        let piece = || [is_of(family), is_fragment(family)].into_iter();
        let by_modem = [came_by(&modem.name)].into_iter().chain(piece());
        table.rule(chain, by_modem.chain([accept()]));
        table.rule(
            chain,
            elsewhere().into_iter().chain(piece()).chain([drop()]),
        );
    }
    let booked = book(Hook::ModemIn, Class::DropUnsolicited);
    table.rule(chain, elsewhere().into_iter().chain([booked, drop()]));
    table.rule(
        chain,
        [came_by(&modem.name), marked(), terms.unmark_packet()],
    );
}
