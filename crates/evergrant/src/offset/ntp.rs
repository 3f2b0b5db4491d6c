//! Asking an NTP server.
//!
//! The socket is connected, so the system drops packets of other addresses and tells when nobody listens. Stamps are
//! taken on the boot clock: no step of this machine's calendar clock can touch the result, and the request does not
//! show it to anybody. Packets that are no answer to our request are left aside until the time is over.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evergrant_core::offset::Sample;
use evergrant_core::wire::{NTP_PACKET, NtpAnswer, NtpFault, ntp_request, parse_ntp_answer};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::place::{PlaceError, PlaceFailure, PlaceFailureKind, Remark, Told};
use crate::clock;

/// An NTP server by name or address.
#[derive(Clone, Debug)]
pub(super) struct NtpPlace {
    host: String,
    port: u16,
    /// One address for all questions: several could be several clocks.
    address: Option<SocketAddr>,
}

impl NtpPlace {
    /// Reads `HOST`, `HOST:PORT`, an IPv6 address, or one in brackets with a port.
    pub(super) fn parse(text: &str) -> Result<Self, PlaceError> {
        let bad = |cause| PlaceError::Address { given: text.to_owned(), cause };
        let trimmed = text.trim();
        let (host, port) = match trimmed.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(|| bad("a bracket is not closed"))?;
                host.parse::<IpAddr>().map_err(|_no_address| bad("what is in brackets is no IPv6 address"))?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').unwrap_or(after)) })
            }
            None if trimmed.parse::<IpAddr>().is_ok() => (trimmed, None),
            None => trimmed.split_once(':').map_or((trimmed, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Some(NTP_PORT), |port| port.parse().ok().filter(|port| *port != 0));
        let port = port.ok_or_else(|| bad("its port is no number from 1 to 65535"))?;
        let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(bad("it has no host name"));
        }
        Ok(Self { host: host.to_owned(), port, address: None })
    }

    pub(super) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Asks once.
    pub(super) async fn ask(&mut self) -> Result<Told, PlaceFailure> {
        let mut left_aside = None;
        let asked = timeout(PATIENCE, self.exchange(&mut left_aside)).await;
        match (asked, left_aside) {
            (Ok(told), _) => told,
            (Err(_), Some(fault)) => Err(self.no_time(&fault)),
            (Err(_), None) => Err(self.silent()),
        }
    }

    async fn exchange(&mut self, left_aside: &mut Option<NtpFault>) -> Result<Told, PlaceFailure> {
        let address = self.resolve().await?;
        let local: SocketAddr = if address.is_ipv6() { ([0_u16; 8], 0).into() } else { ([0_u8; 4], 0).into() };
        let socket = UdpSocket::bind(local).await.map_err(|error| self.broken(&error))?;
        socket.connect(address).await.map_err(|error| self.broken(&error))?;
        let nonce = getrandom::u64().map_err(|_no_randomness| self.broken(&io::ErrorKind::Unsupported.into()))?;
        let sent = clock::boot();
        socket.send(&ntp_request(nonce)).await.map_err(|error| self.broken(&error))?;
        loop {
            let mut packet = [0; LONGEST_PACKET];
            let length = socket.recv(&mut packet).await.map_err(|error| self.broken(&error))?;
            let received = clock::boot();
            match parse_ntp_answer(&packet[..length], nonce) {
                Ok(answer) => {
                    let sample = Sample::of_ntp(&answer, sent, received).ok_or_else(|| self.impossible(&answer))?;
                    let NtpAnswer { stratum, root_distance, .. } = answer;
                    return Ok(Told { sample, remark: Some(Remark::Ntp { stratum, root_distance }) });
                }
                // Not for us: the answer may still be on its way.
                Err(fault @ (NtpFault::NoPacket(_) | NtpFault::NoAnswer { .. } | NtpFault::OtherOrigin)) => {
                    *left_aside = Some(fault);
                }
                Err(fault) => return Err(self.no_time(&fault)),
            }
        }
    }

    async fn resolve(&mut self) -> Result<SocketAddr, PlaceFailure> {
        if let Some(address) = self.address {
            return Ok(address);
        }
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await.ok().and_then(|mut all| all.next());
        self.address = found;
        found.ok_or_else(|| {
            let text =
                format!("{} is unreachable: its name cannot be resolved; check it and the network", self.address());
            PlaceFailure::new(PlaceFailureKind::Unreachable, text)
        })
    }

    fn no_time(&self, fault: &NtpFault) -> PlaceFailure {
        PlaceFailure::new(PlaceFailureKind::NoTime, format!("the NTP server {} gives no time: {fault}", self.address()))
    }

    fn impossible(&self, answer: &NtpAnswer) -> PlaceFailure {
        let text = format!(
            "the NTP server {} gives no time: it claims to have kept the request for {}, longer than the whole exchange took",
            self.address(),
            answer.transmitted - answer.received
        );
        PlaceFailure::new(PlaceFailureKind::NoTime, text)
    }

    fn silent(&self) -> PlaceFailure {
        let mut failure = PlaceFailure::silent(&self.address(), PATIENCE);
        failure.text.push_str(" (NTP over UDP, which many networks block; --reference URL asks over HTTPS)");
        failure
    }

    fn broken(&self, error: &io::Error) -> PlaceFailure {
        let place = self.address();
        let text = if error.kind() == io::ErrorKind::ConnectionRefused {
            format!("connection refused by {place}: no NTP server listens there")
        } else {
            format!("{place} is unreachable: {error}; check the address and the network")
        };
        PlaceFailure::new(PlaceFailureKind::Unreachable, text)
    }
}

const NTP_PORT: u16 = 123;
/// How long an answer may take: beyond this it says almost nothing about a clock.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer answers have extensions that nobody asked for; what is cut off does not matter.
const LONGEST_PACKET: usize = 2 * NTP_PACKET;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_port() {
        for (text, shown) in [
            ("ntp.example.com", "ntp.example.com:123"),
            (" 127.0.0.1:11123 ", "127.0.0.1:11123"),
            ("::1", "[::1]:123"),
            ("[::1]:5", "[::1]:5"),
            ("[::1]", "[::1]:123"),
        ] {
            assert_eq!(NtpPlace::parse(text).unwrap().address(), shown, "{text}");
        }
        for text in [
            "",
            ":123",
            "host:",
            "host:0",
            "host:70000",
            "[::1",
            "[host]:1",
            "a b",
            "https://ntp.example.com",
            "host:1:2",
        ] {
            assert!(NtpPlace::parse(text).is_err(), "{text}");
        }
    }
}
