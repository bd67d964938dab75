//! A case, and the words it is written with.

use std::fmt;

use lte_common::policy::{Class, Hook};

use super::guard_state::Known;
use super::packet::{Device, Packet};
use super::sender::Sender;
use super::site::{Admin, MARK, MASK, Site};

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on where it was going.
    Passed,
    /// It goes no further.
    Dropped,
    /// It leaves by the modem instead of the uplink.
    Steered,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passes",
            Self::Dropped => "dropped",
            Self::Steered => "steered",
        })
    }
}

/// What is expected of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// What becomes of it.
    pub fate: Fate,
    /// Its mark afterwards.
    pub mark: u32,
    /// The one counter it is in, and the bytes it adds there; `None`: it is none of ours.
    pub counter: Option<(Class, u32)>,
    /// Its bytes afterwards, as [`Outcome::bytes`](super::Outcome::bytes).
    pub bytes: Vec<u8>,
    /// What is remembered of it, besides what was known before.
    pub remembered: Vec<Known>,
}

/// A packet, and what becomes of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is about: the rules of the specification are in groups here.
    pub row: &'static str,
    /// What the packet is.
    pub name: String,
    /// Where it is seen.
    pub hook: Hook,
    /// Between which devices.
    pub site: Site,
    /// What is remembered before it.
    pub known: Vec<Known>,
    /// It came in by another interface; else it was made on this machine.
    pub forwarded: bool,
    /// Who has sent it.
    pub sender: Sender,
    /// Its mark before.
    pub mark: u32,
    /// Its bytes, from the link header on.
    pub frame: Vec<u8>,
    /// What is expected.
    pub want: Want,
    /// The receiver index that it bears, where it is a data message; else 0.
    receiver: u32,
}

/// What a packet is made of.
#[derive(Debug, Clone)]
enum Content {
    Packet(Box<Packet>),
    Frame(Vec<u8>),
}

/// A case that wants its ending.
#[derive(Debug, Clone)]
#[must_use = "a case without an ending expects nothing"]
pub struct Draft {
    name: String,
    hook: Hook,
    site: Site,
    known: Vec<Known>,
    forwarded: bool,
    sender: Sender,
    mark: u32,
    content: Content,
}

fn draft(hook: Hook, name: &str, content: Content) -> Draft {
    Draft {
        name: name.to_owned(),
        hook,
        site: Site::ETHERNET,
        known: Vec::new(),
        forwarded: false,
        sender: Sender::TUNNEL,
        mark: 0,
        content,
    }
}

/// A packet that leaves by the modem.
pub fn modem_out(name: &str, packet: Packet) -> Draft {
    draft(Hook::ModemOut, name, Content::Packet(Box::new(packet)))
}

/// A packet that enters by the modem.
pub fn modem_in(name: &str, packet: Packet) -> Draft {
    draft(Hook::ModemIn, name, Content::Packet(Box::new(packet)))
}

/// A packet that leaves by an uplink.
pub fn uplink_out(name: &str, packet: Packet) -> Draft {
    draft(Hook::UplinkOut, name, Content::Packet(Box::new(packet)))
}

/// A frame that is not made of an IP packet.
pub fn frame(hook: Hook, name: &str, bytes: Vec<u8>) -> Draft {
    draft(hook, name, Content::Frame(bytes))
}

impl Draft {
    /// Forwarded for a host of the LAN.
    pub fn forwarded(mut self) -> Self {
        self.forwarded = true;
        self
    }

    /// Sent by a program, or for one inside the tunnel: by the UDP socket of this port.
    pub fn of_socket(mut self, port: u16) -> Self {
        self.sender.socket = port;
        self
    }

    /// A UDP socket holds its source port.
    pub fn from_a_held_port(mut self) -> Self {
        self.sender.bound = true;
        self
    }

    /// WireGuard does not hold the tunnel's port: its interface is down, or has been given another.
    pub fn wireguard_gone(mut self) -> Self {
        self.sender.wireguard = false;
        self
    }

    /// Of another host, that sends by a device of its own on the uplink.
    pub fn of_another_host(mut self) -> Self {
        self.sender.foreign = true;
        self
    }

    /// With a mark.
    pub fn with_mark(mut self, mark: u32) -> Self {
        self.mark = mark;
        self
    }

    /// This is remembered.
    pub fn knowing(mut self, known: &[Known]) -> Self {
        self.known.extend_from_slice(known);
        self
    }

    /// On a device without a link header; the modem is one too.
    pub fn raw(mut self) -> Self {
        self.site.device = Device::Raw;
        self.site.modem = Some(Device::Raw);
        self
    }

    /// On an Ethernet uplink of a router whose modem has no link header.
    pub fn raw_modem(mut self) -> Self {
        self.site.modem = Some(Device::Raw);
        self
    }

    /// On an uplink without a link header of a router whose modem is an Ethernet device.
    pub fn raw_uplink(mut self) -> Self {
        self.site.device = Device::Raw;
        self
    }

    /// The modem is unplugged.
    pub fn modem_gone(mut self) -> Self {
        self.site.modem = None;
        self
    }

    /// The config does not speak of IPv6.
    pub fn ipv6_off(mut self) -> Self {
        self.site.ipv6 = false;
        self
    }

    /// The config speaks of IPv6 alone.
    pub fn ipv4_off(mut self) -> Self {
        self.site.ipv4 = false;
        self
    }

    /// The config gives the modem's page and echo another place than its gateway.
    pub fn admin(mut self, admin: Admin) -> Self {
        self.site.admin = admin;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        match &self.content {
            Content::Packet(packet) => packet.frame(self.site.device),
            Content::Frame(frame) => frame.clone(),
        }
    }

    /// What a packet that can be read is billed; of any other all behind the link header.
    fn billed(&self, class: Class) -> u32 {
        let unread = matches!(
            class,
            Class::DropMalformed | Class::DropHeaders | Class::DropNotIp
        );
        match &self.content {
            Content::Packet(packet) if !unread => packet.billed(),
            _ => (self.bytes().len() - self.site.device.header_len()) as u32,
        }
    }

    fn ends(self, fate: Fate, mark: u32, class: Option<Class>, bytes: Vec<u8>) -> Case {
        let counter = class.map(|class| (class, self.billed(class)));
        let receiver = match &self.content {
            Content::Packet(packet) => packet.receiver(),
            Content::Frame(_) => 0,
        };
        Case {
            row: "",
            frame: self.bytes(),
            name: self.name,
            hook: self.hook,
            site: self.site,
            known: self.known,
            forwarded: self.forwarded,
            sender: self.sender,
            mark: self.mark,
            want: Want {
                fate,
                mark,
                counter,
                bytes,
                remembered: Vec::new(),
            },
            receiver,
        }
    }

    /// It is none of ours: as it was, in no counter.
    pub fn untouched(self) -> Case {
        let (mark, bytes) = (self.mark, self.bytes());
        self.ends(Fate::Passed, mark, None, bytes)
    }

    /// It passes as it is, without our mark.
    pub fn passes(self, class: Class) -> Case {
        let (mark, bytes) = (self.mark, self.bytes());
        self.ends(Fate::Passed, mark, Some(class), bytes)
    }

    /// It passes as it is, with our mark.
    pub fn marked(self, class: Class) -> Case {
        let (mark, bytes) = (self.mark & !MASK | MARK, self.bytes());
        self.ends(Fate::Passed, mark, Some(class), bytes)
    }

    /// It passes with our mark, and as another packet.
    pub fn marked_as(self, class: Class, packet: &Packet) -> Case {
        let (mark, bytes) = (self.mark & !MASK | MARK, packet.frame(self.site.device));
        self.ends(Fate::Passed, mark, Some(class), bytes)
    }

    /// It leaves by the modem with our mark, and as another packet.
    pub fn steered_as(self, packet: &Packet) -> Case {
        let (mark, bytes) = (self.mark & !MASK | MARK, packet.frame(Device::Raw));
        self.ends(Fate::Steered, mark, Some(Class::Steered), bytes)
    }

    /// It is dropped.
    pub fn dropped(self, class: Class) -> Case {
        self.ends(Fate::Dropped, 0, Some(class), Vec::new())
    }
}

impl Case {
    /// And this is remembered of it; of a data message its session, too.
    #[must_use]
    pub fn remembering(mut self, known: &[Known]) -> Self {
        let noted = self.receiver;
        self.want.remembered.extend(known.iter().map(|known| {
            let mut known = *known;
            if let Known::Remote { receiver, .. } = &mut known
                && noted != 0
            {
                *receiver = noted;
            }
            known
        }));
        self
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<10}  {:<8}  {:<7}  {:<18}  {}",
            self.hook.name(),
            match (self.site.device, self.site.modem) {
                (Device::Ethernet, Some(Device::Raw)) => "eth>raw",
                (Device::Raw, Some(Device::Ethernet)) => "raw>eth",
                (Device::Ethernet, _) => "ethernet",
                (Device::Raw, _) => "raw",
            },
            self.want.fate,
            self.want.counter.map_or("-", |(class, _)| class.name()),
            self.name
        )
    }
}
