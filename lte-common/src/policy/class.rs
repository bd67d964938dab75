//! The classes of packets: each packet is in exactly one of its hook's counters.

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// The one counter a packet is in.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Class {
            $($(#[$doc])* $name = $value,)*
        }

        impl Class {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in counters and logs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

classes! {
    /// WireGuard, out.
    Tunnel = 0, "tunnel";
    /// One byte that keeps the carrier's NAT open.
    NatKeepalive = 1, "nat-keepalive";
    /// A later piece of a datagram that passed.
    Fragment = 2, "fragment";
    /// The modem's own page, its echo, and their answers.
    Admin = 3, "admin";
    /// ARP, neighbour discovery.
    Neighbour = 4, "neighbour";
    /// What the agent permitted for a time, and its answers.
    Permit = 5, "permit";
    /// From a remote the tunnel has sent to.
    Reply = 6, "reply";
    /// An error about a packet of the tunnel.
    IcmpError = 7, "icmp-error";
    /// The tunnel's, on an uplink: sent to the modem instead.
    Steered = 8, "steered";
    /// Not made on this machine.
    DropForwarded = 16, "drop-forwarded";
    /// Made on this machine, not the tunnel's.
    DropLocal = 17, "drop-local";
    /// From the tunnel's port, not of WireGuard's shape.
    DropNotWireguard = 18, "drop-not-wireguard";
    /// It answers no packet of this machine.
    DropUnsolicited = 19, "drop-unsolicited";
    /// To the tunnel's port, from where the tunnel never sent to.
    DropStranger = 20, "drop-stranger";
    /// To the tunnel's port, from a remote the tunnel has not sent to lately.
    DropExpired = 21, "drop-expired";
    /// A family that the config does not speak of.
    DropFamily = 22, "drop-family";
    /// A later piece of a datagram that did not pass.
    DropFragment = 23, "drop-fragment";
    /// Shorter than its headers say.
    DropMalformed = 24, "drop-malformed";
    /// More headers than are walked.
    DropHeaders = 25, "drop-headers";
    /// Neither IP nor ARP.
    DropNotIp = 26, "drop-not-ip";
    /// The tunnel's, on an uplink, while there is no modem.
    DropModemGone = 27, "drop-modem-gone";
    /// The tunnel's, or a program's whose port a masquerade has changed, on an uplink: nothing shows
    /// which.
    DropAmbiguous = 28, "drop-ambiguous";
}

const _: () = {
    let mut i = 0;
    while i < Class::ALL.len() {
        assert!((Class::ALL[i] as u32) < crate::layout::COUNTER_STRIDE);
        i += 1;
    }
};

impl Class {
    /// Its place in the counters' array.
    #[inline(always)]
    pub const fn index(self, hook: super::Hook) -> u32 {
        hook as u32 * crate::layout::COUNTER_STRIDE + self as u32
    }
}
