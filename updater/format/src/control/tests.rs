use super::*;
use alloc::{string::String, vec, vec::Vec};
use proptest::prelude::*;

fn challenge() -> Challenge {
    Challenge {
        nonce: [1; NONCE_BYTES],
        random: [2; 32],
        machine: [3; 16],
        image: "hello".into(),
        version: "1.2".into(),
    }
}

fn requests() -> Vec<Request> {
    let (stream, address) =
        (ApplyFrom::Stream(5 << 20), ApplyFrom::Address("http://10.0.2.2/u.bundle".into()));
    vec![
        Request::Status { json: true },
        Request::Logs { from: LogFrom::Kernel, tail: 100, follow: false },
        Request::Logs { from: LogFrom::Container("web-1".into()), tail: 0, follow: true },
        Request::Check { from: address.clone(), json: false },
        Request::Apply { from: stream, reboot: true, json: true },
        Request::Apply { from: address, reboot: false, json: false },
        Request::Apply { from: ApplyFrom::Path("/dev/vdb".into()), reboot: false, json: true },
        Request::Check { from: ApplyFrom::Path("/state/volumes/in/u.bundle".into()), json: true },
        Request::Confirm { json: false },
        Request::Rollback { reboot: true, json: false },
        Request::Retry { release: "0123ab".into(), json: false },
        Request::History { json: true },
        Request::Reboot,
        Request::PowerOff,
    ]
}

fn frames() -> Vec<Frame> {
    let mut frames: Vec<Frame> = requests()
        .iter()
        .zip(1..)
        .map(|(request, number)| {
            Frame::Signed(Signed::new(&challenge(), number, request, [4; 32], |_| [5; 64]))
        })
        .collect();
    frames.extend([
        Frame::Hello(Hello { nonce: [9; NONCE_BYTES] }),
        Frame::Challenge(challenge()),
        Frame::Data(vec![0xC0; PAYLOAD_BYTES_MAX]),
        Frame::Bye,
        Frame::Output(Output::Standard, b"text\n".to_vec()),
        Frame::Output(Output::Error, Vec::new()),
        Frame::Alive(77),
        Frame::Done(3),
        Frame::Refused(Refusal::Sequence, "not the next".into()),
    ]);
    frames
}

/// Everything a reader makes of these bytes, given in pieces of this size.
fn read(bytes: &[u8], piece: usize) -> Vec<Frame> {
    let mut reader = Reader::new();
    let mut out = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut rest = piece;
        while !rest.is_empty() {
            rest = &rest[reader.push(rest)..];
            out.extend(core::iter::from_fn(|| reader.take()));
        }
    }
    out
}

#[test]
fn every_request_survives_the_round_trip_and_nothing_else_decodes() {
    for request in requests() {
        let bytes = request.encode();
        assert_eq!(Request::decode(&bytes), Some(request.clone()));
        for end in 0..bytes.len() {
            assert_eq!(Request::decode(&bytes[..end]), None, "{request:?} cut at {end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Request::decode(&longer), None, "{request:?} with a byte more");
    }
}

#[test]
fn a_request_names_no_options_and_no_more_than_the_limits() {
    let refused = [
        Request::Check { from: ApplyFrom::Address("/state/x".into()), json: false },
        Request::Check { from: ApplyFrom::Address("--reboot".into()), json: false },
        Request::Check { from: ApplyFrom::Address("http://a b".into()), json: false },
        Request::Check { from: ApplyFrom::Stream(APPLY_BYTES_MAX + 1), json: false },
        Request::Logs { from: LogFrom::Container("../passwd".into()), tail: 1, follow: false },
        Request::Logs { from: LogFrom::Kernel, tail: TAIL_LINES_MAX + 1, follow: false },
        Request::Retry { release: "-x".into(), json: false },
    ];
    for request in refused {
        assert_eq!(Request::decode(&request.encode()), None, "{request:?}");
    }
}

#[test]
fn a_path_is_plain_and_below_dev_or_state() {
    let decoded = |path: &str| {
        let request = Request::Check { from: ApplyFrom::Path(path.into()), json: false };
        Request::decode(&request.encode()).map(|known| assert_eq!(known, request)).is_some()
    };
    let longest = alloc::format!("/state/{}", "x".repeat(PATH_BYTES_MAX - 7));
    for path in ["/dev/vdb", "/dev/mapper/x", "/state/u.bundle", "/state/..u", &longest] {
        assert!(decoded(path), "{path}");
    }
    let long = alloc::format!("{longest}x");
    for path in
        ["", "/", "/dev", "/dev/", "/state/", "/etc/x", "dev/vdb", "-", "--reboot", "/devices/x", "/statex/u"]
    {
        assert!(!decoded(path), "{path}");
    }
    for path in
        ["/dev/../etc/x", "/state/..", "/state/a/../b", "/state/./a", "/dev//vdb", "/dev/vdb/", "/state/a b"]
    {
        assert!(!decoded(path), "{path}");
    }
    for path in ["/state/a\nb", "/state/\u{e9}", "/state/a\0", &long, "http://h/u"] {
        assert!(!decoded(path), "{path}");
    }
}

#[test]
fn frames_survive_the_round_trip_in_pieces_of_any_size() {
    let bytes: Vec<u8> = frames().iter().flat_map(encode).collect();
    for piece in [1, 7, 4096, bytes.len()] {
        assert_eq!(read(&bytes, piece), frames(), "pieces of {piece} bytes");
    }
}

#[test]
fn what_a_signature_is_over_differs_with_challenge_number_and_request() {
    let other = Challenge { machine: [4; 16], ..challenge() };
    let base = signed_bytes(&challenge(), 1, b"x");
    assert_ne!(base, signed_bytes(&other, 1, b"x"));
    assert_ne!(base, signed_bytes(&challenge(), 2, b"x"));
    assert_ne!(base, signed_bytes(&challenge(), 1, b"y"));
}

#[test]
fn a_hello_behind_half_a_frame_is_found_when_the_half_is_given_up() {
    let half = &encode(&Frame::Data(vec![1; 4000]))[..1000];
    let hello = Frame::Hello(Hello { nonce: [9; NONCE_BYTES] });
    let mut reader = Reader::new();
    reader.push(half);
    reader.push(&encode(&hello));
    assert_eq!(reader.take(), None);
    assert!(reader.is_waiting());
    reader.give_up();
    assert_eq!(reader.take(), Some(hello));
    assert!(!reader.is_waiting());
}

#[test]
fn keys_are_read_in_one_form_only() {
    let text = String::from("ed25519:") + &"0a".repeat(32);
    assert_eq!(parse_key(&text), Some([10; 32]));
    for wrong in [&text[8..], &text[..70], &text.to_uppercase(), &(text.clone() + "0")] {
        assert_eq!(parse_key(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_taken_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..3000), piece in 1_usize..300) {
        read(&bytes, piece);
        Request::decode(&bytes);
        for kind in 0..=32 {
            Frame::from_payload(kind, &bytes);
        }
    }

    #[test]
    fn frames_are_found_behind_garbage_that_holds_no_magic(
        garbage in prop::collection::vec(0_u8..0xC0, 0..500),
        piece in 1_usize..100,
    ) {
        let mut bytes = garbage.clone();
        bytes.extend(encode(&Frame::Done(7)));
        bytes.extend(garbage);
        bytes.extend(encode(&Frame::Alive(1)));
        prop_assert_eq!(read(&bytes, piece), [Frame::Done(7), Frame::Alive(1)]);
    }

    #[test]
    fn a_flipped_bit_never_gives_another_frame(at in 0_usize..60, bit in 0_u8..8) {
        let frame = Frame::Output(Output::Standard, vec![0x5a; 48]);
        let mut bytes = encode(&frame);
        bytes[at] ^= 1 << bit;
        // What follows lets the reader see that a longer length than there is was a lie.
        bytes.resize(bytes.len() + FRAME_BYTES_MAX, 0);
        prop_assert_eq!(read(&bytes, 999), []);
    }
}
