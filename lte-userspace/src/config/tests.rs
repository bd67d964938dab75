#![expect(clippy::unwrap_used, reason = "a test's own files are there")]
//! Each wrong file with the one line it must give.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;

mod admin;
mod ipv6;

const GOOD: &str = r#"backend = "auto"

[modem]
interface = "wwan0"
address = "192.168.0.2/24"
gateway = "192.168.0.1"
admin_ports = [80, 443]

[tunnel]
interface = "wg-lte"
address = ["10.88.88.1/24"]
private_key_file = "private.key"
listen_port = 51820
mtu = 1380

[[tunnel.peer]]
public_key = "q/R8Fy0uFHLZyLUGkhr1E2X2DVYBbU1bvs6EmyXdPlM="
endpoint = "203.0.113.10:51820"
allowed_ips = ["10.88.88.2/32"]
persistent_keepalive = 80

[routing]
table = 123
mark = 0x7b
mask = 0xff

[uplinks]
interfaces = ["wan"]

[budget]
limit = "2 GB"
renews = "never"
overhead_per_packet = 0
"#;

const KEY: &str = "YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n";

/// A directory with a private key in it, removed when dropped.
struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lte-config-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let home = Self(path);
        home.key(KEY, 0o600);
        home
    }

    fn key(&self, content: &str, mode: u32) {
        let path = self.0.join("private.key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    fn parse(&self, source: &str) -> Result<Config, Vec<String>> {
        Config::parse(source, &self.0.join("config.toml")).map_err(|error| {
            let prefix = format!("{}/config.toml:", self.0.display());
            error
                .to_string()
                .lines()
                .map(|line| line.strip_prefix(&prefix).unwrap().to_owned())
                .map(|line| line.replace(&self.0.display().to_string(), "DIR"))
                .collect()
        })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn reads_the_whole_file() {
    let config = Home::new().parse(GOOD).unwrap();
    assert_eq!(
        config.modem.identity,
        ModemIdentity::Interface("wwan0".to_owned())
    );
    assert_eq!(config.modem.admin_ports, [80, 443]);
    assert_eq!(config.tunnel.listen_port, Some(51820));
    assert_eq!(
        config.tunnel.peers[0].persistent_keepalive,
        Duration::from_secs(80)
    );
    assert_eq!(config.uplinks, Uplinks::Named(vec!["wan".to_owned()]));
    assert_eq!(config.budget.unwrap().limit, 2_000_000_000);
    assert_eq!(config.flow_timeout(), Duration::from_secs(250));
    assert!(!format!("{config:?}").contains("YAnz"), "the key shows");
}

#[test]
fn what_may_be_left_out_has_its_default() {
    let config = Home::new()
        .parse(
            r#"
            [modem]
            mac = "34:4B:50:00:00:0f"
            address = ["192.168.0.2/24"]
            gateway = ["192.168.0.1"]
            [tunnel]
            address = "10.88.88.1/24"
            private_key_file = "private.key"
            [[tunnel.peer]]
            public_key = "q/R8Fy0uFHLZyLUGkhr1E2X2DVYBbU1bvs6EmyXdPlM="
            endpoint = "vps.example.org:51820"
            allowed_ips = "10.88.88.2/32"
            "#,
        )
        .unwrap();
    assert_eq!(config.backend, BackendChoice::Auto);
    assert_eq!(config.modem.identity.to_string(), "34:4b:50:00:00:0f");
    assert_eq!(config.tunnel.interface, "wg-lte");
    assert_eq!(config.tunnel.listen_port, None);
    assert_eq!(config.tunnel.mtu, 1380);
    assert_eq!(
        (
            config.routing.table,
            config.routing.mark,
            config.routing.mask,
            config.routing.rule_priority
        ),
        (123, 0x7b, 0xff, 10)
    );
    assert_eq!(config.uplinks, Uplinks::DefaultRoutes);
    assert_eq!(config.budget, None);
    assert_eq!(config.flow_timeout(), Duration::from_mins(3));
}

#[test]
fn the_example_is_right_but_for_the_keys() {
    let example = include_str!("../../../packaging/config.toml")
        .replace("/etc/lte-backup/private.key", "private.key");
    let home = Home::new();
    let errors = home.parse(&example).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("public_key"), "{errors:?}");
    let key = "q/R8Fy0uFHLZyLUGkhr1E2X2DVYBbU1bvs6EmyXdPlM=";
    let filled = example.replace("REPLACE-BY-THE-SERVERS-PUBLIC-KEY", key);
    home.parse(&filled).unwrap();
}

/// A piece of the good file, what stands in its place, and the error that it gives.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "gateway =",
        "gatway =",
        "6:1: unknown key `gatway`: did you mean `gateway`?",
    ),
    (
        "admin_ports = [80, 443]",
        "colour = 1",
        "7:1: unknown key `colour`: known here are `interface`, `mac`, `address`, `gateway`, `admin_address`, `admin_ports`, `name_servers`",
    ),
    (
        "backend = \"auto\"",
        "backend = \"tc\"",
        "1:11: unknown variant `tc`, expected one of `auto`, `ebpf`, `nft`",
    ),
    (
        "mtu = 1380",
        "mtu = \"1380\"",
        "14:7: invalid type: string \"1380\", expected i64",
    ),
    (
        "address = \"192.168.0.2/24\"",
        "address = 5",
        "5:11: invalid type: integer `5`, expected a string or an array of strings",
    ),
    (
        "address = \"192.168.0.2/24\"",
        "address = \"192.168.0.2\"",
        "5:11: `192.168.0.2`: the prefix length is missing: write it as in 192.168.0.2/24",
    ),
    (
        "address = \"192.168.0.2/24\"",
        "address = \"192.168.0.2/33\"",
        "5:11: `192.168.0.2/33`: the prefix length must be a whole number from 0 to 32",
    ),
    (
        "address = \"192.168.0.2/24\"",
        "address = \"192.168.0.0/24\"",
        "5:11: 192.168.0.0/24 is no address of a host: write the host's own address, as in 192.168.0.2/24",
    ),
    (
        "address = \"192.168.0.2/24\"",
        "address = [\"192.168.0.2/24\", \"fd00::2/64\"]",
        "5:30: `gateway` is missing for IPv6: only a point-to-point modem (/127 or /128) has none",
    ),
    (
        "gateway = \"192.168.0.1\"",
        "gateway = [\"192.168.0.1\", \"fe80::1\"]",
        "6:27: gateway fe80::1: the modem has no IPv6 address: give it one, or leave this gateway out",
    ),
    (
        "gateway = \"192.168.0.1\"",
        "gateway = [\"192.168.0.1\", \"192.168.0.3\"]",
        "6:27: 192.168.0.3: one IPv4 gateway is enough",
    ),
    (
        "address = \"192.168.0.2/24\"",
        "address = [\"192.168.0.2/24\", \"192.168.0.3/24\"]",
        "5:30: 192.168.0.3/24: one IPv4 address is enough",
    ),
    (
        "address = \"192.168.0.2/24\"",
        "address = []",
        "5:11: the modem needs an address as in \"192.168.0.2/24\"",
    ),
    (
        "gateway = \"192.168.0.1\"",
        "gateway = \"192.168.1.1\"",
        "6:11: gateway 192.168.1.1 is not in the modem's subnet 192.168.0.0/24: it must be",
    ),
    (
        "gateway = \"192.168.0.1\"",
        "gateway = \"192.168.0.2\"",
        "6:11: gateway 192.168.0.2 is the modem interface's own address: give the modem's",
    ),
    (
        "gateway = \"192.168.0.1\"",
        "gateway = \"192.168.0.255\"",
        "6:11: gateway 192.168.0.255 is the subnet's first or last address: no host has it",
    ),
    (
        "gateway = \"192.168.0.1\"",
        "gateway = \"router\"",
        "6:11: `router` is no IP address: write it as in 192.168.0.1 or fe80::1",
    ),
    (
        "gateway = \"192.168.0.1\"\n",
        "",
        "5:11: `gateway` is missing for IPv4: only a point-to-point modem (/31 or /32) has none",
    ),
    (
        "interface = \"wwan0\"",
        "interface = \"wwan0\"\nmac = \"34:4b:50:00:00:00\"",
        "5:7: give either `interface` or `mac`, not both",
    ),
    (
        "interface = \"wwan0\"\n",
        "",
        "4:11: [modem] needs `interface = \"wwan0\"` or `mac = \"34:4b:50:00:00:00\"`",
    ),
    (
        "interface = \"wwan0\"",
        "mac = \"34:4b:50:00:00\"",
        "4:7: `34:4b:50:00:00`: a MAC address is six pairs of hex digits, as in 34:4b:50:00:00:00",
    ),
    (
        "interface = \"wwan0\"",
        "interface = \"enx344b500000001\"",
        "4:13: `enx344b500000001`: an interface's name has at most 15 bytes",
    ),
    (
        "interface = \"wwan0\"",
        "interface = \"a/b\"",
        "4:13: `a/b`: an interface's name has no `/`, no `:` and no blanks",
    ),
    (
        "interface = \"wwan0\"",
        "interface = \"wg-lte\"",
        "4:13: the modem, the tunnel and the uplinks must be different interfaces: `wg-lte` is named twice",
    ),
    (
        "interfaces = [\"wan\"]",
        "interfaces = [\"wan\", \"wwan0\"]",
        "28:22: the modem, the tunnel and the uplinks must be different interfaces: `wwan0` is named twice",
    ),
    (
        "[80, 443]",
        "[80, 0]",
        "7:20: an admin port must be from 1 to 65535, not 0",
    ),
    (
        "admin_ports = [80, 443]",
        "name_servers = [\"9.9.9.9\", \"dns\"]",
        "7:28: `dns` is no IP address: write it as in 192.168.0.1 or fe80::1",
    ),
    (
        "admin_ports = [80, 443]",
        "name_servers = \"2620:fe::fe\"",
        "7:16: 2620:fe::fe: the modem has no address of that family to ask it from",
    ),
    (
        "[\"10.88.88.1/24\"]",
        "[\"10.88.88/24\"]",
        "11:12: `10.88.88/24`: no IP address stands before the `/`: write it as in 192.168.0.2/24",
    ),
    (
        "[\"10.88.88.1/24\"]",
        "[\"10.88\\n\\u001b[31m.88/24\"]",
        "11:12: `10.88\\n\\u{1b}[31m.88/24`: no IP address stands before the `/`: write it as in 192.168.0.2/24",
    ),
    (
        "[\"10.88.88.1/24\"]",
        "[]",
        "11:11: the tunnel needs an address as in \"10.88.88.1/24\"",
    ),
    (
        "mask = 0xff",
        "rule_priority = 0",
        "25:17: rule_priority must be from 1 to 32000, not 0",
    ),
    (
        "listen_port = 51820",
        "listen_port = 70000",
        "13:15: listen_port must be from 1 to 65535, not 70000",
    ),
    (
        "mtu = 1380",
        "mtu = 100",
        "14:7: mtu must be from 576 to 65456, not 100",
    ),
    (
        "[\"10.88.88.2/32\"]",
        "[\"0.0.0.0/0\"]",
        "19:15: allowed_ips (0.0.0.0/0) amounts to a default route, which would send all of the LAN's traffic over the SIM: name the networks behind the tunnel",
    ),
    (
        "[\"10.88.88.2/32\"]",
        "[\"0.0.0.0/1\", \"128.0.0.0/1\"]",
        "19:15: allowed_ips (0.0.0.0/1, 128.0.0.0/1) amounts to a default route, which would send all of the LAN's traffic over the SIM: name the networks behind the tunnel",
    ),
    (
        "[\"10.88.88.2/32\"]",
        "[\"::/0\"]",
        "19:15: allowed_ips (::/0) amounts to a default route, which would send all of the LAN's traffic over the SIM: name the networks behind the tunnel",
    ),
    (
        "[\"10.88.88.2/32\"]",
        "[]",
        "19:15: allowed_ips is empty: give at least the peer's own address in the tunnel",
    ),
    (
        "\"q/R8Fy0uFHLZyLUGkhr1E2X2DVYBbU1bvs6EmyXdPlM=\"",
        "\"AAAA\"",
        "17:14: public_key is no key: it decodes to 3 bytes where a key has 32: 44 characters, as `wg genkey` and `wg pubkey` print it",
    ),
    (
        "q/R8Fy0uFHLZyLUGkhr1E2X2DVYBbU1bvs6EmyXdPlM=",
        "Y2FD6uTgrq+/bbBAXCNOtE+PGk8Papoh7qaWBpQUXn0=",
        "17:14: this public_key is the router's own, that of private_key_file: give the server's",
    ),
    (
        "203.0.113.10:51820",
        "203.0.113.10",
        "18:12: endpoint `203.0.113.10`: the port is missing: write it as in 203.0.113.10:51820 or vps.example.org:51820",
    ),
    (
        "203.0.113.10:51820",
        "[2001:db8::1]:51820",
        "18:12: endpoint [2001:db8::1]:51820 is IPv6, and the modem has no IPv6 address: give the modem one, or the peer an IPv4 address or a name",
    ),
    (
        "203.0.113.10:51820",
        "[::ffff:203.0.113.10]:51820",
        "18:12: endpoint `[::ffff:203.0.113.10]:51820`: an IPv4 address is written as one: 203.0.113.10",
    ),
    (
        "persistent_keepalive = 80",
        "persistent_keepalive = -1",
        "20:24: persistent_keepalive must be from 0 to 65535, not -1",
    ),
    (
        "table = 123",
        "table = 254",
        "23:9: tables 253 to 255 are the kernel's default, main and local: take another, as 123",
    ),
    (
        "table = 123",
        "table = 0",
        "23:9: table must be from 1 to 4294967295, not 0",
    ),
    (
        "mark = 0x7b",
        "mark = 0x17b",
        "24:8: mark 0x17b has bits outside mask 0xff: it must lie within",
    ),
    (
        "mask = 0xff",
        "mask = 0",
        "25:8: mask must be from 1 to 4294967295, not 0",
    ),
    (
        "limit = \"2 GB\"",
        "limit = \"much\"",
        "31:9: limit: write a size as in \"2 GB\" or \"500 MB\" (MB is 1000000 bytes, MiB 1048576)",
    ),
    (
        "limit = \"2 GB\"",
        "limit = \"0 GB\"",
        "31:9: limit: it must be above zero",
    ),
    (
        "renews = \"never\"",
        "renews = \"weekly\"",
        "32:10: renews: write \"never\", \"on 2027-03-15\", \"monthly on 15\" with a day from 1 to 31, or \"yearly on 03-15\"",
    ),
    (
        "private_key_file = \"private.key\"",
        "private_key_file = \"none.key\"",
        "12:20: private key DIR/none.key: No such file or directory (os error 2)",
    ),
    (
        "private_key_file = \"private.key\"",
        "private_key_file = \".\"",
        "12:20: private key DIR/.: not a regular file",
    ),
    (
        "private_key_file = \"private.key\"\n",
        "",
        "9:1: key `private_key_file` is missing",
    ),
];

/// Replaces one piece of the good file by another and expects one error.
#[test]
fn each_mistake_has_its_line() {
    let home = Home::new();
    for (old, new, expected) in MISTAKES {
        assert!(GOOD.contains(old), "{old}");
        let errors = home.parse(&GOOD.replacen(old, new, 1)).unwrap_err();
        assert_eq!(errors, [*expected], "{new}");
    }
}

#[test]
fn keys_of_earlier_versions_are_taken() {
    let config = |keys: &str| {
        let source = GOOD.replace("mtu = 1380", &format!("mtu = 1380\n{keys}"));
        Home::new().parse(&source)
    };
    let old = config("handshake_patience = 7\nhandshake_pause = 8").unwrap();
    let new = config("handshake_retry_for = 7\nhandshake_retry_interval = 8").unwrap();
    assert_eq!(old.tunnel, new.tunnel);
    assert_eq!(new.tunnel.handshake_retry_for, Duration::from_secs(7));
    assert_eq!(new.tunnel.handshake_retry_interval, Duration::from_secs(8));
    let both = config("handshake_pause = 8\nhandshake_retry_interval = 8").unwrap_err();
    assert!(
        both[0].contains("duplicate field `handshake_retry_interval`"),
        "{both:?}"
    );
}

#[test]
fn a_missing_table_is_named() {
    let errors = Home::new().parse("backend = \"nft\"\n").unwrap_err();
    assert_eq!(errors, ["1:1: key `modem` is missing"]);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let home = Home::new();
    home.key("AAAA\n", 0o600);
    let source = GOOD
        .replace("gateway = \"192.168.0.1\"", "gateway = \"10.0.0.1\"")
        .replace("10.88.88.2/32", "0.0.0.0/0")
        .replace("mtu = 1380", "mtu = 1");
    let errors = home.parse(&source).unwrap_err();
    let lines: Vec<&str> = errors.iter().filter_map(|e| e.split(':').next()).collect();
    assert_eq!(lines, ["6", "12", "14", "19"], "{errors:#?}");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    for mode in [0o644, 0o640, 0o660, 0o604, 0o700] {
        let home = Home::new();
        home.key(KEY, mode);
        assert_eq!(
            home.parse(GOOD).unwrap_err(),
            [format!(
                "12:20: private key DIR/private.key: mode {mode:04o} lets other users access it: chmod 600 DIR/private.key"
            )]
        );
    }
    let home = Home::new();
    home.key(KEY, 0o400);
    assert!(home.parse(GOOD).is_ok());
}

#[test]
fn a_key_of_another_length_is_refused_and_not_shown() {
    for content in [
        "AAAA",
        "YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmkAAA==",
        "not a key",
        "",
    ] {
        let home = Home::new();
        home.key(content, 0o600);
        let errors = home.parse(GOOD).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].starts_with("12:20: private key DIR/private.key: "),
            "{errors:?}"
        );
        assert!(
            content.is_empty() || !errors[0].contains(content),
            "{errors:?}"
        );
    }
}

#[test]
fn broken_toml_names_its_place() {
    let errors = Home::new().parse("[modem\n").unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("1:7: "), "{errors:?}");
}

#[test]
fn a_missing_file_says_how_to_get_one() {
    let error = Config::load(Path::new("/nonexistent/config.toml")).unwrap_err();
    assert!(matches!(error, ConfigError::Missing(_)));
    assert_eq!(error.to_string().lines().count(), 1);
}
