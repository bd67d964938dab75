//! Routes.

use super::Claim;

pub(super) fn claims() -> Vec<Claim> {
    let mut claims = refused();
    claims.extend(taken());
    claims
}

fn refused() -> Vec<Claim> {
    let claim = |name, before, step, answer| Claim {
        name,
        before,
        step,
        answer,
        changes: &[],
    };
    vec![
        claim(
            "a route needs an interface",
            &[],
            "+route none 10.0.0.0/8",
            libc::ENODEV,
        ),
        claim(
            "a route of IPv6 needs an interface",
            &[],
            "+route none 2001:db8:2::/64",
            libc::ENODEV,
        ),
        claim(
            "a route needs an interface that is up",
            &["+address modem 192.168.0.2/24"],
            "+route modem 10.0.0.0/8",
            libc::ENETDOWN,
        ),
        claim(
            "a route of IPv6 needs an interface that is up",
            &[],
            "+route modem 2001:db8:2::/64 table 123",
            libc::ENETDOWN,
        ),
        claim(
            "a route of IPv6 by a gateway on the link needs an interface that is up",
            &[],
            "+route modem default6 via fe80::1 table 123",
            libc::ENETDOWN,
        ),
        claim(
            "a gateway needs a route to it",
            &["up modem", "+address modem 192.168.0.2/24"],
            "+route modem default via 192.168.0.1 table 123",
            libc::ENETUNREACH,
        ),
        claim(
            "so it does where the interface is down",
            &["+address modem 192.168.0.2/24"],
            "+route modem default via 192.168.0.1 table 123",
            libc::ENETUNREACH,
        ),
        claim(
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
        claim(
            "a route to it by a gateway is none",
            &[
                "up modem",
                "+address modem 192.168.0.2/24 prefix",
                "+route modem 10.0.0.0/8 via 192.168.0.1",
            ],
            "+route modem default via 10.0.0.1 table 123",
            libc::ENETUNREACH,
        ),
        claim(
            "a gateway of IPv6 needs a route to it",
            &["up modem", "+address modem 2001:db8:2::2/64"],
            "+route modem default6 via 2001:db8:2::1 table 123",
            libc::EHOSTUNREACH,
        ),
        claim(
            "a source is an address of this machine",
            &["up modem", "+address modem 192.168.0.2/24"],
            "+route modem 192.168.0.0/24 src 192.168.0.3 table 123",
            libc::EINVAL,
        ),
        claim(
            "a source of IPv6 is an address of this machine",
            &["up modem", "+address modem 2001:db8:2::2/64"],
            "+route modem 2001:db8:2::/64 src 2001:db8:2::3 table 123",
            libc::EINVAL,
        ),
        claim(
            "the interface goes before the source",
            &["+address modem 192.168.0.2/24"],
            "+route modem 192.168.0.0/24 src 192.168.0.3 table 123",
            libc::ENETDOWN,
        ),
        claim(
            "where IPv6 is disabled there are no routes of it",
            &["up modem", "sysctl modem disable_ipv6 1"],
            "+route modem 2001:db8:2::/64 table 123",
            libc::EACCES,
        ),
        claim(
            "with an MTU below 1280 there are none",
            &["up modem", "mtu modem 1200"],
            "+route modem 2001:db8:2::/64 table 123",
            libc::ENODEV,
        ),
        claim(
            "a network of IPv4 has no bits of a host",
            &["up modem"],
            "+route modem 192.168.0.2/24 table 123",
            libc::EINVAL,
        ),
        claim(
            "in the main table a route has one place",
            &["up modem", "up wan", "+route modem 10.0.0.0/8"],
            "+route wan 10.0.0.0/8",
            libc::EEXIST,
        ),
        claim(
            "in the main table a route of IPv6 has one place",
            &["up modem", "up wan", "+route modem 2001:db8:2::/64"],
            "+route wan 2001:db8:2::/64",
            libc::EEXIST,
        ),
        claim(
            "what is not there is not removed",
            &["up modem", "+route modem 10.0.0.0/8 table 123"],
            "-route modem 10.0.0.0/9 table 123",
            libc::ESRCH,
        ),
        claim(
            "what is not there of IPv6 is not removed",
            &["up modem", "+route modem 2001:db8:2::/64 table 123"],
            "-route modem 2001:db8:3::/64 table 123",
            libc::ESRCH,
        ),
        claim(
            "nothing is removed from a table that is not there",
            &[],
            "-route modem 10.0.0.0/8 table 777",
            libc::ESRCH,
        ),
        claim(
            "another's route in its place is not removed for it",
            &["up modem", "+address modem 10.1.0.1/8 prefix"],
            "-route modem 10.0.0.0/8",
            libc::ESRCH,
        ),
    ]
}

fn taken() -> Vec<Claim> {
    let claim = |name, before, step, changes| Claim {
        name,
        before,
        step,
        answer: 0,
        changes,
    };
    vec![
        claim(
            "a gateway is reached by a route of the same table",
            &[
                "up modem",
                "+address modem 192.168.0.2/24",
                "+route modem 192.168.0.0/24 src 192.168.0.2 table 123",
            ],
            "+route modem default via 192.168.0.1 src 192.168.0.2 table 123",
            &["+ route default dev modem via 192.168.0.1 src 192.168.0.2 table 123 of ours"],
        ),
        claim(
            "a gateway is reached by a route of the main table",
            &["up modem", "+address modem 192.168.0.2/24 prefix"],
            "+route modem default via 192.168.0.1 table 123",
            &["+ route default dev modem via 192.168.0.1 table 123 of ours"],
        ),
        claim(
            "a gateway of IPv6 is reached by a route of the same table",
            &[
                "up modem",
                "+address modem 2001:db8:2::2/64",
                "+route modem 2001:db8:2::/64 src 2001:db8:2::2 table 123",
            ],
            "+route modem default6 via 2001:db8:2::1 table 123",
            &["+ route default dev modem via 2001:db8:2::1 metric 1024 table 123 of ours"],
        ),
        claim(
            "a gateway of IPv6 on the link needs no route",
            &["up modem"],
            "+route modem default6 via fe80::1 table 123",
            &["+ route default dev modem via fe80::1 metric 1024 table 123 of ours"],
        ),
        claim(
            "a source may be on another interface, which is down",
            &["up modem", "+address wan 10.9.0.1/24"],
            "+route modem 10.0.0.0/8 src 10.9.0.1 table 123",
            &["+ route 10.0.0.0/8 dev modem src 10.9.0.1 table 123 of ours"],
        ),
        claim(
            "a table may have a large number",
            &["up modem"],
            "+route modem 10.0.0.0/8 table 70000",
            &["+ route 10.0.0.0/8 dev modem table 70000 of ours"],
        ),
        claim(
            "in another table a route takes the place of the one that is there",
            &["up modem", "up wan", "+route modem 10.0.0.0/8 table 123"],
            "+route wan 10.0.0.0/8 table 123",
            &[
                "- route 10.0.0.0/8 dev modem table 123 of ours",
                "+ route 10.0.0.0/8 dev wan table 123 of ours",
            ],
        ),
        claim(
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
        claim(
            "one that is there as it is stays",
            &["up modem", "+route modem 10.0.0.0/8 table 123"],
            "+route modem 10.0.0.0/8 table 123",
            &[],
        ),
        claim(
            "a subnet's route of IPv6 has another metric, and leaves its place",
            &["up modem", "+address modem 2001:db8:2::2/64 prefix"],
            "+route modem 2001:db8:2::/64",
            &["+ route 2001:db8:2::/64 dev modem metric 1024 table 254 of ours"],
        ),
        claim(
            "a route that is found is removed",
            &[
                "up modem",
                "+address modem 192.168.0.2/24",
                "+route modem 192.168.0.0/24 src 192.168.0.2 table 123",
                "+route modem default via 192.168.0.1 src 192.168.0.2 table 123",
            ],
            "-route modem default via 192.168.0.1 src 192.168.0.2 table 123",
            &["- route default dev modem via 192.168.0.1 src 192.168.0.2 table 123 of ours"],
        ),
        claim(
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
        claim(
            "a route of IPv6 that is found is removed",
            &["up modem", "+route modem default6 via fe80::1 table 123"],
            "-route modem default6 via fe80::1 table 123",
            &["- route default dev modem via fe80::1 metric 1024 table 123 of ours"],
        ),
    ]
}
