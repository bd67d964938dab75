//! A snapshot and what follows from it: facts, desired objects, the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use super::identity::modem;
use super::plan::{Goal, GuardState, Plan, plan};
use super::precedence::{RulePlacement, Traffic};
use super::restore::restored;
use super::satisfied::is_satisfied;
use super::snapshot::Snapshot;
use super::stacked::stacked_on;
use super::{backends, foreign_routes, modem_devices};
use crate::backend::{Backend, BackendError, BackendKind, Guard};
use crate::config::{Config, Endpoint, PublicKey};
use crate::desired::{self, Facts, ModemFacts, Object, OffloadKey, Queue};
use crate::kernel::qdisc::RootQdisc;
use crate::kernel::qdisc::missing_modules;
use crate::kernel::wireguard::ObservedDevice;
use crate::kernel::{KernelError, KernelOperations, MAIN_TABLE, route};
use crate::state::Baseline;

/// Why no comparison could be made.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The kernel did not answer.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The backend could not read its guard.
    #[error("looking at the guard: {0}")]
    Backend(#[from] BackendError),
}

/// What a comparison is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The config.
    pub config: &'a Config,
    /// How the machine was found.
    pub baseline: &'a Baseline,
    /// The tunnel's UDP port, host byte order.
    pub listen_port: u16,
    /// Addresses of endpoint names.
    pub resolved: &'a BTreeMap<Endpoint, SocketAddr>,
    /// Silent peers in a handshake back-off.
    pub backed_off: BTreeSet<PublicKey>,
    /// The active backend, if there is one.
    pub active: Option<BackendKind>,
    /// WireGuard's settings, where they are not to be asked for.
    pub device: Option<ObservedDevice>,
}

/// A snapshot without the guard, and the desired objects.
#[derive(Debug)]
pub(super) struct Target {
    pub snapshot: Snapshot,
    pub facts: Facts,
    pub placement: RulePlacement,
    /// What other people's routes in our table do to the tunnel, one line each.
    foreign_routes: BTreeSet<String>,
    pub goal: Goal,
    /// Whether packets are to be kept apart on the modem.
    apart: bool,
}

/// A snapshot, the desired objects, and the plan.
#[derive(Debug)]
pub struct Comparison {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What the config did not say.
    pub facts: Facts,
    /// The place of our rules among those of third parties.
    pub placement: RulePlacement,
    /// The desired objects.
    pub goal: Goal,
    /// The plan.
    pub plan: Plan,
    /// Faults that the agent does not repair, since the objects are not its own, one line each.
    pub faults: BTreeSet<String>,
    /// Warnings about objects that are not the agent's, one line each.
    pub warnings: BTreeSet<String>,
}

impl Comparison {
    /// Takes a snapshot and compares. The first backend is the active one; guards of the others are
    /// stale.
    pub async fn new(
        kernel: &impl KernelOperations,
        backends: &mut [Box<dyn Backend>],
        inputs: Inputs<'_>,
    ) -> Result<Self, SnapshotError> {
        let mut target = Target::new(kernel, &inputs).await?;
        target.look_at_routes_of_others(kernel).await?;
        let guard = backends::state(backends, target.guard())?;
        target.compare(kernel, inputs.config, inputs.baseline, &guard)
    }

    /// All desired objects.
    pub(super) fn objects(&self) -> Vec<Object> {
        let Goal { want, restored } = &self.goal;
        want.iter().chain(restored).cloned().collect()
    }
}

impl Target {
    pub(super) async fn new(
        kernel: &impl KernelOperations,
        inputs: &Inputs<'_>,
    ) -> Result<Self, SnapshotError> {
        let Inputs {
            config, baseline, ..
        } = *inputs;
        let started = Instant::now();
        let identity = &config.modem.identity;
        let tunnel = match inputs.device {
            Some(_) => None,
            None => Some(config.tunnel.interface.as_str()),
        };
        let mut snapshot = Snapshot::take(kernel, tunnel, |links| {
            let modem = modem(links, identity).map(|link| link.index);
            baseline.interfaces.keys().copied().chain(modem).collect()
        })
        .await?;
        if inputs.device.is_some() {
            snapshot.device.clone_from(&inputs.device);
        }
        snapshot.routes.in_ours = kernel.routes_of_others_in(config.routing.table).await?;
        log::debug!(
            "saw the kernel's objects after {} ms",
            started.elapsed().as_millis()
        );
        let mut modem = snapshot.modem(config);
        let apart = inputs.active == Some(BackendKind::Nft);
        let index = modem.as_ref().map(|modem| modem.index).filter(|_| apart);
        let joins = baseline.with_offloads().chain(index);
        snapshot.read_offloads(kernel, joins).await?;
        if let Some(modem) = &mut modem {
            modem.backstop = modem
                .backstop
                .and(missing_modules::queue(&baseline.missing_modules));
            if apart {
                modem.joining = snapshot.joining(modem.index);
            }
        }
        let mut closed = snapshot.closed(kernel, config, baseline);
        for device in closed.values_mut() {
            device.backstop = device
                .backstop
                .and(missing_modules::queue(&baseline.missing_modules));
        }
        let traffic = traffic(config, inputs, &snapshot);
        let placement = traffic.placement(config.routing.rule_priority, &snapshot.other_rules);
        let peers = traffic
            .peers
            .map(|peers| peers.iter().map(SocketAddr::ip).collect::<Vec<_>>());
        let foreign_routes = modem.as_ref().map(|modem| {
            foreign_routes::of_config(config, modem.index, peers.as_deref(), &snapshot)
        });
        let facts = Facts {
            modem,
            first_rule: placement.first,
            uplinks: snapshot.uplinks(config, &closed),
            closed,
            listen_port: inputs.listen_port,
            resolved: inputs.resolved.clone(),
            backed_off: inputs.backed_off.clone(),
        };
        let modem = facts.modem.as_ref().map(|modem| modem.index);
        let want = desired::desired(config, &facts);
        let mut restored = restored(&snapshot, baseline, modem, &want);
        // What is kept closed is not given back to a bridge.
        restored.retain(
            |object| !matches!(object, Object::Master(master) if facts.closed.values().any(|device| device.name == master.interface)),
        );
        let goal = Goal { want, restored };
        let mut target = Self {
            snapshot,
            facts,
            placement,
            foreign_routes: foreign_routes.unwrap_or_default(),
            goal,
            apart,
        };
        if target.lacks_a_route_in_main() {
            target.look_at_routes_of_others(kernel).await?;
        }
        Ok(target)
    }

    /// Whether a route in the main table is to be added: another's may be in its place.
    fn lacks_a_route_in_main(&self) -> bool {
        self.goal.want.iter().any(|object| {
            matches!(object, Object::Route(route) if route.table == MAIN_TABLE)
                && !is_satisfied(object, &self.snapshot)
        })
    }

    async fn look_at_routes_of_others(
        &mut self,
        kernel: &impl KernelOperations,
    ) -> Result<(), KernelError> {
        let routes = &mut self.snapshot.routes;
        *routes = route::Routes {
            ours: std::mem::take(&mut routes.ours),
            in_ours: std::mem::take(&mut routes.in_ours),
            ..route::Routes::default()
        };
        kernel.routes_of_others(routes).await
    }

    /// The guard that is to be there.
    pub(super) fn guard(&self) -> Option<&Guard> {
        self.goal.want.iter().find_map(|object| match object {
            Object::Guard(guard) => Some(guard),
            _ => None,
        })
    }

    pub(super) fn compare(
        self,
        kernel: &impl KernelOperations,
        config: &Config,
        baseline: &Baseline,
        guard: &GuardState,
    ) -> Result<Comparison, SnapshotError> {
        let Self {
            snapshot,
            facts,
            placement,
            foreign_routes,
            goal,
            apart,
        } = self;
        let plan = plan(&goal, &snapshot, baseline, guard);
        let mut warnings = warnings(kernel, config, &snapshot, &facts)?;
        warnings.extend(backstop(&snapshot, &facts, baseline));
        warnings.extend(
            facts
                .modem
                .as_ref()
                .filter(|_| apart)
                .and_then(unknown_joining),
        );
        warnings.extend(placement.warnings());
        warnings.extend(foreign_routes);
        warnings.extend(modem_devices::warnings(
            &snapshot.links,
            baseline,
            &facts,
            |link| kernel.hardware(link),
        ));
        warnings.extend(conflicting_networks(&goal.want, &snapshot));
        let modem = facts.modem.as_ref().map(|modem| modem.index);
        let faults = modem.map(|modem| stacked_on(&snapshot.links, modem));
        Ok(Comparison {
            faults: faults.into_iter().flatten().collect(),
            snapshot,
            facts,
            placement,
            goal,
            plan,
            warnings,
        })
    }
}

/// The traffic that no third party's rule may match. A peer may have roamed from its configured endpoint.
fn traffic(config: &Config, inputs: &Inputs<'_>, snapshot: &Snapshot) -> Traffic {
    let configured = config.tunnel.peers.iter().map(|peer| match &peer.endpoint {
        Endpoint::Address(address) => Some(*address),
        name @ Endpoint::Name { .. } => inputs.resolved.get(name).copied(),
    });
    let device = snapshot.device.iter();
    let roamed = device
        .flat_map(|device| device.peers.values())
        .filter_map(|peer| peer.endpoint)
        .map(Some);
    Traffic::new(
        config,
        inputs.listen_port,
        configured.chain(roamed).collect(),
    )
}

/// Networks behind the tunnel to which a third party has a route.
fn conflicting_networks(want: &[Object], snapshot: &Snapshot) -> Vec<String> {
    let names: BTreeMap<u32, String> = snapshot
        .links
        .iter()
        .map(|link| (link.index, link.name.clone()))
        .collect();
    let mut lines = Vec::new();
    for object in want {
        if let Object::Route(route) = object
            && route.table == MAIN_TABLE
            && let Some(taken) = snapshot.routes.conflicting(route)
        {
            lines.push(format!(
                "another program has the route `{}`: {} cannot be reached through the tunnel until it is removed",
                route::print(taken, &names),
                route.destination
            ));
        }
    }
    lines
}

/// Where there is no backstop, or a weaker one.
fn backstop(snapshot: &Snapshot, facts: &Facts, baseline: &Baseline) -> Option<String> {
    let modem = facts.modem.as_ref()?;
    let name = &modem.name;
    let missing: Vec<&str> = baseline
        .missing_modules
        .iter()
        .map(|module| module.name())
        .collect();
    let missing = missing.join(", ");
    match (modem.backstop, snapshot.root(name)) {
        (None, root) => {
            let why = match root {
                Some(RootQdisc::Foreign(kind)) => {
                    format!("{name} has a root qdisc {kind} of another program")
                }
                _ => format!("this kernel lacks {missing}"),
            };
            Some(format!(
                "{why}: there is no backstop; if the guard is removed, other packets can leave by {name} until it is restored"
            ))
        }
        (Some(Queue::Fifo), _) => Some(format!(
            "this kernel lacks {missing}: the tunnel's packets wait in one short queue on {name}, and an upload delays other traffic and makes it lose packets; install the package with this kernel's additional modules, if there is one"
        )),
        (Some(Queue::FqCodel), _) => None,
    }
}

/// That what the modem joins cannot be known.
fn unknown_joining(modem: &ModemFacts) -> Option<String> {
    let known = modem.joining.contains(&OffloadKey::Gro);
    (!known).then(|| {
        format!(
            "this kernel does not tell whether {name} joins packets (CONFIG_ETHTOOL_NETLINK): if it does, nftables counts several as one; ethtool -K {name} gro off",
            name = modem.name
        )
    })
}

fn warnings(
    kernel: &impl KernelOperations,
    config: &Config,
    snapshot: &Snapshot,
    facts: &Facts,
) -> Result<BTreeSet<String>, KernelError> {
    let mut warnings = BTreeSet::new();
    let Some(modem) = &facts.modem else {
        return Ok(warnings);
    };
    let name = &modem.name;
    // IPv6 has no such filter: there the guard alone says who gets in.
    let filter = match config.modem.v4 {
        Some(_) => kernel.reverse_path_filter(name)?,
        None => None,
    };
    match filter {
        Some(0) => {
            warnings.insert(format!(
                "the reverse-path filter is off on {name}: for a strict one, sysctl net.ipv4.conf.{name}.rp_filter=1"
            ));
        }
        Some(2) => {
            warnings.insert(format!(
                "the reverse-path filter on {name} is loose (the larger of net.ipv4.conf.all.rp_filter and net.ipv4.conf.{name}.rp_filter counts): for a strict one, set neither to 2"
            ));
        }
        _ => {}
    }
    if config.modem.v4.is_some() && kernel.arp_ignore_of_all()? >= Some(2) {
        warnings.insert(format!(
            "net.ipv4.conf.all.arp_ignore is 2 or more, which counts on {name}, too: the carrier's ARP is not answered, and nothing comes in; set it to 1 or 0"
        ));
    }
    let own: Vec<_> = config
        .modem
        .interface_addrs()
        .map(|addr| addr.address)
        .collect();
    for found in &snapshot.addresses {
        let overlaps = own
            .iter()
            .any(|own| own.covers(&found.cidr) || found.cidr.covers(own));
        if overlaps
            && found.index != modem.index
            && found.cidr.prefix_len > 0
            && let Some(link) = snapshot.link_at(found.index)
        {
            warnings.insert(format!(
                "{} on {} overlaps the modem's subnet: the modem's admin page can only be reached from the modem's own address",
                found.cidr, link.name
            ));
        }
    }
    for link in &snapshot.links {
        let guarded = link.index == modem.index || facts.uplinks.contains_key(&link.index);
        if guarded && link.up && link.header.is_none() {
            warnings.insert(format!(
                "{} has a kind of frame header that is not known: eBPF takes it for Ethernet, and does not see the tunnel's packets there should any be routed to it",
                link.name
            ));
        }
    }
    Ok(warnings)
}
