//! A channel as a publisher runs it: a repository made by the builder, behind a real nginx on the loopback address.

use crate::{Release, context, nginx, scratch, signing};
use anyhow::{Context as _, Result, bail};
use coracle::{
    keys::{self, KeyDir},
    publish::{Changed, Repository, Request, Signing, Waves, publish},
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

/// A publisher and a server. The server ends when this is dropped.
#[derive(Debug)]
pub struct Shop {
    repository: Repository,
    signing: Signing,
    _server: Running,
}

impl Shop {
    /// An empty repository, behind a server on this port; `name` names its directory.
    pub fn open(name: &str, port: u16) -> Result<Self> {
        let ctx = context()?;
        let dir = scratch("channels")?.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        let repository = dir.join("repo");
        fs::create_dir_all(&repository).with_context(|| format!("cannot make {}", repository.display()))?;
        let server = serve(&dir, port)?;
        let signing = Signing::new(KeyDir::new(signing::keys(&ctx, signing::Who::Us)?));
        Ok(Self { repository: Repository::new(repository), signing, _server: server })
    }

    /// Offers a release to every machine from this second on.
    pub fn publish(&self, release: &Release) -> Result<Changed> {
        let now = keys::now();
        let request = Request {
            bundles: vec![release.bundle.clone()],
            channel: "stable".to_owned(),
            waves: Waves::Dates(vec![Wave { share: 10_000, start: now }]),
            minimum: None,
            replaces: None,
            channel_key: None,
            usb: None,
        };
        Ok(publish(&context()?, (&self.repository, &self.signing), &request, now)?)
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
