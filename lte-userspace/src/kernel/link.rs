//! Links: what interfaces there are, and the WireGuard interface as one of them.

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::{LinkUnspec, LinkWireguard};

use super::sysctl::SendRedirects;
use super::{Kernel, KernelError, framing};
use crate::backend::LinkHeader;

/// The alias by which our WireGuard interface is known as ours.
pub const ALIAS: &str = "lte-backup";

/// An interface as observed.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the kernel's, and none excludes another"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedLink {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Its hardware address as it is set now.
    pub mac: Option<Vec<u8>>,
    /// The hardware address that is built into the device; the kernel reports it from 5.6 on.
    pub permanent_mac: Option<Vec<u8>>,
    /// What kind of virtual interface it is (`bridge`, `veth`); most drivers of devices name none.
    pub kind: Option<String>,
    /// Whether it is WireGuard's.
    pub wireguard: bool,
    /// The interface that it sits on, where that is in this network namespace.
    pub lower: Option<u32>,
    /// What it is a part of (a bridge, a bond, a VRF).
    pub master: Option<u32>,
    /// Whether an IP packet can leave this machine by it.
    pub can_send_ip: bool,
    /// How its frames start; `None`: in a way the guard does not know.
    pub header: Option<LinkHeader>,
    /// Whether it is set up.
    pub up: bool,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its alias.
    pub alias: Option<String>,
    /// How many packets a flow may hand down as one, where the kernel reports it.
    pub gso_max_segs: Option<u32>,
    /// Whether it is the loopback.
    pub loopback: bool,
}

#[cfg(test)]
impl ObservedLink {
    /// An Ethernet interface that is down, for tests.
    pub(crate) fn ethernet(index: u32, name: &str) -> Self {
        Self {
            index,
            name: name.to_owned(),
            mac: None,
            permanent_mac: None,
            kind: None,
            wireguard: false,
            lower: None,
            master: None,
            can_send_ip: true,
            header: Some(LinkHeader::Ethernet),
            up: false,
            mtu: 1500,
            alias: None,
            gso_max_segs: Some(65535),
            loopback: false,
        }
    }
}

impl ObservedLink {
    /// Whether it is a WireGuard interface that bears our alias.
    pub fn is_our_tunnel(&self) -> bool {
        self.wireguard && self.alias.as_deref() == Some(ALIAS)
    }

    /// The hardware address that is its own, whatever it has been given since.
    pub fn own_mac(&self) -> Option<&[u8]> {
        self.permanent_mac.as_deref().or(self.mac.as_deref())
    }

    /// As the kernel reports it.
    pub(crate) fn from_message(message: LinkMessage) -> Self {
        let mut found = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            permanent_mac: None,
            kind: None,
            wireguard: false,
            lower: None,
            master: None,
            can_send_ip: framing::can_send_ip(&message),
            header: framing::header(&message),
            up: message.header.flags.contains(LinkFlags::Up),
            mtu: 0,
            alias: None,
            gso_max_segs: None,
            loopback: message.header.link_layer_type == LinkLayerType::Loopback,
        };
        let mut elsewhere = false;
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => found.name = name,
                LinkAttribute::Controller(index) => found.master = Some(index).filter(|i| *i != 0),
                LinkAttribute::Link(index) => found.lower = Some(index).filter(|i| *i != 0),
                LinkAttribute::LinkNetNsId(_) => elsewhere = true,
                LinkAttribute::Address(mac) => found.mac = Some(mac),
                LinkAttribute::PermAddress(mac) => found.permanent_mac = Some(mac),
                LinkAttribute::Mtu(mtu) => found.mtu = mtu,
                LinkAttribute::GsoMaxSegs(most) => found.gso_max_segs = Some(most),
                LinkAttribute::IfAlias(alias) => found.alias = Some(alias),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        if let LinkInfo::Kind(kind) = info {
                            found.wireguard = kind == InfoKind::Wireguard;
                            // Its other end.
                            elsewhere |= kind == InfoKind::Veth;
                            found.kind = Some(kind.to_string());
                        }
                    }
                }
                _ => {}
            }
        }
        // In another namespace the number means another interface.
        found.lower = found.lower.filter(|_| !elsewhere);
        found
    }
}

impl Kernel {
    /// All interfaces.
    pub async fn links(&self) -> Result<Vec<ObservedLink>, KernelError> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump("listing the interfaces", request, |reply| match reply {
            RouteNetlinkMessage::NewLink(link) => Some(ObservedLink::from_message(link)),
            _ => None,
        })
        .await
    }

    /// The index of an interface.
    pub async fn index(&self, name: &str) -> Result<u32, KernelError> {
        let links = self.links().await?;
        links
            .iter()
            .find(|link| link.name == name)
            .map(|link| link.index)
            .ok_or_else(|| {
                KernelError::new(
                    format!("looking for interface {name}"),
                    std::io::Error::new(std::io::ErrorKind::NotFound, "there is none of that name"),
                )
            })
    }

    /// Makes a WireGuard interface, down, with our alias.
    pub async fn create_wireguard(&self, name: &str, mtu: u32) -> Result<(), KernelError> {
        let link = LinkWireguard::new(name).mtu(mtu).build();
        self.with_deadline(
            self.handle().link().add(link).execute(),
            format!("creating WireGuard interface {name}"),
        )
        .await?;
        let index = self.index(name).await?;
        self.change(
            LinkUnspec::new_with_index(index).alias(ALIAS).build(),
            format!("giving {name} its alias"),
        )
        .await
    }

    /// Sets an interface's MTU in bytes.
    pub async fn set_mtu(&self, index: u32, name: &str, mtu: u32) -> Result<(), KernelError> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
        self.change(message, format!("setting {name}'s MTU to {mtu}"))
            .await
    }

    /// Marks an interface as ours.
    pub async fn set_alias(&self, index: u32, name: &str) -> Result<(), KernelError> {
        let message = LinkUnspec::new_with_index(index).alias(ALIAS).build();
        self.change(message, format!("giving {name} its alias"))
            .await
    }

    /// Sets an interface up or down.
    pub async fn set_up(&self, index: u32, name: &str, up: bool) -> Result<(), KernelError> {
        let builder = LinkUnspec::new_with_index(index);
        let (message, word) = if up {
            (builder.up().build(), "up")
        } else {
            (builder.down().build(), "down")
        };
        let redirects = SendRedirects::capture()?;
        self.change(message, format!("setting {name} {word}"))
            .await?;
        redirects.restore()
    }

    /// Takes an interface off what it is a part of, or makes it a part of another one.
    pub async fn set_master(
        &self,
        index: u32,
        name: &str,
        master: Option<u32>,
    ) -> Result<(), KernelError> {
        let builder = LinkUnspec::new_with_index(index);
        let Some(master) = master else {
            let context = format!("taking {name} off its master");
            return self.change(builder.nocontroller().build(), context).await;
        };
        let message = builder.controller(master).build();
        let context = format!("giving {name} its master again");
        if self.change(message.clone(), context.clone()).await.is_ok() {
            return Ok(());
        }
        // A bond takes none that is up, and sets it up itself.
        self.set_up(index, name, false).await?;
        self.change(message, context).await
    }

    pub(super) async fn change(
        &self,
        message: LinkMessage,
        context: String,
    ) -> Result<(), KernelError> {
        self.with_deadline(self.handle().link().change(message).execute(), context)
            .await
    }

    /// Deletes an interface.
    pub async fn delete_link(&self, index: u32, name: &str) -> Result<(), KernelError> {
        self.with_deadline(
            self.handle().link().del(index).execute(),
            format!("deleting interface {name}"),
        )
        .await
    }
}
