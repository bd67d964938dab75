//! What became of a packet, as far as it can be seen from outside.

use std::fmt;

use lte_common::policy::Class;
use lte_tests::corpus::{Case, Fate};

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether the kernel took the packet at all.
    pub(crate) shown: bool,
    /// Where it went.
    pub(crate) fate: Fate,
    /// Its mark where it was seen to pass; 0 where it was dropped.
    pub(crate) mark: u32,
    /// The counters of the case's hook that moved: class, packets, bytes.
    pub(crate) counters: Vec<(Class, u64, u64)>,
    /// What is comparable of its bytes: see [`comparable`].
    pub(crate) bytes: Vec<u8>,
}

/// How a verdict differs from what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It passes, and should not, or not there.
    LetsPass,
    /// It is dropped, and should not be.
    Refuses,
    /// It leaves, but by another device.
    Elsewhere,
    /// It goes where it should, under another mark, in another counter, or with other addresses.
    Counters,
    /// The kernel does not take such a packet.
    NotShown,
}

impl Verdict {
    /// What the specification says.
    pub(crate) fn wanted(case: &Case) -> Self {
        let want = &case.want;
        let link = match want.fate {
            Fate::Passed => case.site.device.header_len(),
            Fate::Steered | Fate::Dropped => 0,
        };
        let counter = want.counter.iter();
        Self {
            shown: true,
            fate: want.fate,
            mark: want.mark,
            counters: counter
                .map(|(class, bytes)| (*class, 1, u64::from(*bytes)))
                .collect(),
            bytes: comparable(case, want.bytes.get(link..).unwrap_or_default()),
        }
    }

    /// How it differs from what is wanted, if it does.
    pub(crate) fn kind(&self, want: &Self) -> Option<Kind> {
        (self != want).then(|| match (want.fate, self.fate) {
            _ if !self.shown => Kind::NotShown,
            (Fate::Dropped | Fate::Steered, Fate::Passed) | (Fate::Dropped, Fate::Steered) => {
                Kind::LetsPass
            }
            (Fate::Passed | Fate::Steered, Fate::Dropped) => Kind::Refuses,
            _ if self.fate != want.fate => Kind::Elsewhere,
            _ => Kind::Counters,
        })
    }

    /// In words, in what it is not as wanted.
    pub(crate) fn difference(&self, want: &Self) -> String {
        let mut words = Vec::new();
        let mut compare = |what: &str, found: String, wanted: String| {
            if found != wanted {
                words.push(format!("{what} {found}, not {wanted}"));
            }
        };
        compare("fate", self.fate.to_string(), want.fate.to_string());
        compare(
            "mark",
            format!("{:#x}", self.mark),
            format!("{:#x}", want.mark),
        );
        compare("counters", self.counters(), want.counters());
        compare(
            "bytes",
            format!("{:02x?}", self.bytes),
            format!("{:02x?}", want.bytes),
        );
        words.join("; ")
    }

    fn counters(&self) -> String {
        let one = |(class, packets, bytes): &(Class, u64, u64)| {
            format!("{} {packets}/{bytes}", class.name())
        };
        self.counters.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes: Vec<_> = self
            .counters
            .iter()
            .map(|(class, ..)| class.name())
            .collect();
        if !self.shown {
            return f.pad("not shown");
        }
        f.pad(&format!("{} {}", self.fate, classes.join(" ")))
    }
}

/// A packet from the IP header on without what the IP stack fills in or a router changes: padding,
/// an IPv4 identification of 0, the hop count of what was forwarded, the IPv4 header's checksum.
pub(crate) fn comparable(case: &Case, ip: &[u8]) -> Vec<u8> {
    let mut ip = ip.to_vec();
    match ip.first().map(|first| first >> 4) {
        Some(4) if ip.len() >= 20 => {
            let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
            ip.truncate(length.max(20));
            if request_ident(case) == 0 {
                ip[4..6].fill(0);
            }
            ip[10..12].fill(0);
            if case.forwarded {
                ip[8] = 0;
            }
        }
        Some(6) if ip.len() >= 40 => {
            let length = usize::from(u16::from_be_bytes([ip[4], ip[5]])) + 40;
            ip.truncate(length);
            if case.forwarded {
                ip[7] = 0;
            }
        }
        _ => {}
    }
    ip
}

fn request_ident(case: &Case) -> u16 {
    let ip = case
        .frame
        .get(case.site.device.header_len()..)
        .unwrap_or_default();
    ip.get(4..6)
        .map_or(0, |word| u16::from_be_bytes([word[0], word[1]]))
}
