//! A channel as a publisher runs it: a repository made by the builder, behind a real nginx on the loopback address.

use crate::{Release, Server, context, nginx, scratch, signing};
use anyhow::{Context as _, Result, bail};
use coracle::{
    channel,
    keys::{self, KeyDir},
    publish::{Anew, Changed, Repository, Request, Signing, Waves, deltas, publish, write_stick},
    tool::{Running, Tool},
};
use coracle_rollout::Wave;
use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long nginx may take to listen.
const START: Duration = Duration::from_secs(20);

/// The channel that machines follow.
const CHANNEL: &str = "stable";

/// A publisher, and a server if machines are to reach it. The server ends when this is dropped.
#[derive(Debug)]
pub struct Shop {
    repository: Repository,
    signing: Signing,
    server: Option<Running>,
    /// From how many earlier releases a release gets a delta.
    pub deltas: u8,
}

impl Shop {
    /// An empty repository, behind a server on this port; `name` names its directory.
    pub fn open(name: &str, port: u16) -> Result<Self> {
        let mut shop = Self::without_server(name)?;
        shop.server = Some(serve(&scratch("channels")?.join(name), port)?);
        Ok(shop)
    }

    /// What the web server was asked for, a line each.
    pub fn access_log(&self) -> Result<String> {
        let path = self.repository.dir().with_file_name("access.log");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Serves the channel by a server of the harness, which remembers what was asked for.
    pub fn serve_on(&self, port: u16) -> Result<Server> {
        let dir = self.repository.dir().parent().context("the repository is in no directory")?;
        Server::of_directory(dir.to_owned(), port)
    }

    /// An empty repository that nobody serves.
    pub fn without_server(name: &str) -> Result<Self> {
        let ctx = context()?;
        let dir = scratch("channels")?.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        let repository = dir.join("repo");
        fs::create_dir_all(&repository).with_context(|| format!("cannot make {}", repository.display()))?;
        let signing = Signing::new(KeyDir::new(signing::keys(&ctx, signing::Who::Us)?));
        Ok(Self { repository: Repository::new(repository), signing, server: None, deltas: deltas::DEFAULT })
    }

    /// Offers a release to every machine from this second on.
    pub fn publish(&self, release: &Release) -> Result<Changed> {
        self.publish_from(release, keys::now())
    }

    /// Offers a release to every machine from that second on, as signed dates have it.
    pub fn publish_from(&self, release: &Release, start: u64) -> Result<Changed> {
        let now = keys::now();
        let request = Request {
            bundles: vec![release.bundle.clone()],
            channel: CHANNEL.to_owned(),
            waves: Waves::Dates(vec![Wave { share: 10_000, start }]),
            minimum: None,
            replaces: None,
            channel_key: None,
            deltas: self.deltas,
            usb: None,
        };
        Ok(publish(&context()?, (&self.repository, &self.signing), &request, now)?)
    }

    /// Signs a new timestamp, with this date.
    pub fn refresh(&self, date: u64) -> Result<Changed> {
        Ok(channel::refresh(&context()?, (&self.repository, &self.signing), Anew::Dates, date)?)
    }

    /// The image of a stick with all of the channel.
    pub fn stick(&self) -> Result<PathBuf> {
        let image = self.repository.dir().with_file_name("stick.img");
        write_stick(&context()?, &self.repository, CHANNEL, &image)?;
        Ok(image)
    }
}

fn serve(dir: &PathBuf, port: u16) -> Result<Running> {
    let ctx = context()?;
    let tools = nginx(&ctx)?;
    let at = dir.display();
    let config = format!(
        "daemon off; master_process off; pid {at}/pid; error_log stderr;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log {at}/access.log; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
         fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
         server {{ listen 127.0.0.1:{port}; root {at}; }} }}\n"
    );
    let path = dir.join("nginx.conf");
    coracle::files::replace(&path, config.as_bytes())?;
    let tool = Tool::new(&tools, "nginx").args(["-e", "stderr", "-p"]).arg(dir).arg("-c").arg(&path);
    let mut server = tool.log("nginx").within(Duration::from_hours(1)).spawn(&ctx)?;
    let deadline = Instant::now() + START;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > deadline {
            server.kill();
            bail!("nginx does not listen on port {port}");
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    Ok(server)
}
