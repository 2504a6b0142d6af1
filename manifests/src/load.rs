//! From a file to a manifest, or to all of its faults.

use crate::{
    document::{self, MANIFEST_BYTES_MAX, Node},
    fault::{Collector, Faults},
    inputs,
    manifest::Manifest,
    resolve::resolve,
    rules,
    schema::ManifestTable,
    shape,
};
use std::{fs::File, io::Read, path::Path};

/// Whether the files that a manifest names are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inputs {
    MustExist,
    Unchecked,
}

impl Manifest {
    /// Reads the manifest at `path` and checks it, the files it names included.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let file = path.display().to_string();
        let text = match read(path) {
            Ok(text) => text,
            Err((message, hint)) => {
                let mut faults = Collector::new(&file, "");
                faults.fault_of_file(&message, hint);
                return Err(refused(faults));
            }
        };
        check(&text, path, Inputs::MustExist)
    }
}

/// Checks the manifest `text`, which stands in `file`; relative paths are resolved against its directory. Reads nothing:
/// whether the files exist that it names, only [`Manifest::load`] knows.
pub fn parse(text: &str, file: &Path) -> Result<Manifest, Faults> {
    check(text, file, Inputs::Unchecked)
}

fn check(text: &str, file: &Path, inputs: Inputs) -> Result<Manifest, Faults> {
    let name = file.display().to_string();
    let mut faults = Collector::new(&name, text);
    let Some(document) = document::parse(text, &mut faults) else {
        return Err(refused(faults));
    };
    shape::check(Node(&document), &mut faults);
    rules::check(Node(&document), &mut faults);
    if inputs == Inputs::MustExist {
        let directory = file.parent().unwrap_or(Path::new(""));
        inputs::check(Node(&document), directory, &mut faults);
    }
    if !faults.is_empty() {
        return Err(refused(faults));
    }
    let written: ManifestTable = match toml::from_str(text) {
        Ok(written) => written,
        Err(error) => {
            faults.fault("", &error.span().unwrap_or(0..0), error.message(), None);
            return Err(refused(faults));
        }
    };
    resolve(written, file).map_err(|bad| {
        faults.fault_of_file(&bad.message, bad.hint);
        refused(faults)
    })
}

fn refused(faults: Collector<'_>) -> Faults {
    match faults.finish() {
        Err(faults) => faults,
        Ok(()) => Faults { faults: Vec::new(), more: 0 },
    }
}

/// The text of the manifest, or what is wrong and what to do.
fn read(path: &Path) -> Result<String, (String, Option<String>)> {
    let cannot = |error: std::io::Error| {
        let hint = "name the manifest's file, for example manifests/images/hello.toml";
        (format!("cannot read the manifest: {error}"), Some(hint.to_owned()))
    };
    let file = File::open(path).map_err(cannot)?;
    // One byte more than the limit, so that the parser sees and reports a manifest that is too large.
    let limit = u64::try_from(MANIFEST_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > MANIFEST_BYTES_MAX {
        // A character may be cut in half here, which must not hide the true fault.
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let hint = "save it as UTF-8 text".to_owned();
        (format!("the manifest is not UTF-8: byte {at} is not part of a character"), Some(hint))
    })
}
