//! The programs load on this kernel, in every configuration; what the verifier says of each is
//! printed, so that growth is seen.

#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use aya::programs::SchedClassifier;
use lte_common::policy::Hook;
use lte_tests::figure::figure;
use lte_tests::stack;
use lte_userspace::backend::ebpf::{
    LoadOptions, PacketLog, load_with_options_for_test, policy_for,
};
use lte_userspace::backend::{FamilyAddr, Guard, LinkHeader, Modem};

fn guard(header: LinkHeader, v6: bool) -> Guard {
    Guard {
        modem: Some(Modem {
            index: 1,
            name: "modem".into(),
            header,
            v4: Some(FamilyAddr {
                address: Ipv4Addr::new(192, 168, 0, 2),
                gateway: Some(Ipv4Addr::new(192, 168, 0, 1)),
                admin: Some(Ipv4Addr::new(192, 168, 0, 1).into()),
            }),
            v6: v6.then(|| FamilyAddr {
                address: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
                gateway: Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
                admin: Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into()),
            }),
        }),
        ..Guard::default()
    }
}

#[test]
fn every_program_loads_in_every_configuration() {
    let pins = Pins::create("silent");
    for hook in Hook::ALL {
        for header in [LinkHeader::Ethernet, LinkHeader::None] {
            for v6 in [false, true] {
                load(&pins, hook, header, v6, PacketLog::Off);
            }
        }
    }
}

/// Their lines for diagnosis are verified, too: with them there are more ways through a program.
#[test]
fn every_program_loads_with_its_log() {
    let pins = Pins::create("log");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    for hook in Hook::ALL {
        load(&pins, hook, LinkHeader::Ethernet, true, PacketLog::Own);
    }
}

fn load(pins: &Pins, hook: Hook, header: LinkHeader, v6: bool, packet_log: PacketLog) {
    let options = LoadOptions { packet_log };
    let policy = policy_for(&guard(header, v6), header, options);
    let mut loaded = load_with_options_for_test(hook, &policy, options, pins.as_path()).unwrap();
    let program: &mut SchedClassifier = loaded
        .ebpf
        .program_mut(loaded.name)
        .unwrap()
        .try_into()
        .unwrap();
    let info = program.info().unwrap();
    let verified = info.verified_instruction_count().map_or_else(
        || "? verified".to_owned(),
        |count| format!("{count} verified"),
    );
    let length = info.size_translated().map_or(0, |bytes| bytes / 8);
    let stack = stack::used(program.fd().unwrap().as_fd()).unwrap();
    // The kernel's limit, MAX_BPF_STACK; a reading of nothing would be a mistake here.
    assert!((1..=512).contains(&stack), "{stack} bytes of stack");
    figure(
        "instructions and stack",
        &format!(
            "{}, link header {}, IPv6 {}{}",
            loaded.name,
            if header == LinkHeader::Ethernet {
                "14"
            } else {
                "0"
            },
            if v6 { "on" } else { "off" },
            if packet_log == PacketLog::Off {
                ""
            } else {
                ", with its log"
            },
        ),
        format!("{length}, {verified}, {stack} B"),
    );
}

/// A directory of pins of this test's own, taken away at its end.
struct Pins(std::path::PathBuf);

impl Pins {
    fn create(name: &str) -> Self {
        let name = format!("lte-verifier-{}-{name}", std::process::id());
        let dir = std::path::Path::new("/sys/fs/bpf").join(name);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn as_path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Ok(entries) = std::fs::read_dir(&self.0) {
            for entry in entries.flatten() {
                std::fs::remove_file(entry.path()).ok();
            }
        }
        std::fs::remove_dir(&self.0).ok();
    }
}
