//! The operator of machines under test: requests over the control channel, with a key made for the tests.

use crate::{Guest, context, scratch};
use anyhow::{Context as _, Result, ensure};
use coracle::ctl::{Address, Client, OperatorKey, Reply};
use coracle_format::control::{ApplyFrom, Request};
use serde_json::Value;
use std::{fs::File, path::PathBuf, time::Duration};

/// How long a machine may take to answer its control port: it may just be starting.
const CONNECT: Duration = Duration::from_mins(2);
/// How long a request may take that asks for nothing large.
const ANSWER: Duration = Duration::from_mins(1);
/// How long an update may take to be written, read back and armed.
const APPLY: Duration = Duration::from_mins(8);

/// The private key and the file with the public one, made by the first test that needs them.
pub(crate) fn key() -> Result<(OperatorKey, PathBuf)> {
    let dir = scratch("keys")?;
    let (private, public) = (dir.join("operator.key"), dir.join("operator.pub"));
    let ctx = context()?;
    let _guard = ctx.cache.lock("test-operator")?;
    if !public.exists() {
        let key = OperatorKey::generate()?;
        key.save(&private)?;
        coracle::files::replace(
            &public,
            format!("{}\n", coracle::ctl::public_line(&key.public())).as_bytes(),
        )?;
    }
    Ok((OperatorKey::load(&private)?, public))
}

/// Somebody with the key of one machine.
#[derive(Clone, Debug)]
pub struct Operator {
    address: Address,
    key: OperatorKey,
}

impl Operator {
    /// The operator of this machine.
    pub fn of(guest: &Guest) -> Result<Self> {
        Ok(Self { address: Address::Unix(guest.control().to_owned()), key: key()?.0 })
    }

    /// One request, in a session of its own: the machine may have been restarted since the last.
    pub fn ask(&self, request: &Request, within: Duration) -> Result<Reply> {
        let mut client = self.connect()?;
        client.request(request, within).with_context(|| format!("the request {}", request.word()))
    }

    fn connect(&self) -> Result<Client> {
        Ok(Client::connect_within(&self.address, &self.key, CONNECT, None)?)
    }

    /// What `coracle-update status` says.
    pub fn status(&self) -> Result<Value> {
        let reply = done(self.ask(&Request::Status { json: true }, ANSWER)?)?;
        let objects = reply.out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let status = objects.into_iter().find(|object| object["event"] == "status");
        status.with_context(|| format!("no status in {}", reply.out))
    }

    /// What it says to a person.
    pub fn status_text(&self) -> Result<String> {
        Ok(done(self.ask(&Request::Status { json: false }, ANSWER)?)?.out)
    }

    /// What happened to its slots.
    pub fn history(&self) -> Result<String> {
        Ok(done(self.ask(&Request::History { json: true }, ANSWER)?)?.out)
    }

    /// Has the update at an address applied, but does not reboot; whatever comes of it.
    pub fn apply(&self, url: &str) -> Result<Reply> {
        let from = ApplyFrom::Address(url.to_owned());
        self.ask(&Request::Apply { from, reboot: false, json: true }, APPLY)
    }

    /// Sends an update through the channel; whatever comes of it.
    pub fn send(&self, bundle: &std::path::Path) -> Result<Reply> {
        let mut file = File::open(bundle).with_context(|| format!("cannot open {}", bundle.display()))?;
        let from = ApplyFrom::Stream(file.metadata()?.len());
        let request = Request::Apply { from, reboot: false, json: true };
        Ok(self.connect()?.request_with(&request, Some(&mut file), APPLY)?)
    }

    /// Orders a reboot. The machine may be gone before its answer arrives.
    pub fn reboot(&self) -> Result<()> {
        drop(self.connect()?.request(&Request::Reboot, ANSWER));
        Ok(())
    }
}

/// An answer to a request that must succeed.
pub fn done(reply: Reply) -> Result<Reply> {
    ensure!(reply.code == 0, "the machine answered with {}: {}{}", reply.code, reply.out, reply.err);
    Ok(reply)
}
