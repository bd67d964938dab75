//! What an interface joins: features of its device, by ethtool's generic netlink family, and the most
//! that a flow may hand down as one packet, which is the link's.

use std::collections::BTreeMap;
use std::io;

use netlink_packet_core::{
    DefaultNla, Emitable, NLA_F_NESTED, NLM_F_ACK, NetlinkMessage, NlasIterator,
};
use netlink_packet_generic::{GenlFamily, GenlMessage};
use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::link::LinkAttribute;

use super::{DEADLINE, Kernel, KernelError, generic_netlink};
use crate::blocking;
use crate::desired::{Offload, OffloadKey};

/// Of linux/ethtool_netlink.h.
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_FLAG_OMIT_REPLY: u32 = 2;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_HEADER_FLAGS: u16 = 3;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_HW: u16 = 2;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_BITSET_NOMASK: u16 = 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;

const ENOENT: i32 = 2;
const ENODEV: i32 = 19;
const EOPNOTSUPP: i32 = 95;

/// The features that can be switched, and whether they are on; empty where the interface has gone, and
/// where the kernel does not report them (`CONFIG_ETHTOOL_NETLINK`). Blocks.
fn features(index: u32) -> Result<BTreeMap<OffloadKey, u32>, KernelError> {
    let mut switchable = Vec::new();
    let mut on = Vec::new();
    let request = EthtoolRequest {
        command: ETHTOOL_MSG_FEATURES_GET,
        attributes: vec![header(index, 0)],
    };
    let asked = send(request, |attributes| {
        for attribute in NlasIterator::new(attributes).flatten() {
            match attribute.kind() {
                ETHTOOL_A_FEATURES_HW => switchable = known_features(attribute.value()),
                ETHTOOL_A_FEATURES_ACTIVE => on = known_features(attribute.value()),
                _ => {}
            }
        }
        Ok(())
    });
    match asked {
        Ok(()) => Ok(switchable
            .into_iter()
            .map(|key| (key, u32::from(on.contains(&key))))
            .collect()),
        Err(error) if matches!(error.raw_os_error(), Some(ENOENT | ENODEV | EOPNOTSUPP)) => {
            Ok(BTreeMap::new())
        }
        Err(error) => {
            let context = format!("asking for the offloads of interface {index}");
            Err(KernelError::new(context, error))
        }
    }
}

/// Switches a feature. Blocks.
fn set_feature(index: u32, want: &Offload) -> io::Result<()> {
    let mut bit = vec![DefaultNla::new(
        ETHTOOL_A_BITSET_BIT_NAME,
        [want.key.name().as_bytes(), &[0]].concat(),
    )];
    if want.value != 0 {
        bit.push(DefaultNla::new(ETHTOOL_A_BITSET_BIT_VALUE, Vec::new()));
    }
    let bits = nest(ETHTOOL_A_BITSET_BITS_BIT, &bit);
    let wanted = nest(ETHTOOL_A_BITSET_BITS, &[bits]);
    let request = EthtoolRequest {
        command: ETHTOOL_MSG_FEATURES_SET,
        attributes: vec![
            header(index, ETHTOOL_FLAG_OMIT_REPLY),
            nest(ETHTOOL_A_FEATURES_WANTED, &[wanted]),
        ],
    };
    send(request, |_| Ok(()))
}

impl Kernel {
    /// The features of an interface that can be switched, and whether they are on; empty where the
    /// interface has gone, and where the kernel does not report them (`CONFIG_ETHTOOL_NETLINK`).
    pub async fn offloads(&self, index: u32) -> Result<BTreeMap<OffloadKey, u32>, KernelError> {
        match blocking::call_once(DEADLINE, move || features(index)).await {
            Ok(features) => features,
            Err(late) => {
                let context = format!("asking for the offloads of interface {index}");
                Err(KernelError::new(context, io::Error::other(late)))
            }
        }
    }

    /// Sets what is joined.
    pub async fn set_offload(&self, index: u32, want: &Offload) -> Result<(), KernelError> {
        let context = format!("setting {want}");
        if want.key != OffloadKey::GsoMaxSegs {
            let feature = want.clone();
            return match blocking::call_once(DEADLINE, move || set_feature(index, &feature)).await {
                Ok(switched) => switched.map_err(|error| KernelError::new(context, error)),
                Err(late) => Err(KernelError::new(context, io::Error::other(late))),
            };
        }
        let mut message = LinkUnspec::new_with_index(index).build();
        let most = LinkAttribute::GsoMaxSegs(want.value);
        message.attributes.push(most);
        self.change(message, context).await
    }
}

/// Those that are set in a set of bits, and that we know by name. Without a mask the kernel lists the ones that
/// are set; with one it lists the mask's, and marks the ones that are set (`ethnl_put_bitset32`,
/// net/ethtool/bitset.c).
fn known_features(set: &[u8]) -> Vec<OffloadKey> {
    let inside = |bytes: &[u8], kind: u16| -> Vec<Vec<u8>> {
        NlasIterator::new(bytes)
            .flatten()
            .filter(|attribute| attribute.kind() == kind)
            .map(|attribute| attribute.value().to_vec())
            .collect()
    };
    let is_masked = inside(set, ETHTOOL_A_BITSET_NOMASK).is_empty();
    inside(set, ETHTOOL_A_BITSET_BITS)
        .iter()
        .flat_map(|bits| inside(bits, ETHTOOL_A_BITSET_BITS_BIT))
        .filter(|bit| !is_masked || !inside(bit, ETHTOOL_A_BITSET_BIT_VALUE).is_empty())
        .flat_map(|bit| inside(&bit, ETHTOOL_A_BITSET_BIT_NAME))
        .filter_map(|name| {
            let name = name.strip_suffix(&[0]).unwrap_or(&name);
            let known = OffloadKey::FEATURES.into_iter();
            known.into_iter().find(|key| key.name().as_bytes() == name)
        })
        .collect()
}

fn header(index: u32, flags: u32) -> DefaultNla {
    let number = |kind, value: u32| DefaultNla::new(kind, value.to_ne_bytes().to_vec());
    nest(
        ETHTOOL_A_FEATURES_HEADER,
        &[
            number(ETHTOOL_A_HEADER_DEV_INDEX, index),
            number(ETHTOOL_A_HEADER_FLAGS, flags),
        ],
    )
}

/// An attribute of attributes.
fn nest(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; inner.buffer_len()];
    inner.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}

/// A request to the family.
#[derive(Debug, Clone)]
struct EthtoolRequest {
    command: u8,
    attributes: Vec<DefaultNla>,
}

impl GenlFamily for EthtoolRequest {
    fn family_name() -> &'static str {
        "ethtool"
    }
    fn command(&self) -> u8 {
        self.command
    }
    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for EthtoolRequest {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }
    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

fn send(request: EthtoolRequest, take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut message = GenlMessage::from_payload(request);
    message.set_resolved_family_id(generic_netlink::family_id("ethtool")?);
    generic_netlink::send_request(NetlinkMessage::from(message), NLM_F_ACK, None, take)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_tells_what_the_loopback_joins() {
        let kernel = Kernel::open().unwrap();
        let links = kernel.links().await.unwrap();
        let loopback = links.iter().find(|link| link.loopback).unwrap();
        assert!(loopback.gso_max_segs.is_some());
        let features = kernel.offloads(loopback.index).await.unwrap();
        // The others are fixed.
        assert_eq!(features, [(OffloadKey::Gro, 1)].into());
    }

    #[test]
    fn of_an_interface_that_has_gone_nothing_is_known() {
        assert_eq!(features(u32::MAX >> 1).unwrap(), BTreeMap::new());
    }
}
