//! One session after the other on a stream.

use super::channel::{Channel, Heard, pause};
use super::child::{self, Ended};
use super::judge::{Judge, explain};
use super::logs;
use super::machine::{Machine, Stop};
use super::place;
use super::text::hex;
use coracle_format::control::{
    ApplyFrom, Frame, Hello, IDLE_SECONDS, LogFrom, Output, PAYLOAD_BYTES_MAX, Refusal, Request, Signed,
};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the pause after a refusal doubles.
const DOUBLINGS: u32 = 5;

/// Serves clients on a stream until it ends or nobody speaks for a while; gives the stream back for the next one. It
/// has ended once it has been cut for `patience`.
pub fn serve(stream: OwnedFd, machine: &Machine, patience: Duration) -> io::Result<OwnedFd> {
    let mut channel = Channel::new(stream, patience)?;
    let mut next = None;
    let mut strikes = 0;
    loop {
        let hello = match next.take() {
            Some(hello) => hello,
            None => match await_hello(&mut channel)? {
                Some(hello) => hello,
                None => return Ok(channel.into_fd()),
            },
        };
        let session = Session { channel: &mut channel, machine, strikes: &mut strikes };
        next = match session.run(hello) {
            Ok(next) => next,
            // Whoever does not take what is sent is gone.
            Err(_) => return Ok(channel.into_fd()),
        };
        if channel.is_gone() {
            return Ok(channel.into_fd());
        }
    }
}

fn await_hello(channel: &mut Channel) -> io::Result<Option<Hello>> {
    let until = Instant::now() + Duration::from_secs(IDLE_SECONDS);
    loop {
        match channel.hear(until)? {
            Heard::Frame(Frame::Hello(hello)) => return Ok(Some(hello)),
            // Somebody whose session has ended: the answer makes them begin anew.
            Heard::Frame(Frame::Signed(_)) => channel.send(&refused(Refusal::Session))?,
            Heard::Frame(_) => {}
            Heard::Silence | Heard::Gone => return Ok(None),
        }
    }
}

fn refused(refusal: Refusal) -> Frame {
    Frame::Refused(refusal, explain(refusal).to_owned())
}

/// What follows a request.
enum Next {
    /// Another request.
    Request,
    /// Another session.
    Session(Hello),
    /// Nothing.
    End,
}

struct Session<'a> {
    channel: &'a mut Channel,
    machine: &'a Machine,
    /// Refusals without a request in between.
    strikes: &'a mut u32,
}

impl Session<'_> {
    /// Runs until it ends; the hello of the next session, if that is what ended this one.
    fn run(mut self, hello: Hello) -> io::Result<Option<Hello>> {
        let challenge = self.machine.challenge(hello)?;
        self.channel.send(&Frame::Challenge(challenge.clone()))?;
        let keys = &self.machine.keys;
        let mut judge = Judge::new(keys, challenge);
        loop {
            match self.channel.hear(Instant::now() + Duration::from_secs(IDLE_SECONDS))? {
                Heard::Gone | Heard::Silence | Heard::Frame(Frame::Bye) => return Ok(None),
                // A client that waits for its challenge asks again; it takes the first one.
                Heard::Frame(Frame::Hello(again)) if again.nonce == judge.challenge().nonce => {
                    if !judge.is_used() {
                        self.channel.send(&Frame::Challenge(judge.challenge().clone()))?;
                    }
                }
                Heard::Frame(Frame::Hello(other)) => return Ok(Some(other)),
                Heard::Frame(Frame::Signed(signed)) => match judge.accept(&signed) {
                    Ok(request) => match self.obey(&signed, &request)? {
                        Next::Request => {}
                        Next::Session(hello) => return Ok(Some(hello)),
                        Next::End => return Ok(None),
                    },
                    Err(refusal) => {
                        self.refuse(&signed, refusal)?;
                        return Ok(None);
                    }
                },
                // The rest of a stream whose reader had enough.
                Heard::Frame(_) => {}
            }
        }
    }

    /// Says no, and rests: guessing and flooding become slow.
    fn refuse(&mut self, signed: &Signed, refusal: Refusal) -> io::Result<()> {
        let text = format!("refused a request of key {}: {}", fingerprint(signed), explain(refusal));
        self.machine.journal.warning(&text);
        self.channel.send(&refused(refusal))?;
        pause(self.machine.penalty * (1 << (*self.strikes).min(DOUBLINGS)).min(30));
        *self.strikes = self.strikes.saturating_add(1);
        Ok(())
    }

    fn obey(&mut self, signed: &Signed, request: &Request) -> io::Result<Next> {
        *self.strikes = 0;
        let under = self.machine.busy.begin();
        let begun = Instant::now();
        let who = fingerprint(signed);
        self.machine.journal.notice(&format!("operator {who}: {}", describe(request)));
        let ended = self.act(request)?;
        let (words, next) = match ended {
            // What was asked for is done, or will be, whether the answer arrives or not: that the client before has gone
            // may be noticed only now.
            Ended::Code(code) => match self.channel.send(&Frame::Done(code)) {
                Ok(()) => (format!("exit code {code}"), Next::Request),
                Err(error) => (format!("exit code {code}, which nobody heard: {error}"), Next::End),
            },
            Ended::Gone => ("the client went away".to_owned(), Next::End),
            Ended::Stalled => ("the client sent nothing for too long".to_owned(), Next::End),
            Ended::Anew(hello) => ("another client came".to_owned(), Next::Session(hello)),
        };
        drop(under);
        let seconds = begun.elapsed().as_secs();
        self.machine
            .journal
            .notice(&format!("operator {who}: {} ended after {seconds} s: {words}", request.word()));
        match request {
            Request::Reboot => self.stop(Stop::Reboot),
            Request::PowerOff => self.stop(Stop::PowerOff),
            Request::Status { .. }
            | Request::Logs { .. }
            | Request::Check { .. }
            | Request::Apply { .. }
            | Request::Confirm { .. }
            | Request::Rollback { .. }
            | Request::Retry { .. }
            | Request::History { .. } => {}
        }
        Ok(next)
    }

    fn act(&mut self, request: &Request) -> io::Result<Ended> {
        match request {
            Request::Reboot | Request::PowerOff => Ok(Ended::Code(0)),
            Request::Status { json } => {
                let text = self.machine.describe(*json);
                send_text(self.channel, Output::Standard, &text)?;
                if !self.machine.updater.exists() {
                    return Ok(Ended::Code(0));
                }
                self.update(request)
            }
            Request::Logs { from: LogFrom::Kernel, tail, follow } => {
                logs::kernel(self.channel, self.machine, *tail, *follow)
            }
            Request::Logs { from: LogFrom::Container(name), tail, follow } => {
                match self.machine.containers.iter().find(|(known, _)| known == name) {
                    Some((_, true)) => logs::container(self.channel, self.machine, (name, *tail, *follow)),
                    Some((_, false)) => self.fail(&format!(
                        "container {name} keeps no log: its manifest must say where, log = \"file\""
                    )),
                    None => self.fail(&format!("there is no container {name}")),
                }
            }
            Request::Check { .. }
            | Request::Apply { .. }
            | Request::Confirm { .. }
            | Request::Rollback { .. }
            | Request::Retry { .. }
            | Request::History { .. } => self.update(request),
        }
    }

    fn update(&mut self, request: &Request) -> io::Result<Ended> {
        if !self.machine.updater.exists() {
            return self.fail("this machine takes no updates: its manifest has no [update]");
        }
        if let Request::Check { from: ApplyFrom::Path(path), .. }
        | Request::Apply { from: ApplyFrom::Path(path), .. } = request
            && let Err(why) = place::check(Path::new("/"), path)
        {
            return self.fail(&why);
        }
        child::run(self.channel, self.machine, request, &arguments(request))
    }

    fn fail(&mut self, why: &str) -> io::Result<Ended> {
        send_text(self.channel, Output::Error, &format!("error: {why}\n"))?;
        Ok(Ended::Code(2))
    }

    fn stop(&self, stop: Stop) {
        if let Err(error) = (self.machine.stop)(stop) {
            self.machine.journal.warning(&format!("cannot ask PID 1 for a {stop}: {error}"));
        }
    }
}

/// Text as output, in as many frames as it takes.
pub(super) fn send_text(channel: &mut Channel, output: Output, text: &str) -> io::Result<()> {
    for piece in text.as_bytes().chunks(PAYLOAD_BYTES_MAX) {
        channel.send(&Frame::Output(output, piece.to_vec()))?;
    }
    Ok(())
}

/// The first digits of the key, as they stand in the manifest.
fn fingerprint(signed: &Signed) -> String {
    hex(&signed.key[..8])
}

fn describe(request: &Request) -> String {
    let word = request.word();
    match request {
        Request::Check { from, .. } | Request::Apply { from, .. } => match from {
            ApplyFrom::Stream(bytes) => format!("{word} of {bytes} bytes"),
            ApplyFrom::Address(address) => format!("{word} from {}", without_secrets(address)),
            ApplyFrom::Path(path) => format!("{word} from {path}"),
        },
        Request::Logs { from: LogFrom::Container(name), .. } => format!("{word} of {name}"),
        Request::Status { .. }
        | Request::Logs { .. }
        | Request::Confirm { .. }
        | Request::Rollback { .. }
        | Request::Retry { .. }
        | Request::History { .. }
        | Request::Reboot
        | Request::PowerOff => word.to_owned(),
    }
}

/// An address without user, password and query: the kernel log has many readers.
fn without_secrets(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}/{path}")
}

/// The updater's arguments.
fn arguments(request: &Request) -> Vec<String> {
    let place = |from: &ApplyFrom| match from {
        ApplyFrom::Stream(_) => "-".to_owned(),
        ApplyFrom::Address(place) | ApplyFrom::Path(place) => place.clone(),
    };
    let (operand, reboot, json) = match request {
        Request::Check { from, json } => (Some(place(from)), false, *json),
        Request::Apply { from, reboot, json } => (Some(place(from)), *reboot, *json),
        Request::Rollback { reboot, json } => (None, *reboot, *json),
        Request::Retry { release, json } => ((!release.is_empty()).then(|| release.clone()), false, *json),
        Request::Status { json } | Request::Confirm { json } | Request::History { json } => {
            (None, false, *json)
        }
        Request::Logs { .. } | Request::Reboot | Request::PowerOff => (None, false, false),
    };
    let mut out = vec![request.word().to_owned()];
    out.extend(json.then(|| "--json".to_owned()));
    out.extend(reboot.then(|| "--reboot".to_owned()));
    out.extend(operand);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_the_log_tells_no_password() {
        assert_eq!(without_secrets("https://me:secret@host:8/a/b?token=x"), "https://host:8/a/b");
        assert_eq!(without_secrets("http://host"), "http://host/");
    }

    #[test]
    fn a_request_becomes_the_updaters_words() {
        let stream = Request::Apply { from: ApplyFrom::Stream(9), reboot: true, json: true };
        assert_eq!(arguments(&stream), ["apply", "--json", "--reboot", "-"]);
        let address = ApplyFrom::Address("http://h/u".to_owned());
        assert_eq!(arguments(&Request::Check { from: address, json: false }), ["check", "http://h/u"]);
        let path = ApplyFrom::Path("/dev/vdb".to_owned());
        let apply = Request::Apply { from: path, reboot: false, json: false };
        assert_eq!(
            (arguments(&apply), describe(&apply)),
            (vec!["apply".to_owned(), "/dev/vdb".to_owned()], "apply from /dev/vdb".to_owned())
        );
        let retry = |release: &str| Request::Retry { release: release.to_owned(), json: false };
        assert_eq!(arguments(&retry("")), ["retry"]);
        assert_eq!(arguments(&retry("0a")), ["retry", "0a"]);
    }
}
