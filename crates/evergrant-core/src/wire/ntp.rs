//! One question to an NTP server and its answer: 48 bytes each way.
//!
//! The question carries no time of ours, only a number that nobody can guess; the server sends it back as the origin of
//! its answer. An answer with another origin is late, doubled or forged, and is none. What is left is refused with its
//! reason unless the server says that its clock can be used: the "kiss of death", an unsynchronised leap indicator, a
//! stratum of 16 and a transmit time before the receive time are all answers, and none of them is a time.
//!
//! Timestamps count seconds since 1900 in 32 bits and wrap in 2036. The era is chosen so that dates lie between the
//! years 2020 and 2156: no clock of ours is asked.
//!
//! Source: RFC 5905 sections 7.3 and 7.4; RFC 8633 section 3.5 (kiss codes); RFC 9109 for why the origin is random.

use crate::time::{Server, Span};

/// A request of client mode, version 4, that shows nothing but this number.
#[must_use]
pub fn ntp_request(nonce: u64) -> [u8; NTP_PACKET] {
    let mut packet = [0; NTP_PACKET];
    packet[0] = VERSION << 3 | CLIENT;
    packet[TRANSMIT..].copy_from_slice(&nonce.to_be_bytes());
    packet
}

/// What an NTP server says about its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtpAnswer {
    /// When the request arrived, by the server's clock.
    pub received: Server,
    /// When the answer left, by the server's clock; not before `received`.
    pub transmitted: Server,
    /// The step in which that clock can be read.
    pub precision: Span,
    /// How many servers it is away from a reference clock: 1 to 15.
    pub stratum: u8,
    /// How far the server itself may be from UTC, by its own account.
    pub root_distance: Span,
}

/// Why an NTP packet gives no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NtpFault {
    /// Not a packet of NTP at all.
    #[error("it sent {0} bytes that are no NTP packet")]
    NoPacket(usize),
    /// Not an answer of a server, or of another version.
    #[error("it sent an NTP packet that is no answer of a server (mode {mode}, version {version})")]
    NoAnswer {
        /// The packet's mode; a server's is 4.
        mode: u8,
        /// The packet's version; 3 and 4 are known.
        version: u8,
    },
    /// An answer to another request: late, doubled or forged.
    #[error("it answered another request than ours (late, doubled or forged)")]
    OtherOrigin,
    /// The server does not want to be asked.
    #[error("it refuses to be asked (kiss code {0})")]
    KissOfDeath(String),
    /// The server's clock is not synchronised.
    #[error("its own clock is not synchronised ({0})")]
    Unsynchronised(&'static str),
    /// The answer left before the request arrived.
    #[error("its clock ran backward while it answered")]
    RanBackward,
}

/// Reads the answer to the request with this number.
///
/// # Errors
/// When the packet is none, is not the answer to this request, or says that the server's clock is no clock.
pub fn parse_ntp_answer(packet: &[u8], nonce: u64) -> Result<NtpAnswer, NtpFault> {
    let Some(packet) = packet.first_chunk::<NTP_PACKET>() else { return Err(NtpFault::NoPacket(packet.len())) };
    let (leap, version, mode) = (packet[0] >> 6, packet[0] >> 3 & 7, packet[0] & 7);
    if mode != SERVER || !(3..=VERSION).contains(&version) {
        return Err(NtpFault::NoAnswer { mode, version });
    }
    if word::<8>(packet, ORIGIN) != nonce.to_be_bytes() {
        return Err(NtpFault::OtherOrigin);
    }
    let stratum = packet[1];
    if stratum == 0 {
        return Err(NtpFault::KissOfDeath(kiss_code(word(packet, REFERENCE_ID))));
    }
    if leap == NOT_SYNCHRONISED {
        return Err(NtpFault::Unsynchronised("leap indicator 3"));
    }
    if stratum > WORST_STRATUM {
        return Err(NtpFault::Unsynchronised("stratum 16"));
    }
    let (received, transmitted) = (word::<8>(packet, RECEIVE), word::<8>(packet, TRANSMIT));
    if received == [0; 8] || transmitted == [0; 8] {
        return Err(NtpFault::Unsynchronised("it sent no time"));
    }
    let (received, transmitted) = (date(received), date(transmitted));
    if transmitted < received {
        return Err(NtpFault::RanBackward);
    }
    let root_delay = short(word(packet, ROOT_DELAY));
    let root_distance = root_delay.scaled(1, 2) + short(word(packet, ROOT_DISPERSION));
    let precision = precision(packet[3].cast_signed());
    Ok(NtpAnswer { received, transmitted, precision, stratum, root_distance })
}

fn word<const N: usize>(packet: &[u8; NTP_PACKET], at: usize) -> [u8; N] {
    let mut word = [0; N];
    word.copy_from_slice(&packet[at..at + N]);
    word
}

/// Four capital letters such as RATE or DENY; anything else is not repeated.
fn kiss_code(code: [u8; 4]) -> String {
    let is_code = code.iter().all(u8::is_ascii_uppercase);
    if is_code { code.iter().copied().map(char::from).collect() } else { "unknown".to_owned() }
}

fn date(timestamp: [u8; 8]) -> Server {
    let timestamp = u64::from_be_bytes(timestamp);
    let (secs, fraction) = (timestamp >> 32, timestamp & 0xffff_ffff);
    let era = if secs < SECS_OF_2020 { 1 << 32 } else { 0 };
    // Both fit by far: 33 bits of seconds, and a fraction of a second.
    let secs = i64::try_from(secs + era).unwrap_or(i64::MAX) - UNIX_EPOCH;
    let nanos = i64::try_from((fraction * 1_000_000_000) >> 32).unwrap_or(0);
    Server::from_secs(secs) + Span::from_nanos(nanos)
}

/// The short format: 16 bits of seconds and 16 of a fraction.
fn short(word: [u8; 4]) -> Span {
    Span::from_secs(i64::from(u32::from_be_bytes(word))).scaled(1, 1 << 16)
}

/// A power of two in seconds, at least a nanosecond and at most a second.
fn precision(exponent: i8) -> Span {
    let shift = exponent.clamp(-30, 0).unsigned_abs();
    Span::from_nanos((1_000_000_000_i64 >> shift).max(1))
}

/// The length of a packet without extensions.
pub const NTP_PACKET: usize = 48;

const VERSION: u8 = 4;
const CLIENT: u8 = 3;
const SERVER: u8 = 4;
const NOT_SYNCHRONISED: u8 = 3;
const WORST_STRATUM: u8 = 15;

const ROOT_DELAY: usize = 4;
const ROOT_DISPERSION: usize = 8;
const REFERENCE_ID: usize = 12;
const ORIGIN: usize = 24;
const RECEIVE: usize = 32;
const TRANSMIT: usize = 40;

/// Seconds from 1900 to 1970.
const UNIX_EPOCH: i64 = 2_208_988_800;
/// Seconds from 1900 to 2020.
const SECS_OF_2020: u64 = 3_786_825_600;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONCE: u64 = 0x0123_4567_89ab_cdef;

    fn answer(change: impl FnOnce(&mut [u8; NTP_PACKET])) -> Result<NtpAnswer, NtpFault> {
        let mut packet = [0; NTP_PACKET];
        packet[..4].copy_from_slice(&[0x24, 2, 6, 0xe8]);
        packet[ROOT_DELAY..12].copy_from_slice(&[0, 0, 0x80, 0, 0, 1, 0, 0]);
        packet[ORIGIN..RECEIVE].copy_from_slice(&NONCE.to_be_bytes());
        // 2026-11-28 22:40:04 UTC and a quarter, and a half.
        packet[RECEIVE..TRANSMIT].copy_from_slice(&[0xee, 0xb6, 0x54, 0xc4, 0x40, 0, 0, 0]);
        packet[TRANSMIT..].copy_from_slice(&[0xee, 0xb6, 0x54, 0xc4, 0x80, 0, 0, 0]);
        change(&mut packet);
        parse_ntp_answer(&packet, NONCE)
    }

    #[test]
    fn a_request_shows_nothing_but_its_number() {
        let packet = ntp_request(NONCE);
        assert_eq!(packet[0], 0x23);
        assert!(packet[1..TRANSMIT].iter().all(|byte| *byte == 0));
        assert_eq!(packet[TRANSMIT..], NONCE.to_be_bytes());
    }

    #[test]
    fn an_answer_has_two_times_and_its_own_error() {
        let good = answer(|_| {}).unwrap();
        assert_eq!(good.received, Server::from_millis(4_004_926_660_250 - UNIX_EPOCH * 1_000));
        assert_eq!(good.transmitted - good.received, Span::from_millis(250));
        assert_eq!((good.stratum, good.root_distance), (2, Span::from_millis(1_250)));
        assert_eq!(good.precision, Span::from_nanos(59));
    }

    #[test]
    fn the_era_changes_in_2036() {
        assert_eq!(date([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]), Server::from_secs(2_085_978_495));
        assert_eq!(date([0, 0, 0, 1, 0, 0, 0, 0]), Server::from_secs(2_085_978_497));
        assert_eq!(date([0xe1, 0xb6, 0x5f, 0x80, 0, 0, 0, 0]), Server::from_secs(1_577_836_800), "2020");
    }

    #[test]
    fn what_is_no_time_is_refused_with_its_reason() {
        assert_eq!(parse_ntp_answer(b"hello", NONCE), Err(NtpFault::NoPacket(5)));
        assert_eq!(answer(|packet| packet[0] = 0x23), Err(NtpFault::NoAnswer { mode: 3, version: 4 }));
        assert_eq!(answer(|packet| packet[0] = 0x14), Err(NtpFault::NoAnswer { mode: 4, version: 2 }));
        assert_eq!(answer(|packet| packet[ORIGIN] ^= 1), Err(NtpFault::OtherOrigin));
        let kissed = |code: &[u8; 4]| {
            answer(|packet| {
                packet[1] = 0;
                packet[REFERENCE_ID..ROOT_DELAY + 12].copy_from_slice(code);
            })
        };
        assert_eq!(kissed(b"RATE"), Err(NtpFault::KissOfDeath("RATE".to_owned())));
        assert_eq!(kissed(b"\x1b[2J"), Err(NtpFault::KissOfDeath("unknown".to_owned())));
        assert!(matches!(answer(|packet| packet[0] = 0xe4), Err(NtpFault::Unsynchronised(_))));
        assert!(matches!(answer(|packet| packet[1] = 16), Err(NtpFault::Unsynchronised(_))));
        assert!(matches!(answer(|packet| packet[TRANSMIT..].fill(0)), Err(NtpFault::Unsynchronised(_))));
        assert_eq!(answer(|packet| packet[TRANSMIT + 4] = 0x3f), Err(NtpFault::RanBackward));
    }

    proptest! {
        #[test]
        fn arbitrary_packets_never_panic(packet in prop::collection::vec(any::<u8>(), 0..80), nonce: u64) {
            if let Ok(answer) = parse_ntp_answer(&packet, nonce) {
                prop_assert!(answer.received <= answer.transmitted && answer.precision > Span::ZERO);
                prop_assert!(!answer.root_distance.is_negative() && (1..=15).contains(&answer.stratum));
            }
        }
    }
}
