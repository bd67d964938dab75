//! Damages to the guard.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use lte_tests::backend::Backend;
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{bpf, kernel_version};

use crate::damage::{Damage, Defeats, Detection, Fault};
use crate::fixture::Fixture;
use crate::probe::Aspect;
use crate::single;

const GUARD: &[Aspect] = &[Aspect::Guard];
const FAMILIES: [&str; 2] = ["inet", "netdev"];

fn damage(name: &'static str, detection: Detection, fault: Fault) -> Damage {
    Damage::new(name, Defeats::Guard, detection, GUARD, fault)
}

/// Whether programs hang on their hooks by links, which pins hold.
fn has_links(backend: Backend) -> Result<bool> {
    Ok(backend == Backend::Ebpf && kernel_version::running()? >= (6, 6))
}

/// Those that a backend on this kernel can suffer.
pub(crate) fn damages(backend: Backend) -> Result<Vec<Damage>> {
    Ok(match backend {
        Backend::Nft => nft(),
        Backend::Ebpf if has_links(backend)? => links(),
        Backend::Ebpf => filters(),
    })
}

fn nft() -> Vec<Damage> {
    let event = |name, fault| damage(name, Detection::Event, fault);
    vec![
        event(
            "table inet deleted",
            Fault::Nft("delete table inet lte_backup\n"),
        ),
        event(
            "table netdev deleted",
            Fault::Nft("delete table netdev lte_backup\n"),
        ),
        event("ruleset flushed", Fault::Do(flush_ruleset)),
        event(
            "chain flushed",
            Fault::Nft("flush chain inet lte_backup forward\n"),
        ),
        event("one nft rule deleted", Fault::Do(delete_a_rule)),
    ]
}

/// The lab's masquerading goes, too, and is not the agent's to put back.
fn flush_ruleset(fixture: &Fixture) -> Result<()> {
    let lab = &fixture.scene.lab;
    lab.router.tool("nft", &["flush", "ruleset"])?;
    lab.masquerade()
}

fn delete_a_rule(fixture: &Fixture) -> Result<()> {
    let router = &fixture.scene.lab.router;
    for family in FAMILIES {
        let shown = router.tool("nft", &["-a", "list", "table", family, "lte_backup"])?;
        let mut chain = "";
        for line in shown.lines() {
            let Some((text, handle)) = line.trim().split_once(" # handle ") else {
                continue;
            };
            if let Some(name) = text.strip_prefix("chain ") {
                chain = name.trim_end_matches(" {");
            } else if chain == "forward" {
                let words = [
                    "delete",
                    "rule",
                    family,
                    "lte_backup",
                    chain,
                    "handle",
                    handle,
                ];
                return router.tool("nft", &words).map(drop);
            }
        }
    }
    bail!("no rule to delete")
}

fn filters() -> Vec<Damage> {
    let told = |name, lines| damage(name, Detection::Event, Fault::Tc(lines));
    vec![
        told(
            "filter out of the modem deleted",
            "filter del dev modem egress pref 1\n",
        ),
        told(
            "filter into the modem deleted",
            "filter del dev modem ingress pref 1\n",
        ),
        told(
            "filter on the uplink deleted",
            "filter del dev wan egress pref 1\n",
        ),
        told("modem's clsact deleted", "qdisc del dev modem clsact\n"),
        told("uplink's clsact deleted", "qdisc del dev wan clsact\n"),
    ]
}

fn links() -> Vec<Damage> {
    let looks = |name, what| damage(name, Detection::Poll, Fault::Do(what));
    vec![
        looks("link out of the modem removed", |_| {
            remove_pins("-modem-out")
        }),
        looks("link into the modem removed", |_| remove_pins("-modem-in")),
        looks("link on the uplink removed", |_| remove_pins("-uplink-out")),
        looks("all links removed", |_| remove_pins("")),
        looks("link out of the modem severed", |_| {
            each_pin("-modem-out", bpf::sever)
        }),
        looks("all links severed", |_| each_pin("", bpf::sever)),
    ]
}

/// The last reference to a link is its pin.
fn remove_pins(hook: &str) -> Result<()> {
    each_pin(hook, |pin| Ok(fs::remove_file(pin)?))
}

fn each_pin(hook: &str, mut what: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    let mut found = 0;
    for layout in bpf::agents_layouts()? {
        for pin in fs::read_dir(layout)? {
            let pin = pin?;
            let name = pin.file_name().to_string_lossy().into_owned();
            if name.starts_with("link-") && name.ends_with(hook) {
                what(&pin.path())?;
                found += 1;
            }
        }
    }
    ensure!(found > 0, "no link is pinned");
    Ok(())
}

/// While another process holds a link, its program is on its hook though the pin is gone, and cannot be
/// put there a second time: it has to be found and pinned again.
fn held_by_another(fixture: &Fixture) -> Result<()> {
    let mut held = Vec::new();
    each_pin("", |pin| {
        held.push(bpf::hold(pin)?);
        Ok(fs::remove_file(pin)?)
    })?;
    fixture.all_in_place(Detection::Poll.limit())?;
    drop(held);
    Ok(())
}

/// Of each not one packet leaves by the modem.
pub(crate) fn each_alone(backend: Backend) -> Result<()> {
    let fixture = Fixture::open(backend)?;
    let damages = damages(backend)?;
    let before = fixture.scene.lab.snapshot()?;
    single::in_fixture(&fixture, &damages)?;
    if has_links(backend)? {
        held_by_another(&fixture)?;
    }
    fixture.nothing_leaked()?;
    fixture.all_in_place(damages[0].detection.limit())?;
    fixture.route_by_modem("modem")?;
    let mut difference = String::new();
    let same = wait::until(TIMEOUT, "all to be as before", || {
        // A program that is loaded anew has another number; what it is, the probe has seen.
        let found = before
            .difference(&fixture.scene.lab.snapshot()?)
            .only(|line| !line.starts_with("tc filter protocol all pref 1 bpf"));
        difference = found.to_string();
        Ok(found.is_empty().then_some(()))
    });
    same.with_context(|| difference)?;
    fixture.close()
}
