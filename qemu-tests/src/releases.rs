//! Releases of one image, for updates from one to the next: built, bundled and signed once, shared by every test.

use crate::{Guest, Operator, Server, context, operator, scratch, signing};
use anyhow::{Context as _, Result, ensure};
use coracle::{build::Built, delta};
use coracle_format::slot::Arch;
use std::path::PathBuf;

/// The image of all releases: a container that keeps records, updates, control.
const LEDGER: &str = include_str!("../images/ledger.toml");

/// What tells one release from another.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Its name: a directory, and the bundle on the server.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its architecture.
    pub arch: Arch,
    /// The deadline of its trial.
    pub deadline: &'static str,
    /// When it is kept.
    pub gate: &'static str,
    /// Lines that `[update]` has beside those of every release.
    pub update: &'static str,
    /// Tables that its manifest has beside those of every release.
    pub more: &'static str,
    /// Whose keys sign it, and whose root it carries.
    pub who: signing::Who,
}

impl Variant {
    /// A release with nothing special.
    pub const fn new(name: &'static str, version: &'static str, arch: Arch) -> Self {
        let (deadline, gate, who) = ("4 min", "healthy", signing::Who::Us);
        Self { name, version, arch, deadline, gate, update: "", more: "", who }
    }

    /// Builds it.
    pub fn build(&self) -> Result<Release> {
        let image = self.image()?;
        let bundle = signing::bundle(&image, self.who)?;
        Ok(Release { image, bundle, name: self.name })
    }

    pub(crate) fn manifest(&self) -> Result<String> {
        let root = signing::root(self.who)?;
        let (_, operator) = operator::key()?;
        let mut text = LEDGER.to_owned();
        for (place, value) in [
            ("@version@", self.version),
            ("@arch@", self.arch.name()),
            ("@root@", &root.to_string_lossy()),
            ("@operator@", &operator.to_string_lossy()),
            ("@deadline@", self.deadline),
            ("@gate@", self.gate),
            ("@update@", self.update),
            ("@more@", self.more),
        ] {
            ensure!(text.contains(place), "the manifest has no place for {place}");
            text = text.replace(place, value);
        }
        Ok(text)
    }
}

/// A release: an image and the bundle that updates to it.
#[derive(Debug)]
pub struct Release {
    /// The image.
    pub image: Built,
    /// The bundle.
    pub bundle: PathBuf,
    pub(crate) name: &'static str,
}

impl Release {
    /// Its bundle, as a server offers it.
    pub fn served(&self) -> (String, PathBuf) {
        (format!("{}.bundle", self.name), self.bundle.clone())
    }

    /// The name of the delta to it from another release.
    pub(crate) fn delta_name(&self, old: &Self) -> String {
        format!("{}-to-{}.delta", old.name, self.name)
    }

    /// Makes the delta to it from another release; it is as a server offers it, and stands beside the bundle.
    pub fn delta_from(&self, old: &Self) -> Result<(String, PathBuf)> {
        let name = self.delta_name(old);
        let path = self.bundle.with_file_name(&name);
        let made = delta::make(&context()?, (&old.bundle, &self.bundle), &path);
        made.with_context(|| format!("cannot make {name}"))?;
        Ok((name, path))
    }

    /// Its version.
    pub fn version(&self) -> &str {
        self.image.manifest.image.version.as_str()
    }
}

/// Three good releases, each newer than the one before.
pub fn good(arch: Arch) -> Result<[Release; 3]> {
    let release = |name, version| Variant::new(name, version, arch).build();
    Ok([release("v1", "1.0.0")?, release("v2", "2.0.0")?, release("v3", "3.0.0")?])
}

/// Where releases are kept.
pub fn directory() -> Result<PathBuf> {
    scratch("releases")
}

/// An update that a machine is told to make.
#[derive(Debug)]
pub struct Order {
    operator: Result<Operator>,
    url: String,
}

impl Server {
    /// The order to update to a release.
    pub fn order(&self, guest: &Guest, release: &Release) -> Order {
        self.order_file(guest, &release.served().0)
    }

    /// The order to update with a file of this server.
    pub fn order_file(&self, guest: &Guest, name: &str) -> Order {
        Order { operator: Operator::of(guest), url: self.url(name) }
    }
}

impl Order {
    /// Has the machine apply the update and reboot into it; returns when it has been told to reboot.
    pub fn carry_out(self) -> Result<()> {
        let operator = self.operator?;
        operator::done(operator.apply(&self.url)?).context("the update was not applied")?;
        operator.reboot()
    }
}
