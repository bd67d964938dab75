//! A case against a subject.

use std::fmt::Write;

use anyhow::Result;
use lte_common::headers::Joined;

use super::{Case, GuardState, Outcome, Seen, Subject};

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// As expected.
    AsExpected,
    /// The subject cannot be shown such a packet.
    NotShown,
    /// Otherwise; this is what differs, in words.
    Differs(String),
}

/// Shows a case to a subject.
pub fn check(case: &Case, subject: &mut impl Subject) -> Result<Ending> {
    let before = subject.now()?;
    subject.set_state(&GuardState::of(&case.known, before))?;
    let seen = Seen {
        hook: case.hook,
        site: case.site,
        forwarded: case.forwarded,
        sender: case.sender,
        mark: case.mark,
        frame: &case.frame,
        joined: Joined::default(),
    };
    let start = subject.now()?;
    let Some(outcome) = subject.judge(&seen)? else {
        return Ok(Ending::NotShown);
    };
    let end = subject.now()?;
    let mut remembered = GuardState::of(&case.known, before);
    for known in &case.want.remembered {
        remembered.add(known, before, end);
    }
    let wanted = Outcome {
        fate: case.want.fate,
        mark: case.want.mark,
        counters: case
            .want
            .counter
            .iter()
            .map(|(class, bytes)| (case.hook, *class, 1, u64::from(*bytes)))
            .collect(),
        bytes: case.want.bytes.clone(),
    };
    let found = subject.state()?.dated(start, end);
    let text = differences(&wanted, &outcome, &remembered, &found);
    Ok(if text.is_empty() {
        Ending::AsExpected
    } else {
        Ending::Differs(text)
    })
}

/// What differs, a line each; empty where nothing does.
pub fn differences(
    wanted: &Outcome,
    outcome: &Outcome,
    remembered: &GuardState,
    found: &GuardState,
) -> String {
    let mut text = String::new();
    let mut line = |what: &str, wanted: String, found: String| {
        if wanted != found {
            writeln!(text, "  {what}: expected {wanted}, found {found}").ok();
        }
    };
    line("fate", wanted.fate.to_string(), outcome.fate.to_string());
    line(
        "mark",
        format!("{:#x}", wanted.mark),
        format!("{:#x}", outcome.mark),
    );
    line("counters", counters(wanted), counters(outcome));
    if wanted.bytes != outcome.bytes {
        let same = wanted
            .bytes
            .iter()
            .zip(&outcome.bytes)
            .take_while(|(wanted, found)| wanted == found)
            .count();
        line(
            &format!("bytes from {same} on"),
            hex(&wanted.bytes, same),
            hex(&outcome.bytes, same),
        );
    }
    line("memory", format!("{remembered:x?}"), format!("{found:x?}"));
    text
}

fn counters(outcome: &Outcome) -> String {
    let mut text = String::new();
    for (hook, class, packets, bytes) in &outcome.counters {
        let (hook, class) = (hook.name(), class.name());
        write!(text, "[{hook}/{class} {packets} packets {bytes} bytes]").ok();
    }
    if text.is_empty() { "none".into() } else { text }
}

/// The number of bytes, and a few from `from` on.
fn hex(bytes: &[u8], from: usize) -> String {
    let mut text = String::new();
    for byte in bytes.iter().skip(from).take(16) {
        write!(text, "{byte:02x}").ok();
    }
    let more = if bytes.len() > from + 16 { "…" } else { "" };
    format!("{text}{more} of {} bytes", bytes.len())
}
