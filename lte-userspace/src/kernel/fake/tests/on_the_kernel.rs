//! The same claims, held against the running kernel.

use std::process::{Command, Stdio};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::{CLAIMS, SHOWN, outcome};
use crate::kernel::Kernel;
use crate::kernel::fake::dump::{TABLE, changes, dump};
use crate::kernel::fake::sequence::take;
use crate::kernel::fake::sysctls;

/// Read by `cargo xtask test`: see `runs_on.rs` of the lab, which this package does not know.
macro_rules! runs_on {
    ($($word:ident),+) => {};
}

// The oldest and the newest between them show what has changed.
runs_on!(oldest, newest);

/// How often a difference is looked at again: the kernel gives IPv6's own address a moment after an interface is up.
const LOOKS: usize = 3;

fn ip(words: &str) -> bool {
    let mut command = Command::new("ip");
    let command = command.args(words.split_whitespace()).stderr(Stdio::null());
    command.status().unwrap().success()
}

/// A network namespace of the test's own thread, and of what it starts.
fn enter_a_namespace() {
    // SAFETY: the thread keeps its file descriptors with the others; it has opened no socket yet.
    let entered = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
    entered.expect("a network namespace is made by root: sudo, or cargo xtask test on_the_kernel");
}

/// The interfaces of [`super::world`]; the other ends are up.
async fn build(kernel: &Kernel) {
    for (key, value) in sysctls::initial() {
        let path = key.path();
        let file = format!("/proc/sys/net/{}/conf/default/{}", path.0, path.1);
        std::fs::write(file, value).unwrap();
    }
    take(kernel, "sysctl all send_redirects 1").await.unwrap();
    for (name, mac) in [("modem", "02:00:00:00:00:0a"), ("wan", "02:00:00:00:00:0b")] {
        let pair = format!("link add {name} address {mac} type veth peer name {name}-far");
        assert!(ip(&pair), "{pair}");
        assert!(ip(&format!("link set {name}-far up")));
        take(kernel, &format!("offload {name} rx-gro 1"))
            .await
            .unwrap();
    }
    assert!(ip("link add br0 type bridge"));
}

fn tear_down() {
    for name in SHOWN {
        ip(&format!("link del {name}"));
    }
    for family in ["-4", "-6"] {
        while ip(&format!("{family} rule del priority 10"))
            || ip(&format!("{family} rule del priority 11"))
            || ip(&format!("{family} rule del priority 12"))
        {}
        ip(&format!("{family} route flush table {TABLE}"));
    }
}

/// Whether the kernel is to have everything: those of `cargo xtask test` are.
fn is_whole() -> bool {
    std::env::var_os("LTE_USERSPACE").is_some()
}

/// Whether the running kernel has what claims of a subject need.
async fn has(kernel: &Kernel, subject: &str) -> bool {
    let step = match subject {
        "wireguard" => "create wg 1380",
        "qdiscs" => "+backstop modem",
        _ => return true,
    };
    build(kernel).await;
    let has = take(kernel, step).await.is_ok();
    let roots = kernel.root_qdiscs().await.unwrap();
    let modem = kernel.index("modem").await.unwrap();
    tear_down();
    has && (subject != "qdiscs" || roots.contains_key(&modem))
}

// A test for each subject: all of them in one take minutes in an emulated machine.

#[tokio::test]
async fn the_running_kernel_has_links_as_claimed() {
    compare("links").await;
}

#[tokio::test]
async fn the_running_kernel_has_addresses_as_claimed() {
    compare("addresses").await;
}

#[tokio::test]
async fn the_running_kernel_has_routes_as_claimed() {
    compare("routes").await;
}

#[tokio::test]
async fn the_running_kernel_has_rules_as_claimed() {
    compare("rules").await;
}

#[tokio::test]
async fn the_running_kernel_has_qdiscs_as_claimed() {
    compare("qdiscs").await;
}

#[tokio::test]
async fn the_running_kernel_has_wireguard_as_claimed() {
    compare("wireguard").await;
}

#[test]
fn each_subject_is_compared() {
    let compared = [
        "links",
        "addresses",
        "routes",
        "rules",
        "qdiscs",
        "wireguard",
    ];
    let missing = CLAIMS
        .iter()
        .find(|(subject, _)| !compared.contains(subject));
    assert_eq!(missing.map(|(subject, _)| *subject), None);
}

async fn compare(subject: &str) {
    enter_a_namespace();
    let kernel = Kernel::open().unwrap();
    let links = kernel.links().await.unwrap();
    assert!(links.iter().all(|link| link.loopback), "a namespace in use");
    assert!(ip("link set lo up"));
    if !has(&kernel, subject).await {
        assert!(!is_whole(), "{subject}: not on this kernel");
        println!("{subject}: not on this kernel");
        return;
    }
    let mut wrong = Vec::new();
    let of_subject = CLAIMS.iter().filter(|(of, _)| *of == subject);
    for claim in of_subject.flat_map(|(_, claims)| *claims) {
        let mut looks = 0..LOOKS;
        let found = loop {
            build(&kernel).await;
            let found = outcome(&kernel, claim).await;
            tear_down();
            let is_right = found.0 == claim.answer && found.1 == claim.changes;
            if is_right || looks.next().is_none() {
                break found;
            }
        };
        if found.0 != claim.answer || found.1 != claim.changes {
            wrong.push(format!(
                "{subject}: {}: answer {}, not {}\n{:#?}",
                claim.name, found.0, claim.answer, found.1
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_worlds_are_one() {
    enter_a_namespace();
    let kernel = Kernel::open().unwrap();
    build(&kernel).await;
    let running = dump(&kernel, &SHOWN).await.unwrap();
    tear_down();
    let model = dump(&super::world(), &SHOWN).await.unwrap();
    assert_eq!(changes(&model, &running), Vec::<String>::new());
}
