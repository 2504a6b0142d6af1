//! The part that speaks to the network: a process of its own, under its own user, without access to files or devices.
//! It hands bytes through a pipe to the writer, which has no network and checks every digest itself.
//!
//! ```text
//! wire       what the two say to each other
//! stream     one file over HTTP(S), resumed as often as it takes; or one document
//! answer     what a server's answer means, pure
//! pace       how fast it may be, and how slow
//! tls        ureq over coracle-tls
//! ```

mod answer;
mod pace;
pub mod stream;
mod tls;
pub mod wire;

use crate::error::{Error, Exit, Kind, Result};
use coracle_sandbox::{Capabilities, Confined, FETCH_ID};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use stream::{Patience, Stream};
use wire::{Frame, Request};

/// Descriptors that the process needs: its pipes, a connection, a name server.
const DESCRIPTORS: u64 = 32;
/// What resolving a name reads.
const READABLE: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/run/coracle/resolv.conf"];

/// Runs as the helper process of a network source: gives up every right but to connect, then answers requests until the
/// writer is gone.
pub fn run(arguments: &[String]) -> Result<Exit> {
    let [url, rate, clock] = arguments else {
        return Err(Error::new(Kind::Usage, "fetch is started by apply and check"));
    };
    let rate = rate.parse().map_err(|source| {
        Error::new(Kind::Usage, format!("{rate:?} is not a number of bytes per second")).because(source)
    })?;
    let clock = if clock == wire::CLOCK_SET { coracle_tls::Clock::Set } else { coracle_tls::Clock::Unset };
    // Certificates are in the program: nothing is read from here on but what resolves names.
    let agent = stream::agent(clock, &Patience::default())?;
    let confined =
        confine().map_err(|kept| Error::new(Kind::Internal, kept.to_string()).because(kept.source))?;
    if confined == Confined::Not {
        // Its user and its lack of capabilities still keep it from devices; a person should know all the same.
        let text = "warning: this kernel has no Landlock: what speaks to the network may read public files\n";
        drop(io::stderr().write_all(text.as_bytes()));
    }
    answer(&Place { agent, address: url.clone(), rate });
    Ok(Exit::Done)
}

/// Where everything is fetched from.
struct Place {
    agent: ureq::Agent,
    address: String,
    rate: u64,
}

impl Place {
    fn stream(&self, request: &Request) -> Stream {
        let (agent, patience) = (self.agent.clone(), Patience::default());
        let url = if request.path.is_empty() {
            self.address.clone()
        } else {
            format!("{}/{}", self.address.trim_end_matches('/'), request.path)
        };
        if request.limit == 0 {
            Stream::new(agent, &url, self.rate, patience)
        } else {
            Stream::document(agent, &url, request.limit, patience)
        }
    }
}

fn confine() -> Result<Confined, coracle_sandbox::Kept> {
    coracle_sandbox::drop_to(FETCH_ID, Capabilities::empty())?;
    let confined = coracle_sandbox::only_read(&READABLE.map(Path::new))?;
    coracle_sandbox::limit(DESCRIPTORS)?;
    Ok(confined)
}

/// Answers one request after the other; a newer one ends the answer to the one before.
fn answer(place: &Place) {
    let (sender, requests) = mpsc::channel();
    // Reading blocks, so it has a thread of its own. It ends, and with it the process, when the writer is gone.
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Ok(request) = Request::read(&mut input) {
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    let mut next = requests.recv().ok();
    while let Some(request) = next {
        next = match serve(&place.stream(&request), &request, &requests) {
            Ok(None) => requests.recv().ok(),
            Ok(newer) => newer,
            // Nobody reads any longer.
            Err(_) => None,
        };
    }
}

/// Sends what is requested. Gives the request that came meanwhile, if one did.
fn serve(stream: &Stream, request: &Request, requests: &Receiver<Request>) -> io::Result<Option<Request>> {
    let mut output = io::stdout().lock();
    let mut transfer = stream.from(request.offset);
    let mut buffer = vec![0; wire::PAYLOAD_BYTES_MAX];
    loop {
        match requests.try_recv() {
            Ok(newer) => return Ok(Some(newer)),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        let read = transfer.read(&mut buffer);
        let (frame, is_last) = match &read {
            Ok(0) => (Frame::End, true),
            Ok(read) => (Frame::Data(buffer.get(..*read).unwrap_or_default()), false),
            Err(error) => (Frame::Failed(error), true),
        };
        output.write_all(&frame.encode(request.id))?;
        output.flush()?;
        if is_last {
            return Ok(None);
        }
    }
}
