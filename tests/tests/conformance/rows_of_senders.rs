//! The cases that differ for who has sent them.

use lte_common::policy::Hook::{ModemOut, UplinkOut};
use lte_tests::backend::Backend::{Ebpf, Nft};

use crate::differences::{Row, Why};
use crate::verdict::Kind::{LetsPass, NotShown};

const PIECES_OF_A_SOCKET: &[&str] = &[
    "later fragment of a program's datagram with the identification of the tunnel's",
    "later fragment of data that carries a program's datagram",
];

/// All of them.
pub(crate) const ROWS: &[Row] = &[
    Row {
        side: Ebpf,
        hook: ModemOut,
        kind: NotShown,
        why: Why::SocketPiece,
        names: PIECES_OF_A_SOCKET,
    },
    Row {
        side: Nft,
        hook: ModemOut,
        kind: NotShown,
        why: Why::SocketPiece,
        names: PIECES_OF_A_SOCKET,
    },
    Row {
        side: Nft,
        hook: UplinkOut,
        kind: LetsPass,
        why: Why::AnotherHost,
        names: &["data of the tunnel's session, its source translated to another host's"],
    },
];
