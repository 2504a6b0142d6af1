use super::*;
use crate::{
    cache::Cache,
    container::fixture::{ImageWriter, Packing},
    context::Context,
    digest::Digest,
    error::{Error, Kind, Result},
    files,
    report::Report,
    tree::TreePath,
};
use coracle_format::slot::Arch;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Reads the image at `path` with an empty cache.
    fn read(&self, path: &Path, arch: Arch, tag: Option<&str>) -> Result<Image> {
        let cache = tempfile::tempdir_in(self.dir.path()).unwrap();
        let ctx = Context::new(Cache::open(cache.path()).unwrap(), Report::silent());
        let image = from_image(&ctx, path, Wanted { arch, tag })?;
        // Contents live in that cache: force them now.
        for (_, node) in image.tree.iter() {
            if let crate::tree::NodeKind::File(content) = &node.kind {
                content.read()?;
            }
        }
        Ok(image)
    }
}

fn layers() -> Vec<Tree> {
    let mut lower = Tree::new();
    lower.file("usr/bin/busybox", 0o4755, "program").unwrap();
    lower.symlink("bin", "usr/bin").unwrap();
    lower.file("etc/gone", 0o644, "x").unwrap();
    let mut upper = Tree::new();
    upper.file("etc/.wh.gone", 0o644, "").unwrap();
    upper.file("etc/new", 0o600, "new").unwrap();
    vec![lower, upper]
}

fn config() -> ImageConfig {
    let list = |text: &str| vec![text.to_owned()];
    ImageConfig {
        entrypoint: list("/usr/bin/busybox"),
        cmd: list("httpd"),
        env: list("A=b"),
        workdir: "/srv".to_owned(),
        user: "33:33".to_owned(),
        exposed: list("80/tcp"),
        volumes: list("/data"),
        stop_signal: "SIGQUIT".to_owned(),
    }
}

fn with_writer<T>(use_it: impl FnOnce(ImageWriter<'_>) -> T) -> T {
    let (layers, config) = (layers(), config());
    use_it(ImageWriter { layers: &layers, config: &config, arch: Arch::X86_64, tag: "app:1.0" })
}

#[test]
fn every_form_of_an_image_is_the_same_image() {
    let bench = Bench::new();
    let mut forms = vec![bench.path("docker.tar"), bench.path("oci.tar"), bench.path("oci.tar.gz")];
    with_writer(|writer| {
        writer.docker_archive(&forms[0]).unwrap();
        writer.oci_archive(&forms[1], Packing::Zstd).unwrap();
        for (name, packing) in [("plain", Packing::Plain), ("gzip", Packing::Gzip), ("zstd", Packing::Zstd)] {
            writer.oci_layout(&bench.path(name), packing).unwrap();
            forms.push(bench.path(name));
        }
    });
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &fs::read(&forms[1]).unwrap()).unwrap();
    files::replace(&forms[2], &packed.finish().unwrap()).unwrap();
    let mut seen = Vec::new();
    for form in forms {
        let image = bench.read(&form, Arch::X86_64, None).unwrap();
        assert_eq!(image.config, config(), "{}", form.display());
        seen.push(image.tree.identity());
        let paths: Vec<_> = image.tree.iter().map(|(path, _)| path.as_str().to_owned()).collect();
        assert_eq!(paths, ["", "bin", "etc", "etc/new", "usr", "usr/bin", "usr/bin/busybox"]);
        assert_eq!(image.tree.get(&TreePath::new("usr/bin/busybox").unwrap()).unwrap().meta.mode, 0o4755);
    }
    seen.dedup();
    assert_eq!(seen.len(), 1);
}

#[test]
fn a_flipped_bit_in_any_blob_is_noticed() {
    let bench = Bench::new();
    let layout = bench.path("layout");
    with_writer(|writer| writer.oci_layout(&layout, Packing::Gzip).unwrap());
    let blobs: Vec<_> =
        fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(blobs.len(), 4);
    for blob in blobs {
        let good = fs::read(&blob).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            files::replace(&blob, &bad).unwrap();
            assert_eq!(bench.read(&layout, Arch::X86_64, None).unwrap_err().kind(), Kind::Digest);
        }
        files::replace(&blob, &good[..good.len() - 1]).unwrap();
        assert_eq!(bench.read(&layout, Arch::X86_64, None).unwrap_err().kind(), Kind::Digest);
        fs::remove_file(&blob).unwrap();
        assert_eq!(bench.read(&layout, Arch::X86_64, None).unwrap_err().kind(), Kind::NotFound);
        files::replace(&blob, &good).unwrap();
    }
    bench.read(&layout, Arch::X86_64, None).unwrap();
}

#[test]
fn a_cut_archive_is_refused() {
    let bench = Bench::new();
    for name in ["docker.tar", "oci.tar"] {
        let path = bench.path(name);
        with_writer(|writer| match name {
            "docker.tar" => writer.docker_archive(&path).unwrap(),
            _ => writer.oci_archive(&path, Packing::Gzip).unwrap(),
        });
        let whole = fs::read(&path).unwrap();
        // Less than the closing blocks of zeros is a loss.
        for cut in [0, 1, 700, whole.len() / 2, whole.len() - 1600] {
            files::replace(&path, &whole[..cut]).unwrap();
            let error = bench.read(&path, Arch::X86_64, None).unwrap_err();
            assert!(matches!(error.kind(), Kind::Hostile | Kind::NotFound), "{name} cut at {cut}: {error:?}");
        }
    }
}

/// A layout made by hand: an index over `entries`, and these blobs.
fn layout(bench: &Bench, entries: &Value, blobs: &[Vec<u8>]) -> PathBuf {
    let dir = bench.path("by-hand");
    for blob in blobs {
        files::replace(&dir.join(format!("blobs/sha256/{}", Digest::of(blob))), blob).unwrap();
    }
    files::replace(&dir.join("oci-layout"), b"{}").unwrap();
    files::replace(&dir.join("index.json"), json!({ "manifests": entries }).to_string().as_bytes()).unwrap();
    dir
}

fn descriptor(bytes: &[u8]) -> Value {
    json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": format!("sha256:{}", Digest::of(bytes)),
        "size": bytes.len(),
    })
}

/// Manifest and configuration of an image of one layer, changed by `change`.
fn image_of(layer: &[u8], arch: &str, change: impl FnOnce(&mut Value, &mut Value)) -> (Value, Vec<Vec<u8>>) {
    let diff = format!("sha256:{}", Digest::of(layer));
    let mut config =
        json!({"architecture": arch, "os": "linux", "rootfs": {"diff_ids": [diff]}, "config": null});
    let mut manifest = json!({ "layers": [descriptor(layer)] });
    change(&mut manifest, &mut config);
    let config = config.to_string().into_bytes();
    manifest["config"] = descriptor(&config);
    let manifest = manifest.to_string().into_bytes();
    (descriptor(&manifest), vec![layer.to_vec(), config, manifest])
}

fn tar_of(name: &str) -> Vec<u8> {
    let mut tree = Tree::new();
    tree.file(name, 0o644, "x").unwrap();
    let mut out = Vec::new();
    crate::image::tar::write(&tree, 0, &mut out).unwrap();
    out
}

fn read_changed(change: impl FnOnce(&mut Value, &mut Value)) -> Error {
    let bench = Bench::new();
    let (entry, blobs) = image_of(&tar_of("file"), "amd64", change);
    bench.read(&layout(&bench, &json!([entry]), &blobs), Arch::X86_64, None).unwrap_err()
}

#[test]
fn documents_that_contradict_themselves_are_refused() {
    let other = format!("sha256:{}", Digest::of(b"other"));
    assert_eq!(read_changed(|_, config| config["rootfs"]["diff_ids"] = json!([other])).kind(), Kind::Digest);
    assert_eq!(read_changed(|_, config| config["rootfs"]["diff_ids"] = json!([])).kind(), Kind::Hostile);
    assert_eq!(read_changed(|manifest, _| manifest["manifests"] = json!([])).kind(), Kind::Hostile);
    assert_eq!(read_changed(|manifest, _| manifest["layers"][0]["size"] = json!(1)).kind(), Kind::Digest);
    assert_eq!(
        read_changed(|manifest, _| manifest["layers"][0]["digest"] = json!("sha512:00")).kind(),
        Kind::Hostile
    );
    assert_eq!(
        read_changed(|manifest, _| manifest["layers"][0]["digest"] = json!("sha256:../../x")).kind(),
        Kind::Hostile
    );
    assert_eq!(
        read_changed(|manifest, _| manifest["layers"][0]["mediaType"] = json!("application/wasm")).kind(),
        Kind::Hostile
    );
    assert_eq!(
        read_changed(|_, config| config["config"] = json!({"Env": ["A=\u{0}"]})).kind(),
        Kind::Hostile
    );
    assert_eq!(read_changed(|_, config| config["config"] = json!({"Env": 7})).kind(), Kind::Hostile);
    let many = |manifest: &mut Value, config: &mut Value| {
        manifest["layers"] = vec![manifest["layers"][0].clone(); 129].into();
        config["rootfs"]["diff_ids"] = vec![config["rootfs"]["diff_ids"][0].clone(); 129].into();
    };
    assert_eq!(read_changed(many).kind(), Kind::Hostile);
}

#[test]
fn an_index_gives_the_image_for_the_device() {
    let bench = Bench::new();
    let mut entries = Vec::new();
    let mut blobs = Vec::new();
    for arch in ["arm64", "amd64", "s390x"] {
        let (mut entry, more) = image_of(&tar_of(arch), arch, |_, _| {});
        entry["platform"] = json!({"os": "linux", "architecture": arch});
        entries.push(entry);
        blobs.extend(more);
    }
    // A statement about an image, as build tools add it.
    let mut statement = entries[1].clone();
    statement["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    statement["digest"] = json!(format!("sha256:{}", Digest::of(b"")));
    entries.push(statement);
    let inner = json!({ "manifests": entries }).to_string().into_bytes();
    let outer = json!([descriptor(&inner)]);
    blobs.push(inner);
    let dir = layout(&bench, &outer, &blobs);
    for (arch, file) in [(Arch::X86_64, "amd64"), (Arch::Aarch64, "arm64")] {
        let tree = bench.read(&dir, arch, None).unwrap().tree;
        assert!(tree.get(&TreePath::new(file).unwrap()).is_some());
    }
}

#[test]
fn an_index_nested_without_end_is_refused() {
    let bench = Bench::new();
    let mut blobs = vec![json!({"manifests": []}).to_string().into_bytes()];
    for _ in 0..6 {
        let inner = descriptor(blobs.last().unwrap());
        blobs.push(json!({"manifests": [inner]}).to_string().into_bytes());
    }
    let top = json!([descriptor(blobs.last().unwrap())]);
    let error = bench.read(&layout(&bench, &top, &blobs), Arch::X86_64, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Hostile);
}

#[test]
fn an_image_for_another_machine_is_an_error_that_says_so() {
    let bench = Bench::new();
    let path = bench.path("docker.tar");
    with_writer(|writer| writer.docker_archive(&path).unwrap());
    let error = bench.read(&path, Arch::Aarch64, None).unwrap_err();
    assert!(error.render().contains("image is for linux/amd64, the device is linux/arm64"), "{error:?}");
}

#[test]
fn of_several_images_the_tag_decides() {
    let bench = Bench::new();
    let mut entries = Vec::new();
    let mut blobs = Vec::new();
    for tag in ["app:1.0", "app:2.0"] {
        let (mut entry, more) = image_of(&tar_of(&tag.replace(':', "-")), "amd64", |_, _| {});
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        entries.push(entry);
        blobs.extend(more);
    }
    let dir = layout(&bench, &entries.into(), &blobs);
    let tree = bench.read(&dir, Arch::X86_64, Some("app:2.0")).unwrap().tree;
    assert!(tree.get(&TreePath::new("app-2.0").unwrap()).is_some());
    let error = bench.read(&dir, Arch::X86_64, None).unwrap_err();
    assert!(error.hint_text().unwrap().contains("app:1.0"), "{error:?}");
    let error = bench.read(&dir, Arch::X86_64, Some("app:3.0")).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn what_is_no_image_is_refused_with_a_way_to_make_one() {
    let bench = Bench::new();
    let dir = bench.path("empty");
    fs::create_dir(&dir).unwrap();
    let error = bench.read(&dir, Arch::X86_64, None).unwrap_err();
    assert!(error.hint_text().unwrap().contains("docker save"), "{error:?}");
    let file = bench.path("page.html");
    files::replace(&file, &b"<html>not found</html>".repeat(100)).unwrap();
    assert_eq!(bench.read(&file, Arch::X86_64, None).unwrap_err().kind(), Kind::Hostile);
}

#[test]
fn a_document_over_its_limit_is_refused_before_it_is_read() {
    let bench = Bench::new();
    let dir = layout(&bench, &json!([]), &[]);
    let file = fs::File::create(dir.join("index.json")).unwrap();
    file.set_len(document::DOCUMENT_BYTES_MAX + 1).unwrap();
    let error = bench.read(&dir, Arch::X86_64, None).unwrap_err();
    assert!(error.render().contains("limit"), "{error:?}");
}

#[test]
fn a_bomb_of_a_layer_is_stopped() {
    let bench = Bench::new();
    let bomb = zstd::encode_all(std::io::Read::take(std::io::repeat(0), 64 << 20), 1).unwrap();
    let (entry, blobs) = image_of(&bomb, "amd64", |_, _| {});
    let error = bench.read(&layout(&bench, &json!([entry]), &blobs), Arch::X86_64, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Hostile);
    assert!(error.render().contains("limit"), "{error:?}");
}

#[test]
fn a_root_file_system_is_taken_from_an_archive_or_a_directory() {
    let bench = Bench::new();
    let ctx = Context::new(Cache::open(bench.path("cache")).unwrap(), Report::silent());
    let dir = bench.path("rootfs");
    files::replace(&dir.join("etc/.wh.name"), b"x").unwrap();
    fs::hard_link(dir.join("etc/.wh.name"), dir.join("etc/same")).unwrap();
    std::os::unix::fs::symlink("/etc", dir.join("link")).unwrap();
    let from_dir = from_rootfs(&ctx, &dir).unwrap();
    let mut bytes = Vec::new();
    crate::image::tar::write(&from_dir.tree, 0, &mut bytes).unwrap();
    let archive = bench.path("rootfs.tar.zst");
    files::replace(&archive, &zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
    let from_tar = from_rootfs(&ctx, &archive).unwrap();
    for image in [from_dir, from_tar] {
        let mut again = Vec::new();
        crate::image::tar::write(&image.tree, 0, &mut again).unwrap();
        assert_eq!(again, bytes);
    }
}
