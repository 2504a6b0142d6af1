//! Firmware with the user's keys starts what they signed and nothing else. What it refuses is made with care: the slot's
//! descriptor and the slot record fit it, so that nobody but the firmware has a reason to.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Context as _, Result, anyhow, ensure};
use coracle::{
    build::{Built, SourceOptions},
    image::uki::Uki,
    launch,
    machine::Firmware,
    secure_boot::{self, CERTIFICATE, KEY, Origin, Parts, Signer},
};
use coracle_format::slot::Arch;
use coracle_qemu_tests::{
    Guest, MILESTONE, Setup, TwoSlots, Variant, Voyage, context, get, image_from, image_of, scratch,
    voyage::{NEW, OLD},
    workspace,
};
use coracle_slots::Slot;
use std::{fs, path::PathBuf, sync::LazyLock};

const DISK: u64 = 1 << 30;
/// The port of the container.
const PORT: u16 = 8080;

/// A signed image, and what firmware that trusts its signer knows.
#[derive(Debug)]
struct Signed {
    image: Built,
    vars: PathBuf,
}

/// The keys of this name, made by the first test that needs them.
fn keys(who: &str) -> Result<Signer> {
    let dir = scratch("keys")?.join(format!("secure-boot-{who}"));
    let _guard = context()?.cache.lock("test-secure-boot-keys")?;
    if !dir.join(CERTIFICATE).exists() {
        // What an interrupted run has left is no pair of keys.
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        secure_boot::create(&dir, who)?;
    }
    Ok(Signer::read(&dir.join(KEY), &dir.join(CERTIFICATE))?)
}

fn sign(manifest: &str, name: &str) -> Result<Signed> {
    sign_image(image_from(&workspace().join("manifests/images").join(manifest), name)?)
}

fn sign_image(image: Built) -> Result<Signed> {
    let (ctx, signer) = (context()?, keys("owner")?);
    secure_boot::sign_built(&ctx, &image.dir, Origin::Key(&signer))?;
    let tools = image.qemu(&ctx, &SourceOptions::default())?;
    let vars = image.dir.join("enrolled.fd");
    launch::enrol(&tools, &image, signer.certificate(), &vars)?;
    Ok(Signed { image, vars })
}

fn signed() -> Result<&'static Signed> {
    static ONE: LazyLock<Result<Signed, String>> =
        LazyLock::new(|| sign("hello.toml", "secure-boot").map_err(|error| format!("{error:#}")));
    ONE.as_ref().map_err(|why| anyhow!("cannot sign an image: {why}"))
}

impl Signed {
    fn setup(&self, disk: Option<PathBuf>) -> Setup {
        let vars = Some(self.vars.clone());
        Setup { disk, vars, disk_bytes: DISK, ..Setup::new(Firmware::UefiSecure, &[PORT]) }
    }

    /// A new disk for the test of this name.
    fn disk(&self, test: &str) -> Result<PathBuf> {
        let dir = scratch("secure-boot")?.join(test);
        fs::create_dir_all(&dir)?;
        let disk = dir.join("disk.raw");
        launch::make_disk(
            &self.image,
            &launch::Options { disk_bytes: DISK, ..launch::Options::new(&self.image) },
            &disk,
        )?;
        Ok(disk)
    }

    fn boot(&self, test: &str, disk: PathBuf) -> Result<Guest> {
        Guest::boot(&self.image, test, &self.setup(Some(disk)))
    }
}

/// Changes one byte of a section of the boot artefact: the one after `text`, or the middle one.
fn change_byte(boot: &mut [u8], section: &str, text: &[u8]) -> Result<()> {
    let uki = Uki::parse(boot)?;
    let contents = uki.section(section).context("no such section")?;
    let inside = if text.is_empty() {
        contents.len() / 2
    } else {
        let at = contents.windows(text.len()).position(|window| window == text);
        at.context("the section does not hold the text")? + text.len()
    };
    let at = contents.as_ptr().addr() - boot.as_ptr().addr() + inside;
    boot[at] ^= 1;
    Ok(())
}

/// Boots a machine whose slot A has this boot artefact: the firmware must refuse it, and slot B must run.
fn refused(test: &str, change: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    let signed = signed()?;
    let disk = signed.disk(test)?;
    let slots = TwoSlots::make(&disk)?;
    let mut boot = slots.boot(Slot::A)?;
    change(&mut boot)?;
    slots.replace_boot(Slot::A, &boot)?;
    slots.make_good()?;
    let mut guest = signed.boot(test, disk)?;
    guest.line("coracle: slot A (last good)")?;
    let why = guest.line("coracle: slot A cannot be started")?;
    ensure!(why.contains("the firmware refuses it"), "something else has refused it: {why}");
    guest.line("coracle: slot B")?;
    guest.line("Kernel is locked down from EFI Secure Boot")?;
    guest.line("coracle: root is slot-b")?;
    guest.phase("boot")?;
    guest.power_off().map(drop)
}

#[test]
fn a_signed_image_runs_on_firmware_that_trusts_its_signer_only() -> Result<()> {
    let signed = signed()?;
    ensure!(Parts::read(&signed.image.disk)?.are_signed()?, "the image is not signed");
    let mut guest = signed.boot("signed", signed.disk("signed")?)?;
    guest.line("coracle: slot A (last good)")?;
    guest.line("EFI stub: UEFI Secure Boot is enabled.")?;
    guest.line("Kernel is locked down from EFI Secure Boot")?;
    guest.phase("container-web")?;
    guest.phase("boot")?;
    let answer = get(guest.port(PORT)?, "/", MILESTONE)?;
    ensure!(answer.contains("Hello from Coracle"), "unexpected answer: {answer}");
    guest.power_off().map(drop)
}

#[test]
fn a_changed_byte_of_the_kernel_is_refused_and_the_other_slot_runs() -> Result<()> {
    refused("kernel", |boot| change_byte(boot, ".linux", b""))
}

#[test]
#[ignore = "long: one more boot of a kind that others cover"]
fn a_changed_byte_of_the_initramfs_is_refused_and_the_other_slot_runs() -> Result<()> {
    refused("initramfs", |boot| change_byte(boot, ".initrd", b""))
}

#[test]
#[ignore = "long: one more boot of a kind that others cover"]
fn a_changed_byte_of_the_command_line_is_refused_and_the_other_slot_runs() -> Result<()> {
    refused("command-line", |boot| change_byte(boot, ".cmdline", b" loglevel="))
}

#[test]
#[ignore = "long: one more boot of a kind that others cover"]
fn a_signature_by_a_foreign_key_is_refused_and_the_other_slot_runs() -> Result<()> {
    let foreign = keys("stranger")?;
    refused("foreign", |boot| {
        *boot = secure_boot::sign_file(boot, &foreign)?;
        Ok(())
    })
}

#[test]
#[ignore = "long: one more boot of a kind that others cover"]
fn a_boot_artefact_without_a_signature_is_refused_and_the_other_slot_runs() -> Result<()> {
    refused("bare", |boot| {
        *boot = secure_boot::strip(boot)?;
        Ok(())
    })
}

/// Boots a machine with this selector, which the firmware must not start.
fn refused_selector(test: &str, change: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<()> {
    let signed = signed()?;
    let disk = signed.disk(test)?;
    let mut parts = Parts::read(&disk)?;
    parts.selector = change(&parts.selector)?;
    secure_boot::sign(&disk, &parts)?;
    let mut guest = signed.boot(test, disk)?;
    let line = guest.scan("the firmware's verdict or the selector", |line| {
        ["Access Denied", "Security Violation", "coracle:"]
            .iter()
            .any(|word| line.contains(word))
            .then(|| line.to_owned())
    })?;
    ensure!(!line.contains("coracle:"), "the selector runs: {line}");
    guest.cut_power();
    Ok(())
}

#[test]
fn a_selector_without_a_signature_is_refused() -> Result<()> {
    refused_selector("bare-selector", |selector| Ok(secure_boot::strip(selector)?))
}

#[test]
#[ignore = "long: one more boot of a kind that others cover"]
fn a_selector_with_a_foreign_signature_is_refused() -> Result<()> {
    let foreign = keys("stranger")?;
    refused_selector("foreign-selector", |selector| Ok(secure_boot::sign_file(selector, &foreign)?))
}

#[test]
#[ignore = "long: an emulated machine of the other architecture"]
fn a_signed_image_runs_on_arm_firmware_too() -> Result<()> {
    let signed = sign("hello-arm64.toml", "secure-boot-arm64")?;
    let mut guest = Guest::boot(&signed.image, "signed", &signed.setup(None))?;
    guest.line("coracle: slot A (last good)")?;
    guest.line("EFI stub: UEFI Secure Boot is enabled.")?;
    guest.phase("container-web")?;
    guest.power_off().map(drop)
}

#[test]
#[ignore = "long: two boots of an image of its own"]
fn the_crash_recorder_has_memory_on_a_locked_down_kernel() -> Result<()> {
    // The crash is asked for with the magic key, which images do not allow otherwise.
    let text = format!(
        "{}\n[kernel]\nargs = \"sysctl.kernel.sysrq=1\"\n",
        include_str!("../../manifests/images/hello.toml")
    );
    let signed = sign_image(image_of(&text, "secure-boot-crash")?)?;
    let mut guest = Guest::boot(&signed.image, "crash", &signed.setup(None))?;
    guest.phase("boot")?;
    guest.press(&["alt", "sysrq", "c"])?;
    guest.line("Kernel panic - not syncing: sysrq triggered crash")?;
    guest.line("EFI stub: UEFI Secure Boot is enabled.")?;
    guest.line("Kernel is locked down from EFI Secure Boot")?;
    let told = guest.line("sysrq triggered crash").context("what the recorder has kept")?;
    ensure!(told.contains("coracle"), "somebody else tells it: {told}");
    guest.power_off().map(drop)
}

/// A machine that trusts its owner only, locked down, with the old release that the owner has signed.
fn locked_down(test: &str) -> Result<Voyage> {
    let signer = keys("owner")?;
    let old = Variant::new("v1", OLD, Arch::X86_64).signed(&signer)?;
    let voyage = Voyage::begin_from(old, Firmware::UefiSecure, test, |old, setup| {
        let vars = scratch("secure-boot")?.join(format!("{test}.fd"));
        launch::enrol(
            &old.image.qemu(&context()?, &SourceOptions::default())?,
            &old.image,
            signer.certificate(),
            &vars,
        )?;
        setup.vars = Some(vars);
        Ok(())
    })?;
    let console = fs::read(voyage.disk().with_file_name("console.log"))?;
    ensure!(
        String::from_utf8_lossy(&console).contains("Kernel is locked down from EFI Secure Boot"),
        "the old release is not locked down"
    );
    Ok(voyage)
}

#[test]
#[ignore = "long: an update under UEFI firmware"]
fn an_update_that_the_owner_has_signed_is_committed() -> Result<()> {
    let mut voyage = locked_down("owners-update")?;
    voyage.update(&Variant::new("v2", NEW, Arch::X86_64).signed(&keys("owner")?)?)?;
    voyage.starts("B", "on trial")?;
    voyage.guest.line("EFI stub: UEFI Secure Boot is enabled.")?;
    voyage.guest.line("Kernel is locked down from EFI Secure Boot")?;
    voyage.guest.phase("commit")?;
    let (state, verdict, version) = voyage.slot("B")?;
    ensure!((state.as_str(), version.as_str()) == ("good", NEW), "slot B is {state} {verdict:?} {version}");
    Ok(())
}

#[test]
#[ignore = "long: an update under UEFI firmware"]
fn an_update_that_somebody_else_has_signed_is_refused_by_the_firmware_and_not_taken_again() -> Result<()> {
    let release = Variant::new("v2", NEW, Arch::X86_64).signed(&keys("stranger")?)?;
    locked_down("strangers-update")?.falls_back(&release, "refused by firmware").map(drop)
}
