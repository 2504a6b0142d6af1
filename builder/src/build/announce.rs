//! A container that prints the boot clock before anything else: what `coracle bench` boots.

use crate::{
    container::{BUNDLES, Bundle},
    error::{Error, Kind, Result},
    tree::Content,
};
use serde_json::{Value, json};

/// Where the probe stands in the container's root.
const PROBE: &str = "/.coracle-probe";

/// Puts the probe into the container and in front of its command line.
pub(super) fn announce(bundle: &mut Bundle, probe: &Content) -> Result<()> {
    let dir = format!("{BUNDLES}/{}", bundle.device.name);
    let path = format!("{dir}/config.json");
    let bad = || Error::new(Kind::Internal, format!("cannot put the probe into {path}"));
    let text = bundle.tree.content(&path)?.read()?;
    let mut config: Value = serde_json::from_slice(&text).map_err(|source| bad().because(source))?;
    let args = config.pointer_mut("/process/args").and_then(Value::as_array_mut).ok_or_else(bad)?;
    args.splice(0..0, [json!(PROBE), json!("container"), json!("--")]);
    let text = serde_json::to_vec(&config).map_err(|source| bad().because(source))?;
    bundle.tree.file(&path, 0o644, text)?;
    bundle.tree.file(&format!("{dir}/rootfs{PROBE}"), 0o755, probe.clone())
}
