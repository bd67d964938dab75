//! Rules.

use super::{Claim, claim};

pub(super) const CLAIMS: &[Claim] = &[
    claim(
        "a rule by port",
        &[],
        "+rule v4 10 local sport 51820",
        0,
        &["+ rule Inet 10: from all iif lo sport 51820 ipproto udp lookup 123 of ours"],
    ),
    claim(
        "a rule by mark",
        &[],
        "+rule v4 11 mark 123",
        0,
        &["+ rule Inet 11: from all fwmark 0x7b/0xff lookup 123 of ours"],
    ),
    claim(
        "a rule by source",
        &[],
        "+rule v4 12 local from 192.168.0.2/32",
        0,
        &["+ rule Inet 12: from 192.168.0.2/32 iif lo lookup 123 of ours"],
    ),
    claim(
        "a rule of IPv6, to a table with a large number",
        &[],
        "+rule v6 12 local from 2001:db8:2::2/128 table 70000",
        0,
        &["+ rule Inet6 12: from 2001:db8:2::2/128 iif lo lookup 70000 of ours"],
    ),
    claim(
        "a rule is there once",
        &["+rule v4 11 mark 123"],
        "+rule v4 11 mark 123",
        libc::EEXIST,
        &[],
    ),
    claim(
        "at another priority it is another one",
        &["+rule v4 11 mark 123"],
        "+rule v4 12 mark 123",
        0,
        &["+ rule Inet 12: from all fwmark 0x7b/0xff lookup 123 of ours"],
    ),
    claim(
        "two of one priority are two",
        &["+rule v4 11 mark 123"],
        "+rule v4 11 mark 124",
        0,
        &["+ rule Inet 11: from all fwmark 0x7c/0xff lookup 123 of ours"],
    ),
    claim(
        "each family has its own",
        &["+rule v4 11 mark 123"],
        "+rule v6 11 mark 123",
        0,
        &["+ rule Inet6 11: from all fwmark 0x7b/0xff lookup 123 of ours"],
    ),
    claim(
        "a rule that is found is removed",
        &["+rule v4 11 mark 123", "+rule v6 11 mark 123"],
        "-rule v4 11 mark 123",
        0,
        &["- rule Inet 11: from all fwmark 0x7b/0xff lookup 123 of ours"],
    ),
    claim(
        "what is not there is not removed",
        &[],
        "-rule v4 11 mark 123",
        libc::ENOENT,
        &[],
    ),
    claim(
        "what is not there of IPv6 is not removed",
        &[],
        "-rule v6 11 mark 123",
        libc::ENOENT,
        &[],
    ),
];
