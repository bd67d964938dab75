//! The counters hold what is on the wire, where the kernel has one packet for many.
//!
//! A program of the router's talks with the modem's page by TCP, much in both directions, while the
//! router's side of the cable joins what it can. The other side's offloads are off: what a real modem
//! sends has come over a wire.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{MODEM, MODEM_GATEWAY};
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;
use lte_tests::installation::Installation;
use lte_tests::netns::Netns;
use lte_tests::offload::{self, Offload};
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::wire::{Sum, Wire};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

for_each_backend!(
    the_counters_hold_what_was_on_the_wire,
    what_was_joined_is_joined_again_at_the_end,
);

// Offloads differ most between these two.
lte_tests::runs_on!(oldest, newest);

const PAGE: u16 = 80;
/// What goes each way: some two hundred packets.
const MUCH: usize = 300_000;

fn installation(scene: &Scene) -> Result<Installation> {
    let mut installation = scene.installation()?;
    let gateway = format!("gateway = \"{MODEM_GATEWAY}\"\n");
    let page = format!("{gateway}admin_ports = [{PAGE}]\n");
    installation.config = installation.config.with(&gateway, &page)?;
    Ok(installation)
}

fn the_counters_hold_what_was_on_the_wire(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let (router, carrier) = (&scene.lab.router, &scene.lab.carrier.netns);
    for feature in [Offload::TcpSegments, Offload::Segments] {
        offload::set(carrier, "modem0", feature, false)?;
        offload::set(router, "modem", feature, true)?;
    }
    offload::set(router, "modem", Offload::Receive, true)?;
    let installation = installation(&scene)?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;

    let mut wire = Wire::watch(carrier, "modem0", PAGE)?;
    let before = counters(&installation, backend)?;
    transfer(router, carrier)?;
    let mut told = String::new();
    let agree = wait::until(TIMEOUT, "the counters to agree with the wire", || {
        let passed = wire.passed()?;
        let after = counters(&installation, backend)?;
        let since = |name: &str| {
            let (after, before) = (after.get(name), before.get(name));
            let (after, before) = (
                after.copied().unwrap_or_default(),
                before.copied().unwrap_or_default(),
            );
            Sum {
                packets: after.packets - before.packets,
                bytes: after.bytes - before.bytes,
            }
        };
        let (out, back) = (since("modem-out/admin"), since("modem-in/admin"));
        told = format!("counted {out:?} and {back:?}, on the wire {passed:?}");
        Ok((out == passed.entered && back == passed.left).then_some(passed))
    });
    let passed = agree.with_context(|| told.clone())?;
    println!("{told}");
    let least = (MUCH / 1500) as u64;
    ensure!(
        passed.entered.packets > least && passed.left.packets > least,
        "less than was sent: {told}"
    );
    // Else nothing has been shown.
    match backend {
        Backend::Ebpf => ensure!(passed.joined > 0, "nothing was joined: {told}"),
        Backend::Nft => ensure!(passed.joined == 0, "the router joined packets: {told}"),
    }
    agent.interrupt()
}

/// Only the backend that cannot recognise them changes anything, keeps it so, and gives it back.
fn what_was_joined_is_joined_again_at_the_end(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    offload::set(router, "modem", Offload::Receive, true)?;
    router.ip("link set modem gso_max_segs 44\n")?;
    let installation = installation(&scene)?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let state = || Ok::<_, anyhow::Error>((receives_joined(router)?, most_at_once(router)?));
    let meanwhile = match backend {
        Backend::Ebpf => (true, 44),
        Backend::Nft => (false, 1),
    };
    ensure!(state()? == meanwhile, "it is {:?}", state()?);
    if backend == Backend::Nft {
        offload::set(router, "modem", Offload::Receive, true)?;
        router.ip("link set modem gso_max_segs 65535\n")?;
        wait::until(TIMEOUT, "packets to be kept apart again", || {
            Ok((state()? == meanwhile).then_some(()))
        })?;
    }
    agent.interrupt()?;
    ensure!(state()? == (true, 44), "it is {:?} at the end", state()?);
    Ok(())
}

fn receives_joined(router: &Netns) -> Result<bool> {
    offload::get(router, "modem", Offload::Receive)
}

/// How many packets a flow may hand down as one.
fn most_at_once(router: &Netns) -> Result<u32> {
    let shown = router.tool("ip", &["-d", "link", "show", "modem"])?;
    let mut words = shown.split_whitespace();
    words.find(|word| *word == "gso_max_segs");
    let most = words.next().context("ip tells no gso_max_segs")?;
    Ok(most.parse()?)
}

/// The guard's counters.
fn counters(installation: &Installation, backend: Backend) -> Result<BTreeMap<String, Sum>> {
    let ended = installation.run(Some(backend), &["status", "--json"])?;
    ensure!(ended.status.success(), "status: {ended:?}");
    let status: serde_json::Value = serde_json::from_str(&ended.stdout)?;
    let counters = status["guards"][0]["counters"].as_array();
    counters
        .context("no counters")?
        .iter()
        .map(|counter| {
            let name = counter["name"].as_str().context("no name")?;
            let number = |key: &str| counter[key].as_u64().context("no number");
            let sum = Sum {
                packets: number("packets")?,
                bytes: number("bytes")?,
            };
            Ok((name.to_owned(), sum))
        })
        .collect()
}

/// Much to the page, and then as much from it.
fn transfer(router: &Netns, carrier: &Netns) -> Result<()> {
    let page = SocketAddrV4::new(MODEM_GATEWAY, PAGE);
    let listener = carrier.run(|| Ok(TcpListener::bind(page)?))?;
    let answering = thread::spawn(move || -> Result<usize> {
        let (mut stream, _) = listener.accept()?;
        limited(&stream)?;
        let mut question = Vec::new();
        stream.read_to_end(&mut question)?;
        stream.write_all(&vec![0x5a; MUCH])?;
        Ok(question.len())
    });
    let mut stream = router.run(|| from_the_modem(MODEM, page))?;
    limited(&stream)?;
    stream.write_all(&vec![0xa5; MUCH])?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let asked = answering
        .join()
        .map_err(|_| anyhow::anyhow!("the page panicked"))??;
    ensure!(
        (asked, answer.len()) == (MUCH, MUCH),
        "{asked} arrived, {} came back",
        answer.len()
    );
    Ok(())
}

fn limited(stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream.set_write_timeout(Some(TIMEOUT))?)
}

/// As `curl --interface` does.
fn from_the_modem(own: Ipv4Addr, to: SocketAddrV4) -> Result<TcpStream> {
    let (family, flags) = (AddressFamily::Inet, SockFlag::SOCK_CLOEXEC);
    let socket = socket(family, SockType::Stream, flags, None)?;
    let patience = TimeVal::seconds(TIMEOUT.as_secs().cast_signed());
    setsockopt(&socket, sockopt::SendTimeout, &patience)?;
    let own = SockaddrIn::from(SocketAddrV4::new(own, 0));
    bind(socket.as_raw_fd(), &own)?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(to)).context("connecting to the page")?;
    Ok(socket.into())
}
