//! Background traffic: a LAN host and a program of the router send all the time, look-alikes among it.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::addresses::{ELSEWHERE, LISTEN_PORT, PEER, PEER_PORT};
use crate::capture::Seen;
use crate::netns::Netns;
use crate::topology::Lab;
use crate::traffic;

/// Bytes of a look-alike from the IP header on: of WireGuard's shape, and longer than a ping's.
const LOOK_ALIKE: usize = 28 + 32 + 16 * 37;
/// Between two rounds.
const PACE: Duration = Duration::from_millis(20);

/// They send until stopped.
#[derive(Debug)]
pub struct BackgroundTraffic {
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<usize>>,
}

impl BackgroundTraffic {
    /// They begin. The LAN host sends to the peer too, also from the tunnel's own port; the program
    /// does not, for what goes to the peer from here is taken for the tunnel's on an uplink.
    pub fn start(lab: &Lab) -> Result<Self> {
        let (peer, else_) = (
            SocketAddrV4::new(PEER, PEER_PORT),
            SocketAddrV4::new(ELSEWHERE, 53),
        );
        let senders = [
            (bound(&lab.lan, LISTEN_PORT)?, vec![peer, else_]),
            (bound(&lab.lan, 40000)?, vec![peer, else_]),
            (bound(&lab.router, 40001)?, vec![else_]),
        ];
        let mut look_alike = traffic::shaped_as_data();
        look_alike.resize(LOOK_ALIKE - 28, 0x5a);
        let payloads = [look_alike, b"a question".to_vec()];
        let stop = Arc::new(AtomicBool::new(false));
        let worker = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    for (socket, targets) in &senders {
                        for to in targets {
                            // That there is no route is one way of a packet not to leave.
                            sent += payloads
                                .iter()
                                .filter(|payload| socket.send_to(payload, to).is_ok())
                                .count();
                        }
                    }
                    thread::sleep(PACE);
                }
                sent
            }
        });
        Ok(Self {
            stop,
            worker: Some(worker),
        })
    }

    /// They end. Returns how many packets they could send.
    pub fn stop(mut self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let worker = self.worker.take().context("stopped once")?;
        worker.join().map_err(|_| anyhow!("the sender panicked"))
    }
}

impl Drop for BackgroundTraffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether a packet is one of their look-alikes, which may leave by the uplink as they like.
pub fn is_look_alike(seen: &Seen) -> bool {
    seen.packet.bytes == LOOK_ALIKE
}

fn bound(netns: &Netns, port: u16) -> Result<UdpSocket> {
    netns
        .run(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?))
        .with_context(|| format!("UDP port {port} in {}", netns.name()))
}
