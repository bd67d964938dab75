//! What `status` prints.

use super::*;
use crate::golden;

fn counter(name: &str, packets: u64, bytes: u64) -> NamedCounter {
    let name = name.to_owned();
    NamedCounter {
        name,
        packets,
        bytes,
    }
}

/// A tunnel that is up, with a line of each kind.
fn up() -> Report {
    let peer = |public_key: &str, endpoint: Option<&str>, handshake_age| PeerReport {
        public_key: public_key.to_owned(),
        endpoint: endpoint.map(str::to_owned),
        handshake_age,
        received: 1_234,
        sent: 5_678,
    };
    Report {
        agent: AgentReport {
            running: true,
            pid: Some(4711),
        },
        tunnel: Some(TunnelReport {
            interface: "wg-lte".to_owned(),
            up: true,
            listen_port: 51820,
            peers: vec![
                peer("first=", Some("203.0.113.10:51820"), Some(17)),
                peer("second=", None, None),
            ],
        }),
        modem: vec!["wwan0 up".to_owned()],
        routes: vec!["route default via 192.168.0.1 dev wwan0 table 123".to_owned()],
        rules: vec!["rule 10: iif lo ipproto udp sport 51820 lookup 123".to_owned()],
        warnings: vec!["somebody's rule is in front".to_owned()],
        guards: vec![
            GuardReport {
                backend: BackendKind::Ebpf,
                counters: vec![
                    counter("modem-out/tunnel", 12, 3_456),
                    counter("modem-out/drop-forwarded", 0, 0),
                    counter(
                        "modem-in/drop-unsolicited",
                        4_294_967_296,
                        18_446_744_073_709,
                    ),
                ],
                unguarded: Vec::new(),
                error: None,
            },
            GuardReport {
                backend: BackendKind::Nft,
                counters: Vec::new(),
                unguarded: vec!["frames without IP".to_owned()],
                error: Some("nft: it did not answer".to_owned()),
            },
        ],
    }
}

/// Nothing of ours.
fn nothing() -> Report {
    Report {
        agent: AgentReport {
            running: false,
            pid: None,
        },
        tunnel: None,
        modem: Vec::new(),
        routes: Vec::new(),
        rules: Vec::new(),
        warnings: Vec::new(),
        guards: Vec::new(),
    }
}

#[test]
fn what_is_printed() {
    for (name, report) in [("status", up()), ("status-nothing", nothing())] {
        golden::assert(&format!("src/cli/golden/{name}.txt"), &report.to_string());
        let json = serde_json::to_string_pretty(&report).expect("it is made of texts and numbers");
        golden::assert(&format!("src/cli/golden/{name}.json"), &(json + "\n"));
    }
}
