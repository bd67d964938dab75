//! Root qdiscs.

use super::{Claim, claim};

/// The whole backstop.
const WHOLE: &str =
    "+ qdisc modem Backstop(Some(BackstopState { passes: (123, 255), queue: Ours(FqCodel) }))";

pub(super) const CLAIMS: &[Claim] = &[
    claim(
        "an interface that has never been up gets the backstop",
        &[],
        "+backstop modem",
        0,
        &[WHOLE],
    ),
    claim(
        "one that is up gets it in the place of its own",
        &["up modem"],
        "+backstop modem",
        0,
        &["- qdisc modem Default", WHOLE],
    ),
    claim(
        "it stays when the interface goes up",
        &["sysctl modem disable_ipv6 1", "+backstop modem"],
        "up modem",
        0,
        &["- link modem down mtu 1500", "+ link modem up mtu 1500"],
    ),
    claim(
        "it stays when the interface goes down",
        &["sysctl modem disable_ipv6 1", "up modem", "+backstop modem"],
        "down modem",
        0,
        &["- link modem up mtu 1500", "+ link modem down mtu 1500"],
    ),
    claim(
        "one that is whole stays",
        &["+backstop modem"],
        "+backstop modem",
        0,
        &[],
    ),
    claim(
        "one for another mark takes its place",
        &["+backstop modem"],
        "+backstop modem mark 7",
        0,
        &[
            "- qdisc modem Backstop(Some(BackstopState { passes: (123, 255), queue: Ours(FqCodel) }))",
            "+ qdisc modem Backstop(Some(BackstopState { passes: (7, 255), queue: Ours(FqCodel) }))",
        ],
    ),
    claim(
        "an interface that is up has its own again when it goes",
        &["up modem", "+backstop modem"],
        "-backstop modem",
        0,
        &[
            "- qdisc modem Backstop(Some(BackstopState { passes: (123, 255), queue: Ours(FqCodel) }))",
            "+ qdisc modem Default",
        ],
    ),
    claim(
        "one that is down has none",
        &["up modem", "+backstop modem", "down modem"],
        "-backstop modem",
        0,
        &[
            "- qdisc modem Backstop(Some(BackstopState { passes: (123, 255), queue: Ours(FqCodel) }))",
        ],
    ),
    claim(
        "where there is no root the handle is wrong",
        &[],
        "-backstop modem",
        libc::EINVAL,
        &[],
    ),
    claim(
        "where the root is the kernel's own the handle is wrong",
        &["up modem"],
        "-backstop modem",
        libc::EINVAL,
        &[],
    ),
    claim(
        "what is not there has no root to remove",
        &[],
        "-backstop none",
        libc::ENODEV,
        &[],
    ),
    claim(
        "what is not there gets no backstop",
        &[],
        "+backstop none",
        libc::ENODEV,
        &[],
    ),
];
