//! A usual home's router: a modem, an uplink with a default route, an agent, and what always holds.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::backend::BackendKind;
use crate::backend::fake::{FakeGuards, describe};
use crate::config::Config;
use crate::desired::tests::config;
use crate::desired::{IpFamily, Route, SysctlKey};
use crate::kernel::fake::FakeKernel;
use crate::kernel::fake::dump::dump;
use crate::kernel::fake::requests::unless_killed;
use crate::kernel::{KernelOperations as _, MAIN_TABLE};
use crate::reconcile::backends::Backends;
use crate::reconcile::{Reconciler, take_down};
use crate::state::BaselineFile;

pub(super) const MODEM: &str = "modem";
pub(super) const WAN: &str = "wan";
pub(super) const TUNNEL: &str = "wg-lte";

/// Interfaces of which the state is compared.
const SHOWN: [&str; 4] = [MODEM, WAN, TUNNEL, "br0"];

/// How many calls an agent is given to converge, as by as many events.
const CALLS: usize = 8;

/// The longest wait for the rate limit of comparisons.
const RATE_LIMIT: Duration = Duration::from_millis(100);

/// The routing protocol of a DHCP client (`RTPROT_DHCP`).
const DHCP: u8 = 16;

pub(super) struct Router {
    pub(super) kernel: FakeKernel,
    pub(super) guards: FakeGuards,
    pub(super) config: Config,
    pub(super) kind: BackendKind,
    /// Whether no other program touches anything, and the config stays: then more always holds.
    pub(super) undisturbed: bool,
    run: PathBuf,
}

/// A directory of its own for each router; in memory, where the machine has one there: files are synced.
fn scratch() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let run = base.join(format!("lte-model-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&run).unwrap();
    run
}

impl Drop for Router {
    fn drop(&mut self) {
        // Left behind, it takes some bytes of a temporary directory.
        std::fs::remove_dir_all(&self.run).ok();
    }
}

impl Router {
    /// Before the agent's first start: the modem is down.
    pub(super) fn new(kind: BackendKind) -> Self {
        let kernel = FakeKernel::new();
        kernel
            .change_sysctl("default", SysctlKey::RpFilter, "1")
            .unwrap();
        kernel.plug_in(WAN, [2, 0, 0, 0, 0, 0xb]);
        kernel.plug_in(MODEM, [2, 0, 0, 0, 0, 0xa]);
        kernel.add_virtual("br0", "bridge", None);
        kernel.set_link(WAN, true).unwrap();
        kernel
            .give_address(WAN, "198.51.100.2/24".parse().unwrap())
            .unwrap();
        let default = Route {
            destination: IpFamily::V4.everything(),
            gateway: Some("198.51.100.1".parse().unwrap()),
            interface: WAN.to_owned(),
            source: None,
            table: MAIN_TABLE,
        };
        kernel.give_route(&default, DHCP, 100).unwrap();
        Self {
            guards: FakeGuards::new(&kernel),
            kernel,
            config: config(),
            kind,
            undisturbed: false,
            run: scratch(),
        }
    }

    /// An agent that has just started, with what an earlier one has left on disk.
    pub(super) fn agent(&self) -> Reconciler<FakeKernel> {
        let baseline_file = BaselineFile::load(&self.run).unwrap();
        let port = self.config.tunnel.listen_port.unwrap();
        let backend = self.guards.backend(self.kind);
        let mut agent = Reconciler::new(self.kernel.clone(), backend, baseline_file, port);
        let all = vec![self.guards.backend(self.kind)];
        agent.backends = Backends::with_opener(all, Arc::new(self.guards.clone()));
        agent
    }

    /// Lets an agent work until there is no drift, and checks what must hold after each call. Returns whether
    /// there is no drift; `false` of an agent that was killed.
    pub(super) async fn converge(&self, agent: &mut Reconciler<FakeKernel>) -> bool {
        for _ in 0..CALLS {
            let result = unless_killed(agent.reconcile(&self.config)).await;
            assert_eq!(self.violations().await, Vec::<String>::new());
            let Some(result) = result else {
                return false;
            };
            if result.converged && result.retry.is_none() {
                return true;
            }
            // What waits longer backs off, and an event comes before.
            let wait = result.retry.filter(|wait| *wait <= RATE_LIMIT);
            tokio::time::sleep(wait.unwrap_or_default()).await;
        }
        false
    }

    /// A start in which nothing fails.
    pub(super) async fn started(&self) -> Reconciler<FakeKernel> {
        let mut agent = self.agent();
        assert!(self.converge(&mut agent).await, "{:?}", self.kernel.log());
        agent
    }

    /// Takes everything down, in a process of its own. Returns what failed.
    pub(super) async fn down(&self) -> Vec<String> {
        let mut baseline_file = BaselineFile::load(&self.run).unwrap();
        let all = [BackendKind::Ebpf, BackendKind::Nft].map(|kind| self.guards.backend(kind));
        let backends = Backends::with_opener(all.into(), Arc::new(self.guards.clone()));
        let work = take_down(&self.kernel, &backends, &mut baseline_file);
        let Some((_, failed)) = unless_killed(work).await else {
            return vec!["killed".to_owned()];
        };
        failed.into_iter().map(|failure| failure.why).collect()
    }

    /// What is there, one line each.
    pub(super) async fn state(&self) -> Vec<String> {
        let mut lines = dump(&self.kernel.observer(), &SHOWN).await.unwrap();
        // An interface has none before it is up for the first time.
        lines.retain(|line| !line.ends_with(" Default"));
        let guards = self.guards.installed();
        lines.extend(guards.iter().map(|(kind, guard)| describe(*kind, guard)));
        lines
    }

    /// What must hold at each moment, whatever the agent does; empty where all holds.
    pub(super) async fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        let state = self.state().await;
        let modem = self.kernel.observer().index(MODEM).await.ok();
        let guards = self.guards.installed();
        let guarded = guards
            .values()
            .any(|guard| guard.modem.as_ref().map(|modem| modem.index) == modem);
        let is_up = |name: &str| {
            let up = format!("link {name} up");
            state.iter().any(|line| line.starts_with(&up))
        };
        // Rules alone lead into an empty table, as while the modem is away.
        let is_ours = |line: &&String| {
            line.ends_with(" of ours") && (self.undisturbed || line.starts_with("route "))
        };
        if !guarded && !self.guards.are_lost() {
            violations.extend(
                state
                    .iter()
                    .filter(is_ours)
                    .map(|line| format!("without a guard: {line}")),
            );
            let closed = state
                .iter()
                .any(|line| line.starts_with("qdisc modem Backstop"));
            if is_up(MODEM) && !closed {
                violations.push("the modem is up with neither guard nor backstop".to_owned());
            }
        }
        if is_up(TUNNEL) {
            let port = format!("port {} mark 0", self.config.tunnel.listen_port.unwrap());
            let device = state
                .iter()
                .find(|line| line.starts_with("device wg-lte"))
                .cloned();
            if self.undisturbed && !device.is_some_and(|device| device.ends_with(&port)) {
                violations.push(format!("the tunnel is up without {port}"));
            }
            if guards.is_empty() && !self.guards.are_lost() {
                violations.push("the tunnel is up without a guard".to_owned());
            }
        }
        violations
    }
}
