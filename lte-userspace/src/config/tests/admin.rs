//! Where the modem's own page is.

use super::*;

const GATEWAY: &str = "gateway = \"192.168.0.1\"\n";
const POINT_TO_POINT: &str = "address = \"100.64.0.2/32\"\n";
const BOTH: &str = "address = [\"192.168.0.2/24\", \"2001:db8::2/64\"]\ngateway = [\"192.168.0.1\", \"fe80::1\"]\n";

/// The modem's place, and what is said of its page behind that.
fn with(place: &str, admin: &str) -> String {
    let modem = "address = \"192.168.0.2/24\"\ngateway = \"192.168.0.1\"\n";
    assert!(GOOD.contains(modem));
    GOOD.replacen(modem, &format!("{place}{admin}\n"), 1)
}

fn pages(config: &Config) -> [Option<String>; 2] {
    [config.modem.v4, config.modem.v6].map(|place| Some(place?.admin?.to_string()))
}

#[test]
fn it_is_at_the_gateway_or_where_the_file_says() {
    let home = Home::new();
    let modem = "address = \"192.168.0.2/24\"\ngateway = \"192.168.0.1\"\n";
    for (place, admin, v4, v6) in [
        (modem, "", Some("192.168.0.1/32"), None),
        (
            modem,
            "admin_address = \"192.168.0.254\"",
            Some("192.168.0.254/32"),
            None,
        ),
        (
            modem,
            "admin_address = \"192.168.0.0/24\"",
            Some("192.168.0.0/24"),
            None,
        ),
        (
            modem,
            "admin_address = \"192.168.0.77/28\"",
            Some("192.168.0.64/28"),
            None,
        ),
        (modem, "admin_address = []", None, None),
        (BOTH, "", Some("192.168.0.1/32"), Some("fe80::1/128")),
        (
            BOTH,
            "admin_address = \"2001:db8::/64\"",
            None,
            Some("2001:db8::/64"),
        ),
        (
            BOTH,
            "admin_address = [\"fe80::2\", \"192.168.0.1\"]",
            Some("192.168.0.1/32"),
            Some("fe80::2/128"),
        ),
        (POINT_TO_POINT, "", None, None),
        (
            POINT_TO_POINT,
            "admin_address = \"192.168.1.1\"",
            Some("192.168.1.1/32"),
            None,
        ),
    ] {
        let config = home.parse(&with(place, admin)).unwrap();
        let expected = [v4, v6].map(|page| page.map(str::to_owned));
        assert_eq!(pages(&config), expected, "{place}{admin}");
    }
}

#[test]
fn where_it_cannot_be() {
    let home = Home::new();
    let modem = format!("address = \"192.168.0.2/24\"\n{GATEWAY}");
    for (place, admin, expected) in [
        (
            modem.as_str(),
            "admin_address = \"gateway\"",
            "7:17: `gateway` is neither an IP address nor a network: write it as in 192.168.0.1 or 192.168.0.0/24",
        ),
        (
            &modem,
            "admin_address = \"192.168.1.1\"",
            "7:17: admin_address 192.168.1.1 is not within the modem's subnet 192.168.0.0/24: the modem itself is there, and what is beyond it goes by the tunnel alone",
        ),
        (
            &modem,
            "admin_address = \"192.168.0.0/16\"",
            "7:17: admin_address 192.168.0.0/16 is not within the modem's subnet 192.168.0.0/24: the modem itself is there, and what is beyond it goes by the tunnel alone",
        ),
        (
            &modem,
            "admin_address = \"192.168.0.2\"",
            "7:17: admin_address 192.168.0.2 is the modem interface's own address: give the modem's",
        ),
        (
            &modem,
            "admin_address = \"fe80::1\"",
            "7:17: admin_address fe80::1: the modem has no IPv6 address: give it one, or leave this one out",
        ),
        (
            &modem,
            "admin_address = [\"192.168.0.1\", \"192.168.0.9\"]",
            "7:33: 192.168.0.9: one IPv4 admin_address is enough: for more write their network, as in 192.168.0.0/24",
        ),
        (
            POINT_TO_POINT,
            "admin_address = \"192.168.1.0/24\"",
            "6:17: admin_address 192.168.1.0/24 is a network, and the modem's own is 100.64.0.2/32: name the address of its page",
        ),
        (
            POINT_TO_POINT,
            "admin_address = \"224.0.0.1\"",
            "6:17: 224.0.0.1/32 is no address of a host: write the host's own address, as in 192.168.0.2/24",
        ),
    ] {
        assert_eq!(
            home.parse(&with(place, admin)),
            Err(vec![expected.to_owned()])
        );
    }
}
