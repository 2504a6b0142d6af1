//! Whole updates from servers that stall, lie and cut: what is said, and what is left of the machine. Loopback only.

use crate::fixture::{
    DISK_BYTES, Notes, Payload, SLOT_BYTES, digest_of_slot, noise, settings, ship, verified,
};
use crate::server::{Asked, Server, head, patience, serve};
use coracle_block::model::Model;
use coracle_slots::{Slot, SlotState};
use coracle_tls::Clock;
use coracle_update::engine::{Ask, Job};
use coracle_update::executor::{Executor, Supply};
use coracle_update::fetch::stream::{self, Stream, Transfer};
use coracle_update::source::{HttpSource, Source, SourceError};
use coracle_update::{Error, Kind};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;

/// The network source without its process, for tests that cannot wait as long as a machine does.
struct Impatient {
    url: String,
    stream: Stream,
}

impl Impatient {
    fn new(server: &Server) -> Self {
        let agent = stream::agent(Clock::Unset, &patience()).unwrap();
        Self { url: server.url.clone(), stream: Stream::new(agent, &server.url, 0, patience()) }
    }
}

struct Taking<'a>(Transfer<'a>);

impl Read for Taking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(io::Error::other)
    }
}

impl Source for Impatient {
    fn describe(&self) -> String {
        self.url.clone()
    }

    fn open(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        Ok(Box::new(Taking(self.stream.from(offset))))
    }
}

fn shipped() -> Executor {
    let disk = Model::new(DISK_BYTES).disk().unwrap();
    ship(&disk, SLOT_BYTES, &Payload::new("1.0"));
    Executor::on(disk, Slot::A).unwrap()
}

fn update(executor: &Executor, source: &mut dyn Source, leftovers: Option<&Path>) -> Result<Job, Error> {
    let mut settings = settings();
    settings.leftovers = leftovers;
    executor.update(Ask::Apply, Supply::of(source), &settings, &mut Notes::default())
}

/// What a whole update from this server comes to: its error, with the machine as it was.
fn given_up(server: &Server) -> (Kind, String) {
    let executor = shipped();
    let running = digest_of_slot(executor.disk(), Slot::A);
    let error = update(&executor, &mut Impatient::new(server), None).unwrap_err();
    let record = executor.record().unwrap();
    assert_eq!((record.state(Slot::A), record.state(Slot::B)), (SlotState::Good, SlotState::Empty));
    assert_eq!(record.choose(&[]).slot, Slot::A, "{error:?}");
    assert_eq!(digest_of_slot(executor.disk(), Slot::A), running, "{error:?}");
    assert_eq!(verified(executor.disk(), Slot::B), None, "{error:?}");
    let text = [vec![error.to_string()], error.causes()].concat().join(": ");
    (error.kind(), text.replace(&server.url, "URL"))
}

fn assert_network(server: &Server, words: &str) {
    let (kind, text) = given_up(server);
    assert_eq!((kind, kind.exit().code()), (Kind::Network, 1), "{text}");
    assert_eq!(text, format!("cannot fetch URL: {words}"));
}

/// The bundle of most tests here.
fn bundle() -> Vec<u8> {
    Payload::new("2.0").bundle()
}

#[test]
fn an_update_from_a_server_that_stalls_in_the_middle_is_given_up() {
    let bytes = bundle();
    let server = serve(move |asked, send| {
        let (head, from) = head(asked, bytes.len());
        let end = bytes.len() / 2;
        if send(head.as_bytes()) && from < end {
            send(&bytes[from..end]);
        }
        // The connection stays open, silent, until the test is over.
        thread::park();
    });
    let half = bundle().len() / 2;
    assert_network(&server, &format!("the server has sent nothing for too long (after byte {half})"));
}

#[test]
fn an_update_from_a_server_that_lies_about_ranges_is_given_up() {
    let bytes = bundle();
    let length = bytes.len();
    let cut = length / 3;
    let server = serve(move |asked, send| {
        if asked.from.is_none() {
            let (head, _) = head(asked, length);
            send(&[head.as_bytes(), &bytes[..cut]].concat());
        } else {
            let last = length - 1;
            let head =
                format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-{last}/{length}\r\n\r\n");
            send(&[head.as_bytes(), &bytes].concat());
        }
    });
    assert_network(&server, &format!("the server sends bytes from 0 on, asked for {cut} (after byte {cut})"));
}

#[test]
fn an_update_from_a_server_that_sends_other_bytes_than_it_says_is_refused() {
    let bytes = bundle();
    let cut = bytes.len() / 2;
    // It names the range that was asked for, and sends the beginning of the file.
    let server = serve(move |asked, send| {
        let (head, from) = head(asked, bytes.len());
        let body = if from == 0 { &bytes[..cut] } else { &bytes[..bytes.len() - from] };
        send(&[head.as_bytes(), body].concat());
    });
    let (kind, text) = given_up(&server);
    assert_eq!((kind, kind.exit().code()), (Kind::Digest, 3), "{text}");
    assert!(text.starts_with("cannot apply the update: frame "), "{text}");
    assert!(text.ends_with(" does not match its signed digest"), "{text}");
}

#[test]
fn an_update_that_changes_on_its_server_or_is_not_there_is_given_up() {
    let bytes = bundle();
    let changing = serve(move |asked, send| {
        let (head, from) = head(asked, bytes.len() + asked.nth);
        let end = (from + bytes.len() / 4).min(bytes.len());
        send(&[head.as_bytes(), &bytes[from.min(end)..end]].concat());
    });
    let (kind, text) = given_up(&changing);
    assert_eq!(kind, Kind::Network);
    assert!(text.contains("has changed on the server"), "{text}");
    let missing = serve(|_, send| {
        send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let (kind, text) = given_up(&missing);
    assert_eq!((kind, kind.exit().code()), (Kind::NotFound, 1), "{text}");
    assert_eq!(text, "cannot fetch URL: the server answers with status 404");
}

/// A release whose bundle is large enough for twenty cuts that each bring something.
fn large() -> Payload {
    Payload { root: noise(3, 2 << 20), ..Payload::new("2.0") }
}

fn honest(asked: &Asked, bytes: &[u8], send: &mut dyn FnMut(&[u8]) -> bool) {
    let (head, from) = head(asked, bytes.len());
    send(&[head.as_bytes(), &bytes[from..]].concat());
}

#[test]
fn an_update_over_a_connection_that_is_cut_twenty_times_is_armed_and_costs_five_percent_at_most() {
    let new = large();
    let bytes = new.bundle();
    let total = u64::try_from(bytes.len()).unwrap();
    let piece = bytes.len() / 21;
    let server = serve(move |asked, send| {
        if asked.nth >= 20 {
            return honest(asked, &bytes, send);
        }
        let (head, from) = head(asked, bytes.len());
        let end = (from + piece).min(bytes.len());
        if send(head.as_bytes()) {
            send(&bytes[from..end]);
        }
    });
    // Through the process that fetches, as on a machine, were it not for its second of patience per cut.
    let executor = shipped();
    update(&executor, &mut Impatient::new(&server), None).unwrap();
    assert_eq!(executor.record().unwrap().state(Slot::B), SlotState::Trial { starts: 0 });
    assert_eq!(verified(executor.disk(), Slot::B), Some(new.release()));
    assert!(server.asked.load(Ordering::SeqCst) > 20);
    let sent = server.sent.load(Ordering::SeqCst);
    assert!(sent * 100 <= total * 105, "{sent} bytes for {total}");
}

#[test]
fn an_update_through_the_process_that_fetches_is_armed() {
    let bytes = bundle();
    let server = serve(move |asked, send| honest(asked, &bytes, send));
    let program = Path::new(env!("CARGO_BIN_EXE_coracle-update"));
    let executor = shipped();
    update(&executor, &mut HttpSource::with_program(program, &server.url, 0).unwrap(), None).unwrap();
    assert_eq!(verified(executor.disk(), Slot::B), Some(Payload::new("2.0").release()));
}
