//! Routes.

use super::{Claim, claim};

const fn refused(
    name: &'static str,
    before: &'static [&'static str],
    step: &'static str,
    answer: i32,
) -> Claim {
    claim(name, before, step, answer, &[])
}

const fn done(
    name: &'static str,
    before: &'static [&'static str],
    step: &'static str,
    changes: &'static [&'static str],
) -> Claim {
    claim(name, before, step, 0, changes)
}

/// What is refused changes nothing.
pub(super) const REFUSED: &[Claim] = &[
    refused(
        "a route needs an interface",
        &[],
        "+route none 10.0.0.0/8",
        libc::ENODEV,
    ),
    refused(
        "a route of IPv6 needs an interface",
        &[],
        "+route none 2001:db8:2::/64",
        libc::ENODEV,
    ),
    refused(
        "a route needs an interface that is up",
        &["+address modem 192.168.0.2/24"],
        "+route modem 10.0.0.0/8",
        libc::ENETDOWN,
    ),
    refused(
        "a route of IPv6 needs an interface that is up",
        &[],
        "+route modem 2001:db8:2::/64 table 123",
        libc::ENETDOWN,
    ),
    refused(
        "a route of IPv6 by a gateway on the link needs an interface that is up",
        &[],
        "+route modem default6 via fe80::1 table 123",
        libc::ENETDOWN,
    ),
    refused(
        "a gateway needs a route to it",
        &["up modem", "+address modem 192.168.0.2/24"],
        "+route modem default via 192.168.0.1 table 123",
        libc::ENETUNREACH,
    ),
    refused(
        "so it does where the interface is down",
        &["+address modem 192.168.0.2/24"],
        "+route modem default via 192.168.0.1 table 123",
        libc::ENETUNREACH,
    ),
    refused(
        "a route to it by another interface is none",
        &[
            "up modem",
            "up wan",
            "+address wan 192.168.0.3/24 prefix",
            "+address modem 192.168.0.2/24",
        ],
        "+route modem default via 192.168.0.1 table 123",
        libc::ENETUNREACH,
    ),
    refused(
        "a route to it by a gateway is none",
        &[
            "up modem",
            "+address modem 192.168.0.2/24 prefix",
            "+route modem 10.0.0.0/8 via 192.168.0.1",
        ],
        "+route modem default via 10.0.0.1 table 123",
        libc::ENETUNREACH,
    ),
    refused(
        "a gateway of IPv6 needs a route to it",
        &["up modem", "+address modem 2001:db8:2::2/64"],
        "+route modem default6 via 2001:db8:2::1 table 123",
        libc::EHOSTUNREACH,
    ),
    refused(
        "a source is an address of this machine",
        &["up modem", "+address modem 192.168.0.2/24"],
        "+route modem 192.168.0.0/24 src 192.168.0.3 table 123",
        libc::EINVAL,
    ),
    refused(
        "a source of IPv6 is an address of this machine",
        &["up modem", "+address modem 2001:db8:2::2/64"],
        "+route modem 2001:db8:2::/64 src 2001:db8:2::3 table 123",
        libc::EINVAL,
    ),
    refused(
        "the interface goes before the source",
        &["+address modem 192.168.0.2/24"],
        "+route modem 192.168.0.0/24 src 192.168.0.3 table 123",
        libc::ENETDOWN,
    ),
    refused(
        "where IPv6 is disabled there are no routes of it",
        &["up modem", "sysctl modem disable_ipv6 1"],
        "+route modem 2001:db8:2::/64 table 123",
        libc::EACCES,
    ),
    refused(
        "with an MTU below 1280 there are none",
        &["up modem", "mtu modem 1200"],
        "+route modem 2001:db8:2::/64 table 123",
        libc::ENODEV,
    ),
    refused(
        "a network of IPv4 has no bits of a host",
        &["up modem"],
        "+route modem 192.168.0.2/24 table 123",
        libc::EINVAL,
    ),
    refused(
        "in the main table a route has one place",
        &["up modem", "up wan", "+route modem 10.0.0.0/8"],
        "+route wan 10.0.0.0/8",
        libc::EEXIST,
    ),
    refused(
        "in the main table a route of IPv6 has one place",
        &["up modem", "up wan", "+route modem 2001:db8:2::/64"],
        "+route wan 2001:db8:2::/64",
        libc::EEXIST,
    ),
    refused(
        "what is not there is not removed",
        &["up modem", "+route modem 10.0.0.0/8 table 123"],
        "-route modem 10.0.0.0/9 table 123",
        libc::ESRCH,
    ),
    refused(
        "what is not there of IPv6 is not removed",
        &["up modem", "+route modem 2001:db8:2::/64 table 123"],
        "-route modem 2001:db8:3::/64 table 123",
        libc::ESRCH,
    ),
    refused(
        "nothing is removed from a table that is not there",
        &[],
        "-route modem 10.0.0.0/8 table 777",
        libc::ESRCH,
    ),
    refused(
        "another's route in its place is not removed for it",
        &["up modem", "+address modem 10.1.0.1/8 prefix"],
        "-route modem 10.0.0.0/8",
        libc::ESRCH,
    ),
];

/// What is done.
pub(super) const DONE: &[Claim] = &[
    done(
        "a gateway is reached by a route of the same table",
        &[
            "up modem",
            "+address modem 192.168.0.2/24",
            "+route modem 192.168.0.0/24 src 192.168.0.2 table 123",
        ],
        "+route modem default via 192.168.0.1 src 192.168.0.2 table 123",
        &["+ route default via 192.168.0.1 dev modem src 192.168.0.2 table 123 of ours"],
    ),
    done(
        "a gateway is reached by a route of the main table",
        &["up modem", "+address modem 192.168.0.2/24 prefix"],
        "+route modem default via 192.168.0.1 table 123",
        &["+ route default via 192.168.0.1 dev modem table 123 of ours"],
    ),
    done(
        "a gateway of IPv6 is reached by a route of the same table",
        &[
            "up modem",
            "+address modem 2001:db8:2::2/64",
            "+route modem 2001:db8:2::/64 src 2001:db8:2::2 table 123",
        ],
        "+route modem default6 via 2001:db8:2::1 table 123",
        &["+ route default via 2001:db8:2::1 dev modem metric 1024 table 123 of ours"],
    ),
    done(
        "a gateway of IPv6 on the link needs no route",
        &["up modem"],
        "+route modem default6 via fe80::1 table 123",
        &["+ route default via fe80::1 dev modem metric 1024 table 123 of ours"],
    ),
    done(
        "a source may be on another interface, which is down",
        &["up modem", "+address wan 10.9.0.1/24"],
        "+route modem 10.0.0.0/8 src 10.9.0.1 table 123",
        &["+ route 10.0.0.0/8 dev modem src 10.9.0.1 table 123 of ours"],
    ),
    done(
        "a table may have a large number",
        &["up modem"],
        "+route modem 10.0.0.0/8 table 70000",
        &["+ route 10.0.0.0/8 dev modem table 70000 of ours"],
    ),
    done(
        "in another table a route takes the place of the one that is there",
        &["up modem", "up wan", "+route modem 10.0.0.0/8 table 123"],
        "+route wan 10.0.0.0/8 table 123",
        &[
            "- route 10.0.0.0/8 dev modem table 123 of ours",
            "+ route 10.0.0.0/8 dev wan table 123 of ours",
        ],
    ),
    done(
        "in another table a route of IPv6 takes the place of the one that is there",
        &[
            "up modem",
            "up wan",
            "+route modem 2001:db8:2::/64 table 123",
        ],
        "+route wan 2001:db8:2::/64 table 123",
        &[
            "- route 2001:db8:2::/64 dev modem metric 1024 table 123 of ours",
            "+ route 2001:db8:2::/64 dev wan metric 1024 table 123 of ours",
        ],
    ),
    done(
        "one that is there as it is stays",
        &["up modem", "+route modem 10.0.0.0/8 table 123"],
        "+route modem 10.0.0.0/8 table 123",
        &[],
    ),
    done(
        "a subnet's route of IPv6 has another metric, and leaves its place",
        &["up modem", "+address modem 2001:db8:2::2/64 prefix"],
        "+route modem 2001:db8:2::/64",
        &["+ route 2001:db8:2::/64 dev modem metric 1024 table 254 of ours"],
    ),
    done(
        "a route that is found is removed",
        &[
            "up modem",
            "+address modem 192.168.0.2/24",
            "+route modem 192.168.0.0/24 src 192.168.0.2 table 123",
            "+route modem default via 192.168.0.1 src 192.168.0.2 table 123",
        ],
        "-route modem default via 192.168.0.1 src 192.168.0.2 table 123",
        &["- route default via 192.168.0.1 dev modem src 192.168.0.2 table 123 of ours"],
    ),
    done(
        "a route that another goes by is removed without it",
        &[
            "up modem",
            "+address modem 192.168.0.2/24",
            "+route modem 192.168.0.0/24 src 192.168.0.2 table 123",
            "+route modem default via 192.168.0.1 src 192.168.0.2 table 123",
        ],
        "-route modem 192.168.0.0/24 src 192.168.0.2 table 123",
        &["- route 192.168.0.0/24 dev modem src 192.168.0.2 table 123 of ours"],
    ),
    done(
        "a route of IPv6 that is found is removed",
        &["up modem", "+route modem default6 via fe80::1 table 123"],
        "-route modem default6 via fe80::1 table 123",
        &["- route default via fe80::1 dev modem metric 1024 table 123 of ours"],
    ),
];
