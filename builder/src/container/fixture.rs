//! Writes a tree as a container image: an OCI layout (directory or archive) or a `docker save` archive. Tests feed the
//! readers with it; it is also how a root file system put together by this tool can leave it.

use super::source::ImageConfig;
use crate::{
    digest::Digest,
    error::{Doing, Error, Kind, Result},
    files,
    image::tar,
    tree::{Content, NodeKind, Tree},
};
use coracle_format::slot::Arch;
use serde_json::{Map, Value, json};
use std::{fs, io::Write, path::Path};

/// How layers are packed in an OCI layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
}

impl Packing {
    fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        }
    }

    fn pack(self, bytes: &[u8]) -> Result<Vec<u8>> {
        let packed = match self {
            Self::Plain => Ok(bytes.to_vec()),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes).and_then(|()| encoder.finish())
            }
            Self::Zstd => zstd::encode_all(bytes, 3),
        };
        packed.doing("pack", Path::new("layer"))
    }
}

/// An image to be written.
#[derive(Clone, Copy, Debug)]
pub struct ImageWriter<'a> {
    /// Its layers, lowest first. A file named `.wh.NAME` removes NAME of the layers below.
    pub layers: &'a [Tree],
    /// How its program is run.
    pub config: &'a ImageConfig,
    /// What it runs on.
    pub arch: Arch,
    /// Its name and tag, `app:1.0`.
    pub tag: &'a str,
}

impl ImageWriter<'_> {
    /// Writes an OCI layout into the directory `dir`.
    pub fn oci_layout(&self, dir: &Path, packing: Packing) -> Result<()> {
        for (path, node) in self.oci(packing)?.iter() {
            let at = dir.join(path.as_str());
            match &node.kind {
                NodeKind::File(content) => files::replace(&at, &content.read()?)?,
                NodeKind::Dir => fs::create_dir_all(&at).doing("create directory", &at)?,
                NodeKind::Symlink(_) | NodeKind::HardLink(_) | NodeKind::CharDevice { .. } => {}
            }
        }
        Ok(())
    }

    /// Writes an OCI layout as a tar archive.
    pub fn oci_archive(&self, file: &Path, packing: Packing) -> Result<()> {
        archive(&self.oci(packing)?, file)
    }

    /// Writes what `docker save` wrote before it wrote OCI layouts.
    pub fn docker_archive(&self, file: &Path) -> Result<()> {
        let mut out = Tree::new();
        let mut names = Vec::new();
        let mut diffs = Vec::new();
        for layer in self.layers {
            let bytes = layer_archive(layer)?;
            let diff = Digest::of(&bytes);
            let name = format!("{diff}/layer.tar");
            out.file(&name, 0o644, bytes)?;
            names.push(name);
            diffs.push(diff);
        }
        let config = json_bytes(&self.configuration(&diffs))?;
        let name = format!("{}.json", Digest::of(&config));
        out.file(&name, 0o644, config)?;
        let manifest = json!([{"Config": name, "RepoTags": [self.tag], "Layers": names}]);
        out.file("manifest.json", 0o644, json_bytes(&manifest)?)?;
        archive(&out, file)
    }

    fn oci(&self, packing: Packing) -> Result<Tree> {
        let mut out = Tree::new();
        let mut layers = Vec::new();
        let mut diffs = Vec::new();
        for layer in self.layers {
            let bytes = layer_archive(layer)?;
            diffs.push(Digest::of(&bytes));
            let kind = format!("application/vnd.oci.image.layer.v1.tar{}", packing.suffix());
            layers.push(blob(&mut out, packing.pack(&bytes)?, &kind)?);
        }
        let config = json_bytes(&self.configuration(&diffs))?;
        let config = blob(&mut out, config, "application/vnd.oci.image.config.v1+json")?;
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
        let mut entry = blob(&mut out, json_bytes(&manifest)?, kind)?;
        entry["platform"] = json!({"architecture": platform(self.arch), "os": "linux"});
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": self.tag});
        out.file("index.json", 0o644, json_bytes(&json!({"schemaVersion": 2, "manifests": [entry]}))?)?;
        out.file("oci-layout", 0o644, json_bytes(&json!({"imageLayoutVersion": "1.0.0"}))?)?;
        Ok(out)
    }

    fn configuration(&self, diffs: &[Digest]) -> Value {
        let set = |names: &[String]| -> Map<String, Value> {
            names.iter().map(|name| (name.clone(), json!({}))).collect()
        };
        let diffs: Vec<_> = diffs.iter().map(|diff| format!("sha256:{diff}")).collect();
        json!({
            "architecture": platform(self.arch),
            "os": "linux",
            "config": {
                "Entrypoint": self.config.entrypoint,
                "Cmd": self.config.cmd,
                "Env": self.config.env,
                "WorkingDir": self.config.workdir,
                "User": self.config.user,
                "ExposedPorts": set(&self.config.exposed),
                "Volumes": set(&self.config.volumes),
                "StopSignal": self.config.stop_signal,
            },
            "rootfs": {"type": "layers", "diff_ids": diffs},
        })
    }
}

fn platform(arch: Arch) -> &'static str {
    super::source::platform_name(arch)
}

fn layer_archive(layer: &Tree) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tar::write(layer, 0, &mut bytes)?;
    Ok(bytes)
}

/// Puts a blob in and returns its descriptor.
fn blob(out: &mut Tree, bytes: Vec<u8>, kind: &str) -> Result<Value> {
    let digest = Digest::of(&bytes);
    let content = Content::from(bytes);
    let descriptor = json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": content.len()});
    out.file(&format!("blobs/sha256/{digest}"), 0o644, content)?;
    Ok(descriptor)
}

fn json_bytes(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|source| Error::new(Kind::Internal, "cannot write an image document").because(source))
}

fn archive(tree: &Tree, file: &Path) -> Result<()> {
    let mut out = files::beside(file)?;
    tar::write(tree, 0, &mut out)?;
    files::commit(out, file)
}
