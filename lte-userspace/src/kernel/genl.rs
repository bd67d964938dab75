//! WireGuard's generic netlink family, as far as defguard_wireguard_rs does not offer it: whether
//! it is there, and settings of the device that leave its peers and their sessions alone.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_wireguard::{WireguardAttribute, WireguardCmd, WireguardMessage};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};
use zeroize::{Zeroize as _, Zeroizing};

use super::KernelError;
use crate::desired::Device;

/// The number under which the kernel knows WireGuard. Asking loads the module, where there is one.
pub fn family() -> Result<u16, KernelError> {
    let doing = "asking the kernel for WireGuard";
    let request = GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName("wireguard".to_owned())],
    });
    let replies =
        exchange(NetlinkMessage::from(request)).map_err(|error| KernelError::new(doing, error))?;
    replies
        .into_iter()
        .flat_map(|reply: GenlMessage<GenlCtrl>| reply.payload.nlas)
        .find_map(|attribute| match attribute {
            GenlCtrlAttrs::FamilyId(id) => Some(id),
            _ => None,
        })
        .ok_or_else(|| KernelError::new(doing, io::Error::other("it answers without a number")))
}

/// Sets key and port, and no FwMark. Peers stay, and so do their sessions where the key does.
pub fn set_device(device: &Device) -> Result<(), KernelError> {
    let mut message = GenlMessage::from_payload(WireguardMessage {
        cmd: WireguardCmd::SetDevice,
        attributes: vec![
            WireguardAttribute::IfName(device.interface.clone()),
            WireguardAttribute::PrivateKey(*device.private_key.expose()),
            WireguardAttribute::ListenPort(device.listen_port),
            WireguardAttribute::Fwmark(0),
        ],
    });
    message.set_resolved_family_id(family()?);
    let result = exchange(NetlinkMessage::from(message));
    result
        .map(|_: Vec<GenlMessage<WireguardMessage>>| ())
        .map_err(|error| {
            let doing = format!(
                "setting key and port {} of {}",
                device.listen_port, device.interface
            );
            KernelError::new(doing, error)
        })
}

/// Sends one request and reads until its acknowledgement. What is sent is wiped.
fn exchange<I>(mut request: NetlinkMessage<I>) -> io::Result<Vec<I>>
where
    I: NetlinkSerializable + NetlinkDeserializable,
{
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();
    let mut buffer = Zeroizing::new(vec![0; request.buffer_len()]);
    request.serialize(&mut buffer);

    let socket = Socket::new(NETLINK_GENERIC)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&buffer, 0)?;
    let mut found = Vec::new();
    loop {
        let (mut datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<I>::deserialize(rest)
                .map_err(|error| io::Error::other(error.to_string()))?;
            // Messages are aligned to four bytes.
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            match message.payload {
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(found),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::InnerMessage(inner) => found.push(inner),
                _ => {}
            }
        }
        datagram.zeroize();
    }
}
