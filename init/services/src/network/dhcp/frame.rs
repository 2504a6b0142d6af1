//! Ethernet, IPv4 and UDP around a DHCP message, for as long as the kernel has no address to speak from. No I/O.

use std::net::Ipv4Addr;

pub(in crate::network) const SERVER_PORT: u16 = 67;
pub(in crate::network) const CLIENT_PORT: u16 = 68;
/// The largest frame read; a longer one is cut by the kernel and then refused for its length.
pub(in crate::network) const FRAME_BYTES: usize = 2048;

const ETHERNET_BYTES: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const IPV4_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const PROTOCOL_UDP: u8 = 17;

/// A broadcast frame from 0.0.0.0 with this DHCP message.
pub(in crate::network) fn build(mac: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let udp_length = u16::try_from(UDP_BYTES + payload.len()).unwrap_or(u16::MAX);
    let total = u16::try_from(IPV4_BYTES + UDP_BYTES + payload.len()).unwrap_or(u16::MAX);

    let mut ip = [0; IPV4_BYTES];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = PROTOCOL_UDP;
    ip[16..20].copy_from_slice(&Ipv4Addr::BROADCAST.octets());
    let checksum = !sum(0, &ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());

    let mut udp = Vec::with_capacity(UDP_BYTES + payload.len());
    udp.extend_from_slice(&CLIENT_PORT.to_be_bytes());
    udp.extend_from_slice(&SERVER_PORT.to_be_bytes());
    udp.extend_from_slice(&udp_length.to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(payload);
    let checksum = match !sum(pseudo_header(&ip, udp_length), &udp) {
        0 => 0xffff,
        other => other,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());

    let mut frame = Vec::with_capacity(ETHERNET_BYTES + IPV4_BYTES + udp.len());
    frame.extend_from_slice(&[0xff; 6]);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&ETHERTYPE_IPV4);
    frame.extend_from_slice(&ip);
    frame.extend_from_slice(&udp);
    frame
}

/// The DHCP message in a frame, `None` if the frame is anything else, damaged or a fragment.
pub(in crate::network) fn parse(frame: &[u8]) -> Option<&[u8]> {
    if frame.get(12..14)? != ETHERTYPE_IPV4 {
        return None;
    }
    let packet = frame.get(ETHERNET_BYTES..)?;
    let first = *packet.first()?;
    let header_length = usize::from(first & 0x0f) * 4;
    let total = usize::from(be16(packet, 2)?);
    if first >> 4 != 4 || header_length < IPV4_BYTES {
        return None;
    }
    // Ethernet pads short frames: what counts is the length in the header.
    let packet = packet.get(..total)?;
    let header = packet.get(..header_length)?;
    let fragment = be16(packet, 6)? & 0x3fff != 0;
    if sum(0, header) != 0xffff || fragment || packet[9] != PROTOCOL_UDP {
        return None;
    }
    let datagram = packet.get(header_length..)?;
    let length = be16(datagram, 4)?;
    let datagram = datagram.get(..usize::from(length))?;
    let ports = (be16(datagram, 0)?, be16(datagram, 2)?);
    let header: &[u8; IPV4_BYTES] = packet.first_chunk()?;
    (ports == (SERVER_PORT, CLIENT_PORT) && udp_checksum_fits(header, length, datagram))
        .then(|| datagram.get(UDP_BYTES..))?
}

/// A checksum is right, absent, or not yet filled in: a server on the same host hands its frames over with only the
/// pseudo-header summed, because no wire will damage them.
fn udp_checksum_fits(ip: &[u8; IPV4_BYTES], length: u16, datagram: &[u8]) -> bool {
    let pseudo = pseudo_header(ip, length);
    match be16(datagram, 6) {
        None => false,
        Some(0) => true,
        Some(field) => field == pseudo || sum(pseudo, datagram) == 0xffff,
    }
}

/// Source, destination, protocol and length, summed.
fn pseudo_header(ip: &[u8; IPV4_BYTES], length: u16) -> u16 {
    let [high, low] = length.to_be_bytes();
    sum(sum(0, &ip[12..20]), &[0, PROTOCOL_UDP, high, low])
}

/// The ones' complement sum of RFC 1071.
fn sum(start: u16, bytes: &[u8]) -> u16 {
    let mut sum = u32::from(start);
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame as a server would send it: ports turned round.
    fn from_server(payload: &[u8]) -> Vec<u8> {
        let mut frame = build([2, 0, 0, 0, 0, 1], payload);
        // Swapping the two ports leaves the checksum as it is.
        frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
        frame
    }

    #[test]
    fn the_message_comes_out_of_its_frame() {
        assert_eq!(parse(&from_server(b"message")), Some(&b"message"[..]));
    }

    #[test]
    fn ethernet_padding_is_not_part_of_the_message() {
        let mut frame = from_server(b"x");
        frame.resize(60, 0);
        assert_eq!(parse(&frame), Some(&b"x"[..]));
    }

    #[test]
    fn our_own_request_is_not_taken_for_an_answer() {
        assert_eq!(parse(&build([2, 0, 0, 0, 0, 1], b"message")), None);
    }

    #[test]
    fn a_damaged_header_or_message_is_dropped() {
        let frame = from_server(b"message");
        for index in (12..frame.len()).filter(|index| !(40..42).contains(index)) {
            let mut damaged = frame.clone();
            damaged[index] ^= 0x10;
            assert_eq!(parse(&damaged), None, "byte {index}");
        }
    }

    #[test]
    fn an_absent_or_unfinished_checksum_is_accepted() {
        let mut frame = from_server(b"message");
        frame[40..42].copy_from_slice(&[0, 0]);
        assert_eq!(parse(&frame), Some(&b"message"[..]));
        let ip: &[u8; IPV4_BYTES] = frame[14..34].try_into().unwrap();
        let pseudo = pseudo_header(ip, 15);
        frame[40..42].copy_from_slice(&pseudo.to_be_bytes());
        assert_eq!(parse(&frame), Some(&b"message"[..]));
    }

    #[test]
    fn a_fragment_is_dropped() {
        let mut frame = from_server(b"message");
        frame[20] = 0x20;
        frame[24..26].copy_from_slice(&[0, 0]);
        let checksum = !sum(0, &frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(parse(&frame), None);
    }

    proptest! {
        #[test]
        fn no_frame_makes_the_parser_panic(frame in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(parse(&frame).is_none_or(|payload| payload.len() < frame.len()));
        }

        #[test]
        fn no_change_to_a_good_frame_makes_the_parser_panic(
            index in 0_usize..60, value: u8, cut in 0_usize..300,
        ) {
            let mut frame = from_server(&[7; 240]);
            frame[index] = value;
            frame.truncate(cut);
            prop_assert!(parse(&frame).is_none_or(|payload| payload.len() <= 240));
        }
    }
}
