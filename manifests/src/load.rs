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
                return Err(faults.finish());
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
        return Err(faults.finish());
    };
    shape::check(Node(&document), &mut faults);
    rules::check(Node(&document), &mut faults);
    if inputs == Inputs::MustExist {
        let directory = file.parent().unwrap_or_else(|| Path::new(""));
        inputs::check(Node(&document), directory, &mut faults);
    }
    if !faults.is_empty() {
        return Err(faults.finish());
    }
    let written: ManifestTable = match toml::from_str(text) {
        Ok(written) => written,
        Err(error) => {
            faults.fault("", &error.span().unwrap_or(0..0), error.message(), None);
            return Err(faults.finish());
        }
    };
    resolve(written, file).map_err(|bad| {
        faults.fault_of_file(&bad.message, bad.hint);
        faults.finish()
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FAULTS_MAX, schema::CONTAINERS_MAX};
    use proptest::prelude::*;

    const IMAGE: &str = "[image]\nname = \"x\"\nversion = \"1\"\narch = \"x86_64\"\n";

    fn messages(text: &str) -> Vec<String> {
        let faults = parse(text, Path::new("x.toml")).unwrap_err();
        faults.faults.into_iter().map(|fault| fault.message).collect()
    }

    #[test]
    fn a_manifest_larger_than_the_limit_is_refused_before_it_is_parsed() {
        let text = "#".repeat(MANIFEST_BYTES_MAX + 1);
        assert_eq!(messages(&text), ["the manifest is larger than 1 MiB"]);
        parse(&format!("{IMAGE}{}", &text[..MANIFEST_BYTES_MAX - 100]), Path::new("x.toml")).unwrap();
    }

    #[test]
    fn too_many_containers_are_refused() {
        let container = |n| format!("[[container]]\nname = \"c{n}\"\noci = \"x\"\n");
        let containers = (0..=CONTAINERS_MAX).map(container).collect::<Vec<_>>().concat();
        let expected = "container has 257 entries, more than the 256 that are allowed";
        assert_eq!(messages(&format!("{IMAGE}{containers}")), [expected]);
    }

    #[test]
    fn a_flood_of_faults_is_cut_and_counted() {
        let keys = (0..300).map(|n| format!("k{n} = 1\n")).collect::<Vec<_>>().concat();
        let faults = parse(&format!("{keys}{IMAGE}"), Path::new("x.toml")).unwrap_err();
        assert_eq!((faults.faults.len(), faults.more), (FAULTS_MAX, 300 - FAULTS_MAX));
        assert_eq!(faults.to_string(), "300 faults in x.toml");
    }

    #[test]
    fn nesting_without_end_is_a_fault() {
        let deep = format!("{IMAGE}x = {}", "[".repeat(100_000));
        parse(&deep, Path::new("x.toml")).unwrap_err();
    }

    #[test]
    fn relative_paths_are_resolved_against_the_manifests_directory() {
        let text = format!("{IMAGE}[[file]]\npath = \"/etc/x\"\nsource = \"a/b\"\n");
        let manifest = parse(&text, Path::new("some/where/x.toml")).unwrap();
        let crate::manifest::FileContent::Source(source) = &manifest.files[0].content else {
            panic!("{manifest:?}");
        };
        assert_eq!(source.written, "a/b");
        assert_eq!(source.path, Path::new("some/where/a/b"));
    }

    #[test]
    fn a_missing_manifest_is_named() {
        let faults = Manifest::load(Path::new("/no/such.toml")).unwrap_err();
        assert!(faults.render().starts_with("/no/such.toml: cannot read the manifest: "), "{faults:?}");
    }

    #[test]
    fn named_files_must_exist_when_a_manifest_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        let put = |name: &str, text: &str| {
            let mut file = File::create(directory.path().join(name)).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        put("x.toml", &format!("{IMAGE}[[file]]\npath = \"/etc/x\"\nsource = \"here\"\n"));
        let faults = Manifest::load(&path).unwrap_err();
        assert_eq!(faults.faults[0].message, "the file \"here\" does not exist");
        put("here", "");
        Manifest::load(&path).unwrap();
    }

    #[test]
    fn faults_have_stable_fields_for_programs() {
        let faults = parse("[image]\nname = 7\n", Path::new("x.toml")).unwrap_err();
        let json = serde_json::to_value(&faults.faults[2]).unwrap();
        let expected = serde_json::json!({
            "file": "x.toml",
            "place": { "line": 2, "column": 8, "source": "name = 7", "width": 1 },
            "key": "image.name",
            "message": "name must be a text in quotes, not a whole number",
            "hint": "put it in quotes",
        });
        assert_eq!(json, expected);
    }

    /// Text that looks like a manifest: known words in a random order.
    fn manifest_like() -> impl Strategy<Value = String> {
        let words = "[image]|[[container]]|[[container.file]]|[[file]]|[container.env]|[network]|name|path|ports\
                     |[[network.interface]]|[system.sysctl]|memory|volumes|log|match|=|=|=|\"64 MiB\"|\"x\"|\"/a/b\"\
                     |[|]|{|}|,|\n|\n|\n|1|true|\"8080\"|é|\t|\"any\"|1979-05-27|1.5|\"\\u0000\"|'''|#";
        let words: Vec<_> = words.split('|').collect();
        prop::collection::vec(prop::sample::select(words), 0..60).prop_map(|words| words.join(" "))
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in prop_oneof![manifest_like(), "\\PC{0,200}", ".{0,200}"]) {
            if let Err(faults) = parse(&text, Path::new("x.toml")) {
                prop_assert!(!faults.faults.is_empty());
                let escapes = faults.render().contains('\u{1b}');
                prop_assert!(!escapes, "a control character reached the terminal");
            }
        }

        #[test]
        fn what_passes_every_check_also_deserialises(
            memory in 4_u64..1000, pids in 0_i64..5_000_000, mtu in 500_u32..70_000, seconds in 0_u32..800,
        ) {
            let text = format!(
                "{IMAGE}[system]\nwatchdog = \"{seconds} s\"\n[[network.interface]]\nmtu = {mtu}\n\
                 [[container]]\nname = \"a\"\noci = \"x\"\nmemory = \"{memory} MiB\"\npids = {pids}\n"
            );
            let fine = (1..=4_194_304).contains(&pids)
                && (576..=65_535).contains(&mtu)
                && (seconds == 0 || (5..=600).contains(&seconds));
            prop_assert_eq!(parse(&text, Path::new("x.toml")).is_ok(), fine);
        }
    }
}
