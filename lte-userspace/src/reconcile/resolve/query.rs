//! One question to one name server (RFC 1035), by UDP from the modem's address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::config::Modem;

/// Name servers listen there, host byte order.
pub(super) const PORT: u16 = 53;
/// How long an answer is waited for, each time.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How often a question is put: over LTE one packet is easily lost.
const ATTEMPTS: usize = 2;
/// All that a question can take: [`ATTEMPTS`] for each family.
pub(in crate::reconcile) const MAX_DURATION: Duration = Duration::from_secs(12);
/// The longest answer over UDP that a question without EDNS gets.
const MAX_ANSWER: usize = 512;

/// A socket with a port of its own.
pub(super) fn open(own: IpAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind((own, 0))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// The addresses of a host, of the families that the modem has.
pub(super) async fn lookup(
    socket: UdpSocket,
    server: IpAddr,
    host: &str,
    modem: &Modem,
) -> Result<Vec<IpAddr>, String> {
    let text = |error: io::Error| error.to_string();
    socket.connect((server, PORT)).await.map_err(text)?;
    let mut found = Vec::new();
    let mut first_error = None;
    for (kind, wanted) in [(TYPE::A, modem.v4), (TYPE::AAAA, modem.v6)] {
        if wanted.is_none() {
            continue;
        }
        match query(&socket, host, kind).await {
            Ok(more) => found.extend(more),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

async fn query(socket: &UdpSocket, host: &str, kind: TYPE) -> Result<Vec<IpAddr>, String> {
    for _ in 0..ATTEMPTS {
        let mut id = [0; 2];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| format!("no random number: {error}"))?;
        let id = u16::from_ne_bytes(id);
        let question = question(id, host, kind).map_err(|error| format!("{host}: {error}"))?;
        socket
            .send(&question)
            .await
            .map_err(|error| error.to_string())?;
        let end = Instant::now() + TIMEOUT;
        let mut buffer = [0; MAX_ANSWER];
        // What is no answer to this question is waited out: it may be forged, or late.
        while let Ok(received) = timeout_at(end, socket.recv(&mut buffer)).await {
            let length = received.map_err(|error| error.to_string())?;
            if let Some(answer) = answer(&buffer[..length], id, host) {
                return answer;
            }
        }
    }
    Err(format!(
        "no answer to {ATTEMPTS} questions of {} s each",
        TIMEOUT.as_secs()
    ))
}

fn question(id: u16, host: &str, kind: TYPE) -> simple_dns::Result<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(host)?;
    let question = Question::new(name, kind.into(), CLASS::IN.into(), false);
    packet.questions.push(question);
    packet.build_bytes_vec()
}

/// What a datagram says; `None` where it is no answer to this question.
fn answer(datagram: &[u8], id: u16, host: &str) -> Option<Result<Vec<IpAddr>, String>> {
    let packet = Packet::parse(datagram).ok()?;
    let asked = packet.questions.first()?;
    let right = packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && asked
            .qname
            .to_string()
            .eq_ignore_ascii_case(host.trim_end_matches('.'));
    if !right {
        return None;
    }
    if packet.rcode() != RCODE::NoError {
        return Some(Err(format!("{host}: {:?}", packet.rcode())));
    }
    let addresses = packet
        .answers
        .iter()
        .filter_map(|record| match &record.rdata {
            RData::A(a) => Some(IpAddr::V4(Ipv4Addr::from_bits(a.address))),
            RData::AAAA(a) => Some(IpAddr::V6(Ipv6Addr::from_bits(a.address))),
            _ => None,
        });
    Some(Ok(addresses.collect()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]
mod tests {
    use super::*;
    use simple_dns::rdata::A;
    use simple_dns::{ResourceRecord, header_buffer};

    const HOST: &str = "vpn.example.org";

    fn reply(id: u16, host: &str) -> Vec<u8> {
        let mut packet = Packet::new_reply(id);
        let name = || Name::new(host).unwrap().into_owned();
        packet.questions.push(Question::new(
            name(),
            TYPE::A.into(),
            CLASS::IN.into(),
            false,
        ));
        let address = A {
            address: Ipv4Addr::new(203, 0, 113, 10).to_bits(),
        };
        let record = ResourceRecord::new(name(), CLASS::IN, 60, RData::A(address));
        packet.answers.push(record);
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn a_question_is_one_for_an_address_and_wants_recursion() {
        let bytes = question(7, HOST, TYPE::A).unwrap();
        assert_eq!(header_buffer::id(&bytes).unwrap(), 7);
        let packet = Packet::parse(&bytes).unwrap();
        assert!(packet.has_flags(PacketFlag::RECURSION_DESIRED));
        assert_eq!(packet.questions[0].qname.to_string(), HOST);
        assert!(
            question(7, "a..b", TYPE::A).is_err() || question(7, &"x".repeat(64), TYPE::A).is_err()
        );
    }

    #[test]
    fn an_answer_is_to_this_question_or_none() {
        let addresses = answer(&reply(7, HOST), 7, HOST).unwrap().unwrap();
        assert_eq!(addresses, ["203.0.113.10".parse::<IpAddr>().unwrap()]);
        assert!(answer(&reply(7, "VPN.example.ORG"), 7, HOST).is_some());
        assert!(answer(&reply(8, HOST), 7, HOST).is_none());
        assert!(answer(&reply(7, "evil.example.org"), 7, HOST).is_none());
        assert!(answer(&question(7, HOST, TYPE::A).unwrap(), 7, HOST).is_none());
        for cut in 0..reply(7, HOST).len() {
            assert!(answer(&reply(7, HOST)[..cut], 7, HOST).is_none(), "{cut}");
        }
    }

    #[test]
    fn a_refusal_is_told() {
        let bytes = reply(7, HOST);
        let mut packet = Packet::parse(&bytes).unwrap();
        *packet.rcode_mut() = RCODE::NameError;
        let bytes = packet.build_bytes_vec().unwrap();
        let error = answer(&bytes, 7, HOST).unwrap().unwrap_err();
        assert!(error.contains("NameError"), "{error}");
    }
}
