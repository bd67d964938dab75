//! A name server that knows one address, whatever it is asked.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Netns;

/// The end of a question (RFC 1035, 4.1.2): for IPv4 addresses of the internet.
const ASKS_FOR_A: [u8; 4] = [0, 1, 0, 1];

/// It answers as long as it is held.
#[derive(Debug)]
pub struct NameServer {
    questions: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Opens it on an address of a namespace.
    pub fn open(netns: &Netns, at: Ipv4Addr, answer: Ipv4Addr) -> Result<Self> {
        let socket = netns
            .run(|| Ok(UdpSocket::bind(SocketAddrV4::new(at, 53))?))
            .with_context(|| format!("a name server at {at}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let questions = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (questions, stop) = (Arc::clone(&questions), Arc::clone(&stop));
            move || {
                let mut buffer = [0; 512];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                        continue;
                    };
                    questions.fetch_add(1, Ordering::Relaxed);
                    if let Some(reply) = reply(&buffer[..length], answer) {
                        socket.send_to(&reply, from).ok();
                    }
                }
            }
        });
        Ok(Self {
            questions,
            stop,
            thread: Some(thread),
        })
    }

    /// How many questions it has had.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The question, and what is answered to it (RFC 1035, 4.1).
fn reply(question: &[u8], answer: Ipv4Addr) -> Option<Vec<u8>> {
    let known = question.ends_with(&ASKS_FOR_A);
    let (id, asked) = (question.get(..2)?, question.get(12..)?);
    let mut reply = id.to_vec();
    // A response with recursion, of one question and perhaps one answer.
    reply.extend([0x81, 0x80, 0, 1, 0, u8::from(known), 0, 0, 0, 0]);
    reply.extend(asked);
    if known {
        // The name stands at byte 12; type A, class IN, a minute, four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(answer.octets());
    }
    Some(reply)
}
