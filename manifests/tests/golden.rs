//! Golden files: the resolved form of every shipped manifest, the error text of every broken one, the JSON Schema and
//! the reference page. `CORACLE_UPDATE_GOLDEN=1 cargo test -p coracle-manifests` writes them anew; read the difference.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests {
    use coracle_manifests::{Manifest, parse};
    use std::{
        env, fs,
        path::{Path, PathBuf},
    };

    const UPDATE: &str = "CORACLE_UPDATE_GOLDEN=1 cargo test -p coracle-manifests";

    fn here(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    /// Compares `actual` with the golden file at `path`, or writes it if the environment says so.
    #[expect(
        clippy::disallowed_methods,
        reason = "a golden file is reviewed and committed, not relied on after a crash"
    )]
    fn compare(path: &Path, actual: &str) -> Result<(), String> {
        if env::var_os("CORACLE_UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, actual).unwrap();
            return Ok(());
        }
        let golden = fs::read_to_string(path).unwrap_or_default();
        if golden == actual {
            return Ok(());
        }
        Err(format!(
            "{} is not up to date; if the change is meant, run `{UPDATE}`\n--- is\n{golden}--- should be\n{actual}",
            path.display()
        ))
    }

    fn toml_files(directory: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(here(directory)).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        files.sort();
        assert!(!files.is_empty(), "no manifests in {directory}");
        files
    }

    fn file_name(path: &Path) -> &str {
        path.file_name().unwrap().to_str().unwrap()
    }

    fn all(results: impl Iterator<Item = Result<(), String>>) {
        let failed: Vec<_> = results.filter_map(Result::err).collect();
        assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    }

    #[test]
    fn every_shipped_manifest_resolves_to_its_golden_form() {
        all(toml_files("images").iter().map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let name = file_name(path);
            let manifest = parse(&text, &Path::new("images").join(name))
                .unwrap_or_else(|faults| panic!("{}", faults.render()));
            let golden = here("tests/golden").join(name).with_extension("txt");
            compare(&golden, &format!("{manifest:#?}\n"))
        }));
    }

    #[test]
    fn every_broken_manifest_is_refused_with_its_golden_text() {
        all(toml_files("tests/broken").iter().map(|path| {
            let Err(mut faults) = Manifest::load(path) else {
                return Err(format!("{} has no fault", path.display()));
            };
            let directory = path.parent().unwrap().display().to_string();
            for fault in &mut faults.faults {
                fault.file = file_name(path).to_owned();
                fault.hint = fault.hint.as_ref().map(|hint| hint.replace(&directory, "<directory>"));
            }
            compare(&path.with_extension("txt"), &faults.render())
        }));
    }

    #[test]
    fn the_json_schema_is_up_to_date() {
        let path = here("../docs/reference/manifest.schema.json");
        all(std::iter::once(compare(&path, &coracle_manifests::schema_json())));
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        let path = here("../docs/reference/manifest.md");
        all(std::iter::once(compare(&path, &coracle_manifests::reference_markdown())));
    }
}
