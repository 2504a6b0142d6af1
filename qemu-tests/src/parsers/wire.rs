//! What networks, the kernel and other processes send to a machine's services.

use super::{ignore, seal};
use coracle_format::control::{
    ApplyFrom, Challenge, Frame, Hello, Output, PAYLOAD_BYTES_MAX, Reader, Refusal, Request, Signed, encode,
};
use coracle_services::{clock, ipc::Message, network};

pub(super) fn ipc(data: &[u8]) {
    if let Some(message) = Message::decode(data) {
        assert_eq!(Message::decode(&message.encode()), Some(message), "a message survives the round trip");
    }
}

pub(super) fn ipc_seeds() -> Vec<Vec<u8>> {
    [Message::Heartbeat, Message::Milestone("container-web".into()), Message::Stop]
        .map(|message| message.encode().to_vec())
        .into()
}

/// Both directions of the control channel, and a request behind a signature that was right.
pub(super) fn control(data: &[u8]) {
    for piece in [1, 97, data.len().max(1)] {
        let mut reader = Reader::new();
        for piece in data.chunks(piece) {
            let mut rest = piece;
            while !rest.is_empty() {
                rest = &rest[reader.push(rest)..];
                while let Some(frame) = reader.take() {
                    let mut again = Reader::new();
                    again.push(&encode(&frame));
                    assert_eq!(again.take().as_ref(), Some(&frame), "a frame survives the round trip");
                    if let Frame::Signed(signed) = frame {
                        request(&signed.request);
                    }
                }
            }
        }
        reader.give_up();
        ignore(reader.take());
    }
    request(data);
    let mut reader = Reader::new();
    reader.push(&sealed(data));
    ignore(reader.take());
}

/// A frame of the kind in the first byte, with the rest as its payload and the right checksum.
fn sealed(data: &[u8]) -> Vec<u8> {
    let Some((kind, payload)) = data.split_first() else {
        return Vec::new();
    };
    let payload = &payload[..payload.len().min(PAYLOAD_BYTES_MAX)];
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_le_bytes();
    let mut covered = [&[*kind, 0, length[0], length[1]], payload, &[0; 4]].concat();
    let end = covered.len() - 4;
    seal::crc32(&mut covered, 0, end, end);
    let magic = encode(&Frame::Bye);
    [&magic[..4], &covered[..4], &covered[end..], &covered[4..end]].concat()
}

fn request(data: &[u8]) {
    if let Some(request) = Request::decode(data) {
        assert_eq!(Request::decode(&request.encode()), Some(request), "a request survives the round trip");
    }
}

pub(super) fn control_seeds() -> Vec<Vec<u8>> {
    let challenge = Challenge {
        nonce: [1; 16],
        random: [2; 32],
        machine: [3; 16],
        image: "hello".to_owned(),
        version: "1.0".to_owned(),
    };
    let apply = Request::Apply { from: ApplyFrom::Stream(9), reboot: true, json: true };
    let check = Request::Check { from: ApplyFrom::Path("/dev/vdb".to_owned()), json: false };
    let session = [
        Frame::Hello(Hello { nonce: [1; 16] }),
        Frame::Challenge(challenge.clone()),
        Frame::Signed(Signed::new(&challenge, 1, &apply, [4; 32], |_| [5; 64])),
        Frame::Data(b"123456789".to_vec()),
        Frame::Output(Output::Error, b"error: no\n".to_vec()),
        Frame::Alive(9),
        Frame::Refused(Refusal::Sequence, "again".to_owned()),
        Frame::Done(3),
        Frame::Bye,
    ];
    let whole: Vec<u8> = session.iter().flat_map(encode).collect();
    session.iter().map(encode).chain([whole, check.encode(), apply.encode()]).collect()
}

pub(super) fn dhcp(data: &[u8]) {
    if let Some(message) = network::dhcp_message(data) {
        ignore(network::dhcp_lease(message));
    }
    ignore(network::dhcp_lease(data));
}

/// A granted lease with all the options that are read.
pub(super) fn dhcp_seeds() -> Vec<Vec<u8>> {
    let mut message = vec![0; 240];
    message[..4].copy_from_slice(&[2, 1, 6, 0]);
    message[16..20].copy_from_slice(&[10, 0, 2, 15]);
    message[28..34].copy_from_slice(&[0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    message[236..240].copy_from_slice(&[99, 130, 83, 99]);
    let options: [&[u8]; 12] = [
        &[53, 1, 5],
        &[54, 4, 10, 0, 2, 2],
        &[1, 4, 255, 255, 255, 0],
        &[3, 4, 10, 0, 2, 2],
        &[6, 8, 10, 0, 2, 3, 10, 0, 2, 4],
        &[42, 4, 10, 0, 2, 5],
        &[26, 2, 5, 220],
        &[51, 4, 0, 1, 81, 128],
        &[58, 4, 0, 0, 168, 192],
        &[59, 4, 0, 1, 39, 80],
        &[121, 13, 24, 10, 1, 2, 10, 0, 2, 9, 0, 10, 0, 2, 1],
        &[52, 1, 3, 255],
    ];
    message.extend(options.concat());
    vec![message.clone(), frame(&message)]
}

/// Ethernet, IPv4 and UDP around a message, without a UDP checksum.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = |more: usize| u16::try_from(message.len() + more).unwrap_or(u16::MAX).to_be_bytes();
    let mut ip = [0_u8; 20];
    (ip[0], ip[8], ip[9]) = (0x45, 64, 17);
    ip[2..4].copy_from_slice(&length(28));
    ip[12..20].copy_from_slice(&[10, 0, 2, 2, 255, 255, 255, 255]);
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(u16::MAX);
    ip[10..12].copy_from_slice(&(!folded).to_be_bytes());
    let mut out = vec![0xff; 12];
    out.extend([0x08, 0x00]);
    out.extend(ip);
    out.extend([0, 67, 0, 68]);
    out.extend(length(8));
    out.extend([0, 0]);
    out.extend(message);
    out
}

pub(super) fn sntp(data: &[u8]) {
    for now in [0, 1_763_000_000, u32::MAX] {
        ignore(clock::sntp_sample(data, 0x0102_0304_0506_0708, now));
    }
}

pub(super) fn sntp_seeds() -> Vec<Vec<u8>> {
    let seconds = (1_763_000_000_u32).wrapping_add(2_208_988_800);
    let mut message = vec![0; 48];
    (message[0], message[1]) = (0x24, 2);
    message[24..32].copy_from_slice(&0x0102_0304_0506_0708_u64.to_be_bytes());
    message[32..36].copy_from_slice(&seconds.to_be_bytes());
    message[40..44].copy_from_slice(&seconds.to_be_bytes());
    vec![message]
}

pub(super) fn netlink(data: &[u8]) {
    ignore(network::netlink_events(data));
    ignore(network::router_name_servers(data));
}

pub(super) fn netlink_seeds() -> Vec<Vec<u8>> {
    let attribute = |kind: u16, value: &[u8]| {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        let mut out = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    };
    let message = |kind: u16, body: &[u8]| {
        let length = u32::try_from(body.len() + 16).unwrap_or(u32::MAX);
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat()
    };
    let link = [
        &[0, 0, 1, 0, 2, 0, 0, 0, 0x43, 0, 1, 0, 0, 0, 0, 0][..],
        &attribute(3, b"eth0\0"),
        &attribute(1, &[0x52, 0x54, 0, 1, 2, 3]),
        &attribute(4, &1500_u32.to_ne_bytes()),
        &attribute(18, &attribute(1, b"bridge\0")),
    ]
    .concat();
    let address = [
        &[2, 24, 0, 0, 2, 0, 0, 0][..],
        &attribute(1, &[10, 0, 2, 15]),
        &attribute(2, &[10, 0, 2, 15]),
        &attribute(6, &[0xff; 16]),
    ]
    .concat();
    let route = [
        &[2, 24, 0, 0, 254, 16, 0, 1, 0, 0, 0, 0][..],
        &attribute(1, &[10, 0, 2, 0]),
        &attribute(5, &[10, 0, 2, 2]),
        &attribute(4, &2_u32.to_ne_bytes()),
    ]
    .concat();
    let servers = [&[25, 3, 0, 0, 0, 0, 2, 88][..], &[0x20; 16]].concat();
    let option = [&[10, 0, 24, 0, 2, 0, 0, 0, 134, 0, 0, 0, 0, 0, 0, 0][..], &servers].concat();
    vec![
        message(16, &link),
        message(20, &address),
        message(24, &route),
        message(68, &option),
        [message(16, &link), message(3, &[0; 4])].concat(),
        message(2, &(-13_i32).to_ne_bytes()),
        servers,
    ]
}
