//! An agent that repairs for years must not grow: memory and file descriptors stay as they are over
//! many repairs.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lte_tests::addresses::{LISTEN_PORT, MODEM, TUNNEL, TUNNEL_PEER};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::figure::figure;
use lte_tests::netns::Netns;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{for_each_backend, long_run};

for_each_backend!(many_repairs_cost_nothing);

// Hours.
lte_tests::runs_on!(last_between, long);

/// Networks in the tunnel, each with a route that can be lost.
const NETWORKS: usize = 40;
/// Rounds through all that can be lost, after which the agent is left in peace: what it repairs more
/// than ten times without one of [`PAUSE`] it repairs ever more slowly.
const ROUNDS: usize = 4;
const PAUSE: Duration = Duration::from_secs(11);
/// Memory that may be in use more at the end than after the first round, KiB.
const GROWTH: u64 = 1024;
/// Address space that may be taken besides, KiB: two stacks. The C library keeps those of threads that
/// have ended for the next ones, as many as there ever were at a time.
const STACKS: u64 = 2 * 2048;

/// What another program takes away, and what then is shown no longer.
struct Loss {
    taken: String,
    question: &'static str,
    answer: String,
}

fn losses() -> Vec<Loss> {
    let mut losses: Vec<Loss> = (0..NETWORKS)
        .map(|number| Loss {
            taken: format!("route del 10.99.{number}.0/24 dev {TUNNEL}"),
            question: "route show table main",
            answer: format!("10.99.{number}.0/24 dev {TUNNEL} "),
        })
        .collect();
    let rules = [
        (
            format!("rule del ipproto udp sport {LISTEN_PORT} lookup 123"),
            format!("sport {LISTEN_PORT} lookup 123"),
        ),
        (
            "rule del fwmark 0x7b/0xff lookup 123".to_owned(),
            "fwmark 0x7b/0xff lookup 123".to_owned(),
        ),
        (
            format!("rule del from {MODEM} lookup 123"),
            format!("from {MODEM} iif lo lookup 123"),
        ),
    ];
    losses.extend(rules.map(|(taken, answer)| Loss {
        taken,
        question: "rule show",
        answer,
    }));
    // The link takes its routes with it.
    losses.extend(
        ["route del default table 123", "link set modem down"].map(|taken| Loss {
            taken: taken.to_owned(),
            question: "route show table 123",
            answer: "default via".to_owned(),
        }),
    );
    losses
}

impl Loss {
    fn is_there(&self, router: &Netns) -> Result<bool> {
        let words: Vec<&str> = self.question.split(' ').collect();
        Ok(router.tool("ip", &words)?.contains(&self.answer))
    }

    /// Takes it away and waits until the agent has put it back.
    fn inject(&self, router: &Netns) -> Result<()> {
        ensure!(self.is_there(router)?, "there is no {}", self.answer);
        router.ip(&format!("{}\n", self.taken))?;
        wait::until(TIMEOUT, &format!("the repair of: {}", self.taken), || {
            Ok(self.is_there(router)?.then_some(()))
        })
    }
}

fn many_repairs_cost_nothing(backend: Backend) -> Result<()> {
    let repairs = if long_run::is_requested() {
        10_000
    } else {
        150
    };
    let scene = Scene::open(&Options::lte())?;
    let before = scene.lab.snapshot()?;
    let mut installation = scene.installation()?;
    let networks: Vec<String> = (0..NETWORKS)
        .map(|number| format!("\"10.99.{number}.0/24\""))
        .collect();
    let peer = format!("allowed_ips = [\"{TUNNEL_PEER}/32\"");
    installation.config = installation
        .config
        .with(&peer, &format!("{peer}, {}", networks.join(", ")))?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;

    let losses = losses();
    let router = &scene.lab.router;
    for loss in &losses {
        loss.inject(router)?;
    }
    std::thread::sleep(PAUSE);
    let at_first = Use::of(&agent)?;
    for (number, loss) in losses.iter().cycle().take(repairs).enumerate() {
        loss.inject(router)
            .with_context(|| format!("repair {number}"))?;
        if (number + 1) % (ROUNDS * losses.len()) == 0 {
            std::thread::sleep(PAUSE);
        }
    }
    std::thread::sleep(PAUSE);
    // A look that is going on has sockets of its own.
    let mut at_last = Use::of(&agent)?;
    wait::until(TIMEOUT, "as few file descriptors as before", || {
        at_last = Use::of(&agent)?;
        Ok((at_last.descriptors == at_first.descriptors).then_some(()))
    })
    .with_context(|| format!("{at_first:?} became {at_last:?}"))?;
    let table = "the agent's memory over repairs (resident and data, KiB)";
    for (when, used) in [("before", &at_first), ("after", &at_last)] {
        figure(
            table,
            &format!("{backend}, {when} {repairs}"),
            format!("{} {}", used.resident, used.data),
        );
    }
    ensure!(
        at_last.resident <= at_first.resident + GROWTH
            && at_last.data <= at_first.data + GROWTH + STACKS,
        "{at_first:?} became {at_last:?}"
    );
    let fought = agent
        .log()
        .into_iter()
        .find(|line| line.contains("undone repeatedly"));
    ensure!(fought.is_none(), "the test went too fast: {fought:?}");
    agent.interrupt()?;
    before.assert_same(router)
}

/// What a process uses.
#[derive(Debug)]
struct Use {
    /// KiB.
    resident: u64,
    /// KiB.
    data: u64,
    descriptors: usize,
}

impl Use {
    fn of(agent: &Agent) -> Result<Self> {
        let process = format!("/proc/{}", agent.pid()?);
        let status = fs::read_to_string(format!("{process}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number =
                line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
            Ok(number
                .with_context(|| format!("no {name} in {process}/status"))?
                .parse()?)
        };
        Ok(Self {
            resident: field("VmRSS")?,
            data: field("VmData")?,
            descriptors: fs::read_dir(format!("{process}/fd"))?.count(),
        })
    }
}
