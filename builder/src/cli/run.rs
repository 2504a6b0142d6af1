//! `coracle run`: builds, boots, shows the console, ends cleanly.

use super::{args, build::source};
use crate::{
    build::Built,
    chart::boot_chart,
    context::Context,
    error::{Doing as _, Error, Kind, Result},
    launch,
    machine::{Firmware, Forward, Outside, Phase, Protocol, Spec, Vm, console::Polled, vm::Stopped},
    secure_boot,
    show::Format,
};
use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// How long the machine may take to power off after its button was pressed.
const POWER_OFF: Duration = Duration::from_mins(1);
/// How often Ctrl-C and the timeout are looked for while the console is silent.
const GLANCE: Duration = Duration::from_millis(200);

pub(super) fn run(ctx: &Context, args: &args::Run, format: Format) -> Result<()> {
    let certificate = trusted(args)?;
    let image = super::build::build(ctx, &args.build)?;
    let tools = image.qemu(ctx, &source(&args.build.source))?;
    let mut options = launch::Options::new(&image);
    options.firmware = args.firmware;
    options.control.clone_from(&args.control);
    options.memory_mib = args.memory;
    options.cpus = args.cpus;
    if args.isolated {
        options.outside = Outside::Isolated;
    }
    let dir = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&image.dir)
        .doing("create a directory in", &image.dir)?;
    options.dir = Some(dir.path().to_owned());
    if let Some(certificate) = &certificate {
        let vars = dir.path().join("enrolled.fd");
        launch::enrol(&tools, &image, certificate, &vars)?;
        options.vars = Some(vars);
    }
    let bytes = args.disk_size.map(|mib| mib.saturating_mul(1 << 20));
    options.disk_bytes = bytes.unwrap_or(options.disk_bytes);
    let mut spec = match &args.disk {
        None => launch::prepare(ctx, &tools, &image, &options, dir.path())?,
        Some(disk) => {
            keep_disk(ctx, &image, &options, (disk, bytes))?;
            certificate.as_deref().map_or(Ok(()), |certificate| knows(disk, certificate))?;
            launch::reuse(ctx, &tools, &image, &options, disk)?
        }
    };
    spec.accel = launch::accel(ctx, &tools, &image)?;
    check_ports(&spec.forwards)?;
    announce(ctx, &spec, args.firmware);
    let vm = Vm::start(ctx, &tools, &spec, &image.dir.join("console.log"))?;
    let mut session = Session { vm, image: &image, args, format, phases: Vec::new(), cancel: &ctx.cancel };
    let ended = session.watch()?;
    if let Some(path) = &args.boot_chart {
        let title = format!("{} {} ({})", image.record.name, image.record.version, args.firmware);
        crate::files::replace(path, boot_chart(&title, &session.phases).as_bytes())?;
        ctx.report.info(format!("boot chart: {}", path.display()));
    }
    session.finish(ctx, ended)
}

/// The certificate that the machine's firmware shall trust.
fn trusted(args: &args::Run) -> Result<Option<Vec<u8>>> {
    match (args.firmware, &args.secure_boot_cert) {
        (Firmware::UefiSecure, Some(path)) => secure_boot::certificate(path).map(Some),
        (Firmware::Uefi | Firmware::Direct, None) => Ok(None),
        (Firmware::UefiSecure, None) => {
            Err(Error::new(Kind::Usage, "it is not known whose signatures the firmware shall accept").hint(
                "name the certificate: --secure-boot-cert secure-boot.crt, as `coracle keys secure-boot DIR` makes it",
            ))
        }
        (Firmware::Uefi | Firmware::Direct, Some(_)) => {
            let message = format!("a machine with --firmware {} looks at no certificate", args.firmware);
            Err(Error::new(Kind::Usage, message).hint("add --firmware uefi-secure"))
        }
    }
}

/// An error if the firmware of a kept machine was set up without this certificate: it would not enforce what is asked.
fn knows(disk: &Path, certificate: &[u8]) -> Result<()> {
    let vars = launch::vars_of(disk);
    if !vars.exists() {
        return Ok(());
    }
    let stored = std::fs::read(&vars).doing("read", &vars)?;
    if stored.windows(certificate.len()).any(|window| window == certificate) {
        return Ok(());
    }
    let message = format!("the certificate is not enrolled in the firmware of {}", disk.display());
    Err(Error::new(Kind::Usage, message)
        .hint(format!("delete {} to set its firmware up anew", vars.display())))
}

/// Sees to it that there is a disk at `path`, at least `bytes` long.
fn keep_disk(
    ctx: &Context,
    image: &Built,
    options: &launch::Options,
    (path, bytes): (&Path, Option<u64>),
) -> Result<()> {
    if !path.exists() {
        return launch::make_disk(image, options, path);
    }
    ctx.report.info(format!(
        "{} is kept as it is: what boots is on it, not what was built; delete it to begin anew",
        path.display()
    ));
    bytes.map_or(Ok(()), |bytes| launch::grow_disk(path, bytes))
}

/// A port that something else listens on is told before a machine is started.
fn check_ports(forwards: &[Forward]) -> Result<()> {
    for forward in forwards {
        let address = (Ipv4Addr::LOCALHOST, forward.host);
        let free = match forward.protocol {
            Protocol::Tcp => TcpListener::bind(address).map(drop),
            Protocol::Udp => UdpSocket::bind(address).map(drop),
        };
        free.map_err(|source| {
            let message = format!("port {} of this computer cannot be used for the machine", forward.host);
            let hint = format!(
                "end what listens there, or lead another port to it: ports = [\"{}:{}\"]",
                forward.host.saturating_add(1),
                forward.guest
            );
            Error::new(Kind::Machine, message).because(source).hint(hint)
        })?;
    }
    Ok(())
}

fn announce(ctx: &Context, spec: &Spec, firmware: Firmware) {
    let how = match firmware {
        Firmware::Uefi => "through UEFI",
        Firmware::UefiSecure => "through UEFI with Secure Boot",
        Firmware::Direct => "directly",
    };
    let disk = spec.disk.as_deref().unwrap_or_else(|| Path::new("nothing"));
    ctx.report.info(format!("booting {} {how}; Ctrl-C powers it off", disk.display()));
    for forward in &spec.forwards {
        match forward.protocol {
            Protocol::Tcp => {
                ctx.report.info(format!("http://localhost:{} leads to port {}", forward.host, forward.guest));
            }
            Protocol::Udp => {
                ctx.report.info(format!("UDP port {} leads to port {}", forward.host, forward.guest));
            }
        }
    }
}

/// Why watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Ctrl-C or the timeout.
    Asked,
    /// The machine powered itself off.
    ByItself,
}

struct Session<'a> {
    vm: Vm,
    image: &'a Built,
    args: &'a args::Run,
    format: Format,
    phases: Vec<Phase>,
    cancel: &'a AtomicBool,
}

impl Session<'_> {
    /// Shows the console until the user, the timeout or the machine ends it.
    fn watch(&mut self) -> Result<Ended> {
        let end = self.args.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        loop {
            if self.cancel.load(Ordering::Relaxed) || end.is_some_and(|end| Instant::now() >= end) {
                return Ok(Ended::Asked);
            }
            match self.vm.console.poll(GLANCE) {
                Polled::Silent => {}
                Polled::End => return Ok(Ended::ByItself),
                Polled::Line(line) => self.show(&line)?,
            }
        }
    }

    fn show(&mut self, line: &str) -> Result<()> {
        let phase = Phase::parse(line);
        let told = match &phase {
            Some(phase) if self.args.headless => match (&phase.failed, phase.name.strip_prefix("container-"))
            {
                (Some(why), _) => Some(format!("phase {} failed: {why}", phase.name)),
                (None, Some(container)) => Some(format!("container {container} is up after {} ms", phase.at)),
                (None, None) => None,
            },
            Some(_) | None if self.args.headless => None,
            Some(_) | None => Some(line.to_owned()),
        };
        self.phases.extend(phase);
        told.map_or(Ok(()), |text| super::say(self.format, "console", &format!("{text}\n")))
    }

    fn finish(mut self, ctx: &Context, ended: Ended) -> Result<()> {
        if ended == Ended::Asked {
            // The user's Ctrl-C has been heard; what follows is the orderly end.
            self.cancel.store(false, Ordering::Relaxed);
            ctx.report.info("powering off");
            let (headless, format) = (self.args.headless, self.format);
            let mut unsaid = Ok(());
            let stopped = self.vm.power_off(POWER_OFF, |line| {
                if !headless && unsaid.is_ok() {
                    unsaid = super::say(format, "console", &format!("{line}\n"));
                }
            })?;
            unsaid?;
            if stopped == Stopped::Killed {
                return Err(Error::new(Kind::Machine, "the machine did not power off and was ended")
                    .hint(format!("its console is in {}", self.image.dir.join("console.log").display())));
            }
            return Ok(());
        }
        let status = self.vm.wait(Duration::from_secs(10))?;
        self.vm.judge(status)
    }
}
