//! A channel's repository in memory, and a web server in front of it that can misbehave.

use crate::fixture::{EXPIRES, Payload, key, sign, trusted_root};
use coracle_format::version::Version;
use coracle_rollout::{Offered, Rollout, Seed, State, Wave};
use coracle_trust::publish::{self, Delegation, File, Listed};
use coracle_trust::{Release, Vouched};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) const CHANNEL: &str = "stable";
/// When the tests happen.
pub(crate) const NOW: u64 = 1_800_000_000;
const TARGETS_KEY: u8 = 2;
const ONLINE_KEY: u8 = 3;
const CHANNEL_KEY: u8 = 4;

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What a publisher has published.
#[derive(Clone, Debug)]
pub(crate) struct Shop {
    pub(crate) version: u32,
    pub(crate) issued: u64,
    pub(crate) expires: u64,
    pub(crate) rollout: Rollout,
    releases: Vec<Vouched>,
    files: Files,
}

impl Shop {
    pub(crate) fn new(releases: &[Payload]) -> Self {
        let first = &releases[0];
        let (image, arch) = (first.name.to_owned(), first.arch);
        let rollout = Rollout { channel: CHANNEL.to_owned(), image, arch, releases: Vec::new() };
        let files = Files::from([("metadata/1.root.json".to_owned(), trusted_root().to_vec())]);
        let (issued, expires, releases_of) = (NOW, EXPIRES, Vec::new());
        let mut this = Self { version: 0, issued, expires, rollout, releases: releases_of, files };
        for release in releases {
            this.add(release);
        }
        this
    }

    /// Offers a release to everybody at once.
    pub(crate) fn add(&mut self, payload: &Payload) {
        let (bundle, index) = (payload.bundle(), payload.index().0.encode().unwrap());
        let version = Version::parse(&payload.version).unwrap();
        let release = Release {
            name: payload.name.to_owned(),
            arch: payload.arch,
            version,
            epoch: payload.epoch,
            released: 1_790_000_000,
            replaces: payload.replaces.map(|version| Version::parse(version).unwrap()),
        };
        let vouched = Vouched {
            length: u64::try_from(bundle.len()).unwrap(),
            sha256: Sha256::digest(&bundle).into(),
            index_length: u64::try_from(index.len()).unwrap(),
            index_sha256: Sha256::digest(&index).into(),
            id: payload.release(),
            release,
            deltas: Vec::new(),
        };
        let seed = Seed([u8::try_from(self.releases.len()).unwrap(); 16]);
        let (target, state) = (vouched.path(), State::Active);
        self.files.insert(format!("targets/{}", vouched.file()), bundle);
        let offered = Offered { version, target, state, minimum: None, waves: Vec::new(), seed };
        self.rollout.releases.push(offered);
        self.releases.push(vouched);
    }

    /// Publishes a delta to the newest release.
    pub(crate) fn add_delta(&mut self, from: &Payload, delta: Vec<u8>) {
        let newest = self.releases.last_mut().unwrap();
        let listed = coracle_trust::Delta {
            from: from.release(),
            length: u64::try_from(delta.len()).unwrap(),
            sha256: Sha256::digest(&delta).into(),
        };
        self.files.insert(format!("targets/{}", newest.delta_file(&listed)), delta);
        newest.deltas.push(listed);
    }

    pub(crate) fn newest(&mut self) -> &mut Offered {
        self.rollout.releases.last_mut().unwrap()
    }

    /// Offers the newest release to everybody from a moment on.
    pub(crate) fn wave_at(&mut self, start: u64) {
        self.newest().waves = vec![Wave { share: 10_000, start }];
    }

    /// Signs everything anew, an hour later; all files, as a server has them.
    pub(crate) fn publish(&mut self) -> Files {
        self.version += 1;
        self.issued += 3600;
        let (version, expires) = (self.version, self.expires);
        let rollout = self.rollout.encode().unwrap();
        let digest: [u8; 32] = Sha256::digest(&rollout).into();
        let name = format!("{}-{}.json", self.rollout.image, self.rollout.arch.name());
        let path = format!("{CHANNEL}/{name}");
        self.files.insert(format!("targets/{CHANNEL}/{}.{name}", hex(&digest)), rollout.clone());
        let delegation = Delegation {
            name: CHANNEL.to_owned(),
            keys: vec![key(CHANNEL_KEY).verifying_key().to_bytes()],
            threshold: 1,
            paths: vec![format!("{CHANNEL}/*")],
        };
        let length = u64::try_from(rollout.len()).unwrap();
        let file = File { path, length, sha256: digest };
        let targets = publish::releases(version, expires, &self.releases, &[delegation]).unwrap();
        let targets = sign(&targets, &key(TARGETS_KEY));
        let channel = sign(&publish::files(version, expires, &[file]).unwrap(), &key(CHANNEL_KEY));
        let listed = |bytes: &[u8]| Listed::of(version, bytes);
        let roles = [(CHANNEL, listed(&channel)), ("targets", listed(&targets))];
        let snapshot = sign(&publish::snapshot(version, expires, &roles).unwrap(), &key(ONLINE_KEY));
        let timestamp = publish::timestamp(version, self.issued, expires, &listed(&snapshot)).unwrap();
        let timestamp = sign(&timestamp, &key(ONLINE_KEY));
        for (name, bytes) in [
            (format!("{version}.targets.json"), targets),
            (format!("{version}.{CHANNEL}.json"), channel),
            (format!("{version}.snapshot.json"), snapshot),
            ("timestamp.json".to_owned(), timestamp),
        ] {
            self.files.insert(format!("metadata/{name}"), bytes);
        }
        self.files.clone()
    }
}

fn hex(bytes: &[u8]) -> String {
    coracle_update::report::hex(bytes)
}

/// The files as an archive (cpio newc).
pub(crate) fn archive(files: &Files) -> Vec<u8> {
    let mut out = Vec::new();
    let end = ("TRAILER!!!".to_owned(), Vec::new());
    for (name, bytes) in files.iter().chain([(&end.0, &end.1)]) {
        let mut fields = [0; 13];
        (fields[6], fields[11]) = (bytes.len(), name.len() + 1);
        out.extend(b"070701");
        for field in fields {
            out.extend(format!("{field:08x}").bytes());
        }
        out.extend(name.bytes().chain([0]));
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(bytes);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// How the server answers, where it does not just send the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Status(u16),
    /// To itself.
    Redirects,
    /// The body never ends.
    Endless,
    /// The last byte is another.
    Lies,
    /// The body ends after this many bytes of an answer, always.
    Cuts(usize),
    /// The same, once; from then on nobody is let in.
    Dies(usize),
}

#[derive(Debug, Default)]
struct Inside {
    files: Files,
    /// What begins like this goes wrong like that.
    fault: Option<(String, Fault)>,
    asked: Vec<String>,
    sent: usize,
}

/// A web server.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    pub(crate) url: String,
    inside: Arc<Mutex<Inside>>,
}

impl Web {
    pub(crate) fn serve(files: Files) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://127.0.0.1:{}/repo", listener.local_addr().unwrap().port());
        let inside = Arc::new(Mutex::new(Inside { files, ..Inside::default() }));
        let web = Self { url, inside };
        let own = web.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let own = own.clone();
                // A client that goes away ends its own connection only.
                thread::spawn(move || own.talk(&connection.unwrap()));
            }
        });
        web
    }

    pub(crate) fn set(&self, files: Files) {
        self.inside.lock().unwrap().files = files;
    }

    /// From now on files that begin with `prefix` come like that.
    pub(crate) fn fault(&self, fault: Option<(&str, Fault)>) {
        self.inside.lock().unwrap().fault = fault.map(|(prefix, fault)| (prefix.to_owned(), fault));
    }

    /// What was asked for since this was asked last, and how many bytes of bodies were sent.
    pub(crate) fn take_asked(&self) -> (Vec<String>, usize) {
        let mut inside = self.inside.lock().unwrap();
        (std::mem::take(&mut inside.asked), std::mem::take(&mut inside.sent))
    }

    fn talk(&self, connection: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(connection);
        loop {
            let mut first = String::new();
            reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
            let name = first.split(' ').nth(1)?.strip_prefix("/repo/")?.to_owned();
            let mut from = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).ok()?;
                let line = line.trim_end().to_ascii_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    from = range.trim_end_matches('-').parse().ok()?;
                }
                if line.is_empty() {
                    break;
                }
            }
            self.answer(connection, &name, from)?;
        }
    }

    fn answer(&self, mut to: &TcpStream, name: &str, from: usize) -> Option<()> {
        let (bytes, fault) = {
            let mut inside = self.inside.lock().unwrap();
            inside.asked.push(if from > 0 { format!("{name} from {from}") } else { name.to_owned() });
            let fault =
                inside.fault.as_ref().filter(|(prefix, _)| name.starts_with(prefix)).map(|(_, fault)| *fault);
            (inside.files.get(name).cloned(), fault)
        };
        let status = |code: u16, more: &str| format!("HTTP/1.1 {code} X\r\n{more}Content-Length: 0\r\n\r\n");
        match (fault, bytes) {
            (Some(Fault::Status(code)), _) => to.write_all(status(code, "").as_bytes()).ok(),
            (Some(Fault::Redirects), _) => {
                to.write_all(status(302, &format!("Location: /repo/{name}\r\n")).as_bytes()).ok()
            }
            (Some(Fault::Endless), _) => {
                to.write_all(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n").ok()?;
                loop {
                    to.write_all(&[b'{'; 4096]).ok()?;
                }
            }
            (_, None) => to.write_all(status(404, "").as_bytes()).ok(),
            (fault, Some(mut bytes)) => {
                if fault == Some(Fault::Lies) {
                    *bytes.last_mut()? ^= 1;
                }
                self.send(to, &bytes, from, fault)
            }
        }
    }

    fn send(&self, mut to: &TcpStream, bytes: &[u8], from: usize, fault: Option<Fault>) -> Option<()> {
        let (total, rest) = (bytes.len(), bytes.get(from..)?);
        let head = if from == 0 {
            format!("HTTP/1.1 200 X\r\nContent-Length: {total}\r\n\r\n")
        } else {
            let range = format!("Content-Range: bytes {from}-{}/{total}", total - 1);
            format!("HTTP/1.1 206 X\r\n{range}\r\nContent-Length: {}\r\n\r\n", rest.len())
        };
        let end = match fault {
            Some(Fault::Cuts(after) | Fault::Dies(after)) => after.min(rest.len()),
            _ => rest.len(),
        };
        let mut inside = self.inside.lock().unwrap();
        inside.sent += end;
        if let (Some(Fault::Dies(_)), Some((_, next))) = (fault, &mut inside.fault) {
            *next = Fault::Status(401);
        }
        drop(inside);
        to.write_all(head.as_bytes()).ok()?;
        to.write_all(&rest[..end]).ok()?;
        // Cut: the connection ends in the middle.
        (end == rest.len()).then_some(())
    }
}
