//! What the agent costs besides its packets: how long it takes to start, what it does when there is nothing
//! to do, and how soon it puts a rule back; on a small router and on one with many interfaces and routes.
//! Needs kernel WireGuard, and the agent's path in `LTE_USERSPACE`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::capture::{Capture, Direction};
use lte_tests::installation::Installation;
use lte_tests::packet::{Kind, Message};
use lte_tests::recipe::{self, ReversePath};
use lte_tests::scene::{flush_rules, rules, rules_back};
use lte_tests::topology::{Lab, Options};
use lte_tests::wait::PATIENCE;

use crate::report::{Chapter, Goal, Row, progress};
use crate::system_calls::SystemCalls;
use crate::ways::Way;

/// The usual recipe, and the agent with each backend.
const WAYS: [Way; 3] = [Way::Recipe, Way::Ebpf, Way::Nft];
/// Of the time that the usual recipe takes.
const START: f64 = 1.5;
/// How often an idle agent may be woken up, a second.
const WAKEUPS: f64 = 1.0;
/// What it may hold in memory, MiB.
const MEMORY: f64 = 8.0;
/// Of what it costs on a small router.
const LARGE: f64 = 1.2;
/// After this nothing of the start is left to be done.
const SETTLED: Duration = Duration::from_secs(3);
/// How long an idle agent is looked at.
const WATCHED: Duration = Duration::from_secs(20);
/// What a large router has besides.
const INTERFACES: usize = 300;
const ROUTES: usize = 100_000;

/// A router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Router {
    Small,
    Large,
}

/// What one start showed.
#[derive(Debug, Default)]
struct Found {
    /// Milliseconds to the first packet of data at the peer.
    start: f64,
    /// What an idle agent does and holds; of the recipe nothing.
    idle: Option<Idle>,
}

#[derive(Debug)]
struct Idle {
    /// A second.
    wakeups: f64,
    /// A minute.
    calls: f64,
    /// MiB that it has in memory.
    resident: f64,
    /// MiB of these that are not of a file.
    own: f64,
    /// Milliseconds until flushed rules are back.
    repair: f64,
}

/// All figures of the agent; those of the large router only where they are asked for.
pub(crate) fn measure(rounds: usize, large: bool) -> Result<Vec<Chapter>> {
    let mut found = BTreeMap::new();
    for round in 0..rounds {
        progress("agent", round, rounds);
        for router in [Router::Small, Router::Large] {
            if router == Router::Large && !large {
                continue;
            }
            for (at, way) in WAYS.into_iter().enumerate() {
                let one = once(way, router).with_context(|| format!("{way}, {router:?}"))?;
                let kept: &mut Vec<Found> = found.entry((router == Router::Large, at)).or_default();
                kept.push(one);
            }
        }
    }
    let of = |large: bool, at: usize| found.get(&(large, at)).map_or(&[][..], Vec::as_slice);
    let mut chapters = vec![started(of(false, 0), [of(false, 1), of(false, 2)])];
    chapters.extend(idle([of(false, 1), of(false, 2)]));
    if large {
        chapters.push(on_a_large_router(
            [1, 2].map(|at| (of(false, at), of(true, at))),
        ));
    }
    Ok(chapters)
}

fn starts(of: &[Found]) -> Vec<f64> {
    of.iter().map(|found| found.start).collect()
}

fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(a, b)| a / b).collect()
}

fn started(recipe: &[Found], agent: [&[Found]; 2]) -> Chapter {
    let recipe = starts(recipe);
    let mut rows = vec![Row::new(
        Way::Recipe.to_string(),
        &recipe,
        &ratios(&recipe, &recipe),
        None,
    )];
    for (way, of) in WAYS.into_iter().skip(1).zip(agent) {
        let times = starts(of);
        let goal = Some(Goal::AtMost(START));
        rows.push(Row::new(
            way.to_string(),
            &times,
            &ratios(&times, &recipe),
            goal,
        ));
    }
    Chapter {
        title: "From the start to the tunnel's first packet of data at the peer".to_owned(),
        unit: "ms".to_owned(),
        compared: "ratio to the usual recipe by ip and wg".to_owned(),
        rows,
    }
}

/// One chapter for each unit; the figure itself is what is compared with the goal.
fn idle(agent: [&[Found]; 2]) -> Vec<Chapter> {
    type Part = fn(&Idle) -> f64;
    let parts: [(&str, &str, Part, Option<f64>); 5] = [
        ("wakeups", "a second", |idle| idle.wakeups, Some(WAKEUPS)),
        ("system calls", "a minute", |idle| idle.calls, None),
        ("resident", "MiB", |idle| idle.resident, Some(MEMORY)),
        ("resident, of no file", "MiB", |idle| idle.own, None),
        (
            "rules flushed, until they are back",
            "ms",
            |idle| idle.repair,
            None,
        ),
    ];
    let chapter = |(name, unit, part, most): (&str, &str, Part, Option<f64>)| {
        let rows = WAYS.into_iter().skip(1).zip(agent).map(|(way, of)| {
            let figures: Vec<f64> = of
                .iter()
                .filter_map(|one| Some(part(one.idle.as_ref()?)))
                .collect();
            Row::new(way.to_string(), &figures, &figures, most.map(Goal::AtMost))
        });
        Chapter {
            title: format!("An agent at rest: {name}"),
            unit: unit.to_owned(),
            compared: "the same".to_owned(),
            rows: rows.collect(),
        }
    };
    parts.into_iter().map(chapter).collect()
}

fn on_a_large_router(agent: [(&[Found], &[Found]); 2]) -> Chapter {
    type Part = fn(&Found) -> Option<f64>;
    let parts: [(&str, Part); 4] = [
        ("start, ms", |found| Some(found.start)),
        ("system calls a minute", |found| {
            Some(found.idle.as_ref()?.calls)
        }),
        ("resident, MiB", |found| Some(found.idle.as_ref()?.resident)),
        ("rules back, ms", |found| Some(found.idle.as_ref()?.repair)),
    ];
    let mut rows = Vec::new();
    for (way, (small, large)) in WAYS.into_iter().skip(1).zip(agent) {
        for (name, part) in parts {
            let [small, large] =
                [small, large].map(|of| of.iter().filter_map(part).collect::<Vec<f64>>());
            let ratios = ratios(&large, &small);
            let goal = Some(Goal::AtMost(LARGE));
            rows.push(Row::new(format!("{way}: {name}"), &large, &ratios, goal));
        }
    }
    Chapter {
        title: format!("A router with {INTERFACES} more interfaces and {ROUTES} routes in main"),
        unit: String::new(),
        compared: "ratio to the small router".to_owned(),
        rows,
    }
}

fn once(way: Way, router: Router) -> Result<Found> {
    let lab = Lab::build(&Options::lte())?;
    if router == Router::Large {
        enlarge(&lab)?;
    }
    let installation = Installation::new(&lab.router)?;
    let seen = Capture::start(&lab.vps.netns)?;
    let begun = Instant::now();
    let agent = match way {
        Way::Ebpf => Some(installation.launch(Backend::Ebpf)?),
        Way::Nft => Some(installation.launch(Backend::Nft)?),
        _ => {
            recipe::set_up(&lab.router, ReversePath::Loose)?;
            None
        }
    };
    let data = seen.wait_for(PATIENCE, "data of the tunnel", |seen| {
        seen.direction == Direction::In && seen.packet.kind == Kind::WireGuard(Message::Data)
    })?;
    drop(seen);
    let mut found = Found {
        start: data.at.duration_since(begun).as_secs_f64() * 1e3,
        idle: None,
    };
    if let Some(agent) = agent {
        let agent = agent.wait_ready(PATIENCE)?;
        found.idle = Some(at_rest(&lab, &agent)?);
        agent.interrupt()?;
    }
    Ok(found)
}

fn enlarge(lab: &Lab) -> Result<()> {
    let mut lines = String::new();
    for number in 0..INTERFACES {
        writeln!(lines, "link add more{number} type dummy")?;
        writeln!(lines, "link set more{number} up")?;
    }
    for number in 0..ROUTES {
        let [_, a, b, c] = u32::try_from(number)?.to_be_bytes();
        writeln!(lines, "route add 100.{}.{b}.{c}/32 dev more0", 64 + a)?;
    }
    lab.router.ip(&lines).map(drop).context("a large router")
}

fn at_rest(lab: &Lab, agent: &Agent) -> Result<Idle> {
    // Not before: what a start has set off is over by then, and nothing tells when it is.
    thread::sleep(SETTLED);
    let calls = SystemCalls::count(agent.id())?;
    let before = woken(agent.id())?;
    thread::sleep(WATCHED);
    let woken = woken(agent.id())?.saturating_sub(before);
    let calls = calls.read()?;
    let seconds = WATCHED.as_secs_f64();
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id()))?;
    let count = rules(&lab.router)?;
    let struck = Instant::now();
    flush_rules(&lab.router)?;
    rules_back(&lab.router, count)?;
    Ok(Idle {
        wakeups: woken as f64 / seconds,
        calls: calls as f64 / seconds * 60.0,
        resident: field(&status, "VmRSS:")? as f64 / 1024.0,
        own: field(&status, "RssAnon:")? as f64 / 1024.0,
        repair: struck.elapsed().as_secs_f64() * 1e3,
    })
}

/// How often a thread of a process that is there still has waited for something.
fn woken(pid: u32) -> Result<u64> {
    let mut woken = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        woken += field(&status, "voluntary_ctxt_switches:")?;
    }
    Ok(woken)
}

fn field(status: &str, name: &str) -> Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.split_whitespace().next());
    Ok(number.with_context(|| format!("no {name}"))?.parse()?)
}
