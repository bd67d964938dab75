//! Requests that fail, and an agent that is killed.

use super::world;
use crate::desired::SysctlKey;
use crate::kernel::KernelOperations as _;
use crate::kernel::fake::dump::dump;
use crate::kernel::fake::requests::unless_killed;
use crate::kernel::fake::sequence::take;

#[tokio::test]
async fn a_request_that_is_refused_changes_nothing_and_the_next_one_is_answered() {
    let kernel = world();
    kernel.fail_at(2, libc::EBUSY);
    // The first one asks for the interface's index.
    let error = take(&kernel, "+address modem 192.168.0.2/24")
        .await
        .unwrap_err();
    assert_eq!(error.errno(), Some(libc::EBUSY));
    assert_eq!(kernel.requests(), 2);
    take(&kernel, "+address modem 192.168.0.2/24")
        .await
        .unwrap();
    assert_eq!(
        kernel.log(),
        [
            "listing the interfaces",
            "adding address 192.168.0.2/24 dev modem noprefixroute",
            "listing the interfaces",
            "adding address 192.168.0.2/24 dev modem noprefixroute",
        ]
    );
}

#[tokio::test]
async fn a_request_whose_answer_is_lost_is_done() {
    let kernel = world();
    kernel.lose_answer_at(2, libc::ENOBUFS);
    let error = take(&kernel, "+address modem 192.168.0.2/24")
        .await
        .unwrap_err();
    assert_eq!(error.errno(), Some(libc::ENOBUFS));
    let error = take(&kernel, "+address modem 192.168.0.2/24")
        .await
        .unwrap_err();
    assert_eq!(error.errno(), Some(libc::EEXIST));
}

#[tokio::test]
async fn a_listing_fails_as_any_request_does() {
    let kernel = world();
    kernel.fail_at(1, libc::ENOBUFS);
    let error = kernel.root_qdiscs().await.unwrap_err();
    assert_eq!(error.errno(), Some(libc::ENOBUFS));
    assert!(kernel.root_qdiscs().await.is_ok());
}

#[tokio::test]
async fn an_agent_that_is_killed_changes_nothing_more_until_another_starts() {
    let kernel = world();
    kernel.kill_at(2);
    for step in ["up modem", "down modem", "sysctl all rp_filter 1"] {
        assert!(unless_killed(take(&kernel, step)).await.is_none());
    }
    kernel.recover();
    let links = kernel.links().await.unwrap();
    assert!(links.iter().all(|link| link.loopback || !link.up));
    take(&kernel, "up modem").await.unwrap();
}

/// What an agent leaves that is killed before each request of a step, one after the other: what is there of
/// interest.
async fn left_behind(step: &str, of_interest: &str) -> Vec<String> {
    let mut left = Vec::new();
    for request in 1.. {
        let kernel = world();
        take(&kernel, "create wg 1380").await.unwrap();
        kernel.kill_at(kernel.requests() + request);
        let taken = unless_killed(take(&kernel, step)).await;
        kernel.recover();
        let dump = dump(&kernel, &["modem", "wg", "wg2"]).await.unwrap();
        let lines: Vec<_> = dump
            .into_iter()
            .filter(|line| line.contains(of_interest))
            .collect();
        left.push(lines.join("; "));
        if let Some(taken) = taken {
            taken.unwrap();
            break;
        }
    }
    left.dedup();
    left
}

#[tokio::test]
async fn a_wireguard_interface_may_be_left_without_its_alias() {
    let left = left_behind("create wg2 1380", "link wg2").await;
    let whole = "link wg2 down mtu 1380 alias lte-backup wireguard";
    assert_eq!(left, ["", "link wg2 down mtu 1380 wireguard", whole]);
}

#[tokio::test]
async fn the_redirects_may_be_left_off() {
    let left = left_behind("up wg", "all send_redirects").await;
    let lines = [1, 0, 1].map(|value| format!("sysctl all send_redirects {value}"));
    assert_eq!(left, lines);
}

#[tokio::test]
async fn the_backstop_may_be_left_in_parts() {
    let left = left_behind("+backstop modem", "qdisc modem").await;
    let whole =
        "qdisc modem Backstop(Some(BackstopState { passes: (123, 255), queue: Ours(FqCodel) }))";
    assert_eq!(left, ["", "qdisc modem Backstop(None)", whole]);
}

#[tokio::test]
async fn what_is_read_of_sysctls_is_a_request() {
    let kernel = world();
    kernel.fail_at(1, libc::EACCES);
    assert!(kernel.reverse_path_filter("modem").is_err());
    kernel
        .change_sysctl("all", SysctlKey::RpFilter, "2")
        .unwrap();
    assert_eq!(kernel.reverse_path_filter("modem").unwrap(), Some(2));
    kernel
        .change_sysctl("all", SysctlKey::ArpIgnore, "1")
        .unwrap();
    assert_eq!(kernel.arp_ignore_of_all().unwrap(), Some(1));
    assert_eq!(kernel.requests(), 4);
}
