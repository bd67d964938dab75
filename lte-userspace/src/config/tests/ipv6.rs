//! IPv6 on the modem: what is right and what is wrong.

use super::*;

/// The good file's modem, to be replaced by one with IPv6.
const IPV4_MODEM: &str = "address = \"192.168.0.2/24\"\ngateway = \"192.168.0.1\"\n";

fn with_modem(modem: &str) -> String {
    assert!(GOOD.contains(IPV4_MODEM));
    GOOD.replacen(IPV4_MODEM, &format!("{modem}\n"), 1)
}

fn place(address: &str, gateway: Option<&str>) -> InterfaceAddr {
    InterfaceAddr {
        address: address.parse().unwrap(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        admin: gateway.map(|gateway| Cidr::host(gateway.parse().unwrap())),
    }
}

#[test]
fn each_address_of_the_modem_has_the_gateway_of_its_family() {
    let home = Home::new();
    let modem = |modem: &str| home.parse(&with_modem(modem)).unwrap().modem;
    let v4 = Some(place("192.168.0.2/24", Some("192.168.0.1")));
    for (text, v6) in [
        (
            r#"address = ["192.168.0.2/24", "2001:db8::2/64"]
gateway = ["fe80::1", "192.168.0.1"]"#,
            place("2001:db8::2/64", Some("fe80::1")),
        ),
        (
            r#"address = ["2001:db8::2/64", "192.168.0.2/24"]
gateway = ["192.168.0.1", "2001:db8::1"]"#,
            place("2001:db8::2/64", Some("2001:db8::1")),
        ),
        (
            r#"address = ["192.168.0.2/24", "2001:db8::2/128"]
gateway = "192.168.0.1""#,
            place("2001:db8::2/128", None),
        ),
        (
            r#"address = ["192.168.0.2/24", "2001:db8::2/127"]
gateway = ["192.168.0.1", "2001:db8::3"]"#,
            place("2001:db8::2/127", Some("2001:db8::3")),
        ),
    ] {
        let modem = modem(text);
        assert_eq!((modem.v4, modem.v6), (v4, Some(v6)), "{text}");
    }
}

#[test]
fn ipv6_alone_is_enough() {
    let source = with_modem("address = \"2001:db8::2/64\"\ngateway = \"fe80::1\"");
    let home = Home::new();
    assert_eq!(
        home.parse(&source).unwrap_err(),
        [
            "18:12: endpoint 203.0.113.10:51820 is IPv4, and the modem has no IPv4 address: give the modem one, or the peer an IPv6 address or a name"
        ]
    );
    for endpoint in ["[2001:db8:1::1]:51820", "vps.example.org:51820"] {
        let config = home
            .parse(&source.replace("203.0.113.10:51820", endpoint))
            .unwrap();
        assert_eq!(config.modem.v4, None);
        assert_eq!(
            config.modem.v6,
            Some(place("2001:db8::2/64", Some("fe80::1")))
        );
    }
}

#[test]
fn each_mistake_in_ipv6_has_its_line() {
    let home = Home::new();
    for (address, gateway, expected) in [
        (
            "2001:db8::2/64",
            "2001:db8:0:1::1",
            "6:11: gateway 2001:db8:0:1::1 is not in the modem's subnet 2001:db8::/64: it must be, or be link-local (fe80::…)",
        ),
        (
            "2001:db8::2/64",
            "2001:db8::2",
            "6:11: gateway 2001:db8::2 is the modem interface's own address: give the modem's",
        ),
        (
            "2001:db8::2/64",
            "2001:db8::",
            "6:11: gateway 2001:db8:: is the subnet's anycast address, which every router has: give the modem's own",
        ),
        (
            "2001:db8::/64",
            "fe80::1",
            "5:11: 2001:db8::/64 is no address of a host: write the host's own address, as in 192.168.0.2/24",
        ),
        (
            "ff02::2/64",
            "fe80::1",
            "5:11: ff02::2/64 is no address of a host: write the host's own address, as in 192.168.0.2/24",
        ),
        (
            "::ffff:192.168.0.2/120",
            "fe80::1",
            "5:11: ::ffff:192.168.0.2/120 is an IPv4-mapped address: write 192.168.0.2",
        ),
        (
            "fe80::2/64",
            "fe80::1",
            "5:11: fe80::2/64 is link-local, and nobody beyond the modem can answer it: give the address that the carrier routes",
        ),
        (
            "2001:db8::2/64",
            "fe80::1%wwan0",
            "6:11: `fe80::1%wwan0` is no IP address: write it as in 192.168.0.1 or fe80::1",
        ),
    ] {
        let modem = format!("address = \"{address}\"\ngateway = \"{gateway}\"");
        let source = with_modem(&modem).replace("203.0.113.10", "[2001:db8:1::1]");
        assert_eq!(home.parse(&source).unwrap_err(), [expected], "{modem}");
    }
}
