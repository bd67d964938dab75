//! One look with all that follows from it: facts, desired objects, the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use super::identity::modem;
use super::observe::Observed;
use super::plan::{self, GuardState, Plan};
use super::precedence::{Standing, Traffic};
use super::stacked::stacked_on;
use super::{backends, foreign_routes, redirects, remembered, reverse_path};
use crate::backend::{Backend, BackendError, Guard, Kind};
use crate::config::{Config, Endpoint, PublicKey};
use crate::desired::{self, Facts, ModemFacts, Object, OffloadKey, Queue};
use crate::kernel::qdisc::Root;
use crate::kernel::qdisc::lacking;
use crate::kernel::wireguard::Found;
use crate::kernel::{Kernel, KernelError, MAIN_TABLE, route, sysctl};
use crate::state::Record;

/// Why the machine could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The kernel did not answer.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The guard could not be looked at.
    #[error("looking at the guard: {0}")]
    Backend(#[from] BackendError),
}

/// What a view is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The config.
    pub config: &'a Config,
    /// How things were found.
    pub record: &'a Record,
    /// The tunnel's UDP port, host byte order.
    pub listen_port: u16,
    /// What endpoint names are known to mean.
    pub resolved: &'a BTreeMap<Endpoint, SocketAddr>,
    /// Peers that do not answer and are left in peace for a while.
    pub resting: BTreeSet<PublicKey>,
    /// Which backend is to keep the guard, where there is one.
    pub active: Option<Kind>,
    /// WireGuard's settings, where they are not to be asked for.
    pub device: Option<Found>,
}

/// What was seen, and what is to be there; the guard has not been looked at.
#[derive(Debug)]
pub(super) struct Sketch {
    pub observed: Observed,
    pub facts: Facts,
    pub standing: Standing,
    /// What other people's routes in our table do to the tunnel, one line each.
    foreign_routes: BTreeSet<String>,
    pub want: Vec<Object>,
    /// Whether packets are to be kept apart on the modem.
    apart: bool,
}

/// What was seen, and what is to be done about it.
#[derive(Debug)]
pub struct View {
    /// What is there.
    pub observed: Observed,
    /// What the config did not say.
    pub facts: Facts,
    /// Where our rules stand among other people's.
    pub standing: Standing,
    /// What is to be there.
    pub want: Vec<Object>,
    /// The difference.
    pub plan: Plan,
    /// What is not ours to change and keeps the modem from being the tunnel's alone, one line each.
    pub faults: BTreeSet<String>,
    /// What is not ours to change and yet worth knowing, one line each.
    pub warnings: BTreeSet<String>,
}

impl View {
    /// Looks and compares. The first backend is the one that is to keep the guard; what others
    /// have left is to go.
    pub async fn new(
        kernel: &Kernel,
        backends: &mut [Box<dyn Backend>],
        inputs: Inputs<'_>,
    ) -> Result<Self, ViewError> {
        let mut sketch = Sketch::new(kernel, &inputs).await?;
        sketch.look_at_routes_of_others(kernel).await?;
        let guard = backends::state(backends, sketch.guard())?;
        sketch.compare(inputs.config, inputs.record, &guard)
    }
}

impl Sketch {
    pub(super) async fn new(kernel: &Kernel, inputs: &Inputs<'_>) -> Result<Self, ViewError> {
        let Inputs { config, record, .. } = *inputs;
        let started = Instant::now();
        let identity = &config.modem.identity;
        let tunnel = match inputs.device {
            Some(_) => None,
            None => Some(config.tunnel.interface.as_str()),
        };
        let mut observed = Observed::look(kernel, tunnel, |links| {
            let modem = modem(links, identity).map(|link| link.index);
            record.interfaces.keys().copied().chain(modem).collect()
        })
        .await?;
        if inputs.device.is_some() {
            observed.device.clone_from(&inputs.device);
        }
        observed.routes.in_ours = kernel.routes_of_others_in(config.routing.table).await?;
        log::debug!(
            "saw the kernel's objects after {} ms",
            started.elapsed().as_millis()
        );
        let mut modem = observed.modem(config);
        let apart = inputs.active == Some(Kind::Nft);
        let index = modem.as_ref().map(|modem| modem.index).filter(|_| apart);
        let joins = record.with_offloads().chain(index);
        observed.look_at_offloads(kernel, joins).await?;
        if let Some(modem) = &mut modem {
            modem.backstop = modem.backstop.and(lacking::queue(&record.lacking));
            if apart {
                modem.joining = observed.joining(modem.index);
            }
        }
        let mut closed = observed.closed(config, record);
        for device in closed.values_mut() {
            device.backstop = device.backstop.and(lacking::queue(&record.lacking));
        }
        let traffic = traffic(config, inputs, &observed);
        let standing = traffic.standing(config.routing.rule_priority, &observed.other_rules);
        let peers = traffic
            .peers
            .map(|peers| peers.iter().map(SocketAddr::ip).collect::<Vec<_>>());
        let foreign_routes = modem.as_ref().map(|modem| {
            foreign_routes::of_config(config, modem.index, peers.as_deref(), &observed)
        });
        let facts = Facts {
            modem,
            first_rule: standing.first,
            uplinks: observed.uplinks(config, &closed),
            closed,
            listen_port: inputs.listen_port,
            resolved: inputs.resolved.clone(),
            resting: inputs.resting.clone(),
        };
        let modem = facts.modem.as_ref().map(|modem| modem.index);
        let mut want = desired::desired(config, &facts);
        let restored = plan::restore(&observed, record, modem, &want);
        // What is kept closed is not given back to a bridge.
        let restored = restored.into_iter().filter(
            |object| !matches!(object, Object::Master(master) if facts.closed.values().any(|device| device.name == master.interface)),
        );
        want.extend(restored);
        want.extend(redirects::keep(record));
        want.extend(modem.and_then(|modem| reverse_path::keep(&observed, record, modem)));
        let mut sketch = Self {
            observed,
            facts,
            standing,
            foreign_routes: foreign_routes.unwrap_or_default(),
            want,
            apart,
        };
        if sketch.lacks_a_route_in_main() {
            sketch.look_at_routes_of_others(kernel).await?;
        }
        Ok(sketch)
    }

    /// Whether a route in the main table is to be added: somebody else's may be in its place.
    fn lacks_a_route_in_main(&self) -> bool {
        self.want.iter().any(|object| {
            matches!(object, Object::Route(route) if route.table == MAIN_TABLE)
                && !plan::is_there(object, &self.observed)
        })
    }

    async fn look_at_routes_of_others(&mut self, kernel: &Kernel) -> Result<(), KernelError> {
        let routes = &mut self.observed.routes;
        *routes = route::Routes {
            ours: std::mem::take(&mut routes.ours),
            in_ours: std::mem::take(&mut routes.in_ours),
            ..route::Routes::default()
        };
        kernel.routes_of_others(routes).await
    }

    /// The guard that is to be there.
    pub(super) fn guard(&self) -> Option<&Guard> {
        self.want.iter().find_map(|object| match object {
            Object::Guard(guard) => Some(guard),
            _ => None,
        })
    }

    pub(super) fn compare(
        self,
        config: &Config,
        record: &Record,
        guard: &GuardState,
    ) -> Result<View, ViewError> {
        let Self {
            observed,
            facts,
            standing,
            foreign_routes,
            want,
            apart,
        } = self;
        let plan = plan::up(&want, &observed, record, guard);
        let mut warnings = warnings(config, &observed, &facts)?;
        warnings.extend(backstop(&observed, &facts, record));
        warnings.extend(
            facts
                .modem
                .as_ref()
                .filter(|_| apart)
                .and_then(joins_unseen),
        );
        warnings.extend(standing.warnings());
        warnings.extend(foreign_routes);
        warnings.extend(remembered::warnings(&observed.links, record, &facts));
        warnings.extend(taken_networks(&want, &observed));
        let modem = facts.modem.as_ref().map(|modem| modem.index);
        let faults = modem.map(|modem| stacked_on(&observed.links, modem));
        Ok(View {
            faults: faults.into_iter().flatten().collect(),
            observed,
            facts,
            standing,
            want,
            plan,
            warnings,
        })
    }
}

/// What must not be caught by anybody's rule. A peer may have moved from where the config has it.
fn traffic(config: &Config, inputs: &Inputs<'_>, observed: &Observed) -> Traffic {
    let configured = config.tunnel.peers.iter().map(|peer| match &peer.endpoint {
        Endpoint::Address(address) => Some(*address),
        name @ Endpoint::Name { .. } => inputs.resolved.get(name).copied(),
    });
    let device = observed.device.iter();
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

/// Networks behind the tunnel to which somebody else has a route.
fn taken_networks(want: &[Object], observed: &Observed) -> Vec<String> {
    let names: BTreeMap<u32, String> = observed
        .links
        .iter()
        .map(|link| (link.index, link.name.clone()))
        .collect();
    let mut lines = Vec::new();
    for object in want {
        if let Object::Route(route) = object
            && route.table == MAIN_TABLE
            && let Some(taken) = observed.routes.taken_by(route)
        {
            lines.push(format!(
                "somebody has the route `{}`: {} is not reached through the tunnel until that is gone",
                route::print(taken, &names),
                route.destination
            ));
        }
    }
    lines
}

/// Where there is no backstop, or a weaker one.
fn backstop(observed: &Observed, facts: &Facts, record: &Record) -> Option<String> {
    let modem = facts.modem.as_ref()?;
    let name = &modem.name;
    let missing: Vec<&str> = record.lacking.iter().map(|module| module.name()).collect();
    let missing = missing.join(", ");
    match (modem.backstop, observed.root(name)) {
        (None, root) => {
            let why = match root {
                Some(Root::Theirs(kind)) => {
                    format!("somebody has given {name} a root qdisc {kind}")
                }
                _ => format!("this kernel lacks {missing}"),
            };
            Some(format!(
                "{why}: there is no backstop, and if somebody takes the guard away others can leave by {name} until it is back"
            ))
        }
        (Some(Queue::Fifo), _) => Some(format!(
            "this kernel lacks {missing}: what the tunnel sends waits in one queue on {name}, a short one, and an upload delays and costs all else; install the package with this kernel's further modules, if there is one"
        )),
        (Some(Queue::FqCodel), _) => None,
    }
}

/// That what the modem joins cannot be known.
fn joins_unseen(modem: &ModemFacts) -> Option<String> {
    let known = modem.joining.contains(&OffloadKey::Gro);
    (!known).then(|| {
        format!(
            "this kernel does not tell whether {name} joins packets (CONFIG_ETHTOOL_NETLINK): if it does, nftables books many as one; ethtool -K {name} gro off",
            name = modem.name
        )
    })
}

fn warnings(
    config: &Config,
    observed: &Observed,
    facts: &Facts,
) -> Result<BTreeSet<String>, KernelError> {
    let mut warnings = BTreeSet::new();
    let Some(modem) = &facts.modem else {
        return Ok(warnings);
    };
    let name = &modem.name;
    // IPv6 has no such filter: there the guard alone says who gets in.
    let filter = match config.modem.v4 {
        Some(_) => sysctl::reverse_path_filter(name)?,
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
    if config.modem.v4.is_some() && sysctl::arp_ignore_of_all()? >= Some(2) {
        warnings.insert(format!(
            "net.ipv4.conf.all.arp_ignore is 2 or more, which counts on {name}, too: the carrier's ARP is not answered, and nothing comes in; set it to 1 or 0"
        ));
    }
    let own: Vec<_> = config.modem.places().map(|place| place.address).collect();
    for found in &observed.addresses {
        let overlaps = own
            .iter()
            .any(|own| own.covers(&found.cidr) || found.cidr.covers(own));
        if overlaps
            && found.index != modem.index
            && found.cidr.prefix_len > 0
            && let Some(link) = observed.link_at(found.index)
        {
            warnings.insert(format!(
                "{} on {} overlaps the modem's subnet: the modem's admin page can only be reached from the modem's own address",
                found.cidr, link.name
            ));
        }
    }
    for link in &observed.links {
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
