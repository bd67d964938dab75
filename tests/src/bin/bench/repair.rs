//! How long a backend takes to find its guard gone and to put it back: what remains of a repair when the
//! news of the damage has come.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lte_tests::bpf::{agents_layouts, sever};
use lte_tests::netns::Netns;
use lte_userspace::backend::{Backend, Guard};
use nix::net::if_::if_nametoindex;

use crate::guard::guard;
use crate::report::{Chapter, Goal, Row, progress};
use crate::setups::{Built, Setup};

/// More than a look, milliseconds.
const GOAL: f64 = 100.0;

/// A change by others, inside the router.
type Hand = fn(&Netns) -> Result<()>;

/// All damages of both backends, each in every round.
pub(crate) fn measure(rounds: usize) -> Result<Chapter> {
    let mut rows = Vec::new();
    let damages: [(&str, Setup, Hand); 4] = [
        ("eBPF: all programs off the hooks", Setup::Ebpf, |_| {
            off_the_hooks()
        }),
        ("nft: ruleset flushed", Setup::Nft, |router| {
            nft(router, &["flush", "ruleset"])
        }),
        ("nft: table inet deleted", Setup::Nft, |router| {
            nft(router, &["delete", "table", "inet", "lte_backup"])
        }),
        ("nft: chain flushed", Setup::Nft, |router| {
            nft(router, &["flush", "chain", "inet", "lte_backup", "forward"])
        }),
    ];
    for setup in [Setup::Ebpf, Setup::Nft] {
        let mut built = Built::new(setup)?;
        apply(&mut built)?;
        let of_this = damages.iter().filter(|(_, of, _)| *of == setup);
        for (name, _, hand) in of_this {
            let (mut whole, mut more) = (Vec::new(), Vec::new());
            for round in 0..rounds {
                progress(name, round, rounds);
                let (look, repair) = once(&mut built, *hand).with_context(|| (*name).to_owned())?;
                whole.push(repair);
                more.push(repair - look);
            }
            rows.push(Row::new(*name, &whole, &more, Some(Goal::AtMost(GOAL))));
        }
        let name = format!("{setup}: another guard");
        let (mut whole, mut more) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            progress(&name, round, rounds);
            let (look, change) = another(&mut built)?;
            whole.push(change);
            more.push(change - look);
        }
        rows.push(Row::new(name, &whole, &more, Some(Goal::AtMost(GOAL))));
    }
    Ok(Chapter {
        title: "A guard put back, from the look that finds it gone".to_owned(),
        unit: "ms".to_owned(),
        compared: "milliseconds more than a look that finds nothing".to_owned(),
        rows,
    })
}

/// Applies the guard once more: of nftables a rule has been replaced, that lets traffic out without a tunnel.
fn apply(built: &mut Built) -> Result<()> {
    let backend = built.backend.as_mut().context("a way without a guard")?;
    built.router.run(|| {
        let guard = guard(if_nametoindex("modem")?, Some(if_nametoindex("wan")?));
        Ok(backend.apply(&guard)?)
    })
}

/// Milliseconds of a look at a guard that is in place, and of look and repair after a damage.
fn once(built: &mut Built, hand: Hand) -> Result<(f64, f64)> {
    timed(built, |router, _| hand(router))
}

/// The same where a guard of other values becomes wanted, as when a modem is plugged in again: its
/// programs are loaded anew.
fn another(built: &mut Built) -> Result<(f64, f64)> {
    timed(built, |_, guard| {
        guard.flow_timeout += Duration::from_secs(1);
        Ok(())
    })
}

/// The guard that was there at first is there at the end.
fn timed(
    built: &mut Built,
    change: impl FnOnce(&Netns, &mut Guard) -> Result<()> + Send,
) -> Result<(f64, f64)> {
    let router = built.router.clone();
    let backend = built.backend.as_mut().context("a way without a guard")?;
    router.run(|| {
        let first = guard(if_nametoindex("modem")?, Some(if_nametoindex("wan")?));
        let mut wanted = first.clone();
        let begun = Instant::now();
        in_place(backend.as_mut(), &first)?;
        let look = begun.elapsed();
        change(&router, &mut wanted)?;
        let begun = Instant::now();
        ensure!(!backend.observe(&wanted)?.is_empty(), "nothing to do");
        backend.apply(&wanted)?;
        let repair = begun.elapsed();
        in_place(backend.as_mut(), &wanted)?;
        backend.apply(&first)?;
        Ok((look.as_secs_f64() * 1e3, repair.as_secs_f64() * 1e3))
    })
}

fn in_place(backend: &mut dyn Backend, guard: &Guard) -> Result<()> {
    let differences = backend.observe(guard)?;
    ensure!(differences.is_empty(), "not in place: {differences:?}");
    Ok(())
}

/// Where programs hang by links, these are severed; elsewhere, the qdiscs that they hang on go.
fn off_the_hooks() -> Result<()> {
    let mut found = false;
    for layout in agents_layouts()? {
        for pin in fs::read_dir(layout)? {
            let pin = pin?.path();
            if is_link(&pin) {
                sever(&pin)?;
                found = true;
            }
        }
    }
    if !found {
        for device in ["modem", "wan"] {
            lte_tests::process::tool("tc", &["qdisc", "del", "dev", device, "clsact"], "")?;
        }
    }
    Ok(())
}

fn is_link(pin: &Path) -> bool {
    pin.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("link-"))
}

fn nft(router: &Netns, words: &[&str]) -> Result<()> {
    router.tool("nft", words).map(drop)
}
