//! The service's hands for DHCP: sockets, and leases put on links.

use super::dhcp::client::{Action, Client, Held, Listen};
use super::dhcp::socket::Socket;
use super::service::{Service, now};
use crate::status::Level;
use std::io;

impl Service {
    /// Hands what has come in for a link to its client.
    pub(super) fn receive(&mut self, index: u32) {
        let Some(managed) = self.links.get_mut(&index) else {
            return;
        };
        let Some(socket) = &managed.socket else {
            return;
        };
        let replies = match socket.receive() {
            Ok(replies) => replies,
            Err(error) => {
                // The link is going down, or the socket is of no more use: it is opened again when it is needed.
                let text = format!("{}: cannot receive: {error}", managed.link.name);
                managed.socket = None;
                managed.listens = Listen::Nowhere;
                self.log.warning(&text);
                return;
            }
        };
        for reply in replies {
            let Some(client) = self.links.get_mut(&index).and_then(|m| m.client.as_mut()) else {
                return;
            };
            let actions = client.receive(now(), &reply);
            self.perform(index, actions);
        }
    }

    /// Does what a DHCP client asks for.
    pub(super) fn perform(&mut self, index: u32, actions: Vec<Action>) {
        self.listen(index);
        for action in actions {
            let Some(managed) = self.links.get(&index) else {
                return;
            };
            let name = managed.link.name.clone();
            let done = match (action, &managed.socket) {
                (Action::Broadcast(message), Some(socket)) => {
                    socket.broadcast(managed.link.mac.unwrap_or_default(), &message)
                }
                (Action::Send(to, message), Some(socket)) => socket.send(to, &message),
                // Opening it failed and was logged; the message goes out when it is due again.
                (Action::Broadcast(_) | Action::Send(..), None) => Ok(()),
                (Action::Bind(held), _) => self.bind(index, held),
                (Action::Unbind, _) => self.unbind(index),
                (Action::Note(text), _) => {
                    self.log.notice(&format!("{name}: {text}"));
                    Ok(())
                }
            };
            if let Err(error) = done {
                self.log.warning(&format!("{name}: DHCP: {error}"));
            }
        }
    }

    /// Opens the socket that the client needs now and closes the other.
    fn listen(&mut self, index: u32) {
        let Some(managed) = self.links.get_mut(&index) else {
            return;
        };
        let wanted = managed.client.as_ref().map_or(Listen::Nowhere, Client::listens);
        if wanted == managed.listens {
            return;
        }
        let opened = match wanted {
            Listen::Nowhere => Ok(None),
            Listen::Frames => Socket::frames(&managed.link.name, index).map(Some),
            Listen::Address => Socket::udp(&managed.link.name).map(Some),
        };
        match opened {
            Ok(socket) => {
                managed.socket = socket;
                managed.listens = wanted;
            }
            Err(error) => {
                managed.socket = None;
                managed.listens = Listen::Nowhere;
                let text = format!("{}: cannot open a socket for DHCP: {error}", managed.link.name);
                self.log.error(&text);
            }
        }
    }

    fn bind(&mut self, index: u32, held: Held) -> io::Result<()> {
        let Some(managed) = self.links.get_mut(&index) else {
            return Ok(());
        };
        let (address, routes) = managed.leased(&held, now());
        let renewed = managed.held.as_ref().is_some_and(|old| old.lease == held.lease);
        let level = if renewed { Level::Info } else { Level::Notice };
        let text = describe(&managed.link.name, &held, address.valid);
        let mtu = managed.smaller_mtu(&held);
        managed.held = Some(held);
        self.log.line(level, &text);
        if mtu.is_some() {
            self.kernel.link_up(index, mtu)?;
        }
        self.kernel.settle_ipv4(index, &[address], &routes)
    }

    fn unbind(&mut self, index: u32) -> io::Result<()> {
        let Some(managed) = self.links.get_mut(&index) else {
            return Ok(());
        };
        if let Some(held) = managed.held.take() {
            let text = format!("{}: {} withdrawn", managed.link.name, held.lease.address);
            self.log.notice(&text);
        }
        self.kernel.settle_ipv4(index, &[], &[])
    }
}

fn describe(name: &str, held: &Held, seconds: u32) -> String {
    let lease = &held.lease;
    let gateway = lease.gateway().map_or_else(|| "no gateway".to_owned(), |g| format!("gateway {g}"));
    let term = match held.end {
        Some(_) => format!("{seconds} s"),
        None => "ever".to_owned(),
    };
    format!("{name}: {}/{} from {}, {gateway}, for {term}", lease.address, lease.prefix, lease.server)
}
