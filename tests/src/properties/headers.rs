//! Bytes to a verdict, for any bytes.

use std::cell::RefCell;
use std::sync::LazyLock;

use anyhow::{Result, ensure};
use lte_common::headers::{Joined, ParseError, maybe_udp, parse, plain_udp, protocol};
use lte_common::policy::{Class, Hook};

use crate::corpus::model::{Model, Slice};
use crate::corpus::payload::RECEIVER;
use crate::corpus::site::{LISTEN, MASK, PEER, PEER6};
use crate::corpus::{
    Case, Clocks, Fate, GuardState, Known, Outcome, Seen, Sender, Site, Subject, When, cases,
};

static CASES: LazyLock<Vec<Case>> = LazyLock::new(cases::all);

thread_local! {
    static MODEL: RefCell<Model> = RefCell::new(Model::at(NOW));
}

/// Late enough that a day ago is a time.
const NOW: Clocks = Clocks {
    ticks: 100_000_000,
    hz: 1000,
    ns: 100_000_000_000_000,
};

/// The most that a rewriting changes: an address, the header's checksum and the transport's.
const REWRITTEN: usize = 16 + 2 + 2;

/// Turns any bytes into a frame on a hook and judges it by the pure policy.
///
/// The first eight say where: hook, devices, meta, sender, memory, mark, and whether the rest is the
/// frame or alters one of the corpus.
///
/// # Panics
/// Where what must hold for every frame does not.
pub fn headers(data: &[u8]) {
    let Some((control, rest)) = data.split_first_chunk::<8>() else {
        return;
    };
    let hook = Hook::ALL[usize::from(control[0]) % 3];
    let sites = Site::all(hook);
    let site = sites[usize::from(control[1]) % sites.len()];
    let known = match control[2] & 6 {
        0 => Vec::new(),
        2 => remotes(When::Never),
        4 => remotes(When::Ago(3600)),
        _ => remotes(When::Ago(5)),
    };
    let base = u16::from_le_bytes([control[4], control[5]]);
    let frame = if base & 1 == 0 {
        rest.to_vec()
    } else {
        altered(&CASES[usize::from(base >> 1) % CASES.len()].frame, rest)
    };
    let seen = Seen {
        hook,
        site,
        forwarded: control[2] & 1 != 0,
        sender: Sender {
            socket: [0, LISTEN, 4000, 0][usize::from(control[2] >> 1 & 3)],
            bound: control[2] & 8 != 0,
            wireguard: control[2] & 16 == 0,
            foreign: control[2] & 32 != 0,
        },
        mark: u32::from(control[3]) << 4,
        frame: &frame,
        joined: Joined::default(),
    };
    quick_ways_agree(&frame).unwrap_or_else(|error| panic!("{seen:?}: {error}"));
    let outcome = MODEL.with_borrow_mut(|model| {
        model.set_state(&GuardState::of(&known, NOW))?;
        model.judge(&seen)
    });
    match outcome {
        Ok(Some(outcome)) => holds(&seen, &known, &outcome)
            .unwrap_or_else(|error| panic!("{seen:?} is {outcome:?}: {error}")),
        other => panic!("{seen:?} is {other:?}"),
    }
}

fn remotes(sent: When) -> Vec<Known> {
    let remote = |at| Known::Remote {
        at,
        sent,
        source: None,
        source_port: 0,
        receiver: RECEIVER,
    };
    vec![remote(PEER), remote(PEER6)]
}

/// A frame with bytes of it replaced, each by three: where, twice, and by what. A place beyond its
/// end cuts it there, as seen from its beginning once more.
fn altered(frame: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]]));
        match frame.get_mut(at) {
            Some(byte) => *byte = change[2],
            None => frame.truncate(at % (frame.len() + 1)),
        }
    }
    frame
}

/// What the invariants promise of every packet.
fn holds(seen: &Seen<'_>, known: &[Known], outcome: &Outcome) -> Result<()> {
    let passed = outcome.fate == Fate::Passed;
    let others = |mark: u32| mark & !MASK;
    ensure!(
        outcome.fate == Fate::Dropped || others(outcome.mark) == others(seen.mark),
        "other people's bits of the mark are changed"
    );
    if passed {
        ensure!(
            outcome.bytes.len() == seen.frame.len(),
            "it is longer or shorter"
        );
        let pairs = outcome.bytes.iter().zip(seen.frame);
        ensure!(
            pairs.filter(|(new, old)| new != old).count() <= REWRITTEN,
            "more than an address and its checksums are changed"
        );
    }
    if seen.hook == Hook::UplinkOut {
        return on_an_uplink(seen, outcome);
    }
    let [(hook, class, 1, bytes)] = outcome.counters[..] else {
        anyhow::bail!("it is not in exactly one counter");
    };
    ensure!(hook == seen.hook, "it is in another hook's counter");
    ensure!(
        bytes <= seen.frame.len() as u64,
        "more is counted than there was"
    );
    ensure!(outcome.fate != Fate::Steered, "steered from the modem");
    let link_len = seen.site.device.header_len() as u16;
    match parse(&Slice(seen.frame), link_len) {
        Err(ParseError::Arp) => ensure!(passed, "ARP is dropped"),
        Err(_) => ensure!(!passed, "it cannot be read, and passes"),
        Ok(info) => {
            ensure!(
                !matches!(class, Class::Tunnel | Class::NatKeepalive)
                    || info.source_port != seen.sender.socket,
                "a program's own is taken for the tunnel's"
            );
            let forwarded = seen.forwarded && hook == Hook::ModemOut;
            ensure!(!(passed && forwarded), "a forwarded packet leaves");
            let sent_to = known.iter().any(
                |known| matches!(known, Known::Remote { sent: When::Ago(ago), .. } if *ago < 20),
            );
            ensure!(
                !passed || hook == Hook::ModemOut || sent_to || class == Class::Neighbour,
                "nobody was sent to, and it enters"
            );
        }
    }
    Ok(())
}

/// What is not the tunnel's is not touched; what is does not leave by the uplink.
fn on_an_uplink(seen: &Seen<'_>, outcome: &Outcome) -> Result<()> {
    match (outcome.fate, &outcome.counters[..]) {
        (Fate::Passed, []) => ensure!(
            outcome.bytes == seen.frame && outcome.mark == seen.mark,
            "it is not counted, and changed"
        ),
        (Fate::Passed, _) => anyhow::bail!("it passes, and is counted"),
        (Fate::Steered, [(Hook::UplinkOut, Class::Steered, 1, _)]) => ensure!(
            seen.site.modem.is_some() && !seen.forwarded && !is_a_programs(seen),
            "steered to nowhere, from elsewhere, or of a program's own socket"
        ),
        (Fate::Dropped, [(Hook::UplinkOut, Class::DropModemGone | Class::DropAmbiguous, 1, _)]) => {
            ensure!(!seen.forwarded, "a forwarded packet is dropped");
        }
        (fate, counters) => anyhow::bail!("{fate} and counted as {counters:?}"),
    }
    Ok(())
}

/// Whether the socket that it belongs to has its source port.
fn is_a_programs(seen: &Seen<'_>) -> bool {
    let link_len = seen.site.device.header_len() as u16;
    let info = parse(&Slice(seen.frame), link_len);
    // Later pieces have no port, and go as the first did.
    info.is_ok_and(|info| info.source_port != 0 && info.source_port == seen.sender.socket)
}

/// What reads at fixed offsets agrees with what reads everything.
///
/// # Errors
/// How they differ.
pub fn quick_ways_agree(frame: &[u8]) -> Result<()> {
    for link_len in [0, 14] {
        let frame = Slice(frame);
        let parsed = parse(&frame, link_len);
        if let Some(plain) = plain_udp(&frame, link_len) {
            ensure!(
                parsed == Ok(plain),
                "plain_udp says {plain:?}, parse {parsed:?} with a link header of {link_len}"
            );
        }
        if let Ok(info) = parsed
            && info.protocol == protocol::UDP
        {
            ensure!(
                maybe_udp(&frame, link_len),
                "UDP, and maybe_udp denies it with a link header of {link_len}: {info:?}"
            );
        }
    }
    Ok(())
}
