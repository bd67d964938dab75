//! A hundred thousand packets of all sorts are aimed at the modem while the tunnel carries as much
//! as it can. What arrives at the carrier is counted there, by tcpdump.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{LISTEN_PORT, MODEM_GATEWAY, PEER, PEER_PORT, ROUTER_LAN, TUNNEL_PEER};
use lte_tests::backend::Backend;
use lte_tests::flood::{self, Template};
use lte_tests::for_each_backend;
use lte_tests::installation::Installation;
use lte_tests::kernel_version;
use lte_tests::netns::Netns;
use lte_tests::ping::{PACE, Pinger};
use lte_tests::process;
use lte_tests::topology::{Lab, Options};
use lte_tests::wait::{self, TIMEOUT};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

for_each_backend!(only_the_tunnel_reaches_the_carrier);

/// All together, as near to it as the sorts divide it.
const PACKETS: usize = 100_000;
/// What the tunnel has to carry meanwhile to be called busy, bytes.
const BUSY: u64 = 1_000_000;

fn only_the_tunnel_reaches_the_carrier(backend: Backend) -> Result<()> {
    let lab = Lab::build(&Options::default())?;
    tcpdump_sees_what_is_foreign(&lab)?;
    let installation = Installation::new(&lab.router)?;
    let _agent = installation.start(backend)?;
    let pinger = Pinger::start(&lab.router, TUNNEL_PEER, PACE)?;
    pinger.wait_for_answer(TIMEOUT)?;
    pinger.stop()?;
    lab.default_route_on_modem()?;
    neighbours_are_known(&lab)?;

    let (local, forwarded, frames) = sorts(backend)?;
    let times = PACKETS / (local.len() + forwarded.len() + frames.len());
    let before = counters(&installation, backend)?;
    let lost = lost_before_the_router(&lab)?;
    let carried = received(&lab)?;
    let foreign = Tcpdump::start(&lab.carrier.netns)?;
    let server = Killed(lab.vps.netns.spawn(&mut iperf(&["-s"]))?);
    let client = busy(&lab)?;
    let started = Instant::now();
    thread::scope(|scope| -> Result<()> {
        let sent = [
            scope.spawn(|| flood::send_routed(&lab.router, &local, times)),
            scope.spawn(|| flood::send_routed(&lab.lan, &forwarded, times)),
            scope.spawn(|| flood::send_frames(&lab.router, "modem", &frames, times)),
        ];
        for sent in sent {
            sent.join()
                .map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        Ok(())
    })?;
    let took = started.elapsed();
    let carried = received(&lab)? - carried;
    drop((client, server));
    println!(
        "{} packets in {:.1} s, and {carried} bytes by the tunnel",
        times * (local.len() + forwarded.len() + frames.len()),
        took.as_secs_f32()
    );
    ensure!(carried >= BUSY, "the tunnel carried {carried} bytes only");
    let seen = foreign.stop()?;
    ensure!(seen.is_empty(), "at the carrier:\n{}", seen.join("\n"));

    let after = counters(&installation, backend)?;
    let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
    for sort in local.iter().chain(&forwarded).chain(&frames) {
        *wanted.entry(sort.counter).or_default() += times as u64;
    }
    let lost = lost_before_the_router(&lab)? - lost;
    for (counter, mut wanted) in wanted {
        if counter == "drop-forwarded" {
            wanted -= lost;
        }
        let name = format!("modem-out/{counter}");
        let of =
            |counters: &BTreeMap<String, u64>| counters.get(&name).copied().unwrap_or_default();
        let counted = of(&after) - of(&before);
        // The kernel's own IPv6 (router solicitations, reports of groups) is refused with the rest.
        let exact = counter != "drop-family";
        ensure!(
            counted == wanted || !exact && counted > wanted,
            "{name}: {wanted} were sent, {counted} counted"
        );
    }
    Ok(())
}

type Templates = (Vec<Template>, Vec<Template>, Vec<Template>);

/// Frames of packet sockets are out of nftables' sight before 5.16, which the agent says.
fn sorts(backend: Backend) -> Result<Templates> {
    let unseen = backend == Backend::Nft && kernel_version::running()? < (5, 16);
    let frames = if unseen { Vec::new() } else { flood::frames() };
    Ok((flood::local(backend), flood::forwarded(), frames))
}

/// Packets in each of the guard's counters.
fn counters(installation: &Installation, backend: Backend) -> Result<BTreeMap<String, u64>> {
    let shown = installation.run(Some(backend), &["status", "--json"])?;
    ensure!(shown.status.success(), "{shown:?}");
    let status: serde_json::Value = serde_json::from_str(&shown.stdout)?;
    let guards = status["guards"].as_array().context("no guards")?;
    ensure!(guards.len() == 1, "not one guard: {guards:?}");
    let counters = guards[0]["counters"].as_array().context("no counters")?;
    counters
        .iter()
        .map(|counter| {
            let name = counter["name"].as_str().context("no name")?;
            let packets = counter["packets"].as_u64().context("no packets")?;
            Ok((name.to_owned(), packets))
        })
        .collect()
}

/// Neighbours that have to be asked for first, or again while queues are full, lose packets that are
/// counted nowhere.
fn neighbours_are_known(lab: &Lab) -> Result<()> {
    let known = [
        (&lab.lan, "eth0", ROUTER_LAN, &lab.router, "lan0"),
        (
            &lab.router,
            "modem",
            MODEM_GATEWAY,
            &lab.carrier.netns,
            "modem0",
        ),
    ];
    for (netns, interface, neighbour, its_netns, its_interface) in known {
        let shown = its_netns.tool("ip", &["-j", "link", "show", its_interface])?;
        let links: serde_json::Value = serde_json::from_str(&shown)?;
        let address = links[0]["address"].as_str();
        let address = address.with_context(|| format!("{its_interface} has no address"))?;
        netns.ip(&format!(
            "neigh replace {neighbour} lladdr {address} dev {interface} nud permanent\n"
        ))?;
    }
    Ok(())
}

/// Packets that the LAN's cable dropped since the router's queue was full.
fn lost_before_the_router(lab: &Lab) -> Result<u64> {
    let shown = lab.lan.tool("ip", &["-s", "-j", "link", "show", "eth0"])?;
    let links: serde_json::Value = serde_json::from_str(&shown)?;
    let dropped = links[0]["stats64"]["tx"]["dropped"].as_u64();
    dropped.context("no count of what eth0 has dropped")
}

/// Bytes that the server's WireGuard has received.
fn received(lab: &Lab) -> Result<u64> {
    let shown = lab.vps.netns.tool("wg", &["show", "wg0", "transfer"])?;
    let word = shown.split_whitespace().nth(1).context("no transfer")?;
    Ok(word.parse()?)
}

fn iperf(args: &[&str]) -> Command {
    let mut command = Command::new("iperf3");
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// iperf3 from the router to the server; only begun with when the tunnel is seen to be busy.
fn busy(lab: &Lab) -> Result<Killed> {
    let server = TUNNEL_PEER.to_string();
    let before = received(lab)?;
    let mut client: Option<Killed> = None;
    wait::until(TIMEOUT, "iperf3 to keep the tunnel busy", || {
        let ended = match &mut client {
            Some(client) => client.0.try_wait()?.is_some(),
            None => true,
        };
        if ended {
            let args = ["-c", &server, "-t", "600", "-l", "1200"];
            client = Some(Killed(lab.router.spawn(&mut iperf(&args))?));
        }
        Ok((received(lab)? > before + 100_000).then_some(()))
    })?;
    client.context("no client")
}

/// A process that goes with its handle.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Sees at the carrier what came from the modem and is neither the tunnel's nor ARP.
struct Tcpdump(Option<Child>);

impl Tcpdump {
    fn start(carrier: &Netns) -> Result<Self> {
        // Replies are left out by the filter too: older kernels show a socket what leaves as well, and
        // so many of them would crowd out what is looked for.
        let filter = format!(
            "not (src port {LISTEN_PORT} and dst host {PEER} and udp dst port {PEER_PORT}) \
             and not (src host {PEER} and udp src port {PEER_PORT} and dst port {LISTEN_PORT}) \
             and not arp"
        );
        let mut child = carrier.spawn(
            Command::new("tcpdump")
                .args([
                    "-i",
                    "modem0",
                    "-Q",
                    "in",
                    "-n",
                    "-p",
                    "-l",
                    "--immediate-mode",
                    "-B",
                    "16384",
                ])
                .arg(filter)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        )?;
        // It says so when it listens.
        let stderr = child.stderr.as_mut().context("no stderr")?;
        let mut said = String::new();
        let mut byte = [0];
        while !said.contains("listening on") {
            ensure!(
                std::io::Read::read(stderr, &mut byte)? == 1,
                "tcpdump ended: {said}"
            );
            said.push(char::from(byte[0]));
        }
        Ok(Self(Some(child)))
    }

    /// Ends it; what it has seen, a line each. That it has missed something is an error.
    fn stop(mut self) -> Result<Vec<String>> {
        // What is still under way through a queue gets there.
        thread::sleep(Duration::from_millis(300));
        let child = self.0.take().context("it was stopped already")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
        let ended = process::end_of(child, TIMEOUT)?;
        ensure!(
            ended.stderr.contains("\n0 packets dropped by kernel"),
            "tcpdump missed packets: {}",
            ended.stderr
        );
        // It ends its output with an empty line where it was interrupted.
        let lines = ended.stdout.lines().filter(|line| !line.is_empty());
        Ok(lines.map(str::to_owned).collect())
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Without a guard a ping by the modem is seen, or else nothing that is not seen would prove
/// anything.
fn tcpdump_sees_what_is_foreign(lab: &Lab) -> Result<()> {
    let foreign = Tcpdump::start(&lab.carrier.netns)?;
    lab.router.ip("link set modem up
         addr add 192.168.0.77/24 dev modem\n")?;
    let gateway: Ipv4Addr = MODEM_GATEWAY;
    wait::until(TIMEOUT, "a ping by the modem", || {
        Ok(lte_tests::ping::answers(&lab.router, gateway)?.then_some(()))
    })?;
    lab.router.ip("addr del 192.168.0.77/24 dev modem
         link set modem down\n")?;
    let seen = foreign.stop()?;
    ensure!(
        seen.iter().any(|line| line.contains("echo request")),
        "a ping was not seen: {seen:?}"
    );
    Ok(())
}
