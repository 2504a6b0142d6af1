//! Containers from images that were built elsewhere: a `docker save` archive and an OCI layout, under the shipped manifest.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Context as _, Result, anyhow, ensure};
use coracle::{
    build::Built,
    container::{
        fixture::{ImageWriter, Packing},
        source::ImageConfig,
    },
    machine::Firmware,
    tree::Tree,
};
use coracle_format::slot::Arch;
use coracle_qemu_tests::{Guest, MILESTONE, Setup, busybox, context, get, image_of, scratch, workspace};
use std::{fs, path::Path, sync::LazyLock};

/// Added to the shipped manifest: a second container, from a directory.
const SECOND: &str = r#"
[[container]]
name = "layout"
oci = "layout"
tag = "second:1.0"
ports = ["8081"]
"#;

/// The layers of an image that serves `page` on `port`: the program, then what it serves, over something it hides.
fn layers(page: &str) -> Result<Vec<Tree>> {
    let mut base = Tree::new();
    base.file("bin/busybox", 0o755, busybox(&context()?)?)?;
    base.file("www/hidden.html", 0o644, "still here\n")?;
    base.file("www/index.html", 0o644, "the page of the lower layer\n")?;
    let mut top = Tree::new();
    top.file("www/.wh.hidden.html", 0o644, "")?;
    top.file("www/index.html", 0o644, page)?;
    Ok(vec![base, top])
}

/// Everything about its program is said by the image.
fn config(port: &str) -> ImageConfig {
    let command = ["-c", "cd \"$SITE\" && exec /bin/busybox httpd -f -p"];
    ImageConfig {
        entrypoint: vec!["/bin/busybox".to_owned(), "sh".to_owned()],
        cmd: vec![command[0].to_owned(), format!("{} {port}", command[1])],
        env: vec!["SITE=/www".to_owned(), "PATH=/bin".to_owned()],
        user: "1000:1000".to_owned(),
        ..ImageConfig::default()
    }
}

fn write_images(dir: &Path) -> Result<()> {
    let archive = ImageWriter {
        layers: &layers("from an archive\n")?,
        config: &config("8080"),
        arch: Arch::X86_64,
        tag: "app:1.0",
    };
    archive.docker_archive(&dir.join("app.tar"))?;
    let layout = ImageWriter {
        layers: &layers("from a layout\n")?,
        config: &config("8081"),
        arch: Arch::X86_64,
        tag: "second:1.0",
    };
    Ok(layout.oci_layout(&dir.join("layout"), Packing::Gzip)?)
}

fn image() -> Result<&'static Built> {
    static ONE: LazyLock<Result<Built, String>> =
        LazyLock::new(|| build().map_err(|error| format!("{error:#}")));
    ONE.as_ref().map_err(|why| anyhow!("cannot build the image: {why}"))
}

fn build() -> Result<Built> {
    write_images(&scratch("oci")?)?;
    let shipped = workspace().join("manifests/images/oci.toml");
    let text = fs::read_to_string(&shipped).with_context(|| shipped.display().to_string())?;
    image_of(&format!("{text}{SECOND}"), "oci")
}

fn both_answer(test: &str, firmware: Firmware) -> Result<()> {
    let image = image()?;
    let mut guest = Guest::boot(image, test, &Setup::new(firmware, &[8080, 8081]))?;
    for (port, page) in [(8080, "from an archive"), (8081, "from a layout")] {
        let port = guest.port(port)?;
        let answer = get(port, "/", MILESTONE)?;
        ensure!(answer.contains("200 OK") && answer.contains(page), "unexpected answer: {answer}");
        let hidden = get(port, "/hidden.html", MILESTONE)?;
        ensure!(hidden.contains("404"), "a file that a layer removed is there: {hidden}");
    }
    guest.power_off().map(drop)
}

#[test]
fn archive_and_layout_answer_through_uefi() -> Result<()> {
    both_answer("uefi", Firmware::Uefi)
}

#[test]
fn archive_and_layout_answer_through_direct_boot() -> Result<()> {
    both_answer("direct", Firmware::Direct)
}
