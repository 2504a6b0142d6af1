//! The control channel: the real service and the real client over a socket. Needs no machine and no root.

#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::panic,
    reason = "the whole crate is a test"
)]

use coracle::{
    ctl::{Address, Client, OperatorKey, Reply},
    error::Kind,
};
use coracle_format::control::{
    ApplyFrom, Challenge, Frame, Hello, LogFrom, Output, Reader, Refusal, Request, Signed, encode,
};
use coracle_services::control::{self, Busy, Journal, Machine, Stop};
use ed25519_dalek::{Signer as _, SigningKey};
use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(20);

/// A machine whose updater is a shell script, behind a socket.
struct Place {
    dir: tempfile::TempDir,
    key: OperatorKey,
    address: Address,
}

/// Writes a program by a process of its own: if this one wrote it, a process that another test begins meanwhile could
/// still have it open for writing, and then it cannot be started.
#[expect(clippy::disallowed_methods, reason = "a part of the test")]
fn write_program(path: &Path, text: &str) {
    let words = ["-c", "cat > \"$0\" && chmod 755 \"$0\""];
    let mut child = Command::new("sh").args(words).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

impl Place {
    /// `script` is run as the updater; it finds the directory in `$D`.
    fn new(script: &str) -> Self {
        let key = OperatorKey::generate().unwrap();
        let public = key.public();
        Self::start(key, public, script)
    }

    /// One whose operator's key is made of `seed`, for tests that sign by themselves.
    fn with_key(seed: u8, script: &str) -> Self {
        let public = SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
        Self::start(OperatorKey::generate().unwrap(), public, script)
    }

    fn start(key: OperatorKey, public: [u8; 32], script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let updater = dir.path().join("updater");
        let text = format!("#!/bin/sh\nD={}\n{script}\n", dir.path().display());
        write_program(&updater, &text);
        let run = dir.path().join("run");
        fs::create_dir_all(run.join("status")).unwrap();
        fs::File::create(run.join("status/network")).unwrap().write_all(b"ready=yes\n").unwrap();
        fs::File::create(run.join("machine-id")).unwrap().write_all(&[b'0'; 32]).unwrap();
        let machine = Machine {
            keys: vec![public],
            image: "hello".to_owned(),
            version: "1.0".to_owned(),
            updater,
            run,
            logs: dir.path().to_owned(),
            kernel_log: "/dev/null".into(),
            containers: vec![("web".to_owned(), true), ("chat".to_owned(), false)],
            penalty: Duration::from_millis(1),
            stop: record_stop,
            journal: Journal::to_stderr(),
            busy: Busy::default(),
        };
        let path = dir.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that vanished in the middle is no reason to end.
                drop(control::serve(OwnedFd::from(stream.unwrap()), &machine, Duration::ZERO));
            }
        });
        Self { dir, key, address: Address::Unix(path) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn client(&self) -> Client {
        Client::connect(&self.address, &self.key).unwrap()
    }

    fn ask(&self, request: &Request) -> Reply {
        self.client().request(request, SOON).unwrap()
    }

    fn raw(&self) -> UnixStream {
        let Address::Unix(path) = &self.address else { panic!("the place has a socket") };
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }
}

static STOPS: Mutex<Vec<Stop>> = Mutex::new(Vec::new());

#[expect(clippy::unnecessary_wraps, reason = "this is what a machine calls")]
fn record_stop(stop: Stop) -> io::Result<()> {
    STOPS.lock().unwrap().push(stop);
    Ok(())
}

/// The next frame that `wanted` takes.
fn next(stream: &mut UnixStream, mut wanted: impl FnMut(&Frame) -> bool) -> Frame {
    let mut reader = Reader::new();
    let mut buffer = [0; 1];
    loop {
        stream.read_exact(&mut buffer).unwrap();
        reader.push(&buffer);
        if let Some(frame) = reader.take()
            && wanted(&frame)
        {
            return frame;
        }
    }
}

fn hello(stream: &mut UnixStream, nonce: u8) -> Challenge {
    stream.write_all(&encode(&Frame::Hello(Hello { nonce: [nonce; 16] }))).unwrap();
    let frame = next(stream, |frame| matches!(frame, Frame::Challenge(one) if one.nonce == [nonce; 16]));
    let Frame::Challenge(challenge) = frame else { panic!("a challenge was asked for") };
    challenge
}

/// A request signed by a key that a test keeps.
fn signed(seed: u8, challenge: &Challenge, sequence: u64, request: &Request) -> Frame {
    let key = SigningKey::from_bytes(&[seed; 32]);
    Frame::Signed(Signed::new(challenge, sequence, request, key.verifying_key().to_bytes(), |bytes| {
        key.sign(bytes).to_bytes()
    }))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < end, "never came true: {what}");
        thread::yield_now();
    }
}

const STATUS: Request = Request::Status { json: true };

fn apply(bytes: u64) -> Request {
    Request::Apply { from: ApplyFrom::Stream(bytes), reboot: false, json: false }
}

#[test]
fn an_operator_gets_output_errors_and_exit_code_of_the_updater() {
    let place = Place::new("echo \"out $*\"; echo err >&2; exit 3");
    let reply = place.ask(&Request::Rollback { reboot: true, json: true });
    let expected =
        Reply { code: 3, out: "out rollback --json --reboot\n".to_owned(), err: "err\n".to_owned() };
    assert_eq!(reply, expected);
}

#[test]
fn status_begins_with_the_machine_and_its_services() {
    let place = Place::new("echo '{}'");
    let reply = place.ask(&STATUS);
    let lines: Vec<_> = reply.out.lines().collect();
    assert_eq!(lines.len(), 3, "{}", reply.out);
    assert!(lines[0].contains(r#""image":"hello","version":"1.0""#), "{}", lines[0]);
    assert_eq!(lines[1], r#"{"v":0,"event":"service","name":"network","status":{"ready":"yes"}}"#);
    assert!(place.ask(&Request::Status { json: false }).out.contains("service network: ready=yes\n"));
}

#[test]
fn many_requests_go_through_one_session() {
    let place = Place::new("echo $1");
    let mut client = place.client();
    for _ in 0..5 {
        let reply = client.request(&Request::History { json: false }, SOON).unwrap();
        assert_eq!((reply.code, reply.out.as_str()), (0, "history\n"));
    }
}

#[test]
fn a_key_that_is_not_listed_is_refused_and_named() {
    let place = Place::new("touch $D/ran");
    let stranger = OperatorKey::generate().unwrap();
    let mut client = Client::connect(&place.address, &stranger).unwrap();
    let error = client.request(&Request::Confirm { json: false }, SOON).unwrap_err();
    assert_eq!(error.kind(), Kind::Signature);
    assert!(error.hint_text().unwrap().contains(&coracle::ctl::public_line(&stranger.public())), "{error:?}");
    assert!(!place.path("ran").exists());
    drop(client);
    assert_eq!(place.ask(&STATUS).code, 0, "the machine listens on");
}

#[test]
fn a_recorded_request_is_worth_nothing_in_its_own_session_or_another() {
    let place = Place::with_key(7, "echo ran >> $D/runs");
    let mut stream = place.raw();
    let challenge = hello(&mut stream, 1);
    let recorded = encode(&signed(7, &challenge, 1, &Request::Confirm { json: false }));
    stream.write_all(&recorded).unwrap();
    next(&mut stream, |frame| *frame == Frame::Done(0));
    stream.write_all(&recorded).unwrap();
    next(&mut stream, |frame| matches!(frame, Frame::Refused(Refusal::Sequence, _)));
    stream.write_all(&recorded).unwrap();
    next(&mut stream, |frame| matches!(frame, Frame::Refused(Refusal::Session, _)));
    hello(&mut stream, 1);
    stream.write_all(&recorded).unwrap();
    next(&mut stream, |frame| matches!(frame, Frame::Refused(Refusal::Signature, _)));
    assert_eq!(fs::read_to_string(place.path("runs")).unwrap(), "ran\n");
}

#[test]
fn a_client_is_heard_behind_the_garbage_of_an_earlier_one() {
    let place = Place::new("true");
    let mut stream = place.raw();
    let half = encode(&Frame::Data(vec![0xC0; 9000]));
    stream.write_all(&[0xFF; 5000]).unwrap();
    stream.write_all(b"\xC0rc\xFE garbage \xC0rc\xFE").unwrap();
    stream.write_all(&half[..4000]).unwrap();
    hello(&mut stream, 3);
}

#[test]
fn a_client_that_keeps_saying_hello_does_not_keep_half_a_frame_alive() {
    let place = Place::new("true");
    let mut stream = place.raw();
    let half = encode(&Frame::Data(vec![0xC0; 16_000]));
    stream.write_all(&half[..100]).unwrap();
    // The real client, on the same stream as one that went away in the middle of a frame.
    let begun = Instant::now();
    let said = encode(&Frame::Hello(Hello { nonce: [9; 16] }));
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut heard = [0; 4096];
    loop {
        stream.write_all(&said).unwrap();
        match stream.read(&mut heard) {
            Ok(length) if length > 0 => break,
            Ok(_) | Err(_) => assert!(begun.elapsed() < Duration::from_secs(10), "no answer"),
        }
    }
}

#[test]
fn a_frame_cut_short_anywhere_harms_nobody() {
    let place = Place::new("true");
    let whole = encode(&Frame::Hello(Hello { nonce: [5; 16] }));
    for end in 0..whole.len() {
        place.raw().write_all(&whole[..end]).unwrap();
    }
    assert_eq!(place.ask(&STATUS).code, 0);
}

#[test]
fn a_stream_arrives_whole_and_its_progress_is_told() {
    let place = Place::new("cat > $D/got; echo \"$@\"");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let (mut out, mut passed) = (Vec::new(), 0);
    let mut payload = &bytes[..];
    let code = place.client().run(&apply(3_000_000), Some(&mut payload), Some(SOON), &mut |heard| {
        match heard {
            coracle::ctl::Heard::Output(Output::Standard, bytes) => out.extend_from_slice(bytes),
            coracle::ctl::Heard::Output(Output::Error, _) => {}
            coracle::ctl::Heard::Passed(bytes) => passed = bytes,
        }
        Ok(())
    });
    assert_eq!(code.unwrap(), 0);
    assert_eq!(out, b"apply -\n");
    assert!(passed > 1_000_000, "told {passed} bytes");
    assert!(fs::read(place.path("got")).unwrap() == bytes, "the bytes are the same");
}

/// A way to a place on which somebody ends every first session as soon as it has begun.
fn interrupted(place: &Place) -> Address {
    let path = place.path("interrupted.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let Address::Unix(to) = place.address.clone() else { panic!("the place has a socket") };
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut service = UnixStream::connect(to).unwrap();
        let (mut answers, mut back) = (service.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut answers, &mut back));
        let mut hello = [0; 1 << 10];
        let length = client.read(&mut hello).unwrap();
        service.write_all(&hello[..length]).unwrap();
        // What follows comes when the session has begun.
        let length = client.read(&mut hello).unwrap();
        service.write_all(&encode(&Frame::Bye)).unwrap();
        service.write_all(&hello[..length]).unwrap();
        drop(io::copy(&mut client, &mut service));
    });
    Address::Unix(path)
}

#[test]
fn a_stream_whose_session_was_forgotten_is_sent_again_in_a_new_one() {
    let place = Place::new("cat > $D/got");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let mut client = Client::connect(&interrupted(&place), &place.key).unwrap();
    let mut payload = &bytes[..];
    let reply = client.request_with(&apply(3_000_000), Some(&mut payload), SOON).unwrap();
    assert_eq!(reply.code, 0);
    assert!(fs::read(place.path("got")).unwrap() == bytes, "the bytes are the same");
}

#[test]
fn an_empty_stream_ends_at_once() {
    let place = Place::new("cat | wc -c");
    let reply = place.client().request_with(&apply(0), Some(&mut io::empty()), SOON).unwrap();
    assert_eq!(reply.out.trim(), "0");
}

#[test]
fn an_updater_that_refuses_early_ends_the_stream() {
    let place = Place::new("head -c 10 > /dev/null; echo no >&2; exit 3");
    let mut client = place.client();
    let mut payload = io::repeat(7).take(8 << 20);
    let reply = client.request_with(&apply(8 << 20), Some(&mut payload), SOON).unwrap();
    assert_eq!((reply.code, reply.err.as_str()), (3, "no\n"));
    assert_eq!(client.request(&STATUS, SOON).unwrap().code, 3, "the session goes on");
}

#[test]
fn a_client_that_goes_in_the_middle_of_an_update_takes_the_updater_with_it() {
    let place = Place::with_key(7, "echo $$ > $D/pid; cat > $D/got; echo over > $D/end; sleep 1000");
    let mut stream = place.raw();
    let challenge = hello(&mut stream, 1);
    let sent = Instant::now();
    let request = encode(&signed(7, &challenge, 1, &apply(1 << 20)));
    stream.write_all(&[request, encode(&Frame::Data(vec![1; 1000]))].concat()).unwrap();
    until("the updater has got the first bytes", || {
        fs::read(place.path("got")).is_ok_and(|got| got.len() == 1000)
    });
    drop(stream);
    assert!(sent.elapsed() < Duration::from_secs(4), "what came with the request was passed on at once");
    let pid = fs::read_to_string(place.path("pid")).unwrap();
    until("the updater is gone", || !PathBuf::from(format!("/proc/{}", pid.trim())).exists());
    let mut other = place.raw();
    hello(&mut other, 2);
}

#[test]
fn another_client_on_the_same_stream_begins_anew() {
    let place = Place::with_key(7, "cat > /dev/null");
    let mut stream = place.raw();
    let first = hello(&mut stream, 1);
    stream.write_all(&encode(&signed(7, &first, 1, &apply(1 << 20)))).unwrap();
    let second = hello(&mut stream, 2);
    assert_ne!(first.random, second.random);
    stream.write_all(&encode(&signed(7, &second, 1, &Request::Confirm { json: false }))).unwrap();
    next(&mut stream, |frame| *frame == Frame::Done(0));
}

#[test]
fn a_second_client_is_told_that_nobody_answers() {
    let place = Place::new("true");
    let first = place.client();
    let second = Client::connect_within(&place.address, &place.key, Duration::from_millis(300), None);
    assert_eq!(second.unwrap_err().kind(), Kind::Machine);
    drop(first);
    assert_eq!(place.ask(&STATUS).code, 0);
}

#[test]
fn a_request_can_be_interrupted() {
    let place = Place::new("sleep 1000");
    let cancel = Arc::new(AtomicBool::new(false));
    let mut client =
        Client::connect_within(&place.address, &place.key, SOON, Some(Arc::clone(&cancel))).unwrap();
    cancel.store(true, Ordering::Relaxed);
    let request = Request::Check { from: ApplyFrom::Address("http://h/u".to_owned()), json: false };
    assert_eq!(client.request(&request, SOON).unwrap_err().kind(), Kind::Interrupted);
}

#[test]
fn a_container_log_is_given_and_followed() {
    let place = Place::new("true");
    let log = place.path("web.log");
    fs::File::create(&log).unwrap().write_all(b"one\ntwo\n").unwrap();
    let request = |follow| Request::Logs { from: LogFrom::Container("web".to_owned()), tail: 1, follow };
    assert_eq!(place.ask(&request(false)).out, "two\n");
    let mut seen = String::new();
    let ended = place.client().run(&request(true), None, Some(SOON), &mut |heard| {
        if let coracle::ctl::Heard::Output(_, bytes) = heard {
            if seen.is_empty() {
                fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b"three\n").unwrap();
            }
            seen += &String::from_utf8_lossy(bytes);
        }
        if seen.ends_with("three\n") {
            return Err(coracle::error::Error::new(Kind::Interrupted, "seen"));
        }
        Ok(())
    });
    assert_eq!(ended.unwrap_err().kind(), Kind::Interrupted);
    assert_eq!(seen, "two\nthree\n");
}

#[test]
fn a_log_that_is_not_kept_or_not_there_is_said_so() {
    let place = Place::new("true");
    for (name, words) in [("chat", "keeps no log"), ("nobody", "there is no container nobody")] {
        let from = LogFrom::Container(name.to_owned());
        let reply = place.ask(&Request::Logs { from, tail: 1, follow: false });
        assert_eq!(reply.code, 2);
        assert!(reply.err.contains(words), "{}", reply.err);
    }
}

#[test]
fn a_machine_without_an_updater_says_so() {
    let place = Place::new("true");
    fs::remove_file(place.path("updater")).unwrap();
    assert_eq!(place.ask(&STATUS).code, 0);
    let reply = place.ask(&Request::Confirm { json: false });
    assert_eq!(reply.code, 2);
    assert!(reply.err.contains("takes no updates"), "{}", reply.err);
}

#[test]
fn a_stop_is_answered_before_it_is_done() {
    let place = Place::new("true");
    assert_eq!(place.ask(&Request::Reboot).code, 0);
    assert_eq!(place.ask(&Request::PowerOff).code, 0);
    until("both stops were ordered", || STOPS.lock().unwrap().len() == 2);
    assert_eq!(*STOPS.lock().unwrap(), [Stop::Reboot, Stop::PowerOff]);
    // Nobody is there any more to hear the answer: it is done all the same.
    let place = Place::with_key(7, "true");
    let mut stream = place.raw();
    let challenge = hello(&mut stream, 1);
    stream.write_all(&encode(&signed(7, &challenge, 1, &Request::Reboot))).unwrap();
    drop(stream);
    until("the machine restarts", || STOPS.lock().unwrap().len() == 3);
}
